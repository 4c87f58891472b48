//! A request and its response, for people: decoded parameters, masked credentials, a trimmed body.
//!
//! Input: the requests and responses of a run, as the reporter hears of them. Output: [`Exchange`]s, as JSON or as
//! text. Called by the reporter: for `test`, which collects them, and for `-vv`, which logs them.

pub(super) mod preview;

use parking_lot::Mutex;
use serde::Serialize;
use serde_json::{Map, Value as Json, json};

use crate::base::config::secret::names_credential;
use crate::base::display::{number, thousands};
use crate::base::json::scan;
use crate::engine::fetch::{self, Reply, SendRequest};

/// The bytes of a body that are kept.
const KEPT: usize = 256 << 10;
/// The lines of a body that are shown.
const BODY_LINES: usize = 14;
/// Headers with credentials that their names do not show.
const COOKIES: [&str; 2] = ["cookie", "set-cookie"];

/// A request and its response. Keys are those of the reference's `test_read`.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Exchange {
    /// The stream that needed it: a parent's own name for its requests.
    pub(crate) stream: String,
    /// Does it prepare another request: a login, a token, a page of a parent?
    #[serde(skip)]
    pub(crate) auxiliary: bool,
    pub(crate) request: SentRequest,
    pub(crate) response: ReceivedResponse,
}

/// A request as it was sent.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct SentRequest {
    http_method: String,
    /// The URL without its query.
    url: String,
    /// The query parameters, decoded, in order.
    parameters: Vec<[String; 2]>,
    headers: Map<String, Json>,
    body: Option<String>,
}

/// A response as it arrived.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ReceivedResponse {
    pub(crate) status: u16,
    pub(crate) headers: Map<String, Json>,
    body: String,
    /// The size of the whole body.
    bytes: usize,
    /// Is only the start of the body kept?
    truncated: bool,
    milliseconds: u64,
}

/// The exchanges of a run, and the notices to its user.
#[derive(Debug, Default)]
pub(crate) struct ExchangeLog {
    exchanges: Mutex<Vec<Exchange>>,
    notices: Mutex<Vec<String>>,
}

impl ExchangeLog {
    /// Adds a request and its response.
    pub(crate) fn add(&self, exchange: Exchange) {
        self.exchanges.lock().push(exchange);
    }

    /// Adds a notice.
    pub(crate) fn notice(&self, text: &str) {
        self.notices.lock().push(text.to_owned());
    }

    /// The number of exchanges so far.
    pub(crate) fn count(&self) -> usize {
        self.exchanges.lock().len()
    }

    /// Takes everything.
    pub(crate) fn take(&self) -> (Vec<Exchange>, Vec<String>) {
        (std::mem::take(&mut *self.exchanges.lock()), std::mem::take(&mut *self.notices.lock()))
    }
}

impl Exchange {
    /// The exchange of a request. Bodies of token requests are left out: they hold secrets that nobody knows yet.
    pub(crate) fn of(ask: &SendRequest<'_>, reply: &Reply) -> Exchange {
        let request = ask.request;
        let url = request.url.split(['?', '#']).next().unwrap_or(&request.url);
        let header = |(name, value): &(String, String)| (name.clone(), json!(masked(name, value)));
        let auxiliary = ask.login || !ask.paced;
        let body = |text: String| if auxiliary { "(not shown: it may hold credentials)".to_owned() } else { text };
        let (kept, truncated) = kept(&reply.body);
        Exchange {
            stream: ask.stream.to_owned(),
            auxiliary,
            request: SentRequest {
                http_method: request.method.clone(),
                url: url.to_owned(),
                parameters: fetch::parameters(request),
                headers: request.headers.iter().map(header).collect(),
                body: request.body.as_ref().map(|sent| body(self::kept(&sent.bytes).0)),
            },
            response: ReceivedResponse {
                status: reply.status,
                headers: reply
                    .headers
                    .iter()
                    .map(|(name, value)| {
                        (name.to_string(), json!(masked(name.as_str(), &String::from_utf8_lossy(value.as_bytes()))))
                    })
                    .collect(),
                body: body(kept),
                bytes: reply.filed.and_then(|size| usize::try_from(size).ok()).unwrap_or(reply.body.len()),
                truncated,
                milliseconds: u64::try_from(reply.took.as_millis()).unwrap_or(u64::MAX),
            },
        }
    }

    /// The exchange with `mask` applied to every text.
    pub(crate) fn masked(mut self, mask: &dyn Fn(&str) -> String) -> Exchange {
        let headers = |headers: &mut Map<String, Json>| {
            headers.values_mut().for_each(|value| *value = json!(mask(value.as_str().unwrap_or_default())));
        };
        let SentRequest { url, parameters, body, .. } = &mut self.request;
        *url = mask(url);
        for [_, value] in parameters.iter_mut() {
            *value = mask(value);
        }
        for body in body.iter_mut() {
            *body = mask(body);
        }
        headers(&mut self.request.headers);
        headers(&mut self.response.headers);
        self.response.body = mask(&self.response.body);
        self
    }

