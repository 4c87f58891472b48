//! Cuts a time range into windows that are read one by one.
//!
//! Input: a [`SliceRange`] and a compiled cursor. Output: windows, oldest first. Called by [`super::Cursor`] and
//! [`super::backfill_cursor`]. If windows consist of whole days, weeks or months, [`super::clamp`] cuts them.

use time::OffsetDateTime;

use super::{CursorPlan, Window};

/// A time range to read.
#[derive(Debug, Clone, Copy)]
pub(super) struct SliceRange {
    pub(super) lower: OffsetDateTime,
    pub(super) upper: OffsetDateTime,
    /// Is this the end of all ranges? If not, the time from `upper` on was already read.
    pub(super) is_end: bool,
}

impl SliceRange {
    /// Cuts the range into steps.
    pub(super) fn windows(self, plan: &CursorPlan) -> Vec<Window> {
        if let Some(clamp) = plan.clamp {
            return clamp.windows(plan, self);
        }
        let SliceRange { lower, upper, is_end } = self;
        let mut out = Vec::new();
        let upper = if is_end { upper } else { plan.granularity.and_then(|g| g.before(upper)).unwrap_or(upper) };
        if lower > upper || lower == upper && (plan.granularity.is_none() || plan.strict) {
            return out;
        }
        let step = |t: OffsetDateTime| plan.step.and_then(|s| s.after(t)).filter(|next| *next > t);
        let mut start = lower;
        loop {
            match step(start) {
                Some(next) if next < upper => {
                    let end = plan.granularity.and_then(|g| g.before(next)).unwrap_or(next);
                    out.push(Window { start, end });
                    start = next;
                }
                _ => {
                    out.push(Window { start, end: upper });
                    return out;
                }
            }
        }
    }
}
