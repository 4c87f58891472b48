//! Response headers, as templates see them.
//!
//! Input: a [`HeaderMap`]. Output: a JSON object. Called by [`super::Reply::headers_json`].

use serde_json::{Map, Value as Json};
use ureq::http::HeaderMap;

/// The headers as an object, under lower-case names and in the usual spelling; with `with_links`, `link` is parsed.
pub(super) fn json(headers: &HeaderMap, with_links: bool) -> Json {
    let mut map = Map::new();
    for (name, value) in headers {
        let value = Json::String(String::from_utf8_lossy(value.as_bytes()).into_owned());
        map.insert(name.as_str().into(), value.clone());
        map.insert(usual_case(name.as_str()), value);
    }
    if with_links {
        // As in the reference, the key exists even without such a header, with an empty value.
        let link = headers.get("link").and_then(|v| v.to_str().ok());
        map.insert("link".into(), link.map_or_else(|| Json::Object(Map::new()), links));
    }
    Json::Object(map)
}

/// `content-type` as `Content-Type`: the usual spelling of servers, which HTTP/1 libraries do not preserve.
fn usual_case(name: &str) -> String {
    let parts = name.split('-').map(|part| {
        let mut chars = part.chars();
        chars.next().map_or_else(String::new, |c| c.to_uppercase().chain(chars).collect())
    });
    parts.collect::<Vec<String>>().join("-")
}

/// A `Link` header as `{rel: {url, rel, …}}`, as `requests` parses it.
fn links(header: &str) -> Json {
    let mut out = Map::new();
    for part in header.split(", <").flat_map(|p| p.split(",<")) {
        let (url, parameters) = part.split_once(';').unwrap_or((part, ""));
        let url = url.trim_matches(['<', '>', ' ', '\'', '"']);
        let mut link = Map::new();
        link.insert("url".into(), url.into());
        for parameter in parameters.split(';') {
            if let Some((key, value)) = parameter.split_once('=') {
                let clean = |t: &str| Json::String(t.trim_matches(['>', ' ', '\'', '"']).into());
                link.insert(key.trim_matches([' ', '"', '\'']).into(), clean(value));
            }
        }
        let rel = link.get("rel").and_then(Json::as_str).unwrap_or(url).to_owned();
        out.insert(rel, Json::Object(link));
    }
    Json::Object(out)
}
