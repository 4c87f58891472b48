//! Filters that encode a value: JSON, URLs, HTML, base64, digests.
//!
//! Input: a value. Output: a text. Called through the table of `filter`.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Digest as _;

use super::{CallArgs, Error, Eval, Value};
use crate::base::json::python;
use crate::base::percent;

/// The reference's own filter: JSON inside triple quotes, so that literal evaluation returns the JSON text.
pub(super) fn string<'a>(of: Value<'a>, _: &CallArgs<'a>) -> Eval<Value<'a>> {
    Ok(match of {
        Value::Str(_) => of,
        other => Value::str(format!("\"\"\"{}\"\"\"", python::dumps(&other.to_json()))),
    })
}

pub(super) fn tojson<'a>(of: Value<'a>, _: &CallArgs<'a>) -> Eval<Value<'a>> {
    let mut json = of.to_json();
    json.sort_all_objects();
    let json = python::dumps(&json);
    Ok(Value::str(
        json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026").replace('\'', "\\u0027"),
    ))
}

pub(super) fn urlencode<'a>(of: Value<'a>, _: &CallArgs<'a>) -> Eval<Value<'a>> {
    Ok(match &of {
        other if other.is_dict() => Value::str(query(other.pairs())),
        other if other.is_sequence() => {
            let mut pairs = Vec::new();
            for pair in other.items()? {
                let mut both = pair.items()?.into_iter();
                match (both.next(), both.next()) {
                    (Some(k), Some(v)) => pairs.push((k, v)),
                    _ => return Err(Error::other("urlencode needs pairs")),
                }
            }
            Value::str(query(pairs))
        }
        other => Value::str(percent::quote(&other.text())),
    })
}

fn query(pairs: Vec<(Value<'_>, Value<'_>)>) -> String {
    let encoded: Vec<String> = pairs
        .iter()
        .map(|(k, v)| format!("{}={}", percent::quote_plus(&k.text()), percent::quote_plus(&v.text())))
        .collect();
    encoded.join("&")
}

pub(super) fn escape<'a>(of: Value<'a>, _: &CallArgs<'a>) -> Eval<Value<'a>> {
    let text = of.text().replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    Ok(Value::str(text.replace('\'', "&#39;").replace('"', "&#34;")))
}

pub(super) fn hash<'a>(of: Value<'a>, args: &CallArgs<'a>) -> Eval<Value<'a>> {
    let salted = of.text().into_owned() + &args.text(1, "salt")?.unwrap_or_default();
    let bytes = salted.as_bytes();
    Ok(Value::str(match args.text(0, "hash_type")?.as_deref().unwrap_or("md5") {
        "md5" => hex(&md5::Md5::digest(bytes)),
        "sha1" => hex(&sha1::Sha1::digest(bytes)),
        "sha224" => hex(&sha2::Sha224::digest(bytes)),
        "sha256" => hex(&sha2::Sha256::digest(bytes)),
        "sha384" => hex(&sha2::Sha384::digest(bytes)),
        "sha512" => hex(&sha2::Sha512::digest(bytes)),
        other => return Err(Error::other(format!("no hash function named '{other}'"))),
    }))
}

pub(super) fn hmac<'a>(of: Value<'a>, args: &CallArgs<'a>) -> Eval<Value<'a>> {
    let (key, kind) = (args.need(0, "key")?.text(), args.text(1, "hash_type")?);
    if kind.is_some_and(|k| k != "sha256") {
        return Err(Error::other("hmac knows only sha256"));
    }
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key.as_bytes()).map_err(|e| Error::other(e.to_string()))?;
    mac.update(of.text().as_bytes());
    Ok(Value::str(hex(&mac.finalize().into_bytes())))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, b| {
        let _ = write!(out, "{b:02x}");
        out
    })
}

pub(super) fn base64encode<'a>(of: Value<'a>, _: &CallArgs<'a>) -> Eval<Value<'a>> {
    Ok(Value::str(STANDARD.encode(of.text().as_ref())))
}

pub(super) fn base64decode<'a>(of: Value<'a>, _: &CallArgs<'a>) -> Eval<Value<'a>> {
    let packed: String = of.text().chars().filter(|c| !c.is_whitespace()).collect();
    let bytes = STANDARD.decode(packed).map_err(|_| Error::other("the text is no base64"))?;
    Ok(Value::str(String::from_utf8(bytes).map_err(|_| Error::other("the decoded text is no UTF-8"))?))
}
