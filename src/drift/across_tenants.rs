//! Compares the tenants of one source: is a change the vendor's or one tenant's?
//!
//! Input: a state directory. Output: the findings of all tenants, merged per change, and whether the vendor is the
//! cause. Called by the reports of `drift`. This module only reads: a run sees only its own tenant, so the
//! distinction is only possible here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Serialize;
use time::{Duration, OffsetDateTime};

use super::finding::Finding;
use super::overlay::{self, Overlay, OverlayFiles, Pending};
use crate::base::fault::Result;
use crate::base::store::{file_name, names};
use crate::base::timefmt::parse_iso;

/// The number of tenants from which a change within [`TOGETHER`] is the vendor's.
const MANY: usize = 3;
/// A change that at least one in this many tenants has is the vendor's too …
const SHARE: usize = 5;
/// … if at least two have it: a single tenant proves nothing about others.
const FEW: usize = 2;
/// The time within which a vendor rolls out a change to its customers.
const TOGETHER: Duration = Duration::hours(24);

/// The saved drift of a tenant.
#[derive(Debug, Clone, Default)]
pub struct TenantDrift {
    /// The name of the tenant.
    pub name: String,
    /// Overlay and findings of each stream with saved drift.
    pub streams: BTreeMap<String, (Overlay, Pending)>,
}

/// The scope of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeScope {
    /// The API changed; sooner or later every tenant is affected.
    Vendor,
    /// Specific to this tenant: its plan, its custom fields, its data.
    Tenant,
}

/// A change, and the tenants that have it.
#[derive(Debug, Clone)]
pub struct Rolled {
    /// The finding of a single tenant as saved; for several, with summed counts, from the first to the last sighting.
    pub finding: Finding,
    /// The scope.
    pub scope: ChangeScope,
    /// The finding of each tenant, by name.
    pub by_tenant: Vec<Finding>,
}

impl Rolled {
    /// The tenants that have the change.
    pub fn tenants(&self) -> Vec<&str> {
        self.by_tenant.iter().map(|finding| &*finding.tenant).collect()
    }
}

/// The sources with saved drift.
pub fn sources(root: &Path) -> Result<Vec<String>> {
    names(&root.join("drift"), |name| Some(name.to_owned()))
}

/// The tenants of a source with saved drift.
pub fn tenants(root: &Path, source: &str) -> Result<Vec<String>> {
    names(&root.join("drift").join(file_name(source)), |name| Some(name.to_owned()))
}

/// Reads the saved drift of a tenant.
pub fn read(root: &Path, source: &str, tenant: &str) -> Result<TenantDrift> {
    let folder = root.join("drift").join(file_name(source)).join(file_name(tenant));
    let stream_of = |name: &str| {
        let name = name.strip_suffix(".json")?;
        Some(name.strip_suffix(".pending").unwrap_or(name).to_owned())
    };
    let mut streams = BTreeMap::new();
    for stream in names(&folder, stream_of)? {
        let (overlay, mut pending) = OverlayFiles::new(root, source, tenant, &stream).read()?;
        for finding in &mut pending.findings {
            // The path determines tenant and stream, even if a folder was renamed.
            (finding.tenant, finding.stream) = (tenant.to_owned(), stream.clone());
        }
        streams.insert(stream, (overlay, pending));
    }
    Ok(TenantDrift { name: tenant.to_owned(), streams })
}

/// Merges the findings per change, in the usual order.
pub fn roll_up(tenants: &[TenantDrift]) -> Vec<Rolled> {
    let mut changes: BTreeMap<&str, Vec<&Finding>> = BTreeMap::new();
    for tenant in tenants {
        for finding in tenant.streams.values().flat_map(|(_, pending)| &pending.findings) {
            changes.entry(&finding.fingerprint).or_default().push(finding);
        }
    }
    let mut findings: Vec<Finding> = changes.values().filter_map(|of| together(of)).collect();
    overlay::sort(&mut findings);
    let rolled = |finding: Finding| {
        let mut by_tenant: Vec<Finding> =
            changes.get(&*finding.fingerprint).into_iter().flatten().map(|f| (*f).clone()).collect();
        by_tenant.sort_by(|a, b| a.tenant.cmp(&b.tenant));
        let scope = scope(&by_tenant, tenants.len());
        Rolled { finding, scope, by_tenant }
    };
    findings.into_iter().map(rolled).collect()
}

/// The scope of a change that these tenants have, out of `of`.
fn scope(by_tenant: &[Finding], of: usize) -> ChangeScope {
    let mut first: Vec<OffsetDateTime> = by_tenant.iter().filter_map(|f| parse_iso(&f.first_seen)).collect();
    first.sort_unstable();
    let within = |start: &OffsetDateTime| first.iter().filter(|t| *t >= start && **t - *start <= TOGETHER).count();
    let most = first.iter().map(within).max().unwrap_or(0);
    let share = of >= SHARE && most >= FEW && most * SHARE >= of;
    if most >= MANY || share { ChangeScope::Vendor } else { ChangeScope::Tenant }
}

/// Merges the findings of one change.
fn together(findings: &[&Finding]) -> Option<Finding> {
    let first = findings.iter().min_by(|a, b| (&a.first_seen, &a.tenant).cmp(&(&b.first_seen, &b.tenant)))?;
    let last = findings.iter().max_by(|a, b| a.last_seen.cmp(&b.last_seen))?;
    let sum = |of: fn(&Finding) -> u64| findings.iter().fold(0, |sum: u64, f| sum.saturating_add(of(f)));
    let keys: BTreeSet<&String> = findings.iter().flat_map(|f| &f.keys).collect();
    Some(Finding {
        severity: findings.iter().map(|f| f.severity).max()?,
        policy: findings.iter().map(|f| f.policy).max()?,
        count: sum(|f| f.count),
        of: sum(|f| f.of),
        last_count: sum(|f| f.last_count),
        last_of: sum(|f| f.last_of),
        quarantined: sum(|f| f.quarantined),
        runs: sum(|f| f.runs),
        last_seen: last.last_seen.clone(),
        run_id: last.run_id.clone(),
        keys: keys.into_iter().take(5).cloned().collect(),
        // Silenced only if it is silenced for all tenants.
        silenced_until: findings.iter().map(|f| f.silenced_until.clone()).min().flatten(),
        ..(*first).clone()
    })
}
