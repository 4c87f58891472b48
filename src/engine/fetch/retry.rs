//! The error handler: decides whether a response is accepted, retried or given up.
//!
//! Input: an error handler's definition; then a status with headers and body, or a transport error. Output: a
//! [`Verdict`], and how long to wait. Called by [`super::Fetcher`]. The default table, the order of filters and
//! handlers, and the error text fields are those of airbyte-cdk.

use std::collections::BTreeSet;

use regex::Regex;
use serde_json::{Value as Json, json};

use super::{Reply, vendor_error};
use crate::base::fault::{Failure, Fault, Result};
use crate::base::json::scan;
use crate::manifest::model::{self, Backoff, HttpResponseFilter};
use crate::manifest::node::Text;
use crate::manifest::template::{self, EvalContext, Template, Vars};
use crate::pace::feedback::until_date;

/// How to request a slice differently if the vendor cannot serve it as requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Start over from the first page: the page token is no longer valid.
    Reset,
    /// Request smaller pages.
    SmallerPages,
    /// Request shorter windows.
    ShorterWindows,
}

/// The action for a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Use the response.
    Success,
    /// Ignore the response: no records, no more pages.
    Ignore,
    /// Fail the stream.
    Fail,
    /// Retry.
    Retry,
    /// Retry after a rate limit.
    RateLimited,
    /// Request the slice differently.
    Instead(Remedy),
    /// Fetch another token and retry; a plain retry if none can be fetched.
    RefreshToken,
}

/// The evaluation of a response.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// The action.
    pub action: Action,
    /// The message for the user.
    pub message: String,
    /// The failure type, in Airbyte's terms.
    pub failure: Failure,
    /// Did no filter of the manifest match?
    pub by_default: bool,
    /// The maximum number of retries for this case, whatever the handler allows.
    pub retries: Option<u32>,
}

/// A compiled error handler.
#[derive(Debug, Clone, Default)]
pub struct ErrorPlan {
    handlers: Vec<Handler>,
    backoffs: Vec<Wait>,
    /// Retries after the first attempt.
    pub max_retries: u32,
}

#[derive(Debug, Clone, Default)]
struct Handler {
    filters: Vec<Filter>,
}

#[derive(Debug, Clone)]
struct Filter {
    action: Option<Action>,
    failure: Option<Failure>,
    codes: BTreeSet<u64>,
    contains: Option<String>,
    predicate: Option<Template>,
    message: Option<Template>,
}

#[derive(Debug, Clone)]
enum Wait {
    Constant { seconds: Template, jitter: Option<Template> },
    Exponential { factor: Option<Template>, jitter: Option<Template> },
    Header { name: Template, regex: Option<Regex>, longest: Option<Template> },
    UntilHeader { name: Template, regex: Option<Regex>, shortest: Option<Template>, longest: Option<Template> },
    Response { seconds: Template, longest: Option<Template> },
}

/// Compiles an error handler.
pub fn build(def: Option<&model::ErrorHandler>, cx: &EvalContext) -> Result<ErrorPlan> {
    let mut plan = ErrorPlan { max_retries: 5, ..ErrorPlan::default() };
    match def {
        None => plan.handlers.push(Handler::default()),
        Some(def) => collect(def, cx, &mut plan)?,
    }
    Ok(plan)
}

fn collect(def: &model::ErrorHandler, cx: &EvalContext, plan: &mut ErrorPlan) -> Result<()> {
    match def {
        model::ErrorHandler::CompositeErrorHandler(def) => {
            if def.error_handlers.is_empty() {
                return Err(def.at.fault("`error_handlers` is empty"));
            }
            for handler in &def.error_handlers {
                collect(handler, cx, plan)?;
            }
        }
        model::ErrorHandler::DefaultErrorHandler(def) => {
            if plan.handlers.is_empty()
                && let Some(retries) = &def.max_retries
            {
                let n = Template::compile(retries, &[])?.number(&Vars::new(cx))?;
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
                let n = n.clamp(0.0, 1000.0) as u32;
                plan.max_retries = n;
            }
            let filters = def.response_filters.iter().flatten().map(filter).collect::<Result<_>>()?;
            plan.handlers.push(Handler { filters });
            for backoff in def.backoff_strategies.iter().flatten() {
                plan.backoffs.push(wait(backoff, cx)?);
            }
        }
    }
    Ok(())
}

