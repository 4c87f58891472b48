//! Records that are gone in such a number, or in such a way, that a person must accept it.
//!
//! Input: a question of the engine. Output: whether it was accepted; if not, a finding. Called by `engine` through
//! [`DriftMonitor`], before the stream ends.

use super::DriftMonitor;
use super::decide::waiver;
use crate::base::config::DriftPolicy as Policy;
use crate::drift::deviations::Deviation;
use crate::drift::rules::Rule;

impl DriftMonitor {
    /// May these records be marked as deleted? `text` stays the same as long as the question does.
    pub fn accepts_gone(&self, text: &str, count: u64) -> bool {
        let mut inner = self.lock();
        let deviation = Deviation::plain(Rule::RecordsGone, String::new(), String::new(), text.to_owned());
        let policy = self.policies.of(Rule::RecordsGone, &self.stream, "", Rule::RecordsGone.policy());
        if policy == Policy::Ignore || inner.overlay.waived.contains(&waiver(&deviation)) {
            return true;
        }
        let finding = self.note(&mut inner, &deviation, policy, count);
        finding.evidence =
            Some("no record was marked as deleted; after `drift accept` the next sweep marks them".into());
        false
    }
}
