//! The verb `validate`: reports everything that is wrong with a manifest.
//!
//! Input: a manifest's path, or the name of a built-in source. Output: its faults and warnings as log lines or JSON,
//! its streams on stdout. Called by [`super::run`].

use std::cell::OnceCell;
use std::collections::HashSet;
use std::path::Path;

use clap::{Args, ValueEnum};
use serde_json::{Value as Json, json};
use time::OffsetDateTime;

use super::groups::LogArgs;
use crate::base::config::deletes::{self, Deletes};
use crate::base::config::{Pace, Safety};
use crate::base::display::number;
use crate::base::fault::{Fault, Kind, Result, did_you_mean};
use crate::engine::auth;
use crate::engine::build::{self, Build};
use crate::engine::cursor;
use crate::manifest::lint::Examined;
use crate::manifest::lint::sample::{self, Sample};
use crate::manifest::model::{Check, Stream};
use crate::manifest::template::{self, EvalContext, Template};
use crate::manifest::{Manifest, builtin, lint};
use crate::pace::budget;
use crate::protocol::table_names::TableNames;
use crate::run::catalog;
use crate::run::context::Context;
use crate::run::load;
use crate::run::log::Level;

/// The arguments of `validate`.
#[derive(Debug, Clone, Args)]
pub struct ValidateArgs {
    /// A manifest's path, or a built-in source
    #[arg(value_name = "FILE|NAME")]
    manifest: String,
    /// How the findings are written
    #[arg(long, value_enum, default_value = "text", help_heading = "Output")]
    format: FindingFormat,
    /// How much is logged.
    #[command(flatten)]
    pub log: LogArgs,
}

/// How findings are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum FindingFormat {
    /// For people: log lines, and the streams on stdout
    Text,
    /// For editors: a list on stdout
    Json,
}

/// A manifest's text, and its name in messages.
struct Written<'a> {
    shown: String,
    text: std::borrow::Cow<'a, str>,
}

impl Written<'_> {
    /// The manifest at a path, or that of a built-in source.
    fn read(asked: &str) -> Result<Self> {
        if let Some(text) = builtin::manifest(asked) {
            return Ok(Written { shown: format!("catalog/{asked}.yaml"), text: text.into() });
        }
        let text = std::fs::read_to_string(asked).map_err(|e| {
            let fault = Fault::config(format!("cannot read the manifest {asked}: {e}"));
            let is_name = !asked.contains(['/', '.']);
            match did_you_mean(asked, builtin::names()).filter(|_| is_name) {
                Some(near) => fault.hint(format!("did you mean the built-in source `{near}`?")),
                None => {
                    fault.hint("`dripfeed init NAME` starts a manifest; `dripfeed sources` lists the built-in sources")
                }
            }
        })?;
        Ok(Written { shown: asked.to_owned(), text: text.into() })
    }

    /// A finding for programs: location, severity, message, and hint.
    fn json(&self, level: Level, fault: &Fault) -> Json {
        let place = fault.location.as_deref();
        let line = place.map(|place| place.line).filter(|line| *line > 0);
        json!({
            "file": place.map_or(&*self.shown, |place| &*place.file),
            "line": line,
            "column": line.zip(place).and_then(|(line, place)| self.column(line, &place.path)),
            "path": place.map(|place| &*place.path).filter(|path| !path.is_empty()),
            "severity": if level == Level::Error { "error" } else { "warning" },
            "code": fault.rule.unwrap_or(if level == Level::Error { "refused" } else { "suspicious" }),
            "message": fault.message,
            "hint": fault.hint,
        })
    }

    /// The column (from 1) of the last step of a path in a line; otherwise the start of the line's text.
    fn column(&self, line: u32, path: &str) -> Option<usize> {
        let text = self.text.lines().nth(usize::try_from(line).ok()?.checked_sub(1)?)?;
        let key = path.rsplit('.').next()?.split('[').next().unwrap_or_default();
        let by_key = if key.is_empty() { None } else { text.find(key) };
        let byte = by_key.or_else(|| text.find(|c: char| !c.is_whitespace()))?;
        Some(text.get(..byte)?.chars().count() + 1)
    }
}

