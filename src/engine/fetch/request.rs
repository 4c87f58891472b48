//! What one request is: from a manifest's templates to method, address, headers and body.
//!
//! Comes in: a requester's definition, compiled once; then the variables of a slice and page, and what
//! authenticator, paginator and slicer add. Goes out: a [`PreparedRequest`] request. Called by `run` for each page. Order of
//! keys, dropped values, collisions and encodings are those of airbyte-cdk's `HttpRequester` and of `requests`.

use std::time::Duration;

use serde_json::{Map, Value as Json};

use crate::base::fault::{Fault, Kind, Result};
use crate::base::json::python;
use crate::base::percent::{decode, quote_plus, requote};
use crate::manifest::model::{Authenticator, HttpRequester, RequestBody};
use crate::manifest::node::{Place, Text};
use crate::manifest::template::{self, RequestOptions, Template, Types, Vars, text_of};
use crate::pace::Call;

/// A mapping of templates, or one template that gives it.
#[derive(Debug, Clone)]
enum Fields {
    None,
    Map(Vec<(Template, Template)>),
    Text(Template),
    /// Nested, for JSON bodies.
    Deep(Deep),
}

#[derive(Debug, Clone)]
enum Deep {
    Leaf(Template),
    Map(Vec<(Template, Deep)>),
    List(Vec<Deep>),
}

/// A requester, compiled.
#[derive(Debug, Clone)]
pub struct RequestPlan {
    base: Template,
    /// Do config and parameters alone decide the base?
    base_is_own: bool,
    /// The manifest's own address, where the base is left to the vendor.
    home: Option<Template>,
    /// Is nothing of the config sent, so that any host may be asked?
    free: bool,
    path: Option<Template>,
    method: String,
    params: Fields,
    headers: Fields,
    data: Fields,
    json: Fields,
    connect_within: Option<Template>,
    answer_within: Option<Template>,
    at: Place,
}

/// A body as it goes out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its `Content-Type`, if it has one.
    pub content_type: Option<&'static str>,
}

/// A request, ready to be sent.
#[derive(Debug, Clone)]
pub struct PreparedRequest {
    /// GET, POST, …
    pub method: String,
    /// The whole address.
    pub url: String,
    /// The origin (scheme, host, port) that the manifest named: credentials go nowhere else.
    pub origin: String,
    /// May it be sent on to any host?
    pub free: bool,
    /// Headers in order.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Option<Body>,
    /// A connection takes no longer; none is dripfeed's own time.
    pub connect_within: Option<Duration>,
    /// Nor does the beginning of the answer.
    pub answer_within: Option<Duration>,
}

impl PreparedRequest {
    /// It as budgets see it.
    pub fn call(&self) -> Call<'_> {
        Call { method: &self.method, url: &self.url, headers: &self.headers }
    }
}

/// Compiles a requester; `extra` are further names that its templates may use. One that is `free` and sends nothing of the
/// config may ask any host that the vendor names: the results of jobs stand at such.
pub fn build(def: &HttpRequester, extra: &[String], free: bool) -> Result<RequestPlan> {
    let names: Vec<&str> = template::REQUEST.iter().copied().chain(extra.iter().map(String::as_str)).collect();
    let (base, path) = match (&def.url, &def.url_base) {
        (Some(url), _) => (url, None),
        (None, Some(base)) => (base, def.path.as_ref()),
        (None, None) => return Err(def.at.fault("`url` or `url_base` is missing")),
    };
    let method = def.http_method.as_deref().unwrap_or("GET").to_uppercase();
    if !["GET", "POST", "PUT", "PATCH", "DELETE"].contains(&method.as_str()) {
        return Err(def.at.fault(format!("`http_method: {method}` is not supported")));
    }
    let (data, json) = bodies(def)?;
    let flat = |text: &Option<Text>| fields(text.as_ref(), &names);
    let base = Template::compile(base, &names)?;
    Ok(RequestPlan {
        base_is_own: !names.iter().any(|n| base.uses(n)),
        home: None,
        free: free && anonymous(def),
        base,
        path: path.map(|p| Template::compile(p, &names)).transpose()?,
        method,
        params: flat(&def.request_parameters)?,
        headers: flat(&def.request_headers)?,
        data: fields(data, &names)?,
        json: match json.map(|t| (&t.value, &t.at)) {
            None => Fields::None,
            Some((value @ Json::Object(_), at)) => Fields::Deep(deep(value, at, &names)?),
            Some((value, at)) => Fields::Text(Template::of(value, at, &names)?),
        },
        connect_within: timeout(def.connect_timeout_in_seconds.as_ref())?,
        answer_within: timeout(def.read_timeout_in_seconds.as_ref())?,
        at: def.at.clone(),
    })
}

