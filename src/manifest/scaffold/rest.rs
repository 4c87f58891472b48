//! Plans a source for a REST API of which little is known.
//!
//! Input: the answers of a person, or the flags of `dripfeed init --rest`. Output: a [`SourcePlan`] with one stream.
//! Called by `cli::init`.

use super::config::ConfigKey;
use super::plan::{AuthPlan, CursorPlan, DECIDE, PageSize, PagingPlan, Slot, SourcePlan, StreamOutline};
use super::render::pages_by_body;
use crate::base::fault::{Fault, Kind, Result};

/// Records on a page, until somebody knows better.
const PAGE_SIZE: u64 = 100;

/// How to write the page that a link leads to; a comment.
const MORE_STREAMS: &str = "\
Another stream: copy the definition above under another name, change `name`, `path` and the schema, and add its \
reference here.";

/// How a list is paged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RestPaging {
    Page,
    Offset,
    Token,
    Link,
    None,
}

/// How requests are authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AuthKind {
    Bearer,
    Key,
    Basic,
    OAuth,
    None,
}

/// What is known of an API with one list.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    /// The base of its URLs; without it, the config holds it.
    pub(crate) url: Option<String>,
    /// The path of the list; for GraphQL of the endpoint.
    pub(crate) path: Option<String>,
    /// Where the list is in an answer, with dots; `.` is the answer itself.
    pub(crate) records: Option<String>,
    pub(crate) key: Option<String>,
    pub(crate) paging: Option<RestPaging>,
    /// The field that tells when a record changed.
    pub(crate) cursor: Option<String>,
    /// The parameter that filters by it.
    pub(crate) since: Option<String>,
    pub(crate) auth: AuthKind,
}

/// Plans a REST source.
pub(crate) fn plan(name: &str, api: &Api) -> Result<SourcePlan> {
    let stream = stream(api)?;
    let mut out = SourcePlan {
        head: vec![format!("{name}: a REST API. Comments with `decide:` mark what you must look at.")],
        stream_notes: vec![MORE_STREAMS.to_owned()],
        streams: vec![stream],
        ..source(name, api)
    };
    add_auth(&mut out, api.auth);
    Ok(out)
}

/// A source with the address of the API.
pub(super) fn source(name: &str, api: &Api) -> SourcePlan {
    let key = ConfigKey::required("url", "Address", "The address that all paths begin with.");
    let (key, url_base) = match &api.url {
        Some(url) => (key.or(url), format!("{{{{ config.get('url') or '{url}' }}}}")),
        None => (key.like(Some("https://api.example.com/v1")), "{{ config['url'] }}".to_owned()),
    };
    SourcePlan { name: name.to_owned(), title: name.to_owned(), url_base, keys: vec![key], ..SourcePlan::default() }
}

/// Adds how requests are authenticated, where only the kind is known.
pub(crate) fn add_auth(plan: &mut SourcePlan, kind: AuthKind) {
    let (auth, note) = match kind {
        AuthKind::None => (AuthPlan::None, None),
        AuthKind::Bearer => (AuthPlan::Bearer, None),
        AuthKind::Basic => (AuthPlan::Basic, None),
        AuthKind::Key => {
            let auth = AuthPlan::Key { in_header: true, name: "X-Api-Key".to_owned() };
            (auth, Some("the name of the header; for a parameter `inject_into: request_parameter`."))
        }
        AuthKind::OAuth => {
            let what = "The address that gives access tokens.";
            let key = ConfigKey::required("token_url", "Token address", what);
            plan.keys.push(key.like(Some("https://api.example.com/oauth/token")));
            let auth = AuthPlan::OAuth { token_url: "{{ config['token_url'] }}".to_owned(), refreshes: true };
            (auth, Some("does each refresh void the refresh token before it? Then add `refresh_token_updater: {}`."))
        }
    };
    plan.auth = auth;
    plan.auth_notes = note.into_iter().map(|note| format!("{DECIDE}{note}")).collect();
}

