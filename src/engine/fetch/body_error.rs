//! The error in the body of a response with a success status.
//!
//! Input: the bytes of a body. Output: the vendor's error, if a top-level field of a JSON object reports it:
//! GraphQL's `errors` (GraphQL specification, section 7.1), or the `error` of many REST APIs. Called by `attempts`
//! for responses without a rule in the manifest's error handler.

use serde_json::Value as Json;

use super::retry;
use crate::base::json::python::is_falsy;
use crate::base::json::scan::{self, Scan, Scanner};

/// The fields in which vendors report an error despite a success status. GraphQL's comes first.
const FIELDS: [&str; 3] = ["errors", "error", "errorMessages"];

/// An error reported by a vendor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BodyError {
    /// The text of the error, shortened.
    pub(super) text: String,
    /// All error fields of the body, as an object.
    pub(super) fields: Json,
    /// Does a GraphQL query refer to something that the vendor's schema lacks? Retries are pointless then.
    pub(super) is_of_schema: bool,
}

/// GraphQL error codes for a query that violates the schema: Apollo's, then Shopify's.
const SCHEMA_CODES: [&str; 4] =
    ["GRAPHQL_VALIDATION_FAILED", "GRAPHQL_PARSE_FAILED", "undefinedField", "argumentNotAccepted"];

/// The beginning of such a message in GraphQL's reference implementation.
const SCHEMA_WORDS: &str = "Cannot query field";

/// The error in a body; `None` if it reports none.
pub(super) fn of(body: &[u8]) -> Option<BodyError> {
    // Fast path for nearly all bodies.
    memchr::memmem::find(body, b"\"error")?;
    BodyError::among(fields(body).ok()?)
}

/// The error in an already parsed body.
pub(super) fn of_json(body: &Json) -> Option<BodyError> {
    BodyError::among(FIELDS.into_iter().filter_map(|name| Some((name, body.get(name)?.clone()))).collect())
}

impl BodyError {
    /// Evaluates error fields, GraphQL's first.
    fn among(mut found: Vec<(&'static str, Json)>) -> Option<BodyError> {
        found.retain(|(_, error)| !is_none(error));
        found.sort_by_key(|(name, _)| FIELDS.iter().position(|field| field == name));
        let (name, error) = found.first()?;
        let is_of_schema = error.as_array().into_iter().flatten().any(|error| {
            let code = error["extensions"]["code"].as_str();
            let message = error["message"].as_str().unwrap_or_default();
            code.is_some_and(|code| SCHEMA_CODES.contains(&code)) || message.starts_with(SCHEMA_WORDS)
        });
        let text = retry::error_text(&Json::from_iter([(*name, error.clone())]), b"");
        let text = if text.is_empty() { retry::shorten(&error.to_string()) } else { retry::shorten(&text) };
        Some(BodyError { text, is_of_schema, fields: Json::from_iter(found) })
    }
}

/// Words in an error field that mean "no error", in lower case.
const NONE: [&str; 8] = ["0", "false", "no", "no error", "none", "null", "ok", "success"];

/// The keys for the code and the text of an error object.
const CODES: [&str; 3] = ["code", "error_code", "errcode"];
const TEXTS: [&str; 4] = ["message", "msg", "description", "detail"];

/// Does the field mean "no error"? Some vendors report success in each response (TikTok's `code: ok`).
fn is_none(error: &Json) -> bool {
    match error {
        Json::String(text) => text.is_empty() || is_no_error(text),
        Json::Array(errors) => errors.iter().all(is_none),
        Json::Object(error) => {
            let says_nothing = |name: &&str| error.get(*name).is_none_or(is_none);
            let code = CODES.iter().find_map(|name| error.get(*name));
            code.is_some_and(|code| !code.is_null() && is_none(code)) && TEXTS.iter().all(says_nothing)
                || error.values().all(is_none)
        }
        other => is_falsy(other),
    }
}

fn is_no_error(text: &str) -> bool {
    NONE.iter().any(|none| text.trim().eq_ignore_ascii_case(none))
}

/// What is wrong with a body that starts as JSON but is invalid: it is truncated, or data follows.
pub(super) fn broken_json(body: &[u8]) -> Option<String> {
    if !matches!(body.trim_ascii_start().first(), Some(b'{' | b'[')) {
        return None;
    }
    let mut scanner = Scanner::new(body);
    let read = scanner.peek().and_then(|_| scanner.skip()).and_then(|()| scanner.end());
    read.err().filter(|error| error.is_of_its_end(body)).map(|error| format!("the response is not valid JSON: {error}"))
}

/// The error fields of a body that is a single JSON object.
fn fields(body: &[u8]) -> Scan<Vec<(&'static str, Json)>> {
    let mut found = Vec::new();
    let mut scanner = Scanner::new(body);
    let mut first = true;
    scanner.enter()?;
    while let Some(key) = scanner.key(&mut first)? {
        scanner.peek()?;
        let start = scanner.at();
        scanner.skip()?;
        if let Some(name) = FIELDS.into_iter().find(|name| key.is(name))
            && let Ok(value) = scan::json(scanner.slice(start..scanner.at()))
        {
            found.push((name, value));
        }
    }
    scanner.end()?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn an_error_is_one_that_the_vendor_means() {
        for (body, error) in [
            (r#"{"errors": [{"message": "no scope"}], "data": null}"#, Some("no scope")),
            (r#"{"error": "busy"}"#, Some("busy")),
            (r#"{"error": {"code": 5, "message": "busy"}}"#, Some("busy")),
            (r#"{"error": true, "errors": ["a", "b"]}"#, Some("a, b")),
            (r#"{"error": true}"#, Some("true")),
            (r#"{"errors": [], "error": null}"#, None),
            (r#"{"error": "", "items": [{"error": "of a record"}]}"#, None),
            (r#"{"error": false}"#, None),
            (r#"{"error": {"code": "ok", "message": "", "log_id": "2022"}}"#, None),
            (r#"{"error": {"code": 0, "message": "success"}, "errors": [null, {}]}"#, None),
            (r#"{"error": {"code": 0, "message": "no scope"}}"#, Some("no scope")),
            (r#"{"error": "none", "errors": {"id": "no such id"}}"#, Some(r#"{"id":"no such id"}"#)),
            (r#"[{"error": "of a record"}]"#, None),
            (r#"{"error": "of a line"}{"error": "of a line"}"#, None),
            (r#"{"error": "cut"#, None),
            ("", None),
        ] {
            assert_eq!(of(body.as_bytes()).map(|error| error.text).as_deref(), error, "{body}");
        }
    }
}
