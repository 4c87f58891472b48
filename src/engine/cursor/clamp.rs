//! Clamping: windows that start and end with whole days, weeks or months.
//!
//! Input: the definition; then the bounds to read. Output: windows. Called by [`SliceRange`]. For APIs that return
//! only whole periods, so that none is read twice or in part. The rules, including rounding, are those of
//! airbyte-cdk's `ClampingStrategy` and `ConcurrentCursor`.

use time::{Date, Duration, OffsetDateTime, Time, Weekday};

use super::ranges::Span;
use super::slice_range::SliceRange;
use super::{CursorPlan, Window};
use crate::base::fault::Result;
use crate::base::timefmt::Period;
use crate::manifest::model;
use crate::manifest::template::{EvalContext, Template, Vars};

/// The unit to which windows are clamped.
#[derive(Debug, Clone, Copy)]
pub(super) enum Clamp {
    Day,
    Week(Weekday),
    Month,
}

/// Compiles a clamping.
pub(super) fn build(def: &model::Clamping, cx: &EvalContext) -> Result<Clamp> {
    let target = Template::compile(&def.target, &[])?.text(&Vars::new(cx))?;
    Ok(match &*target {
        "DAY" => Clamp::Day,
        "MONTH" => Clamp::Month,
        "WEEK" => {
            let at = def.at.field("target_details", None);
            let named = def.target_details.as_ref().and_then(|d| d.get("weekday")?.as_str());
            let named = named.ok_or_else(|| at.fault("`target: WEEK` needs a `weekday`, the first day of the week"))?;
            Clamp::Week(match named {
                "MONDAY" => Weekday::Monday,
                "TUESDAY" => Weekday::Tuesday,
                "WEDNESDAY" => Weekday::Wednesday,
                "THURSDAY" => Weekday::Thursday,
                "FRIDAY" => Weekday::Friday,
                "SATURDAY" => Weekday::Saturday,
                "SUNDAY" => Weekday::Sunday,
                other => {
                    return Err(at
                        .fault(format!("`weekday: {other}` does not exist"))
                        .hint("it can be MONDAY to SUNDAY"));
                }
            })
        }
        other => {
            let fault = def.target.at.fault(format!("`target: {other}` does not exist"));
            return Err(fault.hint("it can be DAY, WEEK or MONTH"));
        }
    })
}

impl Clamp {
    /// The start of the period that contains `t`.
    pub(super) fn floor(self, t: OffsetDateTime) -> OffsetDateTime {
        let date = match self {
            Clamp::Day => t.date(),
            Clamp::Week(first) => {
                let days = (7 + t.weekday().number_days_from_monday() - first.number_days_from_monday()) % 7;
                t.date().saturating_sub(Duration::days(days.into()))
            }
            Clamp::Month => Date::from_calendar_date(t.year(), t.month(), 1).unwrap_or(t.date()),
        };
        t.replace_date(date).replace_time(Time::MIDNIGHT)
    }

    /// The start of the first period at or after `t`; for weeks and months the time of day is ignored, as in the
    /// reference.
    fn ceil(self, t: OffsetDateTime) -> OffsetDateTime {
        let floor = self.floor(t);
        let begins = match self {
            Clamp::Day => t == floor,
            Clamp::Week(_) | Clamp::Month => t.date() == floor.date(),
        };
        if begins {
            return floor;
        }
        self.next(floor)
    }

    /// The start of the period after the one that starts at `floor`.
    pub(super) fn next(self, floor: OffsetDateTime) -> OffsetDateTime {
        let later = match self {
            Clamp::Day => Duration::days(1),
            Clamp::Week(_) => Duration::days(7),
            Clamp::Month => Duration::days(32),
        };
        self.floor(floor.saturating_add(later))
    }

    /// The whole periods that contain a span.
    pub(super) fn whole(self, span: Span) -> Span {
        let end = self.floor(span.end);
        Span { start: self.floor(span.start), end: if end < span.end { self.next(end) } else { end } }
    }

    /// The last moment of the whole periods before `end`: one granule before the next period starts.
    pub(super) fn end(self, end: OffsetDateTime, granularity: Option<Period>) -> OffsetDateTime {
        let granule = granularity.unwrap_or(Period {
            months: 0,
            exact: if matches!(self, Clamp::Day) { Duration::seconds(1) } else { Duration::days(1) },
        });
        let floor = self.floor(end);
        granule.before(floor).unwrap_or(floor)
    }

    /// Cuts a time range into windows.
    pub(super) fn windows(self, plan: &CursorPlan, range: SliceRange) -> Vec<Window> {
        let SliceRange { lower, upper, is_end } = range;
        let mut out = Vec::new();
        if lower > upper || lower == upper && plan.granularity.is_none() || upper < plan.start {
            return out;
        }
        let lower = self.ceil(lower.max(plan.start));
        if lower > upper || lower == upper && (plan.strict || !is_end) {
            return out;
        }
        let before = |t: OffsetDateTime| plan.granularity.and_then(|g| g.before(t)).unwrap_or(t);
        let step = |t: OffsetDateTime| plan.step.and_then(|s| s.after(t)).filter(|next| *next > t && *next < upper);
        if step(lower).is_none() {
            let end = if is_end && plan.granularity.is_some() { upper } else { self.ceil(upper) };
            out.push(Window { start: lower, end: if is_end { end } else { before(end) } });
            return out;
        }
        let mut at = lower;
        loop {
            let next = step(at);
            let end = next.map_or(upper, |next| self.ceil(next));
            let last = next.is_none() || end == upper;
            let start = self.ceil(at);
            if start >= end {
                return out;
            }
            out.push(Window { start, end: if is_end && last { end } else { before(end) } });
            if last {
                return out;
            }
            at = end;
        }
    }
}
