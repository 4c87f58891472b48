//! The verb `sources`: the built-in sources, or the streams of one.
//!
//! Comes in: the options. Goes out: a line for each. Called by [`super::run`]; `validate` shows streams the same way.

use serde_json::Value as Json;

use crate::base::fault::Result;
use crate::manifest::Manifest;
use crate::manifest::model::{DeclarativeStream, PartitionRouter, Stream};
use crate::run::context::Context;
use crate::run::load::{self};

/// The streams of a manifest: their number and a line for each; those of a template are known only with a config.
pub(super) fn describe_all(manifest: &Manifest) -> (usize, String) {
    let streams: Vec<&Stream> = manifest.source.streams.iter().flatten().collect();
    let mut lines: String = streams.iter().map(|stream| describe(stream)).collect();
    for dynamic in manifest.source.dynamic_streams.iter().flatten() {
        let name = dynamic.name.as_deref().unwrap_or("without a name");
        lines += &format!("  streams of the template {name}: `discover` says which there are\n");
    }
    (streams.len(), lines)
}

/// A stream in a line: name, keys, cursor, parents; one that depends on state or config in several.
fn describe(stream: &Stream) -> String {
    let when = match stream {
        Stream::DeclarativeStream(_) => [""; 2],
        Stream::StateDelegatingStream(_) => ["  without a state", "  with a state"],
        Stream::ConditionalStreams(_) => ["  on a condition"; 2],
    };
    let lines = stream.all().into_iter().enumerate();
    lines.map(|(number, stream)| format!("{}{}\n", describe_one(stream), when[number.min(1)])).collect()
}

pub(super) fn sources(context: &Context) -> Result<()> {
    let options = &context.options;
    if context.named_source().is_none() && options.config.is_empty() {
        let text: String = crate::manifest::builtin::names().iter().map(|n| format!("{n}\n")).collect();
        return context.text(&text);
    }
    let manifest = load::manifest_of(context)?;
    context.text(&format!("{}\n{}", manifest.name, describe_all(&manifest).1))
}

fn describe_one(stream: &DeclarativeStream) -> String {
    let written = |value: &Json| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let name = stream.name.as_ref().map(|n| written(&n.value)).unwrap_or_default();
    let mut line = format!("  {name}");
    if let Some(key) = stream.primary_key.as_ref().filter(|k| !k.is_null()) {
        line += &format!(
            "  key {}",
            key.as_array().map_or_else(|| written(key), |k| k.iter().map(written).collect::<Vec<_>>().join(", "))
        );
    }
    match &stream.incremental_sync {
        Some(cursor) => line += &format!("  incremental by {}", written(&cursor.cursor_field().value)),
        None => line += "  whole",
    }
    for router in stream.retriever.routers() {
        if let PartitionRouter::ListPartitionRouter(list) = router {
            line += &format!("  for each {}", written(&list.cursor_field.value));
        }
        for config in router.parents() {
            let parent = config.stream.all().first().and_then(|p| p.name.as_ref()).map(|n| written(&n.value));
            line += &format!("  for each of {}", parent.unwrap_or_default());
        }
    }
    line
}
