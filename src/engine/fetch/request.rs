//! Builds a request: from a manifest's templates to method, URL, headers and body.
//!
//! Input: a requester's definition, compiled once; then the variables of a slice and page, and the options of
//! authenticator, paginator and slicer. Output: a [`PreparedRequest`]. Called by the requester for each page. Order
//! of keys, dropped values, collisions and encodings are those of airbyte-cdk's `HttpRequester` and of `requests`.

use std::time::Duration;

use serde_json::{Map, Value as Json};

use super::address::{encode, flaw, join, origin_of, with_query};
use super::fields::{Evaluated, Fields};
use crate::base::fault::{Fault, Kind, Result};
use crate::base::json::python;
use crate::base::percent::requote;
use crate::manifest::model::{Authenticator, HttpRequester, RequestBody};
use crate::manifest::node::{Place, Text};
use crate::manifest::template::{self, RequestOptions, Template, Types, Vars, text_of};
use crate::pace::Call;

/// A compiled requester.
#[derive(Debug, Clone)]
pub struct RequestPlan {
    base: Template,
    /// Does the base depend only on config and parameters?
    base_is_own: bool,
    /// The manifest's own URL, if the vendor determines the base.
    home: Option<Template>,
    /// Is nothing of the config sent, so that any host is allowed?
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

/// The body of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// The bytes of the body.
    pub bytes: Vec<u8>,
    /// The `Content-Type`, if the body has one.
    pub content_type: Option<&'static str>,
}

/// A request that is ready to be sent.
#[derive(Debug, Clone)]
pub struct PreparedRequest {
    /// GET, POST, …
    pub method: String,
    /// The full URL.
    pub url: String,
    /// The origin (scheme, host, port) from the manifest: credentials are sent only there.
    pub origin: String,
    /// May it be redirected to any host?
    pub free: bool,
    /// Headers in order.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Option<Body>,
    /// The connect timeout; `None` uses the default.
    pub connect_within: Option<Duration>,
    /// The timeout for the start of the response; `None` uses the default.
    pub answer_within: Option<Duration>,
}

impl PreparedRequest {
    /// The request in the form that budgets match.
    pub fn call(&self) -> Call<'_> {
        Call { method: &self.method, url: &self.url, headers: &self.headers }
    }
}

impl RequestPlan {
    /// The query parameters that the manifest names, each with its template.
    pub fn declared_parameters(&self) -> Vec<(String, String)> {
        self.params.written()
    }
}

