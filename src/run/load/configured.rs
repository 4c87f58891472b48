//! A source with a tenant's config, before anything is compiled.
//!
//! Input: the options. Output: a [`ConfiguredSource`]: the identity, the config after the manifest's rules, the
//! manifest. Called by `read` and `sync`, which record the identity before more can fail, and through `Context::load`
//! by all other verbs.

use std::collections::BTreeSet;
use std::time::Instant;

use serde_json::{Map, Value as Json, json};
use time::OffsetDateTime;

use super::Purpose;
use super::manifest::{manifest, specification};
use crate::base::config::references::{Needed, references};
use crate::base::config::{self, Config};
use crate::base::fault::{Fault, Result};
use crate::base::timefmt;
use crate::engine::config_rules;
use crate::manifest::Manifest;
use crate::manifest::builtin;
use crate::manifest::lint::UndeclaredKey;
use crate::manifest::template::EvalContext;
use crate::run::context::Context;
use crate::run::identity::{Account, RunIdentity};
use crate::run::log::Level;
use crate::sandbox::Sandbox;

/// A source with a tenant's config, before anything is compiled.
pub(crate) struct ConfiguredSource {
    /// The identity of the run.
    pub(crate) identity: RunIdentity,
    /// The source.
    pub(crate) manifest: Manifest,
    /// The schema of its config.
    pub(crate) specification: Json,
    /// The config after the manifest's rules.
    pub(crate) config: Config,
    /// Config and now.
    pub(crate) cx: EvalContext,
    /// The sandbox, when it runs in this process.
    pub(super) sandbox: Option<Sandbox>,
    /// Did `config_migrations` change the config?
    pub(super) migrated: bool,
}

/// The run's "now", and when it was taken: `DRIPFEED_NOW` for reproducible runs, else the clock.
pub(crate) fn now() -> Result<(OffsetDateTime, Option<Instant>)> {
    match std::env::var("DRIPFEED_NOW") {
        Ok(text) => match timefmt::parse_iso(&text) {
            Some(now) => Ok((now, None)),
            None => Err(Fault::config("the environment variable DRIPFEED_NOW is not a time")
                .hint("write it as 2024-03-01T00:00:00Z")),
        },
        Err(_) => {
            let now = OffsetDateTime::now_utc();
            Ok((now.replace_microsecond(now.microsecond()).unwrap_or(now), Some(Instant::now())))
        }
    }
}

impl ConfiguredSource {
    /// Reads the config, and applies the manifest's rules to it. Without `--config` it is empty; the sandbox then
    /// runs in this process.
    pub(crate) fn read(context: &Context) -> Result<ConfiguredSource> {
        let (options, log) = (&context.options, &context.log);
        // The config may have the source, and ENV needs the source's specification.
        let loaded = config::load(&options.config, context.origin(&Map::new()));
        context.references.warnings().iter().for_each(|warning| log.line(Level::Warning, warning));
        let mut config = loaded?;
        log.hide(&config.secrets);
        let manifest = manifest(context, Some(&config))?;
        let specification = specification(&manifest);
        if options.config.iter().any(|c| c == "ENV") {
            let variables = config::from_environment(&manifest.name, &specification, |name| std::env::var(name).ok());
            config = config::load(&options.config, context.origin(&variables))?;
        }
        config::complete_dates(&mut config.source, &specification);
        let sandbox = sandbox(&manifest, &mut config)?;
        config.secrets.add_marked(&config.source, &specification);
        config.secrets.add_named(&config.source);
        log.hide(&config.secrets);
        let (now, began) = now()?;
        let mut cx = EvalContext { config: config.source.clone(), now, began };
        let spec = manifest.source.spec.as_ref();
        let mut written = EvalContext { config: config.written.clone(), ..cx.clone() };
        // The stored config is migrated in its raw form: references to secrets stay references.
        let migrated = config_rules::migrate(spec, &mut cx)? && config_rules::migrate(spec, &mut written)?;
        config.written = written.config;
        config_rules::transform(spec, &mut cx)?;
        config.source = cx.config.clone();
        config.secrets.add_marked(&config.source, &specification);
        log.hide(&config.secrets);
        if context.needed == Needed::All {
            warn_of_undeclared(context, &manifest, &config.source);
        }
        let account = Account { manifest: &manifest, specification: &specification, cx: &cx };
        let identity = RunIdentity::of_account(context, &config, &account);
        Ok(ConfiguredSource { identity, manifest, specification, config, cx, sandbox, migrated })
    }

    /// Refuses a config that violates the source's specification or rules.
    pub(crate) fn validate(&self, context: &Context, purpose: Purpose) -> Result<()> {
        let without = context.options.config.is_empty();
        if purpose != Purpose::Discover || !without {
            config::validate_source(&self.config, &self.specification).map_err(|fault| {
                if without {
                    fault.hint("pass the config with --config FILE; `dripfeed spec` prints its schema")
                } else {
                    fault
                }
            })?;
        }
        // Rules judge values: what has none here is judged by the runs.
        if references(&self.config.source).is_empty() || context.needed == Needed::All {
            return config_rules::validate(self.manifest.source.spec.as_ref(), &self.cx);
        }
        Ok(())
    }

    /// The account that the run belongs to.
    pub(super) fn account(&self) -> Account<'_> {
        Account { manifest: &self.manifest, specification: &self.specification, cx: &self.cx }
    }
}

/// Warns once of each key that the manifest reads, that its spec does not declare and that the config does not have:
/// its value is empty in requests.
fn warn_of_undeclared(context: &Context, manifest: &Manifest, config: &Json) {
    let mut reported = BTreeSet::new();
    for UndeclaredKey { path, warning } in &manifest.undeclared {
        let given = path.iter().try_fold(config, |at, key| at.get(key)).is_some();
        if !given && reported.insert(path) {
            let message = format!("{}, and the config does not have it", warning.message);
            context.log.line(Level::Warning, &Fault { message, ..warning.clone() }.to_string());
        }
    }
}

/// Starts the in-process sandbox if the config has no other address, and points the config to it.
fn sandbox(manifest: &Manifest, config: &mut Config) -> Result<Option<Sandbox>> {
    let is_sandbox = &*manifest.name == "sandbox" && builtin::manifest("sandbox").is_some();
    if !is_sandbox || config.source.get("url").is_some() {
        return Ok(None);
    }
    let running = Sandbox::start(&crate::sandbox::Settings::default())?;
    if let Some(map) = config.source.as_object_mut() {
        map.insert("url".into(), json!(running.url()));
        map.entry("token").or_insert_with(|| json!(crate::sandbox::TOKEN));
    }
    Ok(Some(running))
}
