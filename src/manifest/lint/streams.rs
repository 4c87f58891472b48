//! Warns of omissions and duplicates in streams.
//!
//! Input: a typed manifest. Output: a warning for a missing spec, a missing primary key, and for each request option
//! that two components set. Called by [`super::examine`].

use serde_json::Value as Json;

use super::super::model::{
    Authenticator, DeclarativeSource, DeclarativeStream, HttpRequester, IncrementalSync, PageToken, Paginator,
    PartitionRouter, RequestBody, RequestOption, Requester, Retriever, SimpleRetriever, Stream,
};
use super::super::node::{Place, Text};
use crate::base::fault::Fault;

/// The maximum nesting of parents that is checked.
const MAX_PARENTS: usize = 10;

/// The warnings of a manifest.
pub(super) fn warnings(source: &DeclarativeSource, top: &Place) -> Vec<Fault> {
    let mut out = Vec::new();
    if source.spec.is_none() {
        let fault = top.fault(
            "the manifest has no `spec`: configs are not checked, and none of their values is hidden as a secret",
        );
        out.push(fault.hint("add `spec` with a `connection_specification`"));
    }
    for stream in source.streams.iter().flatten().flat_map(Stream::all) {
        out.extend(keyless(stream));
        options_set_twice(stream, 0, &mut out);
    }
    out
}

/// The warning for a stream without a key for targets.
fn keyless(stream: &DeclarativeStream) -> Option<Fault> {
    let at = stream.at.field("primary_key", None);
    let fields = match stream.primary_key.as_ref().unwrap_or(&Json::Null) {
        Json::Array(fields) => fields.as_slice(),
        Json::String(name) if name.is_empty() => &[],
        Json::Null => &[],
        one => std::slice::from_ref(one),
    };
    if fields.is_empty() {
        let name = stream.name.as_ref().and_then(|name| name.value.as_str()).unwrap_or_default();
        let fault = stream.at.fault(format!("`{name}` has no primary key: targets append every version of a record"));
        return Some(fault.hint("list the fields that identify a record under `primary_key`"));
    }
    let nested = fields.iter().all(|field| field.as_array().is_some_and(|path| path.len() > 1));
    nested.then(|| at.fault("every field of `primary_key` is nested, and Singer targets do not support nested keys"))
}

/// A request option, and the component that sets it.
struct SetOption<'d> {
    owner: &'static str,
    channel: &'d str,
    path: Vec<&'d str>,
    at: &'d Place,
}

/// A warning for each option of a stream's requests, and of its parents', that two components set.
fn options_set_twice(stream: &DeclarativeStream, depth: usize, out: &mut Vec<Fault>) {
    let retriever = stream.retriever.reading();
    let Requester::HttpRequester(requester) = &retriever.requester;
    let mut options = Vec::new();
    authenticator_option(requester.authenticator.as_deref(), &mut options);
    paginator_options(&retriever, &mut options);
    // The slices of a job are sent with its creation request.
    if matches!(stream.retriever, Retriever::SimpleRetriever(_)) {
        cursor_options(stream.incremental_sync.as_ref(), &mut options);
        stream.retriever.routers().iter().for_each(|router| router_options(router, &mut options));
    }
    for (number, option) in options.iter().enumerate() {
        let earlier = options[..number].iter().find(|other| other.collides(option)).map(|other| other.owner);
        let Some(other) = earlier.or_else(|| is_written(requester, option).then_some("requester")) else { continue };
        let (name, owner) = (option.path.join("."), option.owner);
        let fault =
            option.at.fault(format!("the {owner} and the {other} both set `{name}`: requests with both are refused"));
        out.push(fault.hint("set it in only one of them"));
    }
    if depth < MAX_PARENTS {
        let parents = stream.retriever.routers().iter().flat_map(PartitionRouter::parents);
        parents.flat_map(|parent| parent.stream.all()).for_each(|parent| options_set_twice(parent, depth + 1, out));
    }
}