fn filter(def: &HttpResponseFilter) -> Result<Filter> {
    let action = match def.action.as_deref() {
        None => None,
        Some("SUCCESS") => Some(Action::Success),
        Some("IGNORE") => Some(Action::Ignore),
        Some("FAIL") => Some(Action::Fail),
        Some("RETRY") => Some(Action::Retry),
        Some("RATE_LIMITED") => Some(Action::RateLimited),
        Some("RESET_PAGINATION") => Some(Action::Instead(Remedy::Reset)),
        Some("REDUCE_PAGE_SIZE") => Some(Action::Instead(Remedy::SmallerPages)),
        Some("SPLIT_REQUEST_WINDOW") => Some(Action::Instead(Remedy::ShorterWindows)),
        Some("REFRESH_TOKEN_THEN_RETRY") => Some(Action::RefreshToken),
        Some(other) => {
            return Err(def.at.fault(format!("`action: {other}` does not exist")).hint(
                "it can be SUCCESS, IGNORE, FAIL, RETRY, RATE_LIMITED, RESET_PAGINATION, REDUCE_PAGE_SIZE, \
                 SPLIT_REQUEST_WINDOW or REFRESH_TOKEN_THEN_RETRY",
            ));
        }
    };
    let template = |text: &Option<Text>| {
        text.as_ref()
            .filter(|t| t.value.as_str() != Some(""))
            .map(|t| Template::compile(t, template::ANSWER))
            .transpose()
    };
    let failure = match def.failure_type.as_deref() {
        None => None,
        Some(name) => Some(Failure::of(name).ok_or_else(|| {
            def.at
                .fault(format!("`failure_type: {name}` does not exist"))
                .hint("it can be config_error, transient_error or system_error")
        })?),
    };
    Ok(Filter {
        action,
        failure,
        codes: def.http_codes.iter().flatten().copied().collect(),
        contains: def.error_message_contains.clone().filter(|t| !t.is_empty()),
        predicate: template(&def.predicate)?,
        message: template(&def.error_message)?,
    })
}

fn wait(def: &Backoff, cx: &EvalContext) -> Result<Wait> {
    let template = |t: &Text| Template::compile(t, &["response", "headers", "last_page_size"]);
    let optional = |t: &Option<Text>| t.as_ref().filter(|t| !t.value.is_null()).map(template).transpose();
    // These values must be known before any request.
    let most = |t: &Option<Text>| -> Result<Option<Template>> {
        let longest = optional(t)?;
        longest.as_ref().map(|t| t.number(&Vars::new(cx))).transpose()?;
        Ok(longest)
    };
    let jitter = |t: &Option<Text>| match t {
        Some(t) if t.value.as_f64().is_some_and(|seconds| seconds < 0.0) => {
            Err(t.at.fault("a jitter cannot be negative"))
        }
        _ => optional(t),
    };
    let pattern = |p: &Option<String>, at: &crate::manifest::node::Place| {
        // Python's `match`: anchored at the start of the text.
        let compile = |p: &String| regex::RegexBuilder::new(&format!("^(?:{p})")).size_limit(1 << 20).build();
        p.as_ref()
            .filter(|p| !p.is_empty())
            .map(compile)
            .transpose()
            .map_err(|e| at.fault(format!("`regex` does not compile: {e}")))
    };
    Ok(match def {
        Backoff::ConstantBackoffStrategy(d) => Wait::Constant {
            seconds: template(&d.backoff_time_in_seconds)?,
            jitter: jitter(&d.jitter_range_in_seconds)?,
        },
        Backoff::ExponentialBackoffStrategy(d) => {
            Wait::Exponential { factor: optional(&d.factor)?, jitter: jitter(&d.jitter_range_in_seconds)? }
        }
        Backoff::WaitTimeFromHeader(d) => Wait::Header {
            name: template(&d.header)?,
            regex: pattern(&d.regex, &d.at)?,
            longest: most(&d.max_waiting_time_in_seconds)?,
        },
        Backoff::WaitUntilTimeFromHeader(d) => Wait::UntilHeader {
            name: template(&d.header)?,
            regex: pattern(&d.regex, &d.at)?,
            shortest: optional(&d.min_wait)?,
            longest: most(&d.max_waiting_time_in_seconds)?,
        },
        Backoff::WaitTimeFromResponse(d) => Wait::Response {
            seconds: template(&d.wait_time_in_seconds)?.known()?,
            longest: most(&d.max_waiting_time_in_seconds)?,
        },
    })
}

