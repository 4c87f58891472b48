//! Plans a source for a GraphQL API with Relay's connections.
//!
//! Input: the answers of a person, or the flags of `dripfeed init --graphql`. Output: a [`SourcePlan`] with one stream.
//! Called by `cli::init`.

use serde_json::json;

use super::plan::{CursorPlan, DECIDE, PageSize, PagingPlan, Slot, SourcePlan, StreamOutline};
use super::rest::{Api, add_auth, source};
use crate::base::fault::{Fault, Kind, Result};

/// Nodes on a page, until somebody knows better.
const PAGE_SIZE: u64 = 50;

/// Plans a GraphQL source.
pub(crate) fn plan(name: &str, api: &Api) -> Result<SourcePlan> {
    let mut out = SourcePlan {
        head: vec![format!("{name}: a GraphQL API. Comments with `decide:` mark what you must look at.")],
        stream_notes: vec![
            "Another stream: copy the definition above under another name, change its query and `field_path`, and \
             add its reference here."
                .to_owned(),
        ],
        streams: vec![stream(api)?],
        ..source(name, api)
    };
    add_auth(&mut out, api.auth);
    Ok(out)
}

/// The fields of the answer that lead to the connection, and to its nodes.
fn connection(api: &Api) -> Result<(Vec<String>, Vec<String>)> {
    let written = api.records.as_deref().unwrap_or("data.items.nodes");
    let steps: Vec<String> = written.split('.').filter(|step| !step.is_empty()).map(str::to_owned).collect();
    let is_name = |step: &String| step.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let is_path = steps.len() > 2 && steps[0] == "data" && steps.iter().all(is_name);
    if !is_path || steps.last().is_some_and(|last| last != "nodes") {
        let fault = format!("--records {written} does not lead to the nodes of a connection");
        return Err(Fault::new(Kind::Usage, fault).hint("with --graphql it is like data.tasks.nodes"));
    }
    let list = steps[..steps.len() - 1].to_vec();
    Ok((list, steps))
}

fn stream(api: &Api) -> Result<StreamOutline> {
    let (list, records) = connection(api)?;
    let key = api.key.clone().unwrap_or_else(|| "id".to_owned());
    let name = list.last().cloned().unwrap_or_default();
    let fields: Vec<&str> = std::iter::once(&*key).chain(api.cursor.as_deref()).collect();
    let inner = format!(
        "{name}(first: $first, after: $after) {{ nodes {{ {} }} pageInfo {{ hasNextPage endCursor }} }}",
        fields.join(" ")
    );
    let outer = list[1..list.len() - 1].iter().rev().fold(inner, |inner, step| format!("{step} {{ {inner} }}"));
    let body = json!({"query": format!("query ($first: Int, $after: String) {{ {outer} }}")});
    let below = |tail: &[&str]| [list.clone(), tail.iter().map(|step| (*step).to_owned()).collect()].concat();
    let variable = |name: &str| Slot::Body(vec!["variables".to_owned(), name.to_owned()]);
    let mut out = StreamOutline {
        name,
        is_listed: true,
        path: api.path.as_deref().unwrap_or("graphql").trim_matches('/').to_owned(),
        parameter_notes: vec![format!("{DECIDE}the fields of a record, between the braces behind `nodes`.")],
        body: Some(body),
        records,
        key: Some(key),
        paging: PagingPlan::Token {
            slot: variable("after"),
            at: below(&["pageInfo", "endCursor"]),
            more: Some(below(&["pageInfo", "hasNextPage"])),
            size: Some(PageSize { slot: Some(variable("first")), size: PAGE_SIZE }),
        },
        paging_notes: vec![format!("{DECIDE}the largest page that the API gives.")],
        cursor: api.cursor.as_deref().map(|field| CursorPlan::iso(field, None)),
        ..StreamOutline::default()
    };
    out.cursor_notes = match &out.cursor {
        Some(cursor) => vec![format!(
            "{DECIDE}which filter of the query takes a start of `{}`? All pages are read, and older records dropped \
             here, until a `start_time_option` replaces `is_client_side_incremental`:\n  start_time_option: {{type: \
             RequestOption, inject_into: body_json, field_path: [variables, filter, {}, gte]}}",
            cursor.field, cursor.field
        )],
        None => Vec::new(),
    };
    out.properties = out.known_properties();
    Ok(out)
}