impl SetOption<'_> {
    fn collides(&self, other: &SetOption<'_>) -> bool {
        self.channel == other.channel && (self.path.starts_with(&other.path) || other.path.starts_with(&self.path))
    }
}

fn add<'d>(owner: &'static str, option: Option<&'d RequestOption>, out: &mut Vec<SetOption<'d>>) {
    let Some(option) = option else { return };
    let names = option.field_name.iter().chain(option.field_path.iter().flatten());
    // A name from a template is known only at run time.
    let path = names.map(|name| name.value.as_str().filter(|name| !name.contains("{{"))).collect::<Option<Vec<_>>>();
    if let Some(path) = path.filter(|path| !path.is_empty()) {
        out.push(SetOption { owner, channel: &option.inject_into, path, at: &option.at });
    }
}

fn authenticator_option<'d>(authenticator: Option<&'d Authenticator>, out: &mut Vec<SetOption<'d>>) {
    if let Some(Authenticator::ApiKeyAuthenticator(key)) = authenticator {
        add("authenticator", key.inject_into.as_ref(), out);
    }
}

fn paginator_options<'d>(retriever: &'d SimpleRetriever, out: &mut Vec<SetOption<'d>>) {
    let Some(Paginator::DefaultPaginator(paginator)) = &retriever.paginator else { return };
    if let Some(PageToken::RequestOption(token)) = &paginator.page_token_option {
        add("paginator", Some(token), out);
    }
    add("paginator", paginator.page_size_option.as_ref(), out);
}

fn cursor_options<'d>(cursor: Option<&'d IncrementalSync>, out: &mut Vec<SetOption<'d>>) {
    match cursor {
        Some(IncrementalSync::DatetimeBasedCursor(cursor)) => {
            add("cursor", cursor.start_time_option.as_ref(), out);
            add("cursor", cursor.end_time_option.as_ref(), out);
        }
        Some(IncrementalSync::IncrementingCountCursor(cursor)) => {
            add("cursor", cursor.start_value_option.as_ref(), out);
        }
        None => {}
    }
}

/// Only one router of a union sets an option at a time; the same applies to several parents.
fn router_options<'d>(router: &'d PartitionRouter, out: &mut Vec<SetOption<'d>>) {
    match router {
        PartitionRouter::ListPartitionRouter(list) => add("partition router", list.request_option.as_ref(), out),
        PartitionRouter::SubstreamPartitionRouter(router) => {
            let first = router.parent_stream_configs.first();
            add("partition router", first.and_then(|parent| parent.request_option.as_ref()), out);
        }
        PartitionRouter::UnionPartitionRouter(union) => {
            union.partition_routers.first().into_iter().for_each(|router| router_options(router, out));
        }
        PartitionRouter::GroupingPartitionRouter(_) => {}
    }
}

/// Does the requester itself set that option?
fn is_written(requester: &HttpRequester, option: &SetOption<'_>) -> bool {
    let json = match &requester.request_body {
        Some(RequestBody::RequestBodyJsonObject(body)) => Some(&body.value),
        Some(RequestBody::RequestBodyGraphQL(body)) => Some(&body.value),
        _ => requester.request_body_json.as_ref(),
    };
    let data = match &requester.request_body {
        Some(RequestBody::RequestBodyUrlEncodedForm(body)) => Some(&body.value),
        _ => requester.request_body_data.as_ref(),
    };
    let written: Option<&Text> = match option.channel {
        "request_parameter" => requester.request_parameters.as_ref(),
        "header" => requester.request_headers.as_ref(),
        "body_data" => data,
        "body_json" => json,
        _ => None,
    };
    let Some(mut at) = written.map(|text| &text.value) else { return false };
    for step in &option.path {
        let Some(next) = at.get(step) else { return false };
        at = next;
    }
    // Null and empty values are not sent.
    !at.is_null() && at.as_str() != Some("")
}
