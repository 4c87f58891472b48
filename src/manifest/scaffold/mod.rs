//! Writes a new source: a manifest, a config, and the variables of its secrets.
//!
//! Input: what a person knows of an API, a built-in source, or an OpenAPI document. Output: texts; no file is touched
//! here. Called by `cli::init`. The planners `rest`, `graphql` and `openapi` make a [`plan::SourcePlan`], and `render`
//! writes it with `yaml_text`; `from_builtin` copies.

pub(crate) mod config;
pub(crate) mod from_builtin;
pub(crate) mod graphql;
pub(crate) mod openapi;
pub(crate) mod plan;
mod render;
mod render_stream;
pub(crate) mod rest;
pub(super) mod yaml_text;

use plan::{DECIDE, SourcePlan};

/// The folder of schema files beside a manifest.
const SCHEMAS: &str = "schemas";

/// The texts of a new source.
#[derive(Debug)]
pub(crate) struct Scaffold {
    /// The manifest.
    pub(crate) manifest: String,
    /// The config.
    pub(crate) config: String,
    /// The variables that the config refers to.
    pub(crate) env_example: String,
    /// The keys of the config that the user must fill in, apart from secrets.
    pub(crate) open_keys: Vec<String>,
    /// Schema files: path beside the manifest, and text.
    pub(crate) schemas: Vec<(String, String)>,
}

impl Scaffold {
    /// The texts of a planned source.
    pub(crate) fn of(plan: &SourcePlan) -> Scaffold {
        let config = config::NewConfig::of_keys(&plan.name, &render::config_keys(plan));
        Scaffold {
            manifest: render::manifest(plan),
            config: config.json(),
            env_example: config.env_example(&plan.name),
            open_keys: config.open_keys(),
            schemas: Vec::new(),
        }
    }

    /// How many comments ask for a decision?
    pub(crate) fn decisions(&self) -> usize {
        // The comment at the top only says what the word means.
        let comments = self.manifest.lines().filter_map(|line| line.trim_start().strip_prefix("# "));
        comments.filter(|text| text.starts_with(DECIDE.trim_end())).count()
    }
}