impl ErrorPlan {
    /// Can it request smaller pages or windows?
    pub fn changes_requests(&self) -> bool {
        self.names(Remedy::SmallerPages) || self.names(Remedy::ShorterWindows)
    }

    /// Can it use this remedy?
    pub fn names(&self, remedy: Remedy) -> bool {
        let mut filters = self.handlers.iter().flat_map(|handler| &handler.filters);
        filters.any(|filter| filter.action == Some(Action::Instead(remedy)))
    }

    /// Does the evaluation need the decoded body even if the status is a success?
    fn looks_inside(&self) -> bool {
        self.handlers.iter().flat_map(|h| &h.filters).any(|f| f.predicate.is_some() || f.contains.is_some())
    }

    /// Evaluates a response.
    pub fn judge(&self, reply: &Reply, url: &str, cx: &EvalContext) -> Result<Verdict> {
        let fine = reply.status < 400;
        let asked = self.handlers.iter().flat_map(|h| &h.filters).any(|f| f.codes.contains(&reply.status.into()));
        if fine && !asked && !self.looks_inside() {
            return Ok(Verdict {
                action: Action::Success,
                message: String::new(),
                failure: Failure::System,
                by_default: true,
                retries: None,
            });
        }
        let json: Json = scan::json(&reply.body).unwrap_or_else(|_| json!({}));
        let headers = reply.headers_json(false);
        let url = Json::String(url.split(['?', '#']).next().unwrap_or(url).to_owned());
        let vars = Vars { response: Some(&json), headers: Some(&headers), request_url: Some(&url), ..Vars::new(cx) };
        let mut last = None;
        for handler in &self.handlers {
            let verdict = handler.judge(reply, &json, &vars)?;
            // A composite continues only after these actions, and only if the verdict is dripfeed's default.
            let open = matches!(verdict.action, Action::Fail | Action::RateLimited | Action::RefreshToken);
            if !open && verdict.retries.is_none() {
                return Ok(verdict);
            }
            last = Some(verdict);
        }
        last.ok_or_else(|| Fault::bug("an error plan without handlers"))
    }

    /// The wait before attempt `tries` + 1 from the manifest's strategies; `None` if they define none.
    pub fn wait(&self, reply: Option<&Reply>, tries: u32, cx: &EvalContext) -> Result<Option<f64>> {
        let json: Json = reply.and_then(|r| scan::json(&r.body).ok()).unwrap_or_else(|| json!({}));
        let headers = reply.map_or_else(|| json!({}), |r| r.headers_json(false));
        let vars = Vars { response: Some(&json), headers: Some(&headers), ..Vars::new(cx) };
        for backoff in &self.backoffs {
            if let Some(seconds) = backoff.seconds(reply, tries, &vars)?
                && seconds > 0.0
            {
                return Ok(Some(seconds));
            }
        }
        Ok(None)
    }
}

impl Handler {
    fn judge(&self, reply: &Reply, json: &Json, vars: &Vars<'_>) -> Result<Verdict> {
        let default = default_verdict(reply, json);
        for filter in &self.filters {
            let Some(action) = filter.action else { continue };
            if !filter.matches(reply, json, vars)? {
                continue;
            }
            let message = match &filter.message {
                Some(template) => template.text(vars)?,
                None => String::new(),
            };
            let message = if message.is_empty() { default.message } else { message };
            // A filter's failure type applies only to FAIL, as in the reference.
            let failure = filter.failure.filter(|_| action == Action::Fail).unwrap_or(default.failure);
            return Ok(Verdict { action, message, failure, by_default: false, retries: None });
        }
        Ok(default)
    }
}

