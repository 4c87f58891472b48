//! The vendor's own words about an error, wherever it puts them.
//!
//! Input: a response. Output: a short text for messages. Called by `attempts`. The manifest's `error_message_contains`
//! compares with the reference's narrower text instead, see [`retry::error_text`].

use serde_json::Value as Json;

use super::Reply;
use super::retry;
use crate::base::json::scan;

/// The longest text, in characters.
const LONGEST: usize = 300;
/// How deep texts are looked for.
const DEEPEST: usize = 5;
/// Fields with a title or code, which come before the text.
const TITLES: [&str; 3] = ["title", "error", "code"];
/// Fields with a text. RFC 9457 has `title` and `detail`, RFC 6749 `error_description`, Jira `errorMessages`.
const TEXTS: [&str; 16] = [
    "message",
    "messages",
    "error_description",
    "detail",
    "details",
    "errorMessages",
    "errorMessage",
    "error_message",
    "description",
    "mess",
    "msg",
    "err",
    "reason",
    "faultstring",
    "Message",
    "status_message",
];
/// Fields with more errors inside.
const INNER: [&str; 8] = ["error", "errors", "fault", "failure", "failures", "err", "body", "meta"];

/// The readable text of a vendor's error, if there is one. `hide` takes the secrets out of it before it is cut.
pub(super) fn of(reply: &Reply, hide: impl Fn(&str) -> String) -> Option<String> {
    match scan::json(&reply.body) {
        Ok(body) => of_json(&body, hide),
        Err(_) => in_part(&reply.body).map(|text| hide(&text)).or_else(|| plain(reply, hide)),
    }
}

/// The first text in JSON that is not whole: what is kept of a body has a bound.
fn in_part(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    let text = text.trim_start();
    if !text.starts_with(['{', '[']) {
        return None;
    }
    let found = TEXTS.iter().filter_map(|name| {
        let rest = text.split_once(&format!("\"{name}\""))?.1.trim_start().strip_prefix(':')?.trim_start();
        let end = rest.get(1..)?.find('"')? + 2;
        serde_json::from_str::<String>(&rest[..end]).ok()
    });
    found.take(1).map(|text| text.chars().take(LONGEST).collect()).next()
}

/// The readable text of an error in JSON.
fn of_json(body: &Json, hide: impl Fn(&str) -> String) -> Option<String> {
    let mut parts = Vec::new();
    find(body, 0, &mut parts);
    if parts.is_empty() {
        parts.extend(Some(retry::error_text(body, b"")).filter(|text| !text.is_empty()));
    }
    let text = hide(&parts.join(": "));
    let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let cut: String = text.chars().take(LONGEST).collect();
    let more = if cut.len() < text.len() { "…" } else { "" };
    Some(format!("{cut}{more}")).filter(|text| !text.is_empty())
}

/// The start of a plain text; other formats, such as an HTML page of a proxy, say nothing about the request.
fn plain(reply: &Reply, hide: impl Fn(&str) -> String) -> Option<String> {
    let is_text = reply.header("content-type").is_some_and(|kind| kind.trim_start().starts_with("text/plain"));
    let start = hide(&String::from_utf8_lossy(&reply.body[..reply.body.len().min(10 * LONGEST)]));
    let start: String = start.trim().chars().take(LONGEST).collect();
    Some(start).filter(|text| is_text && !text.is_empty() && !text.starts_with('<'))
}

fn add(text: &str, parts: &mut Vec<String>) {
    let text = text.trim();
    if !text.is_empty() && !parts.iter().any(|part| part.contains(text)) {
        parts.push(text.to_owned());
    }
}

/// Finds the title and texts of an error.
fn find(value: &Json, depth: usize, parts: &mut Vec<String>) {
    if depth > DEEPEST {
        return;
    }
    match value {
        Json::String(text) => add(text, parts),
        Json::Array(items) => items.iter().take(3).for_each(|item| find(item, depth + 1, parts)),
        Json::Object(map) => {
            let before = parts.len();
            TITLES.iter().filter_map(|name| map.get(*name)?.as_str()).for_each(|text| add(text, parts));
            TEXTS.iter().filter_map(|name| map.get(*name)).for_each(|text| find(text, depth + 1, parts));
            let inner = INNER.iter().filter_map(|name| map.get(*name)).filter(|inner| !inner.is_string());
            inner.for_each(|inner| find(inner, depth + 1, parts));
            // An object of errors by field: `{"jql": "the value does not exist"}`.
            if parts.len() == before && depth > 0 {
                for (name, text) in map.iter().take(3) {
                    let texts = match text {
                        Json::Array(items) => items.iter().filter_map(Json::as_str).collect::<Vec<_>>().join(", "),
                        text => text.as_str().unwrap_or_default().to_owned(),
                    };
                    if !texts.is_empty() {
                        add(&format!("{name}: {texts}"), parts);
                    }
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    #[test]
    fn the_text_is_found_wherever_vendors_put_it() {
        let cases: [(Json, &str); 13] = [
            (json!({"message": "Not Found"}), "Not Found"),
            (
                json!({"errors": [{"message": "project: Not a recognized ID: 1", "help": "see docs"}]}),
                "project: Not a recognized ID: 1",
            ),
            (
                json!({"errorMessages": ["The value 'X' does not exist."], "errors": {}}),
                "The value 'X' does not exist.",
            ),
            (json!({"errorMessages": [], "errors": {"jql": "no such field"}}), "jql: no such field"),
            (
                json!({"error": "invalid_grant", "error_description": "The token expired."}),
                "invalid_grant: The token expired.",
            ),
            (
                json!({"type": "about:blank", "title": "Bad Request", "detail": "limit is too large"}),
                "Bad Request: limit is too large",
            ),
            (json!({"err": "Team not authorized", "ECODE": "OAUTH_027"}), "Team not authorized"),
            (json!({"error": {"code": 403, "message": "Rate Limit Exceeded"}}), "Rate Limit Exceeded"),
            (json!({"fault": {"faultstring": "Invalid ApiKey"}}), "Invalid ApiKey"),
            (json!({"mess": "go away"}), "go away"),
            (json!({"errors": {"name": ["is too long", "is odd"]}}), "name: is too long, is odd"),
            (
                json!({"object": "error", "status": 400, "code": "validation_error", "message": "path failed"}),
                "validation_error: path failed",
            ),
            (json!({"meta": {"error": {"description": "no access"}}}), "no access"),
        ];
        for (body, wanted) in cases {
            assert_eq!(super::of_json(&body, str::to_owned).as_deref(), Some(wanted), "{body}");
        }
        assert_eq!(super::of_json(&json!({"data": []}), str::to_owned), None);
    }
}