/// Does a requester send no credentials, and nothing else of the config?
fn anonymous(def: &HttpRequester) -> bool {
    let open = matches!(def.authenticator.as_deref(), None | Some(Authenticator::NoAuth(_)));
    let sent = [
        &def.url,
        &def.url_base,
        &def.path,
        &def.request_parameters,
        &def.request_headers,
        &def.request_body_data,
        &def.request_body_json,
    ];
    open && def.request_body.is_none() && !sent.into_iter().flatten().any(Text::reads_config)
}

fn timeout(text: Option<&Text>) -> Result<Option<Template>> {
    let Some(text) = text.filter(|t| !t.value.is_null()) else { return Ok(None) };
    if text.value.as_f64().is_some_and(|seconds| seconds <= 0.0) {
        return Err(text.at.fault("a timeout must be more than 0 seconds"));
    }
    Template::compile(text, &[]).map(Some)
}

/// What goes as form or text, and what as JSON; at most one of them.
fn bodies(def: &HttpRequester) -> Result<(Option<&Text>, Option<&Text>)> {
    let (data, json) = match &def.request_body {
        Some(RequestBody::RequestBodyPlainText(body)) => (Some(&body.value), None),
        Some(RequestBody::RequestBodyUrlEncodedForm(body)) => (Some(&body.value), None),
        Some(RequestBody::RequestBodyJsonObject(body)) => (None, Some(&body.value)),
        Some(RequestBody::RequestBodyGraphQL(body)) => {
            if body.value.value.get("query").and_then(Json::as_str).is_none() {
                return Err(body.value.at.fault("a GraphQL body needs a `query`"));
            }
            (None, Some(&body.value))
        }
        None => (None, None),
    };
    let (data, json) = (data.or(def.request_body_data.as_ref()), json.or(def.request_body_json.as_ref()));
    if data.is_some() && json.is_some() {
        return Err(def
            .at
            .fault("only one of `request_body`, `request_body_data` and `request_body_json` can be given"));
    }
    Ok((data, json))
}

fn fields(text: Option<&Text>, names: &[&str]) -> Result<Fields> {
    let Some(text) = text else { return Ok(Fields::None) };
    match &text.value {
        Json::Null => Ok(Fields::None),
        Json::Object(map) => {
            // QueryProperties are no value: `run` adds the names.
            let is_value =
                |(key, value): &(&String, &Json)| *key != "$parameters" && value["type"] != "QueryProperties";
            let pairs = map.iter().filter(is_value).map(|(key, value)| {
                let at = text.at.field(key, None);
                Ok((Template::of(&Json::String(key.clone()), &at, names)?, Template::of(value, &at, names)?))
            });
            Ok(Fields::Map(pairs.collect::<Result<_>>()?))
        }
        Json::String(s) if s.is_empty() => Ok(Fields::None),
        value => Ok(Fields::Text(Template::of(value, &text.at, names)?)),
    }
}

fn deep(value: &Json, at: &Place, names: &[&str]) -> Result<Deep> {
    Ok(match value {
        Json::Object(map) => {
            let pairs = map.iter().map(|(key, value)| {
                let at = at.field(key, None);
                Ok((Template::of(&Json::String(key.clone()), &at, names)?, deep(value, &at, names)?))
            });
            Deep::Map(pairs.collect::<Result<_>>()?)
        }
        Json::Array(items) => Deep::List(items.iter().map(|item| deep(item, at, names)).collect::<Result<_>>()?),
        leaf => Deep::Leaf(Template::of(leaf, at, names)?),
    })
}

impl Deep {
    fn reads_of_slice(&self, entry: &str) -> bool {
        match self {
            Deep::Leaf(template) => template.reads_of_slice(entry),
            Deep::List(items) => items.iter().any(|item| item.reads_of_slice(entry)),
            Deep::Map(pairs) => pairs.iter().any(|(k, v)| k.reads_of_slice(entry) || v.reads_of_slice(entry)),
        }
    }

    fn value(&self, vars: &Vars<'_>) -> Result<Json> {
        Ok(match self {
            Deep::Leaf(template) => template.value_if_any(vars, Types::Any)?.unwrap_or(Json::Null),
            Deep::List(items) => Json::Array(items.iter().map(|i| i.value(vars)).collect::<Result<_>>()?),
            Deep::Map(pairs) => {
                let mut out = Map::new();
                for (key, value) in pairs {
                    let value = value.value(vars)?;
                    if !value.is_null() {
                        out.insert(key.text(vars)?, value);
                    }
                }
                Json::Object(out)
            }
        })
    }
}

