//! The verb `spec` and Singer's `--about`: describe a source and its config; `spec --manifest` describes manifests.
//!
//! Input: the options. Output: a JSON Schema, or a description of the tap. Called by [`super::run`].

use clap::{Args, ValueEnum};
use serde_json::{Value as Json, json};

use super::groups::{LogArgs, OutputArgs, SourceArgs};
use crate::base::config;
use crate::base::fault::Result;
use crate::manifest::{self, Manifest};
use crate::protocol::{Protocol, airbyte};
use crate::run::context::Context;
use crate::run::load::{self};
use crate::run::options::RunOptions;

/// The arguments of `spec`.
#[derive(Debug, Clone, Args)]
pub struct SpecArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// Print the JSON schema of manifests instead, for editors
    #[arg(long, conflicts_with_all = ["source", "config", "protocol"], help_heading = "Output")]
    manifest: bool,
    /// How the schema is wrapped.
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    log: LogArgs,
}

impl SpecArgs {
    pub(super) fn fill(&self, asked: &mut RunOptions) {
        self.source.fill(asked);
        self.log.fill(asked);
    }
}

/// How `--about` is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum AboutFormat {
    /// For people
    #[default]
    Text,
    /// As singer-sdk writes it
    Json,
    /// For documentation
    Markdown,
}

/// The schema of the whole config: the source's part and the `dripfeed` object.
pub(super) fn config_schema(manifest: &Manifest) -> Json {
    let mut schema = load::specification(manifest);
    if !schema["properties"].is_object() {
        schema["properties"] = json!({});
    }
    let mut ours = config::schema();
    ours["description"] = json!("How dripfeed reads this tenant.");
    schema["properties"]["dripfeed"] = ours;
    schema
}

pub(super) fn spec(context: &Context, asked: &SpecArgs) -> Result<()> {
    if asked.manifest {
        return context.pretty(&manifest::schema::schema());
    }
    if context.protocol == Protocol::Airbyte && context.named_source().is_none() && context.options.config.is_empty() {
        // The config contains the manifest, as injected by the Connector Builder.
        return context.message(&airbyte::spec(&config::injected(), None, None));
    }
    let manifest = load::manifest_of(context)?;
    let schema = config_schema(&manifest);
    if context.protocol == Protocol::Singer {
        return context.pretty(&schema);
    }
    let spec = manifest.source.spec.as_ref();
    let documentation = spec.and_then(|s| s.documentation_url.as_deref());
    context.message(&airbyte::spec(&schema, documentation, spec.and_then(|s| s.advanced_auth.as_ref())))
}

pub(super) fn about(context: &Context, format: AboutFormat) -> Result<()> {
    let manifest = load::manifest_of(context).ok();
    let name = manifest.as_ref().map_or_else(|| "dripfeed".to_owned(), |m| format!("tap-{}", m.name));
    let settings = manifest.as_ref().map(config_schema);
    let capabilities = ["about", "catalog", "discover", "properties", "state", "structured-logging", "test"];
    match format {
        AboutFormat::Json => context.pretty(&json!({
            "name": name, "description": env!("CARGO_PKG_DESCRIPTION"), "version": env!("CARGO_PKG_VERSION"),
            "capabilities": capabilities, "settings": settings,
        })),
        format => {
            let markdown = format == AboutFormat::Markdown;
            let mut text =
                if markdown { format!("# `{name}`\n\n") } else { format!("{name} {}\n", env!("CARGO_PKG_VERSION")) };
            text += &format!(
                "{}\n\nCapabilities: {}\n\nSettings:\n",
                env!("CARGO_PKG_DESCRIPTION"),
                capabilities.join(", ")
            );
            let settings = settings.unwrap_or_default();
            let required = settings["required"].as_array().cloned().unwrap_or_default();
            for (name, schema) in settings["properties"].as_object().into_iter().flatten() {
                let must = if required.contains(&json!(name)) { " (required)" } else { "" };
                let what = schema["description"].as_str().unwrap_or_default();
                text +=
                    &if markdown { format!("- `{name}`{must}: {what}\n") } else { format!("  {name}{must}: {what}\n") };
            }
            context.text(&text)
        }
    }
}
