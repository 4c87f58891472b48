//! The variables of templates.
//!
//! Input: the current data of a stage: config, slice, page token, response, record. Output: Python values under the
//! reference's variable names. Called by the stages of `engine`.

use std::sync::LazyLock;
use std::time::Instant;

use serde_json::Value as Json;
use time::OffsetDateTime;

use crate::manifest::jinja::{Scope, Value};

static EMPTY: LazyLock<Json> = LazyLock::new(|| Json::Object(serde_json::Map::new()));
static NULL: Json = Json::Null;

/// The context of a whole run.
#[derive(Debug, Clone)]
pub struct EvalContext {
    /// The tenant's config, without the `dripfeed` object.
    pub config: Json,
    /// The run's "now".
    pub now: OffsetDateTime,
    /// When "now" was taken; `None` if the clock is fixed.
    pub began: Option<Instant>,
}

impl EvalContext {
    /// The start of the run by the local clock.
    pub fn start(&self) -> OffsetDateTime {
        let now = OffsetDateTime::now_utc();
        self.began.map_or(now, |began| now - began.elapsed())
    }

    /// The current time: the run's "now" plus the elapsed time.
    pub fn moment(&self) -> OffsetDateTime {
        self.began.map_or(self.now, |began| self.now + began.elapsed())
    }
}

/// The variables at one place; absent ones are `None`.
#[derive(Debug, Clone, Copy)]
pub struct Vars<'a> {
    /// The context of the run.
    pub cx: &'a EvalContext,
    /// `stream_slice`, `stream_partition`, `stream_interval`: all refer to the same object.
    pub slice: Option<&'a Json>,
    /// Extra fields of a parent record, by name.
    pub extra: Option<&'a Json>,
    /// `next_page_token`: `{"next_page_token": …}`.
    pub next_page_token: Option<&'a Json>,
    /// `response`: the decoded body.
    pub response: Option<&'a Json>,
    /// `headers` of the response.
    pub headers: Option<&'a Json>,
    /// `request_url` of the response.
    pub request_url: Option<&'a Json>,
    /// `record`.
    pub record: Option<&'a Json>,
    /// `property` of a record, when fields are removed.
    pub property: Option<&'a Json>,
    /// `last_record` of the page.
    pub last_record: Option<&'a Json>,
    /// `last_page_size`.
    pub last_page_size: Option<u64>,
    /// `page_size`.
    pub page_size: Option<u64>,
    /// Is `config` hidden, as in a response filter's predicate?
    pub hide_config: bool,
}

impl<'a> Vars<'a> {
    /// Only `config` and `parameters`.
    pub fn new(cx: &'a EvalContext) -> Self {
        Vars {
            cx,
            slice: None,
            extra: None,
            next_page_token: None,
            response: None,
            headers: None,
            request_url: None,
            record: None,
            property: None,
            last_record: None,
            last_page_size: None,
            page_size: None,
            hide_config: false,
        }
    }
}

/// Variables with the `parameters` of the template's component.
pub(super) struct WithParameters<'a> {
    pub(super) vars: &'a Vars<'a>,
    pub(super) parameters: &'a Json,
}

impl Scope for WithParameters<'_> {
    fn get(&self, name: &str) -> Option<Value<'_>> {
        let vars = self.vars;
        let json = match name {
            "config" if vars.hide_config => &NULL,
            "config" => &vars.cx.config,
            "parameters" => self.parameters,
            "stream_slice" | "stream_partition" | "stream_interval" => vars.slice.unwrap_or(&EMPTY),
            "next_page_token" => vars.next_page_token.unwrap_or(&NULL),
            "response" => vars.response.unwrap_or(&EMPTY),
            "headers" => vars.headers.unwrap_or(&EMPTY),
            "request_url" => vars.request_url.unwrap_or(&NULL),
            "record" => vars.record.unwrap_or(&EMPTY),
            "property" => vars.property.unwrap_or(&NULL),
            "last_record" => vars.last_record.unwrap_or(&NULL),
            "last_page_size" => return Some(count(vars.last_page_size)),
            "page_size" => return Some(count(vars.page_size)),
            other => vars.extra?.get(other)?,
        };
        Some(Value::from_json(json))
    }

    fn now(&self) -> OffsetDateTime {
        self.vars.cx.now
    }
}

fn count<'a>(n: Option<u64>) -> Value<'a> {
    n.map_or(Value::None, |n| Value::Int(n.into()))
}
