//! The identity of a stream's records and bookmarks.
//!
//! Input: a stream's definition. Output: the paths of its key, a hash of everything that determines which records a
//! bookmark covers, and the partition in older states. Called by [`super::stream`].

use serde_json::{Value as Json, json};
use sha2::Digest as _;

use crate::base::fault::Result;
use crate::base::json::python;
use crate::engine::cursor::partitions::LegacyPartition;
use crate::manifest::model::{
    DeclarativeStream, Filter, HttpRequester, PartitionRouter, SimpleRetriever, StateMigration,
};
use crate::manifest::template::{EvalContext, Template, Vars};

/// The paths of a stream's key fields.
pub(super) fn keys(def: &DeclarativeStream) -> Result<Vec<Vec<String>>> {
    let bad = || def.at.field("primary_key", None).fault("`primary_key` must be a field name or a list of them");
    let single = |value: &Json| match value {
        Json::String(s) => Ok(vec![s.clone()]),
        Json::Array(path) if !path.is_empty() => {
            path.iter().map(|step| step.as_str().map(str::to_owned).ok_or_else(bad)).collect()
        }
        _ => Err(bad()),
    };
    Ok(match &def.primary_key {
        None | Some(Json::Null) => Vec::new(),
        Some(Json::String(s)) if s.is_empty() => Vec::new(),
        Some(Json::Array(items)) => items.iter().map(single).collect::<Result<_>>()?,
        Some(one) => vec![single(one)?],
    })
}

/// A hash of everything that determines which records a bookmark covers.
pub(super) fn filters_hash(def: &DeclarativeStream, retriever: &SimpleRetriever, requester: &HttpRequester) -> String {
    let cursor = def.incremental_sync.as_ref().map(|c| &c.cursor_field().value);
    let filter = match &retriever.record_selector.record_filter {
        Some(Filter::RecordFilter(f)) => f.condition.as_ref().map(|c| &c.value),
        None => None,
    };
    let what = json!([requester.path.as_ref().map(|p| &p.value), cursor, filter]);
    let hash = sha2::Sha256::digest(python::canonical(&what).as_bytes());
    hash.iter().take(6).map(|b| format!("{b:02x}")).collect()
}

/// The partition in states of an older format, if the manifest migrates them.
pub(super) fn legacy_partition(
    def: &DeclarativeStream,
    routers: &[PartitionRouter],
    cx: &EvalContext,
) -> Result<Option<LegacyPartition>> {
    let Some(StateMigration::LegacyToPerPartitionStateMigration(migration)) =
        def.state_migrations.iter().flatten().next()
    else {
        return Ok(None);
    };
    if def.incremental_sync.is_none() {
        return Err(migration.at.fault("the migration needs an `incremental_sync`"));
    }
    let (field, has_parent_slice) = match routers {
        [PartitionRouter::SubstreamPartitionRouter(router)] => match &router.parent_stream_configs[..] {
            [parent] => (&parent.partition_field, true),
            // With several parents it is unknown whose ids a state contains: such states are left unchanged.
            _ => return Ok(None),
        },
        [PartitionRouter::UnionPartitionRouter(router)] => (&router.partition_field, false),
        _ => {
            let fault = migration.at.fault("the migration needs one SubstreamPartitionRouter or UnionPartitionRouter");
            return Err(fault);
        }
    };
    let field = Template::compile(field, &[])?.text(&Vars::new(cx))?;
    Ok(Some(LegacyPartition { field, has_parent_slice }))
}