/// What a channel of the requester gives: fields, or one raw text.
enum Given {
    Fields(Map<String, Json>),
    Text(String),
}

impl Fields {
    fn reads_of_slice(&self, entry: &str) -> bool {
        match self {
            Fields::None => false,
            Fields::Map(pairs) => pairs.iter().any(|(k, v)| k.reads_of_slice(entry) || v.reads_of_slice(entry)),
            Fields::Text(template) => template.reads_of_slice(entry),
            Fields::Deep(deep) => deep.reads_of_slice(entry),
        }
    }

    fn eval(&self, vars: &Vars<'_>, types: Types) -> Result<Given> {
        Ok(Given::Fields(match self {
            Fields::None => Map::new(),
            Fields::Map(pairs) => {
                let mut out = Map::new();
                for (key, value) in pairs {
                    if let Some(value) = value.value_if_any(vars, types)? {
                        out.insert(key.text(vars)?, value);
                    }
                }
                out
            }
            Fields::Text(template) => match template.value_if_any(vars, Types::Any)? {
                Some(Json::Object(map)) => map,
                Some(other) => return Ok(Given::Text(text_of(&other))),
                None => Map::new(),
            },
            Fields::Deep(deep) => match deep.value(vars)? {
                Json::Object(map) => map,
                _ => Map::new(),
            },
        }))
    }
}

impl RequestPlan {
    /// The names in parameters that are lists of them (`opt_fields=name,notes,assignee.name`), by their first part.
    pub fn lists(&self, vars: &Vars<'_>) -> Vec<String> {
        let Ok(Given::Fields(params)) = self.params.eval(vars, Types::Any) else { return Vec::new() };
        let lists = params.values().filter_map(Json::as_str).filter(|text| text.contains(','));
        let names = lists.flat_map(|text| text.split(',')).map(|name| name.trim().split('.').next().unwrap_or(name));
        names.map(str::to_owned).collect()
    }

    /// May a request carry that entry of its slice, as the manifest's templates say?
    pub fn reads_of_slice(&self, entry: &str) -> bool {
        let addresses = self.path.iter().chain([&self.base]);
        let fields = [&self.params, &self.headers, &self.data, &self.json];
        addresses.into_iter().any(|template| template.reads_of_slice(entry))
            || fields.into_iter().any(|fields| fields.reads_of_slice(entry))
    }

    /// With the other's address as the manifest's own, where its own is left to the vendor.
    #[must_use]
    pub fn beside(mut self, other: &RequestPlan) -> RequestPlan {
        self.home = Some(other.base.clone());
        self
    }

    /// Prepares a request. `added` are the options of authenticator, paginator and slicer, in that order;
    /// `token_path` replaces the path when the page token is one.
    pub fn prepare(
        &self,
        vars: &Vars<'_>,
        added: [RequestOptions; 3],
        token_path: Option<&str>,
    ) -> Result<PreparedRequest> {
        let within = |timeout: &Option<Template>| -> Result<Option<Duration>> {
            let Some(timeout) = timeout else { return Ok(None) };
            let seconds = Duration::try_from_secs_f64(timeout.number(vars)?).ok().filter(|time| !time.is_zero());
            seconds.map(Some).ok_or_else(|| timeout.at().fault("a timeout must be more than 0 seconds"))
        };
        let base = self.base.text(vars)?;
        let path = match (token_path, &self.path) {
            (Some(token), _) => Some(token.to_owned()),
            (None, Some(path)) => Some(path.text(vars)?.trim_start_matches('/').to_owned()),
            (None, None) => None,
        };
        let url = match path {
            Some(path) => join(&base, &path),
            None => base.clone(),
        };
        // What the vendor said (in a token, a slice, a parent's record) does not decide which host gets credentials.
        let own = Vars { slice: None, extra: None, next_page_token: None, ..*vars };
        let mut named = if self.base_is_own { base.clone() } else { self.base.text(&own).unwrap_or_default() };
        if let Some(home) = self.home.as_ref().filter(|_| origin_of(&named).is_none()) {
            named = home.text(&own).unwrap_or_default();
        }
        if origin_of(&base).is_none() {
            let fault = self.base.at().fault("the address of the request is not a URL");
            // What the vendor gave is no fault of the manifest.
            let kind = if self.base_is_own { fault.kind } else { Kind::Data };
            return Err(Fault { kind, ..fault }.hint("it must start with https:// or http://"));
        }
        let free = self.free && !self.base_is_own;
        let origin = origin_of(if free { &base } else { &named }).unwrap_or_default();
        let given = |fields: &Fields, types| fields.eval(vars, types);
        let [auth, page, slice] = added;
        let mut params = self.fields(given(&self.params, Types::StrOrList)?)?;
        let mut headers = self.fields(given(&self.headers, Types::Any)?)?;
        for options in [&auth, &page, &slice] {
            self.merge(&mut params, &options.params)?;
            self.merge(&mut headers, &options.headers)?;
        }
        let mut body = None;
        if self.method != "DELETE" {
            let data = given(&self.data, Types::StrOrList)?;
            let json = given(&self.json, Types::Any)?;
            let extra_data = [&auth.data, &page.data, &slice.data];
            let extra_json = [&auth.json, &page.json, &slice.json];
            body = match data {
                Given::Text(text) if extra_data.iter().all(|m| m.is_empty()) => {
                    Some(Body { bytes: text.into_bytes(), content_type: None })
                }
                Given::Text(_) => {
                    return Err(self.at.fault("a text body cannot be combined with options in `body_data`"));
                }
                Given::Fields(mut data) => {
                    for more in extra_data {
                        self.merge(&mut data, more)?;
                    }
                    (!data.is_empty()).then(|| Body {
                        bytes: encode(&data).into_bytes(),
                        content_type: Some("application/x-www-form-urlencoded"),
                    })
                }
            };
            let mut json = self.fields(json)?;
            for more in extra_json {
                self.merge_deep(&mut json, more)?;
            }
            if !json.is_empty() {
                if body.is_some() {
                    return Err(self.at.fault("the request has both a form and a JSON body"));
                }
                let bytes = python::dumps(&Json::Object(json)).into_bytes();
                body = Some(Body { bytes, content_type: Some("application/json") });
            }
        }
        let mut sent = Vec::with_capacity(headers.len());
        for (name, value) in &headers {
            if !value.is_null() {
                sent.push((name.clone(), text_of(value)));
            }
        }
        Ok(PreparedRequest {
            method: self.method.clone(),
            url: with_query(&url, &params),
            origin,
            free,
            headers: sent,
            body,
            connect_within: within(&self.connect_within)?,
            answer_within: within(&self.answer_within)?,
        })
    }