impl Filter {
    fn matches(&self, reply: &Reply, json: &Json, vars: &Vars<'_>) -> Result<bool> {
        if self.codes.contains(&reply.status.into()) {
            return Ok(true);
        }
        if let Some(predicate) = &self.predicate
            && predicate.truth(&Vars { hide_config: true, ..*vars })?
        {
            return Ok(true);
        }
        Ok(self.contains.as_ref().is_some_and(|part| error_text(json, &reply.body).contains(part)))
    }
}

/// The reference's action for a status that no filter matches. Beyond the reference: errors that do not resolve by
/// themselves are not retried five times.
fn default_verdict(reply: &Reply, json: &Json) -> Verdict {
    let failure = match reply.status {
        401 | 403 => Failure::Config,
        408 | 429 | 500 | 502 | 503 | 504 => Failure::Transient,
        _ => Failure::System,
    };
    let say = |action, text: &str| {
        let message = format!("HTTP Status Code: {}. Error: {text}", reply.status);
        Verdict { action, message, failure, by_default: true, retries: None }
    };
    match reply.status {
        0..400 => Verdict { action: Action::Success, message: String::new(), failure, by_default: true, retries: None },
        400 => say(Action::Fail, "Bad request. Please check your request parameters."),
        401 => say(Action::Fail, "Unauthorized. Please ensure you are authenticated correctly."),
        403 => say(Action::Fail, "Forbidden. You don't have permission to access this resource."),
        404 => say(Action::Fail, "Not found. The requested resource was not found on the server."),
        405 => say(Action::Fail, "Method not allowed. Please check your request method."),
        408 => say(Action::Retry, "Request timeout."),
        // It may have collided with another request.
        409 => Verdict { retries: Some(1), ..say(Action::Retry, "Conflict.") },
        410 => say(Action::Fail, "Gone. The requested resource is not there any more."),
        413 => say(Action::Fail, "Content too large. Please ask for less at once."),
        418 => say(Action::Fail, "The server refuses to answer."),
        422 => say(Action::Fail, "Unprocessable content. Please check your request parameters."),
        429 => say(Action::RateLimited, "Too many requests."),
        451 => say(Action::Fail, "Unavailable for legal reasons."),
        500 => say(Action::Retry, "Internal server error."),
        502 => say(Action::Retry, "Bad gateway."),
        503 => say(Action::Retry, "Service unavailable."),
        504 => say(Action::Retry, "Gateway timeout."),
        other => {
            let text = error_text(json, b"");
            let quoted = if text.is_empty() { String::new() } else { format!(": {}", shorten(&text)) };
            // What asks for another request than this one will not take it later; 425 and its like may.
            let lasts = (400..500).contains(&other) && !PASSING.contains(&other) || [501, 505].contains(&other);
            Verdict {
                action: if lasts { Action::Fail } else { Action::Retry },
                message: format!("the vendor responded with HTTP {other}{quoted}"),
                failure,
                by_default: true,
                retries: None,
            }
        }
    }
}

/// Statuses of 4xx, beside those with rules of their own, that pass: locked, too early, retry with, closed by the
/// client.
const PASSING: [u16; 4] = [423, 425, 449, 499];

/// The first 200 characters.
pub(super) fn shorten(text: &str) -> String {
    let cut: String = text.chars().take(200).collect();
    if cut.len() < text.len() { cut + "…" } else { cut }
}

/// The error text of a body: the first non-empty one of the usual fields, else the body if it is not JSON.
pub(super) fn error_text(json: &Json, body: &[u8]) -> String {
    const FIELDS: [&str; 12] = [
        "message",
        "messages",
        "error",
        "errors",
        "failures",
        "failure",
        "detail",
        "err",
        "error_message",
        "msg",
        "reason",
        "status_message",
    ];
    fn find(json: &Json, depth: u8) -> Option<String> {
        if depth > 20 {
            return None;
        }
        match json {
            Json::String(s) => Some(s.clone()).filter(|s| !s.is_empty()),
            Json::Array(items) => {
                let parts: Vec<String> = items.iter().filter_map(|i| find(i, depth + 1)).collect();
                (!parts.is_empty()).then(|| parts.join(", "))
            }
            Json::Object(map) => {
                let first =
                    FIELDS.iter().find_map(|f| map.get(*f).filter(|v| !matches!(v, Json::Null | Json::Bool(false))))?;
                find(first, depth + 1)
            }
            _ => None,
        }
    }
    find(json, 0).unwrap_or_else(|| {
        let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok();
        if is_json { String::new() } else { String::from_utf8_lossy(body).into_owned() }
    })
}

