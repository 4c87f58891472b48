//! URLs: their origin, the joining of base and path, and adding a query.
//!
//! Input: URLs and parameters as the manifest or the vendor writes them. Output: URLs as they are sent. Called by
//! [`super::request`], by the fetcher and by `build`. Joining and encoding follow Python's `urllib` and `requests`.

use std::borrow::Cow;

use serde_json::{Map, Value as Json};
use ureq::http::Uri;

use crate::base::percent::{decode, quote_plus, requote};
use crate::manifest::template::text_of;

/// `key=value` pairs as `urlencode(doseq=True)` writes them; null elements of a list are skipped.
pub(super) fn encode(fields: &Map<String, Json>) -> String {
    let mut out = String::new();
    for (key, value) in fields {
        let one = std::slice::from_ref(value);
        let values = value.as_array().map_or(one, Vec::as_slice);
        for value in values.iter().filter(|v| !v.is_null()) {
            if !out.is_empty() {
                out.push('&');
            }
            out.push_str(&quote_plus(key));
            out.push('=');
            out.push_str(&quote_plus(&text_of(value)));
        }
    }
    out
}

/// Adds query parameters; a parameter that the URL already has with the same value is not repeated.
pub(super) fn with_query(url: &str, params: &Map<String, Json>) -> String {
    let (address, fragment) = url.split_once('#').map_or((url, ""), |(a, _)| (a, ""));
    debug_assert!(fragment.is_empty());
    let present = address.split_once('?').map_or("", |(_, q)| q);
    let mut seen: Vec<(String, String)> = Vec::new();
    for pair in present.split('&').filter(|p| !p.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let key = decode(key);
        if !seen.iter().any(|(k, _)| *k == key) {
            seen.push((key, decode(value)));
        }
    }
    let mut params = Cow::Borrowed(params);
    if !seen.is_empty() {
        params.to_mut().retain(|key, value| !seen.iter().any(|(k, v)| k == key && *v == text_of(value)));
    }
    let address = address.strip_suffix('?').unwrap_or(address);
    // Brackets are valid only in a host (IPv6).
    let start = address.find("://").map_or(0, |i| i + 3);
    let host = address[start..].find(['/', '?']).map_or(address.len(), |i| start + i);
    let mut out = requote(&address[..host]);
    out += &requote(&address[host..]).replace('[', "%5B").replace(']', "%5D");
    let query = encode(&params);
    if !query.is_empty() {
        out.push(if address.contains('?') { '&' } else { '?' });
        out.push_str(&query);
    }
    out
}

/// The origin of a URL: `scheme://host:port` in lower case, without the default port. `None` if the URL is not `http`
/// or `https`, or its authority is malformed. It uses the same parser as the connection, so that both agree on the
/// host. User info is not part of an origin.
pub fn origin_of(url: &str) -> Option<String> {
    let uri: Uri = url.parse().ok()?;
    let scheme = uri.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https"))?;
    let authority = uri.authority()?;
    let host = authority.host();
    let port = match authority.as_str().rsplit('@').next()?.strip_prefix(host)? {
        "" | ":" => None,
        // An invalid port would be taken for the default one.
        _ => Some(authority.port_u16()?),
    };
    let own = if scheme == "http" { 80 } else { 443 };
    let port = port.filter(|port| *port != own).map_or_else(String::new, |port| format!(":{port}"));
    (!host.is_empty()).then(|| format!("{scheme}://{}{port}", host.to_ascii_lowercase()))
}

/// What is wrong with a URL without an origin. User info may be a secret, and is not shown.
pub fn flaw(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return "it must start with https:// or http://".to_owned();
    };
    if !["http", "https"].contains(&scheme.to_ascii_lowercase().as_str()) {
        return format!("it must start with https:// or http://, not {scheme}://");
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let authority = authority.rsplit('@').next().unwrap_or_default();
    // The colons of an IPv6 address are inside brackets.
    let after_host = authority.rfind(']').map_or(0, |end| end + 1);
    let (host, port) = match authority[after_host..].rsplit_once(':') {
        Some((host, port)) => (&authority[..after_host + host.len()], Some(port)),
        None => (authority, None),
    };
    let port = port.filter(|port| !port.is_empty() && port.parse::<u16>().is_err());
    match port {
        _ if host.is_empty() => "it names no host".to_owned(),
        _ if authority.contains(char::is_whitespace) => format!("`{authority}` contains a space"),
        Some(port) => format!("the port `{port}` of `{host}` is not a number up to 65535"),
        None => format!("the host `{host}` is malformed"),
    }
}

