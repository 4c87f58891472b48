//! Plans a source from an OpenAPI document: versions 2 (Swagger), 3.0 and 3.1.
//!
//! Input: the document, and the paths that a person chose. Output: a [`SourcePlan`] with a stream for each path; what
//! the document leaves open is a comment in it. Called by `cli::init`.
//!
//! `document` reads, `records` finds lists, `schema` converts, `paging`, `cursor`, `selection` and `security`
//! recognize, `streams` puts it together.

mod cursor;
mod document;
mod names;
mod paging;
mod records;
mod schema;
mod security;
mod selection;
mod streams;

pub(crate) use document::Description;

use super::config::ConfigKey;
use super::plan::{DECIDE, SourcePlan};
use super::rest::{AuthKind, add_auth};
use crate::base::fault::{Fault, Kind, Result, did_you_mean};
use document::Operation;
use streams::Planner;

/// What a person says about the source, beside the document.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    /// The file's name, for comments.
    pub(crate) file: String,
    /// The chosen paths.
    pub(crate) paths: Vec<String>,
    /// The base of all URLs instead of the document's.
    pub(crate) url: Option<String>,
    /// The authenticator instead of the document's.
    pub(crate) auth: Option<AuthKind>,
}

/// The paths that answer with lists.
pub(crate) fn lists(document: &Description) -> Vec<String> {
    let operations = document.operations();
    let is_list =
        |operation: &&Operation<'_>| !names::is_single(operation.path) && records::find(document, operation).is_some();
    operations.iter().filter(is_list).map(|operation| operation.path.to_owned()).collect()
}

/// Plans a source with a stream for each chosen path.
///
/// # Errors
/// A path is not in the document.
pub(crate) fn plan(name: &str, document: &Description, wishes: &Wishes) -> Result<SourcePlan> {
    let chosen: Vec<Operation<'_>> = wishes.paths.iter().map(|path| find(document, path)).collect::<Result<_>>()?;
    let info = document.root("info");
    let title = info["title"].as_str().unwrap_or(name).to_owned();
    let version = info["version"].as_str().map_or_else(String::new, |version| format!(", version {version}"));
    let mut plan = SourcePlan { name: name.to_owned(), title: title.clone(), ..SourcePlan::default() };
    plan.head = vec![
        format!("{name}: made from the OpenAPI document {} ({title}{version}).", wishes.file),
        "Comments with `decide:` mark what the document leaves open.".to_owned(),
    ];
    if let Some(url) = &wishes.url {
        let key = ConfigKey::required("url", "Address", "The address that all paths begin with.");
        plan.keys.push(key.or(url));
        plan.url_base = format!("{{{{ config.get('url') or '{url}' }}}}");
    } else {
        security::address(document, &mut plan);
    }
    match wishes.auth {
        Some(kind) => add_auth(&mut plan, kind),
        None => security::authenticate(document, &chosen, &mut plan),
    }
    let mut planner = Planner::new(document, plan);
    for operation in &chosen {
        planner.add(operation, true);
    }
    let mut plan = planner.plan;
    // The parameters of a stream replace those of the shared requester.
    for stream in plan.streams.iter_mut().filter(|stream| !stream.parameters.is_empty()) {
        stream.parameters.splice(0..0, plan.parameters.iter().cloned());
    }
    if plan.streams.iter().all(|stream| stream.cursor.is_none()) {
        plan.stream_notes.push(format!("{DECIDE}no stream is incremental: each run reads everything."));
    }
    Ok(plan)
}

/// The operation of a path that a person wrote: whole, or its end where only one path has it.
fn find<'d>(document: &'d Description, written: &str) -> Result<Operation<'d>> {
    let path = format!("/{}", written.trim_matches('/'));
    if let Some(found) = document.operation(&path).or_else(|| document.operation(written)) {
        return Ok(found);
    }
    let operations = document.operations();
    let mut by_end: Vec<&Operation<'d>> =
        operations.iter().filter(|operation| operation.path.ends_with(&path)).collect();
    // The shortest is the list itself, if it is the end of the others too: `/v1/tasks` and `/v1/projects/{id}/tasks`.
    by_end.sort_by_key(|operation| operation.path.matches('{').count());
    let is_only = by_end.get(1).is_none_or(|second| second.path.contains('{') && !by_end[0].path.contains('{'));
    if let (Some(first), true) = (by_end.first(), is_only) {
        return Ok((*first).clone());
    }
    let fault = Fault::new(Kind::Usage, format!("the document has no GET {path}"));
    let known: Vec<&str> = operations.iter().map(|operation| operation.path).collect();
    Err(match did_you_mean(&path, known.iter().copied()) {
        Some(near) => fault.hint(format!("did you mean {near}?")),
        None => fault.hint("without --paths, the lists of the document are shown"),
    })
}
