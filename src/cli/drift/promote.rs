//! Promotes a tenant's additions to the shared baseline: writes a file to review and commit.
//!
//! Input: a tenant's overlay and the stream's schema. Output: `<folder>/<stream>.json`, unchanged except for the
//! additions. Called by the verbs of `drift`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json};

use super::decide::Reviewer;
use super::scope::{DriftScope, wants};
use super::{Promote, baseline};
use crate::base::fault::{Fault, Kind, Result};
use crate::base::user_file;
use crate::drift::baseline::merged;
use crate::drift::overlay::Addition;
use crate::drift::report::{at, words};
use crate::drift::rules::Rule;
use crate::run::context::Context;

pub(super) fn run(context: &Context, scope: &DriftScope, asked: &Promote) -> Result<()> {
    let reviewer = Reviewer::new(&asked.reason)?;
    let tenants = scope.read_shown()?;
    let [(root, tenant)] = &tenants[..] else {
        return Err(Fault::new(Kind::Usage, "a baseline takes its additions from one tenant")
            .hint("choose the tenant with --config FILE or --tenant NAME"));
    };
    let Some(schemas) = baseline(context, scope) else {
        return Err(Fault::config(format!("the source {} cannot be loaded", scope.source))
            .hint("set it with --source, and its config with --config"));
    };
    let folder = asked.into.clone().unwrap_or_else(|| Path::new("schemas").join(&scope.source));
    let mut output = String::new();
    for (stream, (overlay, _)) in tenant.streams.iter().filter(|(stream, _)| wants(context, stream)) {
        if overlay.schema.is_empty() {
            continue;
        }
        let Some(schema) = schemas.get(stream) else {
            output += &format!("{stream}: the source no longer has this stream; nothing was written\n");
            continue;
        };
        let path = path_of(&folder, stream)?;
        // The file may be newer than this binary.
        let base = read(&path)?.unwrap_or_else(|| schema.clone());
        let overlay_files = scope.overlay_files(root, &tenant.name, stream);
        output += &overlay_files.update(&context.stop, |overlay, pending| {
            let merged = ordered(merged(&base, &overlay.schema), &base);
            let changes = changes(&base, &overlay.schema);
            if merged == base && path.exists() {
                return Ok(format!("{}: already up to date\n", path.display()));
            }
            user_file::replace(&path, &format!("{merged:#}\n"))?;
            pending.findings.retain(|f| f.rule != Rule::FieldAdded || !overlay.schema.contains_key(&f.pointer));
            let line = format!("{} in {}", changes.join(", "), path.display());
            overlay.decisions.push(reviewer.decision("promote", "", line, overlay));
            let lines: String = changes.iter().map(|change| format!("  {change}\n")).collect();
            Ok(format!("{}:\n{lines}", path.display()))
        })?;
    }
    if output.is_empty() {
        output = format!("{} has nothing beyond the baseline\n", tenant.name);
    }
    let printable = |c: char| if c.is_control() && c != '\n' { ' ' } else { c };
    context.text(&output.chars().map(printable).collect::<String>())
}

/// The differences from the baseline, one line per place.
fn changes(base: &Json, additions: &BTreeMap<String, Addition>) -> Vec<String> {
    let mut changes = Vec::new();
    for (pointer, addition) in additions {
        let now = words(&addition.schema);
        match at(base, pointer) {
            Some(before) if *before == addition.schema => {}
            Some(before) if words(before) == now => changes.push(format!("{pointer}: {now}, another description")),
            Some(before) => changes.push(format!("{pointer}: {} -> {now}", words(before))),
            None => changes.push(format!("{pointer}: {now}, new")),
        }
    }
    changes
}

/// The schema with keys ordered for a readable diff: those of the base in its order, new properties sorted into the
/// sorted part at the end.
fn ordered(schema: Json, base: &Json) -> Json {
    let Json::Object(mut map) = schema else { return schema };
    let mut out = Map::new();
    let own = base.as_object();
    for (key, old) in own.into_iter().flatten() {
        if let Some(value) = map.shift_remove(key) {
            let value = if key == "properties" { properties(value, old) } else { ordered(value, old) };
            out.insert(key.clone(), value);
        }
    }
    for (key, value) in map {
        let value = if key == "properties" { properties(value, &Json::Null) } else { ordered(value, &Json::Null) };
        out.insert(key, value);
    }
    Json::Object(out)
}

fn properties(schemas: Json, base: &Json) -> Json {
    let Json::Object(mut map) = schemas else { return schemas };
    let mut names: Vec<String> = base.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect();
    names.retain(|name| map.contains_key(name));
    let new = map.keys().filter(|name| !names.contains(name)).cloned().collect::<std::collections::BTreeSet<_>>();
    // A person may have put important properties first; the sorted part begins after them.
    let mut sorted_from = names.len().saturating_sub(1);
    while sorted_from > 0 && names[sorted_from - 1] < names[sorted_from] {
        sorted_from -= 1;
    }
    for name in new {
        let at = sorted_from + names[sorted_from..].partition_point(|other| *other < name);
        names.insert(at, name);
    }
    let take = |name: String| {
        let schema = map.shift_remove(&name)?;
        Some((name.clone(), ordered(schema, base.get(&name).unwrap_or(&Json::Null))))
    };
    Json::Object(names.into_iter().filter_map(take).collect())
}

fn path_of(folder: &Path, stream: &str) -> Result<PathBuf> {
    if stream.contains(['/', '\\', '\0']) || stream.starts_with('.') {
        return Err(Fault::config(format!("the name of the stream `{stream}` is not a valid file name")));
    }
    Ok(folder.join(format!("{stream}.json")))
}

fn read(path: &Path) -> Result<Option<Json>> {
    match std::fs::read_to_string(path) {
        Ok(text) => serde_json::from_str(&text).map(Some).map_err(|e| {
            Fault::config(format!("{} is not valid JSON: {e}", path.display())).hint("fix the file first")
        }),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Fault::local(format!("cannot read {}", path.display()), &e)),
    }
}
