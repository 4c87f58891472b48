//! Reads a single record again, to check whether a field is missing from it.
//!
//! Input: a stream, and a record's key. Output: the record, or `None` if it no longer exists. Called when a stream
//! ends with a field that is suspected to be missing; the config sets the path (`dripfeed.drift.witness`).

use serde_json::{Map, Value as Json};

use super::build::StreamPlan;
use super::context::EngineContext;
use super::requester::{InjectedOptions, RequestContext};
use crate::base::fault::Result;
use crate::base::json::scan::{self, Scanner};
use crate::base::percent;
use crate::drift::monitor::DriftMonitor;
use crate::engine::extract::{self, Records};
use crate::engine::fetch::Outcome;
use crate::manifest::template::Vars;

/// Reads the record with a key.
pub(super) fn read(
    shared: &EngineContext,
    plan: &StreamPlan,
    watched: &DriftMonitor,
    key: &str,
) -> Result<Option<Json>> {
    let Some(path) = watched.witness_path() else { return Ok(None) };
    let path = path.replace("{id}", &percent::segment(key)).trim_start_matches('/').to_owned();
    let partition = Map::new();
    let of_stream = RequestContext::new(shared, &plan.name, &partition);
    let context = RequestContext { json: plan.decoder.is_json(), ..of_stream };
    let added = InjectedOptions { path: Some(path), ..InjectedOptions::default() };
    let Outcome::Page(reply) = plan.requester.ask(context, &Vars::new(&shared.cx), &added)? else { return Ok(None) };
    let mut record = None;
    // A single record may be in place of a list.
    if let Records::Walk(path) = &plan.records {
        let first = &mut |scanner: &mut Scanner<'_>| {
            let start = scanner.at();
            scanner.skip()?;
            record = record.take().or_else(|| scan::json(scanner.slice(start..scanner.at())).ok());
            Ok::<(), extract::WalkError<()>>(())
        };
        drop(extract::walk(&reply.body, path, &[], first));
    }
    Ok(record.or_else(|| scan::json(&reply.body).ok()).filter(Json::is_object))
}
