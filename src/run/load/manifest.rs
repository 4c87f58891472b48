//! Selects the source: the manifest from options, config or environment.
//!
//! Input: the context and the config, if there is one. Output: the manifest, and the schema of its config. Called by
//! `configured`, and by the verbs that need no tenant.

use std::path::Path;

use serde_json::{Map, Value as Json, json};

use crate::base::config::references::Needed;
use crate::base::config::{self, Config, Origin};
use crate::base::fault::{Fault, Result, did_you_mean};
use crate::manifest::Manifest;
use crate::manifest::builtin;
use crate::run::context::Context;

/// The manifest from options, config or environment.
pub(crate) fn manifest(context: &Context, config: Option<&Config>) -> Result<Manifest> {
    let of_config = config.and_then(|c| c.ours.source.as_deref());
    let injected = config.and_then(|c| c.source.get("__injected_declarative_manifest"));
    let named = context.options.source.as_deref().or(of_config).or(context.environment.as_deref());
    let name = match (named, injected, context.named.as_deref()) {
        (Some(name), _, _) => name,
        (None, Some(injected), _) => return Manifest::from_json(injected),
        (None, None, Some(name)) => name,
        (None, None, None) => {
            return Err(Fault::config("no source is set")
                .hint(format!("--source takes a manifest's path, or one of {}", builtin::names().join(", "))));
        }
    };
    if let Some(text) = builtin::manifest(name) {
        return Manifest::from_yaml(text, &format!("catalog/{name}.yaml"), name, None);
    }
    let path = Path::new(name);
    if path.components().count() == 1 && path.extension().is_none() && !path.exists() {
        let fault = Fault::config(format!("there is no built-in source `{name}`, and no file of that name"));
        return Err(match did_you_mean(name, builtin::names()) {
            Some(near) => fault.hint(format!("did you mean `{near}`?")),
            None => fault.hint(format!("the built-in sources are {}", builtin::names().join(", "))),
        });
    }
    Manifest::from_file(path)
}

/// The manifest for verbs that need no config if a source is given.
pub(crate) fn manifest_of(context: &Context) -> Result<Manifest> {
    let options = &context.options;
    let files: Vec<String> = options.config.iter().filter(|c| *c != "ENV").cloned().collect();
    let origin = Origin { references: &context.references, needed: Needed::Source, variables: &Map::new() };
    let config = config::load(&files, origin);
    // A source given by name works without a config, even if the config is invalid.
    let config = if context.named_source().is_some() { config.ok() } else { Some(config?) };
    manifest(context, config.as_ref())
}

/// The source's own schema of its config.
pub fn specification(manifest: &Manifest) -> Json {
    manifest
        .source
        .spec
        .as_ref()
        .map_or_else(|| json!({"type": "object", "properties": {}}), |s| s.connection_specification.clone())
}
