//! Writes a planned source as a manifest.
//!
//! Input: a [`SourcePlan`]. Output: the manifest's text. Called by [`super`]; streams are in `render_stream`.

use serde_json::{Value as Json, json};

use super::config::{self, ConfigKey};
use super::plan::{AuthPlan, CursorPlan, PagingPlan, SourcePlan, StreamOutline};
use super::render_stream::{self, Paginators};
use super::yaml_text::{Yaml, YamlMap};

/// The version of the low-code language that is written.
const VERSION: &str = "7.39.1";

/// How to limit calls; a comment.
const BUDGET: &str = "\
decide: how many calls the API allows. Without a limit here, runs slow down only when the API answers 429.
api_budget:
  type: HTTPAPIBudget
  policies:
    - type: MovingWindowCallRatePolicy
      rates: [{limit: 100, interval: PT1M}]
      matchers: []";

/// The keys of a planned source's config, in the order of its form.
pub(crate) fn config_keys(plan: &SourcePlan) -> Vec<ConfigKey> {
    let mut keys = plan.keys.clone();
    keys.extend(config::auth_keys(&plan.auth));
    if plan.streams.iter().any(|stream| stream.cursor.is_some()) {
        keys.push(ConfigKey::start_date());
    }
    keys
}

/// The manifest of a planned source.
pub(crate) fn manifest(plan: &SourcePlan) -> String {
    let paginators = Paginators::of(&plan.streams);
    let mut definitions = YamlMap::default().notes(["What all streams share."]).set("requester", requester(plan));
    definitions = paginators.definitions(definitions);
    for stream in &plan.streams {
        definitions =
            definitions.blank().notes(&stream.notes).set(&stream.name, render_stream::stream(stream, &paginators));
    }
    let listed = plan.streams.iter().filter(|stream| stream.is_listed);
    let listed = listed.map(|stream| Yaml::Map(YamlMap::reference(&stream.name))).collect();
    let specification = config::specification(&plan.title, &config_keys(plan));
    let mut out = YamlMap::default()
        .notes(&plan.head)
        .set("version", VERSION)
        .set("type", "DeclarativeSource")
        .blank()
        .notes(["`dripfeed check` reads one record of these streams."])
        .set("check", YamlMap::of("CheckStream").set("stream_names", json!(checked(&plan.streams))));
    if let Some(cursor) = plan.streams.iter().find_map(|stream| stream.cursor.as_ref()) {
        out = out.blank().set("metadata", safety(cursor));
    }
    out.blank()
        .notes([BUDGET])
        .blank()
        .set("definitions", definitions)
        .blank()
        .notes(&plan.stream_notes)
        .set("streams", Yaml::List(listed))
        .blank()
        .notes(["What a config holds. `airbyte_secret` keeps a value out of logs."])
        .set("spec", YamlMap::of("Spec").set("connection_specification", form(&specification)))
        .text()
}

/// The first stream that no other one is needed for.
fn checked(streams: &[StreamOutline]) -> Vec<&str> {
    let mut listed = streams.iter().filter(|stream| stream.is_listed);
    let first = listed.clone().find(|stream| stream.parent.is_none()).or_else(|| listed.next());
    first.map(|stream| &*stream.name).into_iter().collect()
}

/// The overlap of two runs.
fn safety(cursor: &CursorPlan) -> YamlMap {
    let note = format!(
        "A run reads this much before its bookmark again: changes of `{}` become visible within it. decide: is it \
         enough?",
        cursor.field
    );
    let safety = YamlMap::default().notes([note]).set("settle", "PT1M");
    YamlMap::default().set("dripfeed", YamlMap::default().set("safety", safety))
}

fn requester(plan: &SourcePlan) -> YamlMap {
    let is_graphql = plan.streams.iter().any(|stream| stream.body.is_some());
    let pairs = |pairs: &[(String, String)]| {
        let map: serde_json::Map<String, Json> = pairs.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
        (!map.is_empty()).then_some(Json::Object(map))
    };
    YamlMap::of("HttpRequester")
        .notes(&plan.url_notes)
        .set("url_base", &*plan.url_base)
        .set("http_method", if is_graphql { "POST" } else { "GET" })
        .set_some("request_headers", pairs(&plan.headers))
        .set_some("request_parameters", pairs(&plan.parameters))
        .notes(&plan.auth_notes)
        .set("authenticator", authenticator(&plan.auth))
        .set("error_handler", error_handler(is_graphql))
}

fn authenticator(auth: &AuthPlan) -> YamlMap {
    match auth {
        AuthPlan::None => YamlMap::of("NoAuth"),
        AuthPlan::Bearer => YamlMap::of("BearerAuthenticator").set("api_token", "{{ config['token'] }}"),
        AuthPlan::Key { in_header, name } => {
            let place = if *in_header { "header" } else { "request_parameter" };
            let option = YamlMap::of("RequestOption").set("inject_into", place).set("field_name", &**name);
            YamlMap::of("ApiKeyAuthenticator").set("api_token", "{{ config['api_key'] }}").set("inject_into", option)
        }
        AuthPlan::Basic => YamlMap::of("BasicHttpAuthenticator")
            .set("username", "{{ config['username'] }}")
            .set("password", "{{ config['password'] }}"),
        AuthPlan::OAuth { token_url, refreshes } => {
            let out = YamlMap::of("OAuthAuthenticator")
                .set("token_refresh_endpoint", &**token_url)
                .set("client_id", "{{ config['client_id'] }}")
                .set("client_secret", "{{ config['client_secret'] }}");
            if *refreshes {
                out.set("refresh_token", "{{ config['refresh_token'] }}").set("grant_type", "refresh_token")
            } else {
                out.set("grant_type", "client_credentials")
            }
        }
    }
}

fn error_handler(is_graphql: bool) -> YamlMap {
    let mut out = YamlMap::of("DefaultErrorHandler").set("max_retries", json!(5));
    if is_graphql {
        let filter = YamlMap::of("HttpResponseFilter")
            .set("predicate", "{{ response.get('errors') }}")
            .set("action", "FAIL")
            .set(
                "error_message",
                "The API refuses the query: {{ (response.get('errors') or [{}])[0].get('message') }}",
            );
        let note = "GraphQL reports errors with HTTP 200. decide: which of them mean a rate limit? They need a \
                    filter with `action: RATE_LIMITED` before this one.";
        out = out.notes([note]).set("response_filters", Yaml::List(vec![filter.into()]));
    }
    let by_header = YamlMap::of("WaitTimeFromHeader").set("header", "Retry-After");
    let backoff = vec![by_header.into(), YamlMap::of("ExponentialBackoffStrategy").into()];
    out.set("backoff_strategies", Yaml::List(backoff))
}

/// A specification, with a line for each key's fields.
fn form(schema: &Json) -> YamlMap {
    let mut out = YamlMap::default();
    for (key, value) in schema.as_object().into_iter().flatten() {
        out = match (key.as_str(), value) {
            ("properties", Json::Object(properties)) if !properties.is_empty() => {
                let one = |out: YamlMap, (key, value): (&String, &Json)| out.set(key, form(value));
                out.set("properties", properties.iter().fold(YamlMap::default(), one))
            }
            _ => out.set(key, value.clone()),
        };
    }
    out
}

/// Does a plan page by a token in the body?
pub(crate) fn pages_by_body(paging: &PagingPlan) -> bool {
    matches!(paging, PagingPlan::Token { .. } | PagingPlan::BodyLink { .. })
}