/// Reports everything that is wrong with a manifest, then its contents.
pub(super) fn validate(context: &Context, asked: &ValidateArgs) -> Result<()> {
    let written = Written::read(&asked.manifest)?;
    let found = findings(&written);
    let (findings, manifest) = match found {
        Ok(found) => found,
        // The text cannot be read at all.
        Err(fault) if asked.format == FindingFormat::Json => (vec![(Level::Error, fault)], None),
        Err(fault) => return Err(fault),
    };
    let shown = &written.shown;
    if asked.format == FindingFormat::Json {
        let all: Vec<Json> = findings.iter().map(|(level, fault)| written.json(*level, fault)).collect();
        read_or_left(context.pretty(&all))?;
    } else {
        for (level, fault) in &findings {
            context.log.line(*level, &fault.to_string());
        }
    }
    // The output is written before the fault that ends the verb.
    read_or_left(context.out.lock().flush())?;
    match (findings.iter().filter(|(level, _)| *level == Level::Error).count(), manifest) {
        (0, Some(_)) if asked.format == FindingFormat::Json => Ok(()),
        (0, Some(manifest)) => {
            let (count, lines) = super::sources::describe_all(&manifest);
            context.text(&format!("{shown}: {}\n{lines}", number(count, "stream")))
        }
        (1, _) => Err(Fault::config(format!("{shown} cannot be used"))),
        (faults, _) => Err(Fault::config(format!("{shown} cannot be used: {}", number(faults, "fault")))),
    }
}

/// Output that its reader did not wait for is no fault: the exit code is the verdict.
fn read_or_left(written: Result<()>) -> Result<()> {
    written.or_else(|fault| if fault.kind == Kind::Downstream { Ok(()) } else { Err(fault) })
}

/// The findings of a manifest, sorted by line, and the manifest if it is usable.
fn findings(written: &Written<'_>) -> Result<(Vec<(Level, Fault)>, Option<Manifest>)> {
    let Written { shown, text } = written;
    let mut examined = lint::examine(text, shown)?;
    let mut findings: Vec<(Level, Fault)> =
        std::mem::take(&mut examined.faults).into_iter().map(|fault| (Level::Error, fault)).collect();
    findings.extend(std::mem::take(&mut examined.warnings).into_iter().map(|fault| (Level::Warning, fault)));
    let known: Vec<&str> = template::NAMES.iter().copied().chain(examined.extra.iter().map(String::as_str)).collect();
    for (text, at) in &examined.templates {
        match Template::of(&json!(text), at, &known) {
            Err(fault) => findings.push((Level::Error, fault)),
            // It only fails its own stream, when the template is used. The valid names depend on the place, so a list
            // of all names would not help.
            Ok(template) => {
                findings.extend(template.unknown_filter().map(|fault| (Level::Error, fault)));
                findings.extend(template.known().err().map(|fault| {
                    let hint = fault.hint.filter(|hint| !hint.starts_with("defined here"));
                    (Level::Warning, Fault { hint, ..fault })
                }));
            }
        }
    }
    let refused = findings.iter().any(|(level, _)| *level == Level::Error);
    let source = examined.source.take().filter(|_| !refused);
    let manifest = source.map(|source| Manifest::of_source(source, Path::new(shown))).transpose()?;
    if let Some(manifest) = &manifest {
        let schema = load::specification(manifest);
        findings.extend(jsonschema::meta::validate(&schema).err().map(|e| {
            let fault = format!("{shown}: the connection specification is not a valid JSON schema: {}", e.masked());
            (Level::Error, Fault::config(fault))
        }));
        findings.extend(cursor::warnings(&manifest.source).into_iter().map(|fault| (Level::Warning, fault)));
        findings.extend(refused_at_start(manifest, &examined, &schema).into_iter().map(|fault| (Level::Error, fault)));
        findings.extend(unknown_checks(manifest).into_iter().map(|fault| (Level::Warning, fault)));
        findings.extend(without_schema(manifest).into_iter().map(|fault| (Level::Warning, fault)));
    }
    findings.extend(
        manifest.iter().flat_map(|manifest| in_one_table(manifest, shown)).map(|fault| (Level::Warning, fault)),
    );
    findings.sort_by_key(|(_, fault)| fault.location.as_ref().map_or(0, |location| location.line));
    let manifest = manifest.filter(|_| findings.iter().all(|(level, _)| *level != Level::Error));
    Ok((findings, manifest))
}