/// Joins base and path as the reference does: a base gets a trailing `/`, then RFC 3986 resolution applies.
pub(super) fn join(base: &str, path: &str) -> String {
    if path.is_empty() {
        return base.to_owned();
    }
    if has_scheme(path) {
        return path.to_owned();
    }
    let base = if base.ends_with('/') { base.to_owned() } else { format!("{base}/") };
    let (head, _) = base.split_once('#').unwrap_or((&base, ""));
    let (head, _) = head.split_once('?').unwrap_or((head, ""));
    let start = head.find("://").map_or(0, |i| i + 3);
    let root = head[start..].find('/').map_or(head.len(), |i| start + i);
    if let Some(rest) = path.strip_prefix("//") {
        return format!("{}//{rest}", &head[..start.saturating_sub(2)]);
    }
    let (path, tail) = path.find(['?', '#']).map_or((path, ""), |i| path.split_at(i));
    // An empty query is dropped.
    let tail = tail.strip_prefix('?').filter(|rest| rest.is_empty() || rest.starts_with('#')).unwrap_or(tail);
    if path.is_empty() {
        return format!("{head}{tail}");
    }
    let full = if path.starts_with('/') {
        path.to_owned()
    } else {
        let folder = head[root..].rfind('/').map_or("/", |i| &head[root..=root + i]);
        format!("{folder}{path}")
    };
    format!("{}{}{tail}", &head[..root], resolved(&full))
}

fn has_scheme(path: &str) -> bool {
    let Some((scheme, _)) = path.split_once(':') else { return false };
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

/// Resolves `.` and `..` in a path, and drops empty inner segments, as Python's `urljoin` does.
fn resolved(path: &str) -> String {
    let mut out: Vec<&str> = Vec::new();
    let segments: Vec<&str> = path.split('/').collect();
    let last = segments.len() - 1;
    for (i, segment) in segments.iter().enumerate() {
        match *segment {
            "." => {
                if i == last {
                    out.push("");
                }
            }
            ".." => {
                if out.len() > 1 {
                    out.pop();
                }
                if i == last {
                    out.push("");
                }
            }
            "" if i != 0 && i != last => {}
            other => out.push(other),
        }
    }
    out.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let same = ["https://api.test", "https://API.test:443/v1?a=b", "HTTPS://api.test#x", "https://a:b@api.test:/"];
        for url in same {
            assert_eq!(origin_of(url).as_deref(), Some("https://api.test"), "{url}");
        }
        let others = [
            ("http://api.test", "http://api.test"),
            ("http://api.test:443", "http://api.test:443"),
            ("https://api.test@evil.test", "https://evil.test"),
            ("https://api.test:443@evil.test", "https://evil.test"),
            ("https://x:80@80:8080/", "https://80:8080"),
            ("https://[::1]:8443/", "https://[::1]:8443"),
        ];
        for (url, origin) in others {
            assert_eq!(origin_of(url).as_deref(), Some(origin), "{url}");
        }
    }

    #[test]
    fn a_malformed_authority_has_no_origin() {
        let malformed = [
            "https://",
            "https:///path",
            "https://a@",
            "https://api.test\\@evil.test/",
            "https://api.test:99999/",
            "https://api.test:port/",
            "https://api.%74est/",
            "https://[::1/",
            "https://api test/",
            "ftp://api.test/",
            "api.test/path",
        ];
        for url in malformed {
            assert_eq!(origin_of(url), None, "{url}");
        }
        let flaws = [
            ("api.test/path", "must start with"),
            ("ftp://api.test/", "not ftp://"),
            ("https:///path", "no host"),
            ("https://user:pass@:80/", "no host"),
            ("https://api test/", "`api test` contains a space"),
            ("http://127.0.0.1:80a0/", "the port `80a0`"),
            ("https://user:pass@api.test:99999?q", "the port `99999` of `api.test`"),
            ("https://[::1]:x/", "the port `x` of `[::1]`"),
            ("https://[::1/", "malformed"),
            ("https://api.%74est/", "malformed"),
        ];
        for (url, words) in flaws {
            assert!(flaw(url).contains(words) && !flaw(url).contains("pass"), "{url}: {}", flaw(url));
        }
    }
}
