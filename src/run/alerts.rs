//! The alerts of a run.
//!
//! Input: a run, from before its config is read to its result. Output: calls of the configured webhook, through
//! `tenant::alert`. Called by `active_run`. Alert delivery never changes the result of a run.

use std::sync::Arc;

use time::OffsetDateTime;

use super::identity::RunIdentity;
use super::load::LoadedSource;
use super::log::Level;
use super::outcome::{RunOutcome, slot};
use super::reporter::Reporter;
use crate::base::config::{Alert, PartialConfig};
use crate::base::fault::Fault;
use crate::base::timefmt::rfc3339;
use crate::drift::across_tenants;
use crate::drift::finding::Finding;
use crate::run::context::Context;
use crate::tenant::alert::{AlertSender, Delivery, RunEnd};

/// The alerts of one run.
pub(crate) struct RunAlerts<'w> {
    context: &'w Context,
    /// The webhook, as far as the config could be read; `None` for a preview.
    alert: Option<Alert>,
    /// See [`Tls::ca_file`](crate::base::config::Tls::ca_file).
    ca_file: Option<String>,
    armed: Option<ArmedAlert>,
}

/// The state after the run has begun with a valid config.
struct ArmedAlert {
    reporter: Arc<Reporter>,
    alert_sender: AlertSender,
}

impl<'w> RunAlerts<'w> {
    /// Called when a run starts.
    pub(crate) fn new(context: &'w Context, partial: PartialConfig) -> RunAlerts<'w> {
        // The user of a preview sees errors directly.
        let alert = partial.alert.filter(|_| context.options.limit.is_none());
        RunAlerts { context, alert, ca_file: partial.ca_file, armed: None }
    }

    /// Called when the config is read and the locks are held: retries alerts that earlier runs could not deliver.
    pub(crate) fn loaded(&mut self, loaded: &LoadedSource) {
        self.alert = loaded.config.ours.alert.clone().filter(|_| self.context.options.limit.is_none());
        self.ca_file.clone_from(&loaded.config.ours.tls.ca_file);
        self.armed = self.alert.as_ref().map(|alert| {
            let alert_sender = sender(alert, self.ca_file.as_deref(), &loaded.identity);
            ArmedAlert { reporter: loaded.reporter.clone(), alert_sender }
        });
    }

    /// Called when the run has ended: returns when the alerts are delivered, or cannot be delivered now.
    pub(crate) fn rings(&mut self, identity: &RunIdentity, began: &str, outcome_of_run: &RunOutcome) {
        let context = self.context;
        let Some(alert) = &self.alert else { return };
        let (reporter, alert_sender) = match self.armed.take() {
            Some(ArmedAlert { reporter, alert_sender }) => (Some(reporter), alert_sender),
            // The config was refused.
            None => {
                if let Some(secret) = &alert.secret {
                    context.log.hide_too(secret);
                }
                (None, sender(alert, self.ca_file.as_deref(), identity))
            }
        };
        // Flushes stdout first, so that its reader need not wait for alerts.
        drop(context.out.lock().flush());
        let hidden = |fault: &Fault| context.log.hidden(fault);
        let faults =
            outcome_of_run.outcomes.iter().filter_map(|a| Some((a.stream.to_string(), hidden(a.fault.as_ref()?))));
        let faults: Vec<(String, Fault)> = faults.collect();
        // The most severe fault may belong to a single stream.
        let whole = outcome_of_run.unreported.as_ref().or(outcome_of_run.fault.as_ref()).map(hidden);
        let whole = whole.filter(|whole| faults.iter().all(|(_, fault)| fault.message != whole.message));
        let outcome = RunEnd {
            slot: slot(&context.options).to_owned(),
            run_id: identity.run_id.clone(),
            began: began.to_owned(),
            ended: rfc3339(OffsetDateTime::now_utc()),
            exit_code: outcome_of_run
                .unreported
                .as_ref()
                .map_or(outcome_of_run.exit_code, |fault| fault.kind.exit_code()),
            fault: whole,
            faults,
            complete: outcome_of_run.outcomes.iter().filter(|a| a.complete).map(|a| a.stream.to_string()).collect(),
            drift: open_drift(identity, reporter.as_deref()),
            limited: outcome_of_run.figures.resume_after.is_some(),
            arguments: context.tenant_arguments(),
            source: identity.source.clone(),
            tenant: identity.tenant.clone(),
        };
        let Delivery { left, stored, why } = alert_sender.end(&outcome);
        if let Some(why) = why {
            let then = match (left, stored) {
                (0, _) => "",
                (_, true) => "; the tenant's next run tries again",
                (_, false) => "; it is lost because there is no state directory to save it",
            };
            context.log.line(Level::Warning, &format!("alert: {why}{then}"));
        }
    }
}

/// Sends the tenant's alerts.
fn sender(alert: &Alert, ca_file: Option<&str>, identity: &RunIdentity) -> AlertSender {
    AlertSender::begin(alert, ca_file, identity.root.as_deref(), &identity.source, &identity.tenant)
}

/// Every drift change of the tenant without a decision: saved ones, and those that this run found but does not save.
fn open_drift(identity: &RunIdentity, reporter: Option<&Reporter>) -> Option<Vec<Finding>> {
    let stored = identity
        .root
        .as_ref()
        .map(|root| across_tenants::read(root, &identity.source, &identity.tenant))
        .transpose()
        .ok()?;
    let stored =
        stored.into_iter().flat_map(|tenant| tenant.streams.into_values()).flat_map(|(_, pending)| pending.findings);
    let mut findings: Vec<Finding> = stored.collect();
    for found in reporter.into_iter().flat_map(Reporter::found) {
        if !findings.iter().any(|stored| stored.fingerprint == found.fingerprint && stored.stream == found.stream) {
            findings.push(found);
        }
    }
    Some(findings)
}
