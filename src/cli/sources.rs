//! The verb `sources`: lists the built-in sources, the streams of one, or its manifest.
//!
//! Input: the options. Output: one line each, or the manifest unchanged. Called by [`super::run`]; `validate` lists
//! streams the same way.

use clap::Args;
use serde_json::Value as Json;

use super::groups::{LogArgs, SourceArgs};
use crate::base::fault::{Fault, Kind, Result, did_you_mean};
use crate::manifest::model::{DeclarativeStream, PartitionRouter, Stream};
use crate::manifest::{Manifest, builtin};
use crate::run::context::Context;
use crate::run::load::{self};
use crate::run::options::RunOptions;

/// The arguments of `sources`.
#[derive(Debug, Clone, Args)]
pub struct SourcesArgs {
    /// Print the manifest of a built-in source, as a start for your own
    #[arg(long, value_name = "NAME", conflicts_with = "source", help_heading = "Selection")]
    show: Option<String>,
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    log: LogArgs,
}

impl SourcesArgs {
    pub(super) fn fill(&self, asked: &mut RunOptions) {
        self.source.fill(asked);
        self.log.fill(asked);
    }
}

/// The streams of a manifest: their number, and one line each, in columns; dynamic streams are known only with a
/// config.
pub(super) fn describe_all(manifest: &Manifest) -> (usize, String) {
    let streams: Vec<&Stream> = manifest.source.streams.iter().flatten().collect();
    let rows: Vec<[String; 3]> = streams.iter().flat_map(|stream| describe(stream)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let (name, key) = (width(0), width(1));
    let mut lines: String =
        rows.iter().map(|[a, b, c]| format!("{}\n", format!("  {a:name$}  {b:key$}  {c}").trim_end())).collect();
    for dynamic in manifest.source.dynamic_streams.iter().flatten() {
        let name = dynamic.name.as_deref().unwrap_or("without a name");
        lines += &format!("  streams of the template {name}: `discover` lists them\n");
    }
    (streams.len(), lines)
}

/// A stream in one row: name, keys, then cursor and parents; several rows if it depends on state or config.
fn describe(stream: &Stream) -> Vec<[String; 3]> {
    let when = match stream {
        Stream::DeclarativeStream(_) => [""; 2],
        Stream::StateDelegatingStream(_) => ["  without a state", "  with a state"],
        Stream::ConditionalStreams(_) => ["  on a condition"; 2],
    };
    let rows = stream.all().into_iter().enumerate();
    rows.map(|(number, stream)| {
        let [name, key, rest] = describe_one(stream);
        [name, key, rest + when[number.min(1)]]
    })
    .collect()
}

pub(super) fn sources(context: &Context, asked: &SourcesArgs) -> Result<()> {
    let options = &context.options;
    if let Some(name) = &asked.show {
        let text = builtin::manifest(name).ok_or_else(|| unknown(name))?;
        return context.text(text);
    }
    if context.named_source().is_none() && options.config.is_empty() {
        let text: String = builtin::names().iter().map(|n| format!("{n}\n")).collect();
        return context.text(&text);
    }
    let manifest = load::manifest_of(context)?;
    context.text(&format!("{}\n{}", manifest.name, describe_all(&manifest).1))
}

/// The fault for an unknown built-in source.
fn unknown(name: &str) -> Fault {
    let fault = Fault::new(Kind::Usage, format!("there is no built-in source `{name}`"));
    match did_you_mean(name, builtin::names()) {
        Some(near) => fault.hint(format!("did you mean `{near}`?")),
        None => fault.hint(format!("the built-in sources are {}", builtin::names().join(", "))),
    }
}

fn describe_one(stream: &DeclarativeStream) -> [String; 3] {
    let written = |value: &Json| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let name = stream.name.as_ref().map(|n| written(&n.value)).unwrap_or_default();
    let key = stream.primary_key.as_ref().filter(|key| !key.is_null()).map(|key| match key.as_array() {
        Some(parts) => format!("key {}", parts.iter().map(written).collect::<Vec<_>>().join(", ")),
        None => format!("key {}", written(key)),
    });
    let mut rest = match &stream.incremental_sync {
        Some(cursor) => format!("incremental by {}", written(&cursor.cursor_field().value)),
        None => "whole".to_owned(),
    };
    for router in stream.retriever.routers() {
        if let PartitionRouter::ListPartitionRouter(list) = router {
            rest += &format!("  for each {}", written(&list.cursor_field.value));
        }
        for config in router.parents() {
            let parent = config.stream.all().first().and_then(|p| p.name.as_ref()).map(|n| written(&n.value));
            rest += &format!("  for each of {}", parent.unwrap_or_default());
        }
    }
    [name, key.unwrap_or_else(|| "no key".to_owned()), rest]
}
