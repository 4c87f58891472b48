//! `--backfill FROM..TO`: a part of the past is read beside the live runs.
//!
//! Comes in: the option, the streams that were chosen and the state of an earlier run. Goes out: what of each stream is left
//! to read, what that costs at least, and how far it is. Called by `read`, for `sync` too.

use time::{OffsetDateTime, UtcOffset};

use crate::cursor::ranges::Span;
use crate::timefmt::{is_date, parse_iso};

/// What the option says.
pub(super) fn span(text: &str) -> Result<Span, String> {
    let (from, to) = text.split_once("..").ok_or("write it as FROM..TO, such as 2022-01-01..2025-01-01")?;
    let (start, end) = (moment(from)?, moment(to)?);
    if start >= end {
        return Err(format!("{from} is not before {to}"));
    }
    Ok(Span { start, end })
}

/// A date, which begins at midnight in UTC, or a time with its offset.
fn moment(text: &str) -> Result<OffsetDateTime, String> {
    let bad = || format!("`{text}` is neither a date such as 2022-01-01 nor a time such as 2022-01-01T06:00:00Z");
    let whole = text.get(..10).is_some_and(|date| is_date(date.as_bytes()));
    let zoned = |rest: &str| rest.starts_with(['T', 't', ' ']) && rest.contains(['Z', 'z', '+', '-']);
    if !whole || !text.get(10..).is_some_and(|rest| rest.is_empty() || zoned(rest)) {
        return Err(bad());
    }
    parse_iso(text).map(|time| time.to_offset(UtcOffset::UTC)).ok_or_else(bad)
}
