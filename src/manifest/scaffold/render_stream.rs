//! Writes a planned stream and its paginator as components of a manifest.
//!
//! Input: the streams of a plan. Output: their definitions. Called by `render`.

use serde_json::{Map, Value as Json, json};

use super::plan::{CursorPlan, PageSize, PagingPlan, ParentPlan, Slot, StreamOutline, lookup};
use super::yaml_text::{Yaml, YamlMap};

/// The different paginators of a source, each with its name under `definitions`.
pub(crate) struct Paginators(Vec<(String, PagingPlan, Vec<String>)>);

impl Paginators {
    /// The paginators of all streams, each once.
    pub(crate) fn of(streams: &[StreamOutline]) -> Paginators {
        let mut out: Vec<(String, PagingPlan, Vec<String>)> = Vec::new();
        for stream in streams.iter().filter(|stream| stream.paging != PagingPlan::None) {
            if out.iter().any(|(_, paging, notes)| *paging == stream.paging && *notes == stream.paging_notes) {
                continue;
            }
            let base = format!("pages_by_{}", kind(&stream.paging));
            let count = out.iter().filter(|(name, ..)| name.starts_with(&base)).count();
            let name = if count == 0 { base } else { format!("{base}_{}", count + 1) };
            out.push((name, stream.paging.clone(), stream.paging_notes.clone()));
        }
        Paginators(out)
    }

    /// Adds the definitions.
    pub(crate) fn definitions(&self, mut map: YamlMap) -> YamlMap {
        for (name, paging, notes) in &self.0 {
            map = map.blank().notes(notes);
            map = map.set(name, paginator(paging));
        }
        map
    }

    fn reference(&self, stream: &StreamOutline) -> YamlMap {
        let own = self.0.iter().find(|(_, paging, notes)| *paging == stream.paging && *notes == stream.paging_notes);
        own.map_or_else(|| YamlMap::of("NoPagination"), |(name, ..)| YamlMap::reference(name))
    }
}

fn kind(paging: &PagingPlan) -> &'static str {
    match paging {
        PagingPlan::None => "none",
        PagingPlan::Page { .. } => "number",
        PagingPlan::Offset { .. } => "offset",
        PagingPlan::Token { .. } => "token",
        PagingPlan::BodyLink { .. } | PagingPlan::HeaderLink { .. } => "link",
    }
}

/// A definition of a stream.
pub(crate) fn stream(stream: &StreamOutline, paginators: &Paginators) -> YamlMap {
    let selector = YamlMap::of("RecordSelector").set(
        "extractor",
        YamlMap::of("DpathExtractor").notes(&stream.record_notes).set("field_path", json!(stream.records)),
    );
    let mut retriever =
        YamlMap::of("SimpleRetriever").set("requester", requester(stream)).set("record_selector", selector);
    if stream.paging == PagingPlan::None {
        retriever = retriever.notes(&stream.paging_notes);
    }
    retriever = retriever.set("paginator", paginators.reference(stream));
    if let Some(parent) = &stream.parent {
        retriever = retriever.set("partition_router", router(parent));
    }
    let mut out = YamlMap::of("DeclarativeStream").set("name", &*stream.name).notes(&stream.key_notes);
    if let Some(key) = &stream.key {
        out = out.set("primary_key", json!([key]));
    }
    out = out.set("retriever", retriever).notes(&stream.cursor_notes);
    if let Some(cursor) = &stream.cursor {
        out = out.set("incremental_sync", incremental(cursor));
    }
    if let Some(parent) = stream.parent.as_ref().filter(|parent| parent.adds_field) {
        out = out.set("transformations", Yaml::List(vec![parent_field(parent).into()]));
    }
    out.set("schema_loader", schema_loader(stream))
}

fn requester(stream: &StreamOutline) -> YamlMap {
    let parameters: Map<String, Json> =
        stream.parameters.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    let mut out = YamlMap::reference("requester").set("path", &*stream.path).notes(&stream.parameter_notes);
    if !parameters.is_empty() {
        out = out.set("request_parameters", Json::Object(parameters));
    }
    out.set_some("request_body_json", stream.body.clone())
}

fn schema_loader(stream: &StreamOutline) -> YamlMap {
    let one = |out: YamlMap, (key, schema): (&String, &Json)| out.set(key, schema.clone());
    let mut schema = YamlMap::of("object").notes(&stream.schema_notes).set("additionalProperties", json!(true));
    schema = if stream.properties.is_empty() {
        schema.set("properties", json!({}))
    } else {
        schema.set("properties", stream.properties.iter().fold(YamlMap::default(), one))
    };
    YamlMap::of("InlineSchemaLoader").set("schema", schema)
}

