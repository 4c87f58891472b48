//! Buffers finished lines for stdout: one page at a time, small pages together.
//!
//! Input: bytes of lines, the end of each page. Output: lines of complete pages. Called by the record writer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::schema_version::SchemaVersion;

/// Pages that follow each other faster than this are sent together.
const FLUSH_INTERVAL: Duration = Duration::from_millis(20);
/// The size at which lines are sent, in bytes.
const FLUSH_BYTES: usize = 96 << 10;

/// Sends lines with their number and schema version.
pub(in crate::engine) type Send<'s> = &'s mut dyn FnMut(Vec<u8>, u64, &Arc<SchemaVersion>);

/// Lines waiting to be sent.
pub(super) struct LineBatch<'s> {
    send: Send<'s>,
    /// Lines of complete pages, then those of this page.
    pub(super) lines: Vec<u8>,
    /// Records of this page.
    count: u64,
    /// Bytes and records of complete pages.
    whole: (usize, u64),
    last_page: Option<Instant>,
}

impl<'s> LineBatch<'s> {
    pub(super) fn new(send: Send<'s>) -> Self {
        LineBatch { send, lines: Vec::new(), count: 0, whole: (0, 0), last_page: None }
    }

    /// Counts a finished line.
    pub(super) fn record_done(&mut self) {
        self.count += 1;
    }

    /// Changes all waiting lines.
    pub(super) fn rewrite(&mut self, change: impl Fn(&[u8]) -> Vec<u8>) {
        let page = change(&self.lines[self.whole.0..]);
        self.lines = change(&self.lines[..self.whole.0]);
        self.whole.0 = self.lines.len();
        self.lines.extend_from_slice(&page);
    }

    /// Are pages waiting to be sent?
    pub(super) fn has_pages(&self) -> bool {
        self.whole.0 > 0
    }

    /// Completes a page; its lines are sent now, or with the next page.
    pub(super) fn page_done(&mut self, version: &Arc<SchemaVersion>) {
        self.whole = (self.lines.len(), self.whole.1 + self.count);
        self.count = 0;
        // Fast pages are sent together, because each send wakes the writer.
        let fast = self.last_page.replace(Instant::now()).is_some_and(|at| at.elapsed() < FLUSH_INTERVAL);
        if !fast || self.whole.0 >= FLUSH_BYTES {
            self.flush(version);
        }
    }

    /// Drops the lines of an incomplete page; returns their number.
    pub(super) fn page_failed(&mut self) -> u64 {
        self.lines.truncate(self.whole.0);
        std::mem::take(&mut self.count)
    }

    /// Sends the waiting pages.
    pub(super) fn flush(&mut self, version: &Arc<SchemaVersion>) {
        let capacity = self.lines.capacity();
        let lines = std::mem::replace(&mut self.lines, Vec::with_capacity(capacity.min(2 * FLUSH_BYTES)));
        let (_, count) = std::mem::take(&mut self.whole);
        (self.send)(lines, count, version);
    }
}
