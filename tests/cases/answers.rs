//! A vendor's answers as data: rules from a case's `vendor.json` (the form: `README.md` here) come in, a reply of
//! `support::vendor` for each request goes out.

use std::collections::HashMap;
use std::time::Instant;

use regex::Regex;
use serde_json::{Map, Value as Json, json};

use super::expect::fits;
use crate::support::vendor::Asked;

/// What a rule may say: a typo must not become a rule that matches more.
const KEYS: [&str; 17] = [
    "method",
    "path",
    "query",
    "request_headers",
    "request_body",
    "last",
    "times",
    "status",
    "headers",
    "body",
    "text",
    "rows",
    "where",
    "page",
    "offset",
    "under",
    "extra",
];

/// The rules of one command, and what they answered so far.
#[derive(Default)]
pub struct Answers {
    rules: Vec<Json>,
    /// How often each rule answered.
    used: Vec<u64>,
    /// When each path was last answered.
    last: HashMap<String, Instant>,
}

impl Answers {
    pub fn new(rules: &Json) -> Answers {
        let rules = rules.as_array().cloned().unwrap_or_default();
        let unknown = rules.iter().flat_map(pairs).find(|(key, _)| !KEYS.contains(&key.as_str()));
        assert!(unknown.is_none(), "vendor.json: unknown {unknown:?}");
        Answers { used: vec![0; rules.len()], rules, last: HashMap::new() }
    }

    /// The first rule that matches and has answers left answers.
    pub fn reply(&mut self, asked: &Asked) -> Json {
        let left = |i: usize, rule: &Json| rule["times"].as_u64().is_none_or(|times| self.used[i] < times);
        let found = self
            .rules
            .iter()
            .enumerate()
            .find(|(i, rule)| left(*i, rule) && matches(rule, asked) && self.in_time(&rule["last"]));
        let Some((i, rule)) = found else { return json!({"status": 404, "json": {"error": "no rule"}}) };
        let reply = answer(rule, asked);
        self.used[i] += 1;
        self.last.insert(asked.path.clone(), Instant::now());
        reply
    }

    /// Was a path answered so long ago at least, or less than so long ago?
    fn in_time(&self, last: &Json) -> bool {
        let Some(path) = last["path"].as_str() else { return true };
        let Some(ago) = self.last.get(path).map(Instant::elapsed) else { return false };
        let ago = ago.as_secs_f64();
        last["at_least"].as_f64().is_none_or(|seconds| ago >= seconds)
            && last["below"].as_f64().is_none_or(|seconds| ago < seconds)
    }
}

/// Does a rule's condition fit the request?
pub fn matches(rule: &Json, asked: &Asked) -> bool {
    let path = |wanted: &str| match wanted.strip_prefix("re:") {
        Some(pattern) => Regex::new(&format!("^(?:{pattern})$")).unwrap().is_match(&asked.path),
        None => asked.path == wanted,
    };
    let body = || serde_json::from_str(&asked.body).unwrap_or(Json::Null);
    rule["method"].as_str().is_none_or(|method| asked.method == method)
        && rule["path"].as_str().is_none_or(path)
        && pairs(&rule["query"]).all(|(name, value)| asked.param(name).as_deref() == value.as_str())
        && pairs(&rule["request_headers"])
            .all(|(name, value)| asked.headers.get(&name.to_lowercase()).map(String::as_str) == value.as_str())
        && rule.get("request_body").is_none_or(|part| fits(part, &body()))
}

fn pairs(object: &Json) -> impl Iterator<Item = (&String, &Json)> {
    object.as_object().into_iter().flatten()
}

/// `$URL` is the vendor's address, for which `support::vendor` writes `@url@`.
fn own(text: &str) -> String {
    text.replace("$URL", "@url@")
}

fn answer(rule: &Json, asked: &Asked) -> Json {
    let status = rule["status"].as_u64().unwrap_or(200);
    let headers = pairs(&rule["headers"]).map(|(name, value)| (name.clone(), own(value.as_str().unwrap()).into()));
    let headers: Map<String, Json> = headers.collect();
    let text = match (rule["text"].as_str(), rule["rows"].as_array()) {
        (Some(text), _) => text.to_owned(),
        (None, Some(rows)) => page(rule, rows, asked).to_string(),
        (None, None) => rule["body"].to_string(),
    };
    json!({"status": status, "headers": headers, "text": own(&text)})
}

/// The part of the rows that a request asks for, as the vendor would send it.
fn page(rule: &Json, rows: &[Json], asked: &Asked) -> Json {
    let conditions = rule["where"].as_array().into_iter().flatten();
    let conditions: Vec<(&str, &str, String)> =
        conditions.filter_map(|c| Some((c[0].as_str()?, c[1].as_str()?, asked.param(c[2].as_str()?)?))).collect();
    let wanted = |row: &&Json| {
        conditions.iter().all(|(field, operator, bound)| {
            let (value, bound) = (row[*field].as_str().unwrap_or_default(), bound.as_str());
            match *operator {
                ">=" => value >= bound,
                "<=" => value <= bound,
                ">" => value > bound,
                "<" => value < bound,
                _ => value == bound,
            }
        })
    };
    let number = |part: &Json| asked.param(part[0].as_str().unwrap_or_default()).and_then(|text| text.parse().ok());
    let (from, size) = match (&rule["page"], &rule["offset"]) {
        (Json::Array(_), _) => {
            let (part, first) = (&rule["page"], rule["page"][2].as_u64().unwrap());
            let size = part[1].as_u64().unwrap();
            (number(part).unwrap_or(first).saturating_sub(first) * size, size)
        }
        (_, Json::Array(_)) => (number(&rule["offset"]).unwrap_or(0), rule["offset"][1].as_u64().unwrap()),
        _ => (0, u64::MAX),
    };
    let part = rows.iter().filter(wanted).skip(from as usize).take(size as usize).cloned().collect();
    let under = rule["under"].as_str().unwrap();
    if under.is_empty() {
        return part;
    }
    let mut body = rule.get("extra").cloned().unwrap_or_else(|| json!({}));
    body[under] = part;
    body
}