fn option(slot: &Slot) -> YamlMap {
    let out = YamlMap::of("RequestOption");
    match slot {
        Slot::Query(name) => out.set("inject_into", "request_parameter").set("field_name", &**name),
        Slot::Body(path) => out.set("inject_into", "body_json").set("field_path", json!(path)),
    }
}

fn paginator(paging: &PagingPlan) -> YamlMap {
    let with_size =
        |out: YamlMap, size: Option<&PageSize>| out.set_some("page_size", size.map(|size| json!(size.size)));
    let (strategy, size, token) = match paging {
        PagingPlan::None => return YamlMap::of("NoPagination"),
        PagingPlan::Page { slot, first, size } => {
            let strategy = with_size(YamlMap::of("PageIncrement"), size.as_ref()).set("start_from_page", json!(first));
            (strategy.set("inject_on_first_request", json!(true)), size, option(slot))
        }
        PagingPlan::Offset { slot, size } => {
            let strategy = with_size(YamlMap::of("OffsetIncrement"), size.as_ref());
            (strategy.set("inject_on_first_request", json!(true)), size, option(slot))
        }
        PagingPlan::Token { slot, at, more, size } => {
            let more = more.as_ref().map(|flag| lookup(flag));
            (by_cursor(&lookup(at), more.as_deref(), size.as_ref()), size, option(slot))
        }
        PagingPlan::BodyLink { at, size } => {
            (by_cursor(&lookup(at), None, size.as_ref()), size, YamlMap::of("RequestPath"))
        }
        PagingPlan::HeaderLink { size } => {
            let goes_on = Some("headers['link']['next']");
            let strategy = by_cursor("headers['link']['next']['url']", goes_on, size.as_ref());
            (strategy, size, YamlMap::of("RequestPath"))
        }
    };
    YamlMap::of("DefaultPaginator")
        .set("pagination_strategy", strategy)
        .set_some("page_size_option", size.as_ref().and_then(|size| size.slot.as_ref()).map(option))
        .set("page_token_option", token)
}

/// Without `goes_on` the pages end where there is no token. To write that as a condition too would hide from the engine
/// that the token is looked for in the wrong place.
fn by_cursor(value: &str, goes_on: Option<&str>, size: Option<&PageSize>) -> YamlMap {
    YamlMap::of("CursorPagination")
        .set_some("page_size", size.map(|size| json!(size.size)))
        .set("cursor_value", format!("{{{{ {value} }}}}").as_str())
        .set_some("stop_condition", goes_on.map(|goes_on| json!(format!("{{{{ not {goes_on} }}}}"))))
}

fn incremental(cursor: &CursorPlan) -> YamlMap {
    let start = YamlMap::of("MinMaxDatetime")
        .set("datetime", "{{ config['start_date'] }}")
        .set("datetime_format", "%Y-%m-%dT%H:%M:%SZ");
    let out = YamlMap::of("DatetimeBasedCursor")
        .set("cursor_field", &*cursor.field)
        .set("datetime_format", cursor.format)
        .set("cursor_datetime_formats", json!(cursor.record_formats))
        .set("start_datetime", start);
    match &cursor.since {
        Some(slot) => out.set("start_time_option", option(slot)),
        None => out.set("is_client_side_incremental", json!(true)),
    }
}

fn router(parent: &ParentPlan) -> YamlMap {
    let config = YamlMap::of("ParentStreamConfig")
        .set("stream", YamlMap::reference(&parent.stream))
        .set("parent_key", &*parent.key)
        .set("partition_field", &*parent.field);
    YamlMap::of("SubstreamPartitionRouter").set("parent_stream_configs", Yaml::List(vec![config.into()]))
}

/// Adds the parent's key to each record.
fn parent_field(parent: &ParentPlan) -> YamlMap {
    let field = YamlMap::of("AddedFieldDefinition")
        .set("path", json!([parent.field]))
        .set("value", format!("{{{{ stream_partition['{}'] }}}}", parent.field).as_str())
        .set("value_type", if parent.is_number { "integer" } else { "string" });
    YamlMap::of("AddFields").set("fields", Yaml::List(vec![field.into()]))
}