    fn fields(&self, given: Given) -> Result<Map<String, Json>> {
        match given {
            Given::Fields(map) => Ok(map),
            Given::Text(text) if text.is_empty() => Ok(Map::new()),
            Given::Text(_) => Err(self.at.fault("request options must give a mapping")),
        }
    }

    fn collision(&self, key: &str) -> Fault {
        self.at
            .fault(format!("the request option `{key}` is set twice"))
            .hint("a parameter, header or field may come from the requester, the authenticator, the paginator or the slicer, but from one of them only")
    }

    fn merge(&self, into: &mut Map<String, Json>, from: &Map<String, Json>) -> Result<()> {
        for (key, value) in from {
            if into.contains_key(key) {
                return Err(self.collision(key));
            }
            into.insert(key.clone(), value.clone());
        }
        Ok(())
    }

    fn merge_deep(&self, into: &mut Map<String, Json>, from: &Map<String, Json>) -> Result<()> {
        for (key, value) in from {
            match (into.get_mut(key), value) {
                (None, value) => drop(into.insert(key.clone(), value.clone())),
                (Some(Json::Object(old)), Json::Object(new)) => self.merge_deep(old, new)?,
                (Some(old), new) if *old == *new => {}
                _ => return Err(self.collision(key)),
            }
        }
        Ok(())
    }
}

/// `key=value` pairs as `urlencode(doseq=True)` writes them; null elements of a list are skipped.
fn encode(fields: &Map<String, Json>) -> String {
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

/// Adds query parameters; one that the address holds already with the same value is left out.
fn with_query(url: &str, params: &Map<String, Json>) -> String {
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
    let mut params = params.clone();
    params.retain(|key, value| !seen.iter().any(|(k, v)| k == key && *v == text_of(value)));
    let address = address.strip_suffix('?').unwrap_or(address);
    // Brackets may stand in a host (IPv6), and nowhere else.
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

/// `scheme://host:port` of an address, in lower case.
pub fn origin_of(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    if scheme != "http" && scheme != "https" {
        return None;
    }
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    let host = authority.rsplit_once('@').map_or(authority, |(_, h)| h).to_ascii_lowercase();
    let default = if scheme == "http" { ":80" } else { ":443" };
    let host = host.strip_suffix(default).unwrap_or(&host);
    (!host.is_empty()).then(|| format!("{scheme}://{host}"))
}

/// Joins base and path as the reference does: a base gets its `/`, then RFC 3986 resolution.
pub fn join(base: &str, path: &str) -> String {
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
    // A query without anything is none.
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

/// Resolves `.` and `..` in a path, and drops empty segments within it, as Python's `urljoin` does.
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
