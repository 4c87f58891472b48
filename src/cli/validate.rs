//! The verb `validate`: everything that is wrong with a manifest.
//!
//! Comes in: the manifest's path. Goes out: its faults as log lines, its streams on stdout. Called by [`super::run`].

use serde_json::{Value as Json, json};

use crate::base::fault::{Fault, Result};
use crate::manifest::model::{Check, Stream};
use crate::manifest::template::{self, Template};
use crate::manifest::{Manifest, lint};
use crate::run::context::Context;
use crate::run::load::{self};
use crate::run::log::Level;

/// Says everything that is wrong with a manifest; then what it has.
pub(super) fn validate(context: &Context, path: &std::path::Path) -> Result<()> {
    let shown = path.display().to_string();
    let text =
        std::fs::read_to_string(path).map_err(|e| Fault::config(format!("cannot read the manifest {shown}: {e}")))?;
    let examined = lint::examine(&text, &shown)?;
    let mut said: Vec<(Level, Fault)> = examined.faults.into_iter().map(|fault| (Level::Error, fault)).collect();
    let known: Vec<&str> = template::NAMES.iter().copied().chain(examined.extra.iter().map(String::as_str)).collect();
    for (text, at) in examined.templates {
        match Template::of(&json!(text), &at, &known) {
            Err(fault) => said.push((Level::Error, fault)),
            // It costs its stream, and that only when it is needed. Which names there are depends on the place: a list
            // of all would say nothing.
            Ok(template) => said.extend(template.known().err().map(|fault| {
                let hint = fault.hint.filter(|hint| !hint.starts_with("here"));
                (Level::Warning, Fault { hint, ..fault })
            })),
        }
    }
    let refused = said.iter().any(|(level, _)| *level == Level::Error);
    let source = examined.source.filter(|_| !refused);
    let manifest = source.map(|source| Manifest::of_source(source, path)).transpose()?;
    if let Some(manifest) = &manifest {
        let schema = load::specification(manifest);
        said.extend(jsonschema::meta::validate(&schema).err().map(|e| {
            let fault = format!("{shown}: the connection specification is not a valid JSON schema: {}", e.masked());
            (Level::Error, Fault::config(fault))
        }));
        said.extend(unknown_checks(manifest).into_iter().map(|name| {
            let fault = format!("{shown}: `check` names the stream `{name}`, which does not exist: it will fail");
            (Level::Warning, Fault::config(fault))
        }));
    }
    let untyped = manifest.iter().flat_map(|manifest| lint::untyped_texts(&manifest.source));
    said.extend(untyped.map(|fault| (Level::Warning, fault)));
    said.sort_by_key(|(_, fault)| fault.location.as_ref().map_or(0, |location| location.line));
    for (level, fault) in &said {
        context.log.line(*level, &fault.to_string());
    }
    match (said.iter().filter(|(level, _)| *level == Level::Error).count(), manifest) {
        (0, Some(manifest)) => {
            let (count, lines) = super::sources::describe_all(&manifest);
            context.text(&format!("{shown}: {count} streams\n{lines}"))
        }
        (1, _) => Err(Fault::config(format!("{shown} cannot be used"))),
        (faults, _) => Err(Fault::config(format!("{shown} cannot be used: {faults} faults"))),
    }
}

/// The streams that a check names and that are not there, as far as a manifest without a config tells.
fn unknown_checks(manifest: &Manifest) -> Vec<&String> {
    let source = &manifest.source;
    let Check::CheckStream(check) = &source.check else { return Vec::new() };
    if source.dynamic_streams.is_some() {
        return Vec::new();
    }
    let streams = source.streams.iter().flatten().flat_map(Stream::all);
    let names: Vec<&Json> = streams.filter_map(|stream| stream.name.as_ref().map(|name| &name.value)).collect();
    let written = |name: &Json| name.as_str().is_some_and(|name| name.contains("{{"));
    if names.iter().any(|name| written(name)) {
        return Vec::new();
    }
    let all = check.stream_names.iter().flatten();
    all.filter(|name| !names.iter().any(|known| **known == **name)).collect()
}
