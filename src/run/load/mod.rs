//! From options to a plan, in stages: identity, config, manifest, plan.
//!
//! Input: the options. Output: manifest, config and plan, or a fault that explains what to fix. Called by the verbs.
//! No request is sent here, except for streams that only the vendor can list. Start at `ConfiguredSource`, then read
//! its `load`.

mod configured;
mod manifest;
mod monitor;

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::reporter::Reporter;
use crate::base::config::references::Needed;
use crate::base::config::{self, Config, DriftPolicy, Safety, Tls, deletes};
use crate::base::fault::{Fault, Result};
use crate::base::http::Network;
use crate::base::store::Store;
use crate::drift::policy::Policies;
use crate::engine::auth;
use crate::engine::build::{self, Build, SourcePlan};
use crate::engine::context::EngineContext;
use crate::manifest::builtin;
use crate::manifest::template::EvalContext;
use crate::pace::store::{MemoryLedger, SharedLedger};
use crate::pace::{self, LedgerBackend, Pace};
use crate::protocol::Protocol;
use crate::run::context::Context;
use crate::run::identity::RunIdentity;
use crate::sandbox::Sandbox;
use crate::tenant::schedule::cron_expr::Times;
use crate::tenant::schedule::jenkins_hash::Hash;

pub(crate) use configured::{ConfiguredSource, now};
pub use manifest::specification;
pub(crate) use manifest::{manifest, manifest_of};
pub(crate) use monitor::ReadMode;

/// A source with a tenant's config, ready to run.
pub struct LoadedSource {
    /// Every stream, compiled.
    pub plan: SourcePlan,
    /// Config and now.
    pub cx: Arc<EvalContext>,
    /// The config.
    pub config: Config,
    /// The sandbox, when it runs in this process.
    pub sandbox: Option<Sandbox>,
    /// Receives the events of the run.
    pub(crate) reporter: Arc<Reporter>,
    /// Shared by all threads.
    pub shared: Arc<EngineContext>,
    /// The drift policies.
    policies: Arc<Policies>,
    /// The identity of the run.
    pub(crate) identity: RunIdentity,
}

/// Why a source is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To list its streams; may work without a config.
    Discover,
    /// To check the connection.
    Check,
    /// To look at a few pages.
    Test,
    /// To read records.
    Read,
}

/// The tenant configs in a folder: its *.json files, sorted by name.
pub(crate) fn configs_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let shown = folder.display();
    let entries =
        std::fs::read_dir(folder).map_err(|e| Fault::config(format!("cannot list the folder {shown}: {e}")))?;
    let paths = entries.map(|entry| entry.map(|e| e.path()));
    let mut paths: Vec<PathBuf> = paths
        .collect::<std::io::Result<_>>()
        .map_err(|e| Fault::local(format!("cannot list the folder {shown}"), &e))?;
    paths.retain(|path| path.extension().is_some_and(|e| e == "json") && path.is_file());
    paths.sort();
    Ok(paths)
}

impl Context {
    /// Loads the source with the tenant's config.
    pub(crate) fn load(&self, purpose: Purpose) -> Result<LoadedSource> {
        ConfiguredSource::read(self)?.load(self, purpose)
    }

    /// The source with the tenant's config, validated but not compiled.
    pub(crate) fn configured(&self) -> Result<ConfiguredSource> {
        let configured = ConfiguredSource::read(self)?;
        configured.validate(self, Purpose::Read).map(|()| configured)
    }
}

impl ConfiguredSource {
    /// Compiles the source for the tenant, after its config is validated.
    pub(crate) fn load(self, context: &Context, purpose: Purpose) -> Result<LoadedSource> {
        let loaded = self.compile(context, purpose);
        if context.protocol == Protocol::Singer {
            return loaded;
        }
        // No stream has begun that such a trace message could refer to.
        loaded.map_err(|fault| match &fault.stream {
            Some(stream) => Fault { message: format!("stream `{stream}`: {}", fault.message), stream: None, ..fault },
            None => fault,
        })
    }