impl Wait {
    fn seconds(&self, reply: Option<&Reply>, tries: u32, vars: &Vars<'_>) -> Result<Option<f64>> {
        let header = |name: &Template, regex: &Option<Regex>| -> Result<Option<String>> {
            let name = name.text(vars)?;
            let Some(value) = reply.and_then(|r| r.header(&name)) else { return Ok(None) };
            Ok(match regex {
                Some(regex) => regex.find(value).map(|m| m.as_str().to_owned()),
                None => Some(value.to_owned()),
            })
        };
        Ok(match self {
            Wait::Constant { seconds, jitter } => Some(seconds.number(vars)? + random_up_to(jitter.as_ref(), vars)?),
            Wait::Exponential { factor, jitter } => {
                let factor = factor.as_ref().map_or(Ok(5.0), |f| f.number(vars))?;
                let wait = factor * 2f64.powi(i32::try_from(tries).unwrap_or(30).min(30));
                Some(wait + random_up_to(jitter.as_ref(), vars)?)
            }
            Wait::Header { name, regex, longest } => {
                let Some(text) = header(name, regex)? else { return Ok(None) };
                // Beyond the reference: a date, as RFC 9110 allows for Retry-After.
                let seconds = text
                    .trim()
                    .parse()
                    .ok()
                    .or_else(|| reply.and_then(|r| until_date(&text, &r.headers, vars.cx.moment())));
                allowed(seconds, longest.as_ref(), vars)?
            }
            Wait::Response { seconds, longest } => {
                // A template that cannot be evaluated gives no wait.
                let named = seconds.text(vars).ok().and_then(|text| text.trim().parse::<f64>().ok());
                allowed(named.filter(|s| s.is_finite() && *s > 0.0), longest.as_ref(), vars)?
            }
            Wait::UntilHeader { name, regex, shortest, longest } => {
                let shortest = shortest.as_ref().map(|s| s.number(vars)).transpose()?;
                let until = header(name, regex)?.and_then(|t| t.trim().parse::<f64>().ok());
                #[allow(clippy::cast_precision_loss)]
                let wait = until.map(|until| until - vars.cx.moment().unix_timestamp() as f64);
                let wait = match (wait, shortest) {
                    (Some(wait), Some(shortest)) => Some(wait.max(shortest)),
                    (None, shortest) => shortest,
                    (wait, None) => wait.filter(|w| *w > 0.0),
                };
                allowed(wait, longest.as_ref(), vars)?
            }
        })
    }
}

/// A random time up to twice the jitter of a strategy, in seconds.
fn random_up_to(jitter: Option<&Template>, vars: &Vars<'_>) -> Result<f64> {
    Ok(jitter.map_or(Ok(0.0), |j| j.number(vars))? * 2.0 * super::random())
}

/// Refuses a wait that exceeds the manifest's limit.
fn allowed(seconds: Option<f64>, longest: Option<&Template>, vars: &Vars<'_>) -> Result<Option<f64>> {
    if let (Some(seconds), Some(longest)) = (seconds, longest)
        && seconds >= longest.number(vars)?
    {
        return Err(Fault::new(
            crate::base::fault::Kind::Unavailable,
            format!("the vendor requests a wait of {seconds} s, more than `max_waiting_time_in_seconds`"),
        )
        .at(&longest.at().location));
    }
    Ok(seconds)
}

/// The error text of a rejection; the start of its body if that is not JSON.
pub(super) fn refusal_text(reply: &Reply) -> String {
    let start = &reply.body[..reply.body.len().min(1000)];
    vendor_error::of(reply, str::to_owned).unwrap_or_else(|| String::from_utf8_lossy(start).into_owned())
}