/// Streams that a Singer target would put into one table, and the names that keep them separate.
fn in_one_table(manifest: &Manifest, shown: &str) -> Vec<Fault> {
    let streams = manifest.source.streams.iter().flatten().flat_map(Stream::all);
    let names = streams.filter_map(|stream| stream.name.as_ref()?.value.as_str());
    // A template's result depends on the config.
    let names = TableNames::of(names.filter(|name| !name.contains("{{")));
    let meetings = names.meetings().map(|streams| {
        let safe = names.sent_as(streams);
        Fault::config(format!("{shown}: {}", catalog::one_table(streams)))
            .hint(format!("Singer targets get {safe}; Airbyte destinations get the names unchanged"))
    });
    meetings.collect()
}

/// Faults that a run's start would report with any config.
fn refused_at_start(manifest: &Manifest, examined: &Examined, specification: &Json) -> Vec<Fault> {
    let source = &manifest.source;
    let place = |fault: &Fault| fault.location.as_ref().map(|place| (place.path.clone(), fault.message.clone()));
    let mut out = faults_with(manifest, sample::config(specification, Sample::One));
    let again = faults_with(manifest, sample::config(specification, Sample::Other));
    // The config is generated: a fault that depends on it may not occur with another.
    let again: HashSet<_> = again.iter().filter_map(place).collect();
    out.retain(|fault| {
        place(fault).is_some_and(|place| examined.holds_for_every_config(&place.0, again.contains(&place)))
    });
    out.extend(source.check.overrides().err());
    out.extend(Safety::of_manifest(source.metadata.as_ref()).err());
    out.extend(deletes::of_manifest(source.metadata.as_ref()).err());
    out
}

/// The faults of compiling the manifest with a config.
fn faults_with(manifest: &Manifest, config: Json) -> Vec<Fault> {
    let now = load::now().map_or_else(|_| OffsetDateTime::now_utc(), |(now, _)| now);
    let cx = EvalContext { config, now, began: None };
    let deletes = deletes::of_manifest(manifest.source.metadata.as_ref());
    let build = Build {
        manifest,
        cx: &cx,
        baseline: &|_| None,
        auth: &auth::Builder::new(None, false),
        safety: &Safety::of_manifest(manifest.source.metadata.as_ref()).unwrap_or_default(),
        deletes: &deletes::combined(&Deletes::new(), deletes.unwrap_or_default()),
        accepts: &|_, _| false,
        shared: None,
        parents: OnceCell::new(),
    };
    let mut out = build::faults(&build);
    out.extend(budget::build(manifest.source.api_budget.as_ref(), &Pace::default(), &cx).err());
    out
}

/// The streams in the connection check that do not exist, as far as this is known without a config.
fn unknown_checks(manifest: &Manifest) -> Vec<Fault> {
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
    let unknown = all.filter(|name| !names.iter().any(|known| **known == **name));
    let fault = |name: &String| {
        let known = || names.iter().filter_map(|name| name.as_str());
        let at = check.at.field("stream_names", None);
        let fault = at.fault(format!("`check` names the stream `{name}`, which does not exist: it will fail"));
        match did_you_mean(name, known()) {
            Some(near) => fault.hint(format!("did you mean `{near}`?")),
            None => fault.hint(format!("there are {}", known().collect::<Vec<_>>().join(", "))),
        }
    };
    unknown.map(fault).collect()
}

/// Streams without any description of their records.
fn without_schema(manifest: &Manifest) -> Vec<Fault> {
    let described = |name: &str| {
        // A file beside the manifest describes a stream too; a built-in source has baselines.
        let file = manifest.folder.as_ref().map(|folder| folder.join("schemas").join(format!("{name}.json")));
        file.is_some_and(|file| file.exists()) || builtin::baseline(&manifest.name, name).is_some()
    };
    let streams = manifest.source.streams.iter().flatten().flat_map(Stream::all);
    let bare = streams.filter(|stream| stream.schema_loader.is_none()).filter_map(|stream| {
        let name = stream.name.as_ref()?.value.as_str().filter(|name| !name.contains("{{") && !described(name))?;
        let fault = stream.at.fault(format!("`{name}` has no schema: its fields are known only from its records"));
        Some(fault.hint(format!("describe them under `schema_loader`, or in schemas/{name}.json beside the manifest")))
    });
    bare.collect()
}
