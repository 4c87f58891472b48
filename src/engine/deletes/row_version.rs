//! A new version of a whole stream, after which the target marks the rows of older ones (Singer's ACTIVATE_VERSION).
//!
//! Input: how each slice ended, and the number of rows of the last version. Output: the version on each record, and
//! the message that ends it, unless rows may be missing. Called by `record_writer` and `scheduler`.

use parking_lot::Mutex;
use serde_json::json;

use super::sweep::SweepLimits;
use crate::base::display::number_of;

/// Begins the number of rows in a stream's state.
const ROWS: &str = "rows:";

/// A version of a stream's rows.
#[derive(Debug)]
pub struct RowVersion {
    /// The version: milliseconds since 1970.
    version: i64,
    /// The rows of the last version that was activated.
    before: Option<u64>,
    /// Why rows may be missing.
    doubt: Mutex<Option<String>>,
}

/// What becomes of a version.
pub(in crate::engine) enum VersionEnd {
    /// It is activated: the line, and what the state says of it.
    Activated(Vec<u8>, String),
    /// It is not, for this reason.
    Doubted(String),
    /// A person must accept it, with this text and so many rows fewer.
    Asks(String, u64),
}

impl RowVersion {
    /// Begins a version; `generation` is what the state says of the last one.
    pub fn new(version: i64, generation: Option<&str>) -> RowVersion {
        let before = generation.and_then(|rows| rows.strip_prefix(ROWS)?.parse().ok());
        RowVersion { version, before, doubt: Mutex::default() }
    }

    /// What the state says until the version is activated.
    pub fn generation(&self) -> Option<String> {
        self.before.map(|rows| format!("{ROWS}{rows}"))
    }

    /// Rows may be missing.
    pub(in crate::engine) fn doubt(&self, why: &str) {
        self.doubt.lock().get_or_insert_with(|| why.to_owned());
    }

    /// The end of a line, with the version; `suffix` is the usual text.
    pub(in crate::engine) fn suffix(&self, suffix: &[u8]) -> Vec<u8> {
        [format!(",\"version\":{}", self.version).as_bytes(), suffix].concat()
    }

    /// Ends the version after so many rows.
    pub(in crate::engine) fn end(&self, stream: &str, rows: u64, limits: SweepLimits) -> VersionEnd {
        if let Some(why) = &*self.doubt.lock() {
            return VersionEnd::Doubted(why.clone());
        }
        let before = self.before.unwrap_or_default();
        let gone = before.saturating_sub(rows);
        #[allow(clippy::cast_precision_loss)]
        let share = gone as f64 / before.max(1) as f64;
        if gone > 0 && (rows == 0 || share > limits.max_share && gone > limits.always) {
            return VersionEnd::Asks(format!("{} instead of {before}", number_of(rows, "row")), gone);
        }
        self.activated(stream, rows)
    }

    /// The message that activates the version.
    pub(in crate::engine) fn activated(&self, stream: &str, rows: u64) -> VersionEnd {
        let message = json!({"type": "ACTIVATE_VERSION", "stream": stream, "version": self.version});
        VersionEnd::Activated(format!("{message}\n").into_bytes(), format!("{ROWS}{rows}"))
    }
}
