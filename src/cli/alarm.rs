//! The alerts of a run: who is told how it ended.
//!
//! Comes in: a run from its first line to its exit code. Goes out: calls of the webhook that the config names, by
//! `tenant::alert`. Called by `read` and `sync`. What becomes of an alert never changes how the run ends.

use std::path::Path;
use std::sync::Arc;

use time::OffsetDateTime;

use super::commands::Work;
use super::drift::whose;
use super::load::{self, Loaded};
use super::log::Level;
use super::watch::Watch;
use crate::config;
use crate::drift::finding::Finding;
use crate::drift::rollup;
use crate::emit::lock;
use crate::fault::{Fault, Result};
use crate::tenant::alert::{Alarm, Delivery, Outcome};
use crate::tenant::record;
use crate::timefmt::rfc3339;

/// The alarm of a run, from before its config is read.
pub(super) struct Bell<'w> {
    work: &'w Work,
    began: OffsetDateTime,
    /// What the run was: a tier's name, `all` or `backfill`.
    pub(super) slot: String,
    tenant: Option<Known>,
}

/// What is known once the config is read.
struct Known {
    source: String,
    tenant: String,
    run_id: String,
    root: Option<std::path::PathBuf>,
    watch: Option<Arc<Watch>>,
    /// None where the config names no webhook.
    alarm: Option<Alarm>,
}

impl<'w> Bell<'w> {
    /// A run begins.
    pub(super) fn new(work: &'w Work) -> Bell<'w> {
        let slot = work.options.tier.clone().unwrap_or_else(|| record::ALL.to_owned());
        let began = load::now().map_or_else(|_| OffsetDateTime::now_utc(), |(now, _)| now);
        Bell { work, began, slot, tenant: None }
    }

    /// Its config is read, and what outlives it is in `root`: alerts that earlier runs could not deliver are tried again.
    pub(super) fn loaded(&mut self, loaded: &Loaded, root: Option<&Path>) {
        // Who looks at a few records sees by himself what is wrong.
        let alert = loaded.config.ours.alert.as_ref().filter(|_| self.work.options.limit.is_none());
        let names = &loaded.names;
        self.tenant = Some(Known {
            source: names.source.clone(),
            tenant: names.tenant.clone(),
            run_id: names.run_id.clone(),
            root: root.map(Path::to_owned),
            watch: Some(loaded.watch.clone()),
            alarm: alert.map(|alert| Alarm::begin(alert, root, &names.source, &names.tenant)),
        });
    }

    /// It ended so: returns when that is told, or cannot be for now.
    pub(super) fn ring(self, done: &Result<u8>) {
        let work = self.work;
        let Some(known) = self.tenant.or_else(|| done.as_ref().err().and_then(|_| refused(work))) else { return };
        let Some(alarm) = known.alarm else { return };
        // Whoever reads stdout need not wait for it.
        drop(lock(&work.out).flush());
        let hidden = |fault: &Fault| work.log.hidden(fault);
        let accounts = known.watch.iter().flat_map(|watch| watch.settled()).collect::<Vec<_>>();
        let faults = accounts.iter().filter_map(|a| Some((a.stream.to_string(), hidden(a.fault.as_ref()?))));
        let outcome = Outcome {
            slot: self.slot,
            run_id: known.run_id,
            began: rfc3339(self.began),
            ended: load::now().map_or_else(|_| rfc3339(self.began), |(now, _)| rfc3339(now)),
            exit_code: done.as_ref().map_or_else(|fault| fault.kind.exit_code(), |code| *code),
            fault: done.as_ref().err().map(hidden),
            faults: faults.collect(),
            complete: accounts.iter().filter(|a| a.complete).map(|a| a.stream.to_string()).collect(),
            drift: open_drift(known.root.as_deref(), &known.source, &known.tenant, known.watch.as_deref()),
            limited: known.watch.as_ref().is_some_and(|watch| watch.resume_after().is_some()),
            whose: whose::words(&work.options, work.environment.as_deref()),
            source: known.source,
            tenant: known.tenant,
        };
        let Delivery { delivered: _, left, kept, why } = alarm.end(&outcome);
        if let Some(why) = why {
            let then = match (left, kept) {
                (0, _) => "",
                (_, true) => "; the tenant's next run tries again",
                (_, false) => "; it is lost, for there is no state directory to keep it in",
            };
            work.log.line(Level::Warning, &format!("alert: {why}{then}"));
        }
    }
}

/// Of a config that was refused: who is to be told, if that much of it can be read.
fn refused(work: &Work) -> Option<Known> {
    let gist = config::gist(&work.options.config);
    let alert = gist.alert.as_ref().filter(|_| work.options.limit.is_none())?;
    if let Some(secret) = &alert.secret {
        work.log.hide_too(secret);
    }
    let source = work.options.source.as_deref().or(gist.source.as_deref()).or(work.environment.as_deref());
    let stem = |path: &str| Path::new(path).file_stem().map(|stem| stem.to_string_lossy().into_owned());
    // A source has the name of its manifest's file, and a tenant without a name that of its config's.
    let source = source.or(work.named.as_deref()).and_then(stem).unwrap_or_else(|| "unknown".to_owned());
    let tenant = gist.tenant.or_else(|| stem(work.options.config.last()?)).unwrap_or_else(|| "unknown".to_owned());
    let root = gist.state_dir.or_else(load::state_dir_of_environment);
    let alarm = Some(Alarm::begin(alert, root.as_deref(), &source, &tenant));
    Some(Known { source, tenant, run_id: String::new(), root, watch: None, alarm })
}

/// Every change of the tenant's data that nobody has judged: what is kept, and what this run found and does not keep.
fn open_drift(root: Option<&Path>, source: &str, tenant: &str, watch: Option<&Watch>) -> Option<Vec<Finding>> {
    let kept = root.map(|root| rollup::read(root, source, tenant)).transpose().ok()?;
    let kept =
        kept.into_iter().flat_map(|tenant| tenant.streams.into_values()).flat_map(|(_, pending)| pending.findings);
    let mut findings: Vec<Finding> = kept.collect();
    for found in watch.into_iter().flat_map(Watch::found) {
        if !findings.iter().any(|kept| kept.fingerprint == found.fingerprint && kept.stream == found.stream) {
            findings.push(found);
        }
    }
    Some(findings)
}
