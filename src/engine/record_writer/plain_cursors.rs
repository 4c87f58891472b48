//! Cursor values that only matter if they are the highest of their page, compared as bytes.
//!
//! Input: the limits of a slice, before each answer; then the text of each record's cursor. Output: whether the text is
//! plain; the highest one. Called by [`super::cursor_tracker`], which parses all others. Texts of one form with a fixed
//! width, `2024-01-02T03:04:05Z`, have the order of their times.

use time::{Duration, OffsetDateTime};

use super::Bounds;
use crate::base::timefmt::{is_utc, rfc3339};
use crate::engine::cursor::ceiling::Ceiling;
use crate::engine::cursor::{CursorPlan, Window};

type Text = [u8; 20];

/// The first and the last time that have this form.
const FIRST: Text = *b"0001-01-01T00:00:00Z";
const LAST: Text = *b"9999-12-31T23:59:59Z";

/// The plain texts of a page.
pub(super) struct PlainCursors {
    from: Text,
    to: Text,
    /// The highest one.
    highest: Option<Text>,
}

impl PlainCursors {
    /// The texts that lie within every limit; `None` if the plan has another form, or needs each value. `window` is
    /// that of the slice, if values between windows are looked for.
    pub(super) fn new(
        plan: &CursorPlan,
        ceiling: &Ceiling<'_>,
        (start, end): Bounds,
        window: Option<&Window>,
    ) -> Option<PlainCursors> {
        let sample = "2001-02-03T04:05:06Z";
        if plan.parse(sample).is_none_or(|time| rfc3339(time) != sample) {
            return None;
        }
        if let Some(window) = window {
            // If two neighbours fall on the granules of the window, each second does.
            let second = window.start.replace_nanosecond(0).ok()?;
            let is_between = |after| plan.is_between_windows(window, second.saturating_add(Duration::seconds(after)));
            if is_between(1) || is_between(2) {
                return None;
            }
        }
        let end = end.map_or(ceiling.end(), |end| end.min(ceiling.end()));
        if end.year() < 1 {
            return None;
        }
        let from = match start {
            Some(start) if start.nanosecond() > 0 => text(start.saturating_add(Duration::seconds(1)))?,
            Some(start) => text(start)?,
            None => FIRST,
        };
        Some(PlainCursors { from, to: text(end).unwrap_or(LAST), highest: None })
    }

    /// Notes a plain text; false for any other.
    #[inline]
    pub(super) fn takes(&mut self, raw: &[u8]) -> bool {
        let Ok(raw) = <&Text>::try_from(raw) else { return false };
        let is_plain = self.from <= *raw && *raw <= self.to && is_utc(raw);
        if is_plain && self.highest.is_none_or(|highest| highest < *raw) {
            self.highest = Some(*raw);
        }
        is_plain
    }

    /// The highest text since it was taken last.
    pub(super) fn take_highest(&mut self) -> Option<String> {
        self.highest.take().and_then(|text| String::from_utf8(text.to_vec()).ok())
    }

    /// Drops the texts of an incomplete page.
    pub(super) fn page_failed(&mut self) {
        self.highest = None;
    }
}

/// A time as text, without its fraction; `None` if its year has no four digits.
fn text(time: OffsetDateTime) -> Option<Text> {
    rfc3339(time.replace_nanosecond(0).ok()?).into_bytes().try_into().ok()
}
