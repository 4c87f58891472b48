//! Schemas from samples of the vendor's records.
//!
//! Input: the streams to sample. Output: an inferred schema for each, and, if asked, the files in which the manifest
//! keeps its schemas. Called by the verb `discover --infer`. A field that the manifest declares and no sampled record
//! has keeps its declaration.

use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use super::context::Context;
use super::load;
use super::log::Level;
use super::test_read::TestReader;
use crate::base::display::number;
use crate::base::fault::{Fault, Result};
use crate::base::user_file;
use crate::engine::sample::SampleSize;
use crate::manifest::model::{DeclarativeStream, SchemaLoader, Stream};
use crate::manifest::{Manifest, edit};

/// How many slices of a stream to try until one has records.
const SLICES: usize = 20;

/// How to infer schemas.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Inferring {
    /// The pages of each stream.
    pub(crate) pages: usize,
    /// Are the schemas written to where the manifest keeps them?
    pub(crate) write: bool,
}

/// The schema of a stream.
pub(crate) struct InferredSchema {
    pub(crate) stream: String,
    pub(crate) schema: Json,
    /// The records that it comes from.
    records: usize,
}

/// Infers the schemas of the selected streams; a stream that cannot be read is reported, and left out.
pub(crate) fn infer(context: &Context, asked: Inferring) -> Result<Vec<InferredSchema>> {
    let inferred = context.interruptible(move |context| sampled(context, asked.pages))?;
    if asked.write {
        write(context, &inferred)?;
    }
    Ok(inferred)
}

/// Samples the selected streams.
fn sampled(context: &Context, pages: usize) -> Result<Vec<InferredSchema>> {
    let reader = TestReader::load(context)?;
    let chosen = &context.options.streams;
    chosen.iter().try_for_each(|name| reader.stream(Some(name)).map(drop))?;
    let is_chosen = |name: &str| chosen.is_empty() || chosen.iter().any(|chosen| chosen == name);
    let mut out = Vec::new();
    let mut failed = None;
    for stream in reader.streams().iter().filter(|stream| is_chosen(&stream.name)) {
        let report = reader.read(stream, SampleSize { pages, slices: SLICES })?;
        let pages = report.slices.iter().flat_map(|slice| &slice.pages);
        let records: usize = pages.map(|page| page.records.len()).sum();
        if let Some(error) = report.error {
            context.log.line(Level::Error, &error.fault.clone().of_stream(&stream.name).to_string());
            failed = failed.or(Some(error.fault));
        }
        if records == 0 {
            let message = format!("stream `{}`: no record was found, so its schema stays as it is", stream.name);
            context.log.line(Level::Warning, &message);
            continue;
        }
        let schema = with_declared(report.inferred_schema, &report.declared_schema);
        out.push(InferredSchema { stream: report.stream, schema, records });
    }
    match failed {
        Some(fault) if out.is_empty() => Err(fault),
        _ => Ok(out),
    }
}

/// The inferred schema, with declared fields that no record had, and with the descriptions of declared ones.
fn with_declared(mut inferred: Json, declared: &Json) -> Json {
    let Some(fields) = inferred["properties"].as_object_mut() else { return inferred };
    for (name, field) in declared["properties"].as_object().into_iter().flatten() {
        match fields.get_mut(name) {
            None => drop(fields.insert(name.clone(), field.clone())),
            Some(inferred) if inferred.as_object().is_some_and(serde_json::Map::is_empty) => *inferred = field.clone(),
            Some(inferred) => {
                if let (Some(inferred), Some(text)) = (inferred.as_object_mut(), field.get("description")) {
                    inferred.insert("description".to_owned(), text.clone());
                }
            }
        }
    }
    inferred
}

/// Writes the schemas to where the manifest keeps them: a file for a stream without inline schema, else the manifest.
fn write(context: &Context, schemas: &[InferredSchema]) -> Result<()> {
    let manifest = load::manifest_of(context)?;
    let folder = manifest.folder.clone();
    let path = context.named_source().map(PathBuf::from).filter(|path| path.is_file());
    let (Some(folder), Some(path)) = (folder, path) else {
        return Err(Fault::config("--write needs a manifest file: a built-in source has its schemas in the binary")
            .hint("take a copy first: dripfeed sources --show NAME > my.yaml"));
    };
    for InferredSchema { stream, schema, records } in schemas {
        let definition = definition(&manifest, stream)?;
        let place = match definition.schema_loader.as_ref().map(|loaders| &loaders.0[..]) {
            None | Some([]) => Place::File(folder.join("schemas").join(format!("{stream}.json"))),
            Some([SchemaLoader::JsonFileSchemaLoader(file)]) => match &file.file_path {
                None => Place::File(folder.join("schemas").join(format!("{stream}.json"))),
                Some(text) => Place::File(folder.join(text.value.as_str().unwrap_or_default())),
            },
            Some([SchemaLoader::InlineSchemaLoader(inline)]) => Place::Inline(inline.at.location.line),
            Some(_) => {
                let message = format!("stream `{stream}`: the vendor describes its fields, or several loaders do");
                context.log.line(Level::Warning, &format!("{message}; nothing is written"));
                continue;
            }
        };
        let written = match place {
            Place::File(file) => {
                user_file::replace(&file, &format!("{schema:#}\n"))?;
                file
            }
            Place::Inline(line) => {
                inline(&path, stream, line, schema)?;
                path.clone()
            }
        };
        let from = number(*records, "record");
        context.log.line(Level::Info, &format!("stream `{stream}`: schema from {from} in {}", written.display()));
    }
    Ok(())
}

/// Where a schema is kept.
enum Place {
    File(PathBuf),
    /// In the manifest, in a loader at this line.
    Inline(u32),
}

/// The definition of a stream.
fn definition<'m>(manifest: &'m Manifest, name: &str) -> Result<&'m DeclarativeStream> {
    let streams = manifest.source.streams.iter().flatten().flat_map(Stream::all);
    let mut named = streams.filter(|def| def.name.as_ref().is_some_and(|text| text.value == name));
    named.next().ok_or_else(|| {
        Fault::config(format!("stream `{name}` has no definition of its own in the manifest"))
            .hint("leave it out with --streams")
    })
}

/// Replaces the schema of a loader in the manifest. The result is read again before it is stored.
fn inline(path: &Path, stream: &str, line: u32, schema: &Json) -> Result<()> {
    let text = std::fs::read_to_string(path).map_err(|e| Fault::local("cannot read the manifest", &e))?;
    let read = |text: &str| Manifest::from_yaml(text, &path.display().to_string(), "edited", None);
    // The loader's line is that of its first key; the schema is below it.
    let lines = line..line.saturating_add(6);
    let edited = lines.filter_map(|line| edit::replace(&text, line, "schema", schema)).find(|edited| {
        let manifest = read(edited).ok();
        let loaders = manifest.as_ref().and_then(|m| definition(m, stream).ok()?.schema_loader.clone());
        let Some([SchemaLoader::InlineSchemaLoader(def)]) = loaders.as_ref().map(|l| &l.0[..]) else { return false };
        def.schema.as_ref() == Some(schema)
    });
    match edited {
        Some(edited) => user_file::replace(path, &edited),
        None => Err(Fault::config(format!("the inline schema of `{stream}` cannot be replaced in place")).hint(
            "write its `schema:` as a block of lines of its own, or remove the schema_loader: then it goes to a file",
        )),
    }
}