fn stream(api: &Api) -> Result<StreamOutline> {
    let path = api.path.as_deref().unwrap_or("items").trim_matches('/').to_owned();
    let paging = api.paging.unwrap_or(RestPaging::Page);
    let (records, record_notes) = records(api, paging);
    let (paging, paging_notes) = paging_plan(paging);
    if records.is_empty() && pages_by_body(&paging) {
        let fault = "a list that is the whole answer has no place for a page token";
        return Err(Fault::new(Kind::Usage, fault).hint("give --records, or another --paging"));
    }
    let key = api.key.clone().unwrap_or_else(|| "id".to_owned());
    let (cursor, cursor_notes) = cursor(api);
    let mut out = StreamOutline {
        name: stream_name(&path),
        is_listed: true,
        path,
        records,
        record_notes,
        key: Some(key),
        paging,
        paging_notes,
        cursor,
        cursor_notes,
        schema_notes: vec!["Other fields are sent too, with the types that the records show.".to_owned()],
        ..StreamOutline::default()
    };
    if api.key.is_none() {
        out.key_notes.push(format!("{DECIDE}which field identifies a record?"));
    }
    out.properties = out.known_properties();
    Ok(out)
}

/// The stream's name: the last word of its path.
pub(super) fn stream_name(path: &str) -> String {
    let last = path.split('?').next().unwrap_or(path).rsplit('/').find(|part| part.chars().any(char::is_alphanumeric));
    let name = last.unwrap_or("items").replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    let name = name.trim_matches('_').to_lowercase();
    if name.is_empty() { "items".to_owned() } else { name }
}

/// Where the list is: given, or the whole answer with links in headers, or under `data`.
fn records(api: &Api, paging: RestPaging) -> (Vec<String>, Vec<String>) {
    if let Some(path) = &api.records {
        return (path.split('.').filter(|step| !step.is_empty()).map(str::to_owned).collect(), Vec::new());
    }
    let path = if paging == RestPaging::Link { vec![] } else { vec!["data".to_owned()] };
    let note = format!("{DECIDE}where is the list in an answer? `[]` is the answer itself, `[data, items]` a path.");
    (path, vec![note])
}

fn cursor(api: &Api) -> (Option<CursorPlan>, Vec<String>) {
    let Some(field) = &api.cursor else {
        let note = "The stream is read whole each time. If records tell when they changed, an `incremental_sync` \
                    reads only changes; see the recipes.";
        return (None, vec![note.to_owned()]);
    };
    let plan = CursorPlan::iso(field, api.since.clone().map(Slot::Query));
    let note = if api.since.is_some() {
        format!("{DECIDE}does `{field}` look like 2024-01-31T12:00:00Z? Else change the formats.")
    } else {
        format!(
            "{DECIDE}which parameter filters by `{field}`? All pages are read, and older records dropped here, until a \
             `start_time_option` replaces `is_client_side_incremental`:\n  start_time_option: {{type: RequestOption, \
             inject_into: request_parameter, field_name: updated_since}}"
        )
    };
    (Some(plan), vec![note])
}

fn paging_plan(kind: RestPaging) -> (PagingPlan, Vec<String>) {
    let query = |name: &str| Slot::Query(name.to_owned());
    let size = |name: &str| Some(PageSize { slot: Some(query(name)), size: PAGE_SIZE });
    let (plan, note) = match kind {
        RestPaging::None => return (PagingPlan::None, vec!["One request brings the whole list.".to_owned()]),
        RestPaging::Page => (
            PagingPlan::Page { slot: query("page"), first: 1, size: size("per_page") },
            "the names of the parameters, the number of the first page, and the largest page that the API gives. A \
             page with fewer records than `page_size` is the last one.",
        ),
        RestPaging::Offset => (
            PagingPlan::Offset { slot: query("offset"), size: size("limit") },
            "the names of the parameters, and the largest page that the API gives. A page with fewer records than \
             `page_size` is the last one.",
        ),
        RestPaging::Token => (
            PagingPlan::Token {
                slot: query("cursor"),
                at: vec!["next_cursor".to_owned()],
                more: None,
                size: size("limit"),
            },
            "the names of the parameters, the field with the token, and the largest page that the API gives.",
        ),
        RestPaging::Link => (
            PagingPlan::HeaderLink { size: size("per_page") },
            "the name of the parameter, and the largest page that the API gives. Links come from the `Link` header; if \
             they are in the body: `cursor_value: \"{{ response.get('next') }}\"`.",
        ),
    };
    (plan, vec![format!("{DECIDE}{note}")])
}
