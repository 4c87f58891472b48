//! Collects every fault of compiling a manifest; [`super::plan()`] stops at the first.
//!
//! Input: a manifest with a config, which may be generated. Output: the faults of each stream and of their
//! combination. Called by `cli` for `validate`; no request is sent.

use super::{Build, StreamList, StreamPlan, dynamic};
use crate::base::fault::{Fault, Result};
use crate::manifest::model::{ComponentsResolver, Stream};
use crate::manifest::node::Place;

/// The faults that the start of a run with this manifest would report.
pub fn faults(build: &Build<'_>) -> Vec<Fault> {
    let source = &build.manifest.source;
    let (mut list, mut out) = (StreamList::default(), Vec::new());
    let mut add = |stream: Result<StreamPlan>, at: &Place| {
        out.extend(stream.and_then(|stream| list.add(stream, at)).err());
    };
    for def in source.streams.iter().flatten().filter(|def| !matches!(def, Stream::ConditionalStreams(_))) {
        add(build.stream(def, 0), def.at());
    }
    let mut generated = Vec::new();
    for def in source.dynamic_streams.iter().flatten() {
        generated.push((def.name.as_deref().unwrap_or_default(), Vec::new()));
        // The other resolvers take their values from the vendor or from a config.
        if matches!(def.components_resolver, ComponentsResolver::ParametrizedComponentsResolver(_)) {
            match dynamic::streams(build, def) {
                Ok(streams) => streams.iter().for_each(|stream| add(build.stream(stream, 0), &def.at)),
                Err(fault) => add(Err(fault), &def.at),
            }
        }
    }
    // Any condition may hold, and alternatives may share a name.
    for def in source.streams.iter().flatten() {
        if let Stream::ConditionalStreams(def) = def {
            out.extend(def.streams.iter().filter_map(|def| build.declarative(def, 0).err()));
        }
    }
    out.extend(build.check_names(&list.streams, &generated).err());
    out.extend(build.group(&mut list.streams).err());
    out.extend(build.concurrency().err());
    out
}
