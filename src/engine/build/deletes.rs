//! Joins the streams with the settings of their deletes.
//!
//! Input: the compiled streams, and the settings by stream. Output: the streams with a [`DeletePlan`], or the fault of
//! a stream that does not exist. Called by [`super::plan()`].

use std::collections::BTreeMap;
use std::sync::Arc;

use super::StreamPlan;
use crate::base::config::deletes::DeleteSettings;
use crate::base::fault::{Fault, Result, did_you_mean};
use crate::engine::deletes::{DeletePlan, StreamKeys};
use crate::manifest::Manifest;

/// Adds to the streams how their deletes are found out; a name that no stream has is refused.
pub(super) fn add(
    streams: &mut [Arc<StreamPlan>],
    settings: &BTreeMap<String, DeleteSettings>,
    manifest: &Manifest,
) -> Result<()> {
    for (name, settings) in settings {
        let Some(at) = streams.iter().position(|stream| *stream.name == **name) else {
            let fault = Fault::config(format!("`deletes` names the stream `{name}`, which does not exist"));
            let known = || streams.iter().map(|stream| &*stream.name);
            return Err(match did_you_mean(name, known()) {
                Some(near) => fault.hint(format!("did you mean `{near}`?")),
                None => fault.hint(format!("the source has {}", known().collect::<Vec<_>>().join(", "))),
            });
        };
        let keys = StreamKeys { name, keys: &streams[at].key_paths };
        let plan = DeletePlan::build(keys, settings, manifest)?.map(Arc::new);
        let ids = settings.ids.as_ref().map(|ids| ids_of(streams, name, ids)).transpose()?;
        let stream = Arc::make_mut(&mut streams[at]);
        stream.ids.clone_from(&ids);
        if let Some(with_state) = &mut stream.with_state {
            let with_state = Arc::make_mut(&mut with_state.stream);
            with_state.deletes.clone_from(&plan);
            with_state.ids = ids;
        }
        stream.deletes = plan;
    }
    Ok(())
}

/// The stream that reads the keys of `name` alone.
fn ids_of(streams: &[Arc<StreamPlan>], name: &str, ids: &str) -> Result<Arc<StreamPlan>> {
    let stream = streams.iter().find(|stream| *stream.name == *name).filter(|stream| *stream.name != *ids);
    let found = streams.iter().find(|stream| *stream.name == *ids);
    let place = format!("`deletes` of `{name}`: `ids` names the stream `{ids}`");
    let Some((stream, found)) = stream.zip(found) else {
        return Err(Fault::config(format!("{place}, which is not another stream of the source"))
            .hint("declare a stream that reads only the keys"));
    };
    if found.key_paths.len() != stream.key_paths.len() || found.jobs.is_some() {
        return Err(Fault::config(format!("{place}, which cannot be used"))
            .hint(format!("it needs as many key fields as `{name}`, and no jobs")));
    }
    Ok(found.clone())
}
