//! The identity of a run: the source, the tenant, and where persistent data is stored.
//!
//! Input: the options, then the config and its manifest. Output: a [`RunIdentity`]. It is known first: provisionally
//! from whatever can be read of the config, and for certain once the config is valid. Called by `active_run`, `load`,
//! and the verbs that inspect the data of earlier runs.

use std::path::{Path, PathBuf};

use serde_json::Value as Json;
use time::OffsetDateTime;

use crate::base::config::{Config, PartialConfig};
use crate::base::fault::{Fault, Result};
use crate::engine::build;
use crate::manifest::Manifest;
use crate::manifest::template::EvalContext;
use crate::pace::account_key;
use crate::run::context::Context;

/// The placeholder for an unknown name.
const UNKNOWN: &str = "unknown";

/// The identity of a run.
#[derive(Debug, Clone)]
pub struct RunIdentity {
    /// The source.
    pub(crate) source: String,
    /// The tenant.
    pub(crate) tenant: String,
    /// Do both names come from a valid config? Nothing is recorded under a guessed name.
    pub(crate) certain: bool,
    /// The state directory, if there is one.
    pub(crate) root: Option<PathBuf>,
    /// The run ID in events, drift and records.
    pub(crate) run_id: String,
}

impl RunIdentity {
    /// A provisional identity from a partially read config. The source defaults to the stem of its manifest file, the
    /// tenant to that of its config file.
    pub(crate) fn of_partial(context: &Context, partial: &PartialConfig) -> RunIdentity {
        let stem = |path: &str| Path::new(path).file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let source = context.source_or(partial.source.as_deref()).and_then(stem);
        let certain = source.is_some() && partial.tenant.is_some();
        let tenant = partial.tenant.clone().or_else(|| stem(context.options.config.last()?));
        RunIdentity {
            source: source.unwrap_or_else(|| UNKNOWN.into()),
            tenant: tenant.unwrap_or_else(|| UNKNOWN.into()),
            certain,
            root: root(context, partial.state_dir.as_ref(), certain && context.keeps),
            run_id: run_id(),
        }
    }

    /// The identity from a valid config.
    pub(crate) fn of_account(context: &Context, config: &Config, account: &Account<'_>) -> RunIdentity {
        RunIdentity {
            source: account.manifest.name.to_string(),
            tenant: account.tenant(config),
            certain: true,
            root: root(context, config.ours.state_dir.as_ref(), context.keeps),
            run_id: run_id(),
        }
    }
}

/// What distinguishes one account of a vendor from another.
pub(crate) struct Account<'c> {
    /// The source.
    pub(crate) manifest: &'c Manifest,
    /// The schema of its config.
    pub(crate) specification: &'c Json,
    /// The config after the manifest's rules, and now.
    pub(crate) cx: &'c EvalContext,
}

impl Account<'_> {
    /// The name of the account's files; it reveals nothing about the credentials.
    pub(crate) fn key(&self, config: &Config) -> String {
        let source = match self.manifest.folder {
            None => self.manifest.name.to_string(),
            Some(_) => build::host(self.manifest, self.cx).unwrap_or_else(|| self.manifest.name.to_string()),
        };
        let identity = account_key::identity(config.ours.pace.account.as_deref(), &config.source, self.specification);
        account_key::key(&source, &identity)
    }

    /// The tenant's name: from the config, or derived from the account.
    fn tenant(&self, config: &Config) -> String {
        config.ours.tenant.clone().unwrap_or_else(|| {
            let key = self.key(config);
            format!("account-{}", key.get(..8).unwrap_or_default())
        })
    }
}

/// Creates a run ID.
fn run_id() -> String {
    let now = OffsetDateTime::now_utc();
    let (date, time) = (now.date(), now.time());
    let date = format!("{:04}{:02}{:02}", date.year(), u8::from(date.month()), date.day());
    let time = format!("{:02}{:02}{:02}", time.hour(), time.minute(), time.second());
    format!("{date}T{time}Z-{:x}{:05x}", std::process::id(), now.microsecond())
}

/// The state directory: from the options, else the config, else the environment, else, if allowed, the user's own.
fn root(context: &Context, of_config: Option<&PathBuf>, may_be_own: bool) -> Option<PathBuf> {
    let unnamed = || if may_be_own { own_state_dir().ok() } else { state_dir_of_environment() };
    context.options.state_dir.as_ref().or(of_config).cloned().or_else(unnamed)
}

/// The state directory from the environment.
fn state_dir_of_environment() -> Option<PathBuf> {
    std::env::var_os("DRIPFEED_STATE_DIR").filter(|v| !v.is_empty()).map(PathBuf::from)
}

/// The state directory for verbs that need one: defaults to the user's own.
pub(crate) fn state_dir_or_own(context: &Context, of_config: Option<&PathBuf>) -> Result<PathBuf> {
    context.options.state_dir.as_ref().or(of_config).cloned().map_or_else(own_state_dir, Ok)
}

/// The state directory of the environment, or the user's own.
fn own_state_dir() -> Result<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    state_dir_of_environment()
        .or_else(|| Some(absolute("XDG_STATE_HOME")?.join("dripfeed")))
        .or_else(|| Some(absolute("HOME")?.join(".local/state/dripfeed")))
        .ok_or_else(|| Fault::config("there is no state directory").hint("set one with --state-dir DIR"))
}