/// Compiles a requester; `extra` are further names that its templates may use. A `free` requester that sends nothing
/// of the config may reach any host that the vendor names: job results are often on other hosts.
pub fn build(def: &HttpRequester, extra: &[String], free: bool) -> Result<RequestPlan> {
    let names: Vec<&str> = template::REQUEST.iter().copied().chain(extra.iter().map(String::as_str)).collect();
    let (base, path) = match (&def.url, &def.url_base) {
        (Some(url), _) => (url, None),
        (None, Some(base)) => (base, def.path.as_ref()),
        (None, None) => return Err(def.at.fault("`url` or `url_base` is missing")),
    };
    let method = def.http_method.as_deref().unwrap_or("GET").to_uppercase();
    if !["GET", "POST", "PUT", "PATCH", "DELETE"].contains(&method.as_str()) {
        let fault = def.at.field("http_method", None).fault(format!("`http_method: {method}` is not supported"));
        return Err(fault.hint("it can be GET, POST, PUT, PATCH or DELETE"));
    }
    let (data, json) = bodies(def)?;
    let base = Template::compile(base, &names)?;
    Ok(RequestPlan {
        base_is_own: !names.iter().any(|n| base.uses(n)),
        home: None,
        free: free && anonymous(def),
        base,
        path: path.map(|p| Template::compile(p, &names)).transpose()?,
        method,
        params: Fields::flat(def.request_parameters.as_ref(), &names)?,
        headers: Fields::flat(def.request_headers.as_ref(), &names)?,
        data: Fields::flat(data, &names)?,
        json: Fields::nested(json, &names)?,
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

/// The form or text body, and the JSON body; at most one of them is defined.
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

impl RequestPlan {
    /// The names in list parameters (`opt_fields=name,notes,assignee.name`), cut to their first part.
    pub fn lists(&self, vars: &Vars<'_>) -> Vec<String> {
        let Ok(Evaluated::Fields(params)) = self.params.eval(vars, Types::Any) else { return Vec::new() };
        let lists = params.values().filter_map(Json::as_str).filter(|text| text.contains(','));
        let names = lists.flat_map(|text| text.split(',')).map(|name| name.trim().split('.').next().unwrap_or(name));
        names.map(str::to_owned).collect()
    }

    /// Can a request depend on that entry of its slice, according to the manifest's templates?
    pub fn reads_of_slice(&self, entry: &str) -> bool {
        let addresses = self.path.iter().chain([&self.base]);
        let fields = [&self.params, &self.headers, &self.data, &self.json];
        addresses.into_iter().any(|template| template.reads_of_slice(entry))
            || fields.into_iter().any(|fields| fields.reads_of_slice(entry))
    }

    /// Uses the other requester's URL as the manifest's own, if the vendor determines this one's.
    #[must_use]
    pub fn beside(mut self, other: &RequestPlan) -> RequestPlan {
        self.home = Some(other.base.clone());
        self
    }

    /// Prepares a request. `added` are the options of authenticator, paginator and slicer, in this order;
    /// `token_path` replaces the path if the page token is a path.
    pub fn prepare(
        &self,
        vars: &Vars<'_>,
        added: [RequestOptions; 3],
        token_path: Option<&str>,
    ) -> Result<PreparedRequest> {
        let (url, origin, free) = self.address(vars, token_path)?;
        let mut params = self.mapping(self.params.eval(vars, Types::StrOrList)?)?;
        let mut headers = self.mapping(self.headers.eval(vars, Types::Text)?)?;
        for options in &added {
            self.merge(&mut params, &options.params)?;
            self.merge(&mut headers, &options.headers)?;
        }
        headers.retain(|_, value| !value.is_null());
        Ok(PreparedRequest {
            method: self.method.clone(),
            url: with_query(&url, &params),
            origin,
            free,
            headers: headers.iter().map(|(name, value)| (name.clone(), text_of(value))).collect(),
            body: self.body(vars, &added)?,
            connect_within: within(self.connect_within.as_ref(), vars)?,
            answer_within: within(self.answer_within.as_ref(), vars)?,
        })
    }

    /// The URL without added parameters, the origin that receives the credentials, and whether any host is allowed.
    fn address(&self, vars: &Vars<'_>, token_path: Option<&str>) -> Result<(String, String, bool)> {
        // The origin of the URL as it is sent.
        let origin = |url: &str| origin_of(&requote(url));
        let base = self.base.text(vars)?;
        let path = match (token_path, &self.path) {
            (Some(token), _) => Some(token.to_owned()),
            (None, Some(path)) => Some(path.text(vars)?.trim_start_matches('/').to_owned()),
            (None, None) => None,
        };
        let url = path.map_or_else(|| base.clone(), |path| join(&base, &path));
        // Values from the vendor (in a token, a slice, a parent record) must not determine which host receives
        // credentials.
        let own = Vars { slice: None, extra: None, next_page_token: None, ..*vars };
        let mut named = if self.base_is_own { base.clone() } else { self.base.text(&own).unwrap_or_default() };
        let origin_of_base = origin(&base);
        let has_origin = |named: &str| if named == base { origin_of_base.is_some() } else { origin(named).is_some() };
        if let Some(home) = self.home.as_ref().filter(|_| !has_origin(&named)) {
            named = home.text(&own).unwrap_or_default();
        }
        let Some(origin_of_base) = origin_of_base else {
            let fault = self.base.at().fault(format!("the request's URL is not valid: {}", flaw(&base)));
            // A value from the vendor is not a fault of the manifest.
            let kind = if self.base_is_own { fault.kind } else { Kind::Data };
            return Err(Fault { kind, ..fault });
        };
        let free = self.free && !self.base_is_own;
        let origin = if free || named == base { origin_of_base } else { origin(&named).unwrap_or_default() };
        Ok((url, origin, free))
    }

    /// The body with its added options; a DELETE has none.
    fn body(&self, vars: &Vars<'_>, added: &[RequestOptions; 3]) -> Result<Option<Body>> {
        if self.method == "DELETE" {
            return Ok(None);
        }
        let data = self.data.eval(vars, Types::StrOrList)?;
        let json = self.json.eval(vars, Types::Json)?;
        let body = match data {
            Evaluated::Text(text) if added.iter().all(|options| options.data.is_empty()) => {
                Some(Body { bytes: text.into_bytes(), content_type: None })
            }
            Evaluated::Text(_) => {
                return Err(self.at.fault("a text body cannot be combined with options in `body_data`"));
            }
            Evaluated::Fields(mut data) => {
                added.iter().try_for_each(|options| self.merge(&mut data, &options.data))?;
                let form = || Body {
                    bytes: encode(&data).into_bytes(),
                    content_type: Some("application/x-www-form-urlencoded"),
                };
                (!data.is_empty()).then(form)
            }
        };
        let mut json = self.mapping(json)?;
        added.iter().try_for_each(|options| self.merge_deep(&mut json, &options.json))?;
        if json.is_empty() {
            return Ok(body);
        }
        if body.is_some() {
            return Err(self.at.fault("the request has both a form and a JSON body"));
        }
        let bytes = python::dumps(&Json::Object(json)).into_bytes();
        Ok(Some(Body { bytes, content_type: Some("application/json") }))
    }

    fn mapping(&self, value: Evaluated) -> Result<Map<String, Json>> {
        match value {
            Evaluated::Fields(map) => Ok(map),
            Evaluated::Text(text) if text.is_empty() => Ok(Map::new()),
            Evaluated::Text(_) => Err(self.at.fault("request options must give a mapping")),
        }
    }

    fn collision(&self, key: &str) -> Fault {
        self.at
            .fault(format!("the request option `{key}` is set twice"))
            .hint("only one of requester, authenticator, paginator and slicer may set a parameter, header or field")
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

/// A template's value in seconds, as a duration.
fn within(timeout: Option<&Template>, vars: &Vars<'_>) -> Result<Option<Duration>> {
    let Some(timeout) = timeout else { return Ok(None) };
    let seconds = Duration::try_from_secs_f64(timeout.number(vars)?).ok().filter(|time| !time.is_zero());
    seconds.map(Some).ok_or_else(|| timeout.at().fault("a timeout must be more than 0 seconds"))
}
