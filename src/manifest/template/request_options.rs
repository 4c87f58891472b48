//! Where values are injected into a request.
//!
//! Input: a `RequestOption` of the manifest. Output: an [`Injection`] that adds values to [`RequestOptions`]. Called
//! by authenticator, paginator and slicer; `fetch::request` merges their options.

use serde_json::{Map, Value as Json};

use super::{EvalContext, Template, Vars};
use crate::base::fault::Result;
use crate::manifest::model::RequestOption;
use crate::manifest::node::{Place, Text};

/// The four parts of a request that receive values.
#[derive(Debug, Clone, Default)]
pub struct RequestOptions {
    /// Query parameters.
    pub params: Map<String, Json>,
    /// Headers.
    pub headers: Map<String, Json>,
    /// Form fields.
    pub data: Map<String, Json>,
    /// Fields of a JSON body.
    pub json: Map<String, Json>,
}

/// Where a value is injected.
#[derive(Debug, Clone)]
pub struct Injection {
    channel: Channel,
    path: Vec<String>,
    at: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Channel {
    Params,
    Headers,
    Data,
    Json,
}

impl Injection {
    /// Compiles a `RequestOption`.
    pub fn build(def: &RequestOption, cx: &EvalContext) -> Result<Injection> {
        let at = &def.at;
        let channel = match def.inject_into.as_str() {
            "request_parameter" => Channel::Params,
            "header" => Channel::Headers,
            "body_data" => Channel::Data,
            "body_json" => Channel::Json,
            other => {
                return Err(at
                    .fault(format!("`inject_into: {other}` does not exist"))
                    .hint("it can be request_parameter, header, body_data or body_json"));
            }
        };
        let vars = Vars::new(cx);
        let name = |t: &Text| Template::compile(t, &[])?.text(&vars);
        let path = match (&def.field_name, &def.field_path) {
            (Some(t), None) => vec![name(t)?],
            (None, Some(path)) if channel == Channel::Json => path.iter().map(name).collect::<Result<_>>()?,
            (None, Some(_)) => return Err(at.fault("`field_path` works only with `inject_into: body_json`")),
            (Some(_), Some(_)) => return Err(at.fault("only one of `field_name` and `field_path` can be given")),
            (None, None) => return Err(at.fault("`field_name` is missing")),
        };
        Ok(Injection { channel, path, at: at.clone() })
    }

    /// Does it write to the same place as `other`?
    pub fn collides(&self, other: &Injection) -> bool {
        self.channel == other.channel && (self.path.starts_with(&other.path) || other.path.starts_with(&self.path))
    }

    /// The location.
    pub fn at(&self) -> &Place {
        &self.at
    }

    /// The place in readable form: `request_parameter page_token`.
    pub fn described(&self) -> String {
        let into = match self.channel {
            Channel::Params => "request_parameter",
            Channel::Headers => "header",
            Channel::Data => "body_data",
            Channel::Json => "body_json",
        };
        format!("{into} `{}`", self.path.join("."))
    }

    /// Does the value go into a JSON body, which has other types than text?
    pub fn is_json(&self) -> bool {
        self.channel == Channel::Json
    }

    /// Adds a value.
    pub fn put(&self, value: Json, options: &mut RequestOptions) {
        let mut map = match self.channel {
            Channel::Params => &mut options.params,
            Channel::Headers => &mut options.headers,
            Channel::Data => &mut options.data,
            Channel::Json => &mut options.json,
        };
        let Some((last, way)) = self.path.split_last() else { return };
        for step in way {
            let slot = map.entry(step.clone()).or_insert_with(|| Json::Object(Map::new()));
            if !slot.is_object() {
                *slot = Json::Object(Map::new());
            }
            match slot {
                Json::Object(inner) => map = inner,
                _ => return,
            }
        }
        map.insert(last.clone(), value);
    }
}
