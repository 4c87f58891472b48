//! The alerts of a run: who is told how it ended.
//!
//! Comes in: a run from before its config is read to what came of it. Goes out: calls of the webhook that the config
//! names, by `tenant::alert`. Called by `runs`. What becomes of an alert never changes how a run ends.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use time::OffsetDateTime;

use super::load::{self, LoadedSource};
use super::log::Level;
use super::outcome::{RunOutcome, slot};
use super::reporter::Reporter;
use crate::base::config;
use crate::base::fault::Fault;
use crate::base::timefmt::rfc3339;
use crate::drift::across_tenants;
use crate::drift::finding::Finding;
use crate::run::context::Context;
use crate::tenant::alert::{AlertSender, Delivery, RunEnd};

/// The alarm of a run.
pub(crate) struct RunAlerts<'w> {
    context: &'w Context,
    armed: RefCell<Option<ArmedAlert>>,
}

/// Somebody is to be told.
struct ArmedAlert {
    source: String,
    tenant: String,
    run_id: String,
    root: Option<PathBuf>,
    reporter: Option<Arc<Reporter>>,
    alert_sender: AlertSender,
}

impl<'w> RunAlerts<'w> {
    /// A run begins.
    pub(crate) fn new(context: &'w Context) -> RunAlerts<'w> {
        RunAlerts { context, armed: RefCell::default() }
    }

    /// Its config is read, and its locks are held: alerts that earlier runs could not deliver are tried again.
    pub(crate) fn loaded(&self, loaded: &LoadedSource) {
        // Who looks at a few records sees by himself what is wrong.
        let alert = loaded.config.ours.alert.as_ref().filter(|_| self.context.options.limit.is_none());
        let (names, root) = (&loaded.names, loaded.states.as_deref());
        self.armed.replace(alert.map(|alert| ArmedAlert {
            source: names.source.clone(),
            tenant: names.tenant.clone(),
            run_id: names.run_id.clone(),
            root: root.map(Path::to_owned),
            reporter: Some(loaded.reporter.clone()),
            alert_sender: AlertSender::begin(alert, root, &names.source, &names.tenant),
        }));
    }

    /// It ended so: returns when that is told, or cannot be for now.
    pub(crate) fn rings(&self, began: &str, outcome_of_run: &RunOutcome) {
        let context = self.context;
        let Some(armed) = self.armed.take().or_else(|| refused(context)) else { return };
        // Whoever reads stdout need not wait for it.
        drop(context.out.lock().flush());
        let hidden = |fault: &Fault| context.log.hidden(fault);
        let faults =
            outcome_of_run.outcomes.iter().filter_map(|a| Some((a.stream.to_string(), hidden(a.fault.as_ref()?))));
        let faults: Vec<(String, Fault)> = faults.collect();
        // The gravest may be a stream's own.
        let whole = outcome_of_run.unsaid.as_ref().or(outcome_of_run.fault.as_ref()).map(hidden);
        let whole = whole.filter(|whole| faults.iter().all(|(_, fault)| fault.message != whole.message));
        let outcome = RunEnd {
            slot: slot(&context.options).to_owned(),
            run_id: armed.run_id,
            began: began.to_owned(),
            ended: rfc3339(OffsetDateTime::now_utc()),
            exit_code: outcome_of_run.unsaid.as_ref().map_or(outcome_of_run.exit_code, |fault| fault.kind.exit_code()),
            fault: whole,
            faults,
            complete: outcome_of_run.outcomes.iter().filter(|a| a.complete).map(|a| a.stream.to_string()).collect(),
            drift: open_drift(armed.root.as_deref(), &armed.source, &armed.tenant, armed.reporter.as_deref()),
            limited: outcome_of_run.figures.resume_after.is_some(),
            whose: context.tenant_arguments(),
            source: armed.source,
            tenant: armed.tenant,
        };
        let Delivery { left, kept, why } = armed.alert_sender.end(&outcome);
        if let Some(why) = why {
            let then = match (left, kept) {
                (0, _) => "",
                (_, true) => "; the tenant's next run tries again",
                (_, false) => "; it is lost, for there is no state directory to keep it in",
            };
            context.log.line(Level::Warning, &format!("alert: {why}{then}"));
        }
    }
}

/// Of a config that was refused: who is to be told, if that much of it can be read.
fn refused(context: &Context) -> Option<ArmedAlert> {
    let partial = config::partial(&context.options.config);
    let alert = partial.alert.as_ref().filter(|_| context.options.limit.is_none())?;
    if let Some(secret) = &alert.secret {
        context.log.hide_too(secret);
    }
    // How far it was read tells better than its parts.
    let known = context.identity.get();
    let named = context.source_or(partial.source.as_deref());
    let stem = |path: &str| Path::new(path).file_stem().map(|stem| stem.to_string_lossy().into_owned());
    // A source has the name of its manifest's file, and a tenant without a name that of its config's.
    let source = known.map(|whose| whose.source.clone()).or_else(|| named.and_then(stem));
    let tenant = known.map(|whose| whose.tenant.clone()).or(partial.tenant);
    let tenant = tenant.or_else(|| stem(context.options.config.last()?));
    let (source, tenant) = (source.unwrap_or_else(|| "unknown".into()), tenant.unwrap_or_else(|| "unknown".into()));
    let root =
        known.map_or_else(|| partial.state_dir.or_else(load::state_dir_of_environment), |whose| whose.root.clone());
    let alert_sender = AlertSender::begin(alert, root.as_deref(), &source, &tenant);
    let run_id = known.map(|whose| whose.run_id.clone()).unwrap_or_default();
    Some(ArmedAlert { source, tenant, run_id, root, reporter: None, alert_sender })
}

/// Every change of the tenant's data that nobody has judged: what is kept, and what this run found and does not keep.
fn open_drift(root: Option<&Path>, source: &str, tenant: &str, reporter: Option<&Reporter>) -> Option<Vec<Finding>> {
    let kept = root.map(|root| across_tenants::read(root, source, tenant)).transpose().ok()?;
    let kept =
        kept.into_iter().flat_map(|tenant| tenant.streams.into_values()).flat_map(|(_, pending)| pending.findings);
    let mut findings: Vec<Finding> = kept.collect();
    for found in reporter.into_iter().flat_map(Reporter::found) {
        if !findings.iter().any(|kept| kept.fingerprint == found.fingerprint && kept.stream == found.stream) {
            findings.push(found);
        }
    }
    Some(findings)
}