    fn compile(mut self, context: &Context, purpose: Purpose) -> Result<LoadedSource> {
        self.validate(context, purpose)?;
        // Config rules apply to the config as it was given.
        if let (Purpose::Check, Some(overrides), Some(config)) =
            (purpose, self.manifest.source.check.overrides()?, self.cx.config.as_object_mut())
        {
            config.extend(overrides.clone());
        }
        let is_awaited = matches!(purpose, Purpose::Check | Purpose::Test);
        let reporter = Reporter::new(context, &self.manifest.name, &self.config, is_awaited);
        let pace = self.pace(context, &reporter)?;
        if self.migrated {
            reporter.config_changed()?;
        }
        let policies = Arc::new(Policies::new(&self.config.ours.drift)?);
        let cx = Arc::new(self.cx);
        // Verbs that call no vendor have no values for references, of which a certificate is one.
        let tls = if context.needed == Needed::All { self.config.ours.tls.clone() } else { Tls::default() };
        let allowed_hosts = self.config.ours.allowed_hosts.clone();
        let network = Network { tls, own_server: self.sandbox.as_ref().map(Sandbox::url), allowed_hosts };
        let shared = reporter.shared(&self.config, pace, &cx, (&context.stop, network))?;
        let ConfiguredSource { identity, manifest, config, sandbox, .. } = self;
        let auth = auth::Builder::new(identity.root.as_deref().map(Store::new), context.protocol == Protocol::Airbyte);
        let of_manifest = deletes::of_manifest(manifest.source.metadata.as_ref())?;
        let deletes = deletes::combined(&config.ours.deletes, of_manifest);
        let plan = build::plan(&Build {
            manifest: &manifest,
            cx: &cx,
            baseline: &|stream| builtin::baseline(&manifest.name, stream).filter(|_| manifest.folder.is_none()),
            auth: &auth,
            safety: &config.ours.safety.clone().or(Safety::of_manifest(manifest.source.metadata.as_ref())?),
            deletes: &deletes,
            accepts: &|stream, rule| policies.of(rule, stream, "", rule.policy()) <= DriftPolicy::Warn,
            shared: Some(&shared),
            parents: OnceCell::new(),
        })?;
        check_tiers(&config, &plan, &identity.tenant)?;
        Ok(LoadedSource { plan, cx, config, sandbox, reporter, shared, policies, identity })
    }

    /// The account's pace. The ledger is shared if there is a state directory; an in-process sandbox shares with
    /// nobody.
    fn pace(&self, context: &Context, reporter: &Arc<Reporter>) -> Result<Arc<Pace>> {
        let ours = &self.config.ours;
        let headroom = context.options.headroom.or(ours.pace.headroom);
        let limits = config::Pace { headroom, ..ours.pace.clone() };
        let budget = pace::budget::build(self.manifest.source.api_budget.as_ref(), &limits, &self.cx)?;
        let ledger = match self.identity.root.as_ref().filter(|_| self.sandbox.is_none()) {
            Some(root) => {
                let path = root.join("pace").join(format!("{}.ledger", self.account().key(&self.config)));
                let reporter = reporter.clone();
                LedgerBackend::Shared(SharedLedger::new(&path, Box::new(move |notice| reporter.ledger(notice))))
            }
            None => LedgerBackend::Own(MemoryLedger::default()),
        };
        let priority = context.options.priority(&ours.tiers)?;
        Ok(Pace::new(budget, ledger, priority, reporter.deadline()))
    }
}

/// Refuses a tier with an unknown stream or an invalid schedule.
fn check_tiers(config: &Config, plan: &SourcePlan, tenant: &str) -> Result<()> {
    for (tier, config::Tier { streams, schedule, .. }) in &config.ours.tiers {
        if let Some(schedule) = schedule {
            Times::parse(schedule, &Hash { tenant, tier }).map_err(|f| Fault {
                message: format!("config `dripfeed.tiers.{tier}.schedule`: {}", f.message),
                ..f
            })?;
        }
        for stream in streams.iter().filter(|stream| *stream != "*") {
            plan.stream(stream)
                .map_err(|f| Fault { message: format!("config `dripfeed.tiers.{tier}`: {}", f.message), ..f })?;
        }
    }
    Ok(())
}