    /// Is it a request of the stream itself, and not of a login or a parent?
    pub(super) fn is_of(&self, stream: &str) -> bool {
        !self.auxiliary && self.stream == stream
    }

    /// The query parameters, decoded.
    pub(super) fn parameters(&self) -> impl Iterator<Item = &[String; 2]> {
        self.request.parameters.iter()
    }

    /// The request in a line, without its parameters.
    pub(super) fn what(&self) -> String {
        format!("{} {}", self.request.http_method, self.request.url)
    }

    /// The response in a line.
    pub(super) fn result(&self) -> String {
        self.response.line()
    }

    /// The exchange in lines of at most `width` characters. The address of the request is never cut.
    pub(crate) fn lines(&self, width: usize) -> Vec<String> {
        let SentRequest { http_method, url, parameters, headers, body } = &self.request;
        let mut out = vec![format!("{http_method} {url}")];
        let mut rows: Vec<(&str, String)> =
            parameters.iter().map(|[name, value]| (name.as_str(), format!("= {value}"))).collect();
        let header = |(name, value): (&'_ String, &Json)| format!("{name}: {}", value.as_str().unwrap_or_default());
        let shown = headers.iter().filter(|(name, _)| !is_usual(name));
        rows.extend(shown.map(|pair| ("header", header(pair))));
        out.extend(aligned(&rows, width));
        out.extend(body.iter().flat_map(|body| body_lines(body, width)));
        out.push(self.response.line());
        let shown = self.response.headers.iter().filter(|(name, _)| is_of_interest(name));
        let rows: Vec<(&str, String)> = shown.map(|pair| ("header", header(pair))).collect();
        out.extend(aligned(&rows, width));
        out.extend(body_lines(&self.response.body, width));
        out
    }
}

impl ReceivedResponse {
    /// The body, if it is JSON.
    pub(super) fn json(&self) -> Option<Json> {
        scan::json(self.body.as_bytes()).ok()
    }

    /// Status, size and time in a line.
    fn line(&self) -> String {
        let ReceivedResponse { status, bytes, milliseconds, .. } = self;
        let bytes = if *bytes == 1 { "1 byte".to_owned() } else { format!("{} bytes", thousands(*bytes as u64)) };
        format!("HTTP {status}, {bytes}, {milliseconds} ms")
    }
}

/// A header's value without credentials; the scheme of an `Authorization` stays.
fn masked(name: &str, value: &str) -> String {
    if !names_credential(name) && !COOKIES.iter().any(|known| name.eq_ignore_ascii_case(known)) {
        return value.to_owned();
    }
    match value.split_once(' ').filter(|(scheme, _)| scheme.chars().all(|c| c.is_ascii_alphabetic())) {
        Some((scheme, _)) => format!("{scheme} ****"),
        None => "****".to_owned(),
    }
}

/// The start of a body as text.
fn kept(body: &[u8]) -> (String, bool) {
    let cut = body.len() > KEPT;
    (String::from_utf8_lossy(&body[..body.len().min(KEPT)]).into_owned(), cut)
}

/// Is it a header that every request has?
fn is_usual(name: &str) -> bool {
    ["user-agent", "accept", "accept-encoding", "connection", "host", "content-length"]
        .iter()
        .any(|usual| name.eq_ignore_ascii_case(usual))
}

/// Is a response header about paging, limits or the format?
fn is_of_interest(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    is_limit(&name) || ["content-type", "link", "location", "etag", "x-total"].iter().any(|h| name.starts_with(h))
}

/// Is a header, in lower case, about a limit?
pub(super) fn is_limit(name: &str) -> bool {
    name.contains("ratelimit") || name.contains("rate-limit") || name == "retry-after"
}

/// Names and values in two columns, indented.
fn aligned(rows: &[(&str, String)], width: usize) -> Vec<String> {
    let names = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0).min(24);
    rows.iter().map(|(name, value)| preview::cut(&format!("  {name:<names$} {value}"), width)).collect()
}

/// The lines of a body, trimmed.
fn body_lines(body: &str, width: usize) -> Vec<String> {
    let lines = match scan::json(body.as_bytes()) {
        Ok(json) => preview::json(&json),
        Err(_) => body.lines().map(str::to_owned).collect(),
    };
    let more = lines.len().saturating_sub(BODY_LINES);
    let rest = (more > 0).then(|| format!("    … {}", number(more, "more line")));
    lines.into_iter().take(BODY_LINES).map(|line| preview::cut(&format!("    {line}"), width)).chain(rest).collect()
}
