//! Checks that a cursor's windows fit together: its `step`, its `cursor_granularity` and the precision of its format.
//!
//! Input: a cursor's definition, or the compiled cursor and the values of records. Output: a warning. Called by
//! `validate`, and by the scheduler when a stream begins and when it ends.
//!
//! A window ends one granule before the next one starts. With a granule shorter than the format's precision, windows
//! never touch; with a longer one, no window covers the time in between.

use time::OffsetDateTime;
use time::macros::datetime;

use super::{CursorPlan, Window};
use crate::base::fault::Fault;
use crate::base::timefmt::{Format, Period};
use crate::manifest::model::{
    DatetimeBasedCursor, DeclarativeSource, DeclarativeStream, IncrementalSync, PartitionRouter,
};
use crate::manifest::node::Text;

/// The possible precisions of a format.
const UNITS: [&str; 8] = ["PT0.000001S", "PT0.001S", "PT1S", "PT1M", "PT1H", "P1D", "P1M", "P1Y"];
/// An arbitrary time.
const SAMPLE: OffsetDateTime = datetime!(2024-05-15 10:30:30.5 UTC);

/// A mismatch of windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Misfit {
    /// The step is shorter than the granule.
    EmptyWindows,
    /// The step is shorter than the format's precision.
    SameWindows,
    /// The granule is shorter than the format's precision.
    NeverTouch,
    /// The granule is longer than the format's precision.
    Gaps,
}

/// The precision of a format, as written and as a period; `None` for a format without times.
fn resolution(format: &Format) -> Option<(&'static str, Period)> {
    let exact = |time| format.parse(&format.format(time));
    let known = exact(SAMPLE)?;
    let mut units = UNITS.iter().filter_map(|unit| Some((*unit, Period::parse(unit).ok()?)));
    units.find(|(_, unit)| unit.after(SAMPLE).and_then(exact).is_some_and(|next| next > known))
}

/// Does a format lack a time of day?
pub(super) fn tells_days(format: &Format) -> bool {
    let day = std::time::Duration::from_secs(86_400);
    resolution(format).is_some_and(|(_, unit)| unit.length() >= day)
}

fn misfit(resolution: Period, step: Period, granularity: Period) -> Option<Misfit> {
    let (resolution, step, granularity) = (resolution.length(), step.length(), granularity.length());
    Some(if step < granularity {
        Misfit::EmptyWindows
    } else if step < resolution {
        Misfit::SameWindows
    } else if granularity < resolution {
        Misfit::NeverTouch
    } else if granularity > resolution {
        Misfit::Gaps
    } else {
        return None;
    })
}

impl Misfit {
    /// The problem in readable form; `unit` is the format's precision.
    fn message(self, format: &Format, unit: &str) -> String {
        let tells = format!("the unit of `datetime_format: {}`, {unit}", format.source());
        match self {
            Misfit::EmptyWindows => {
                "`step` is shorter than `cursor_granularity`: windows end before they start and cannot advance"
                    .to_owned()
            }
            Misfit::SameWindows => {
                format!("`step` is shorter than {tells}: windows repeat and cannot advance")
            }
            Misfit::NeverTouch => {
                format!("`cursor_granularity` is shorter than {tells}: windows never touch and cannot advance")
            }
            Misfit::Gaps => format!(
                "`cursor_granularity` is longer than {tells}: changes between the end of a window and the start of \
                the next are never requested"
            ),
        }
    }

    /// The field to change.
    fn field(self) -> &'static str {
        if matches!(self, Misfit::EmptyWindows | Misfit::SameWindows) { "step" } else { "cursor_granularity" }
    }
}

/// Problems of the windows and parents of a manifest's streams, as far as they are visible without a config.
pub fn warnings(source: &DeclarativeSource) -> Vec<Fault> {
    let mut out = Vec::new();
    for stream in source.streams.iter().flatten() {
        of_streams(&stream.all(), &mut out);
    }
    // A definition counts once, wherever it is referenced.
    let mut known = Vec::new();
    out.retain(|fault: &Fault| {
        let key = (fault.location.as_ref().map(|location| location.line), fault.message.clone());
        let new = !known.contains(&key);
        known.push(key);
        new
    });
    out
}

fn of_streams(streams: &[&DeclarativeStream], out: &mut Vec<Fault>) {
    for stream in streams {
        match &stream.incremental_sync {
            Some(IncrementalSync::DatetimeBasedCursor(def)) => out.extend(of_windows(def)),
            Some(IncrementalSync::IncrementingCountCursor(_)) => {}
            None => out.extend(of_dependency(stream)),
        }
        let parents = stream.retriever.routers().iter().flat_map(PartitionRouter::parents);
        parents.for_each(|config| of_streams(&config.stream.all(), out));
    }
}

/// The problem of a cursor's windows.
fn of_windows(def: &DatetimeBasedCursor) -> Option<Fault> {
    let written = |text: &Option<Text>| {
        // The value of a template is known only in a run.
        let text = text.as_ref()?.value.as_str().filter(|text| !text.contains("{{"))?;
        Period::parse(text).ok().filter(|period| !period.is_zero())
    };
    let format = Format::compile(&def.datetime_format).ok()?;
    let (unit, resolution) = resolution(&format)?;
    let misfit = misfit(resolution, written(&def.step)?, written(&def.cursor_granularity)?)?;
    if misfit == Misfit::Gaps && def.clamping.is_some() {
        // The stream requests whole periods.
        return None;
    }
    let text = if misfit.field() == "step" { &def.step } else { &def.cursor_granularity };
    let at = text.as_ref().map_or(&def.at, |text| &text.at);
    let fault = at.fault(misfit.message(&format, unit));
    Some(if misfit.field() == "step" { fault } else { fault.hint(format!("set it to {unit}")) })
}

/// The problem of a dependency on a parent's changes that no state stores.
fn of_dependency(def: &DeclarativeStream) -> Option<Fault> {
    let mut parents = def.retriever.routers().iter().flat_map(PartitionRouter::parents);
    let config = parents.find(|config| config.incremental_dependency == Some(true))?;
    Some(config.at.field("incremental_dependency", None).fault(WITHOUT_CURSOR).hint(WITH_CURSOR))
}

/// The warning for a stream whose `incremental_dependency` has no effect.
pub const WITHOUT_CURSOR: &str = "`incremental_dependency: true` has no effect on a stream without \
    `incremental_sync`: every run reads all parent records again";
/// The hint for it.
pub const WITH_CURSOR: &str = "define `incremental_sync` on this stream, or remove `incremental_dependency`";

impl CursorPlan {
    /// Why its windows cannot advance, if so.
    pub fn stuck_windows(&self) -> Option<String> {
        let (unit, resolution) = resolution(&self.format)?;
        let misfit = misfit(resolution, self.step?, self.granularity?)?;
        (misfit != Misfit::Gaps).then(|| misfit.message(&self.format, unit))
    }

    /// Does a value fall between two windows of this cursor, one of which is `window`?
    pub fn is_between_windows(&self, window: &Window, time: OffsetDateTime) -> bool {
        let Some(granule) = self.granularity.filter(|_| self.asks_end && self.step.is_some()) else { return false };
        let granule = if granule.months == 0 { granule.exact.whole_nanoseconds() } else { 0 };
        granule > 0 && (time - window.start).whole_nanoseconds().rem_euclid(granule) != 0
    }
}

/// The warning of a run if values fall between windows.
pub const BETWEEN_WINDOWS: &str = "values of the cursor are finer than `cursor_granularity`: changes between the end \
    of a window and the start of the next are not requested, unless the vendor includes the whole last unit; set \
    `cursor_granularity` and `datetime_format` to the precision of the vendor's times";

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The mismatch for a cursor with this format.
    fn misfit_of(format: &str, step: &str, granularity: &str) -> Option<Misfit> {
        let [step, granularity] = [step, granularity].map(|text| Period::parse(text).unwrap());
        misfit(resolution(&Format::compile(format).unwrap()).unwrap().1, step, granularity)
    }

    #[test]
    fn each_format_has_a_resolution() {
        for (format, unit) in [
            ("%Y-%m-%dT%H:%M:%S.%fZ", "PT0.000001S"),
            ("%Y-%m-%dT%H:%M:%S.%f%z", "PT0.000001S"),
            ("%Y-%m-%dT%H:%M:%S.%_msZ", "PT0.001S"),
            ("%Y-%m-%dT%H:%M:%SZ", "PT1S"),
            ("%d/%b/%Y %I:%M:%S %p", "PT1S"),
            ("%Y-%m-%d %H:%M", "PT1M"),
            ("%Y-%m-%dT%H", "PT1H"),
            ("%Y-%m-%d", "P1D"),
            ("%Y%j", "P1D"),
            ("%Y-%m", "P1M"),
            ("%Y", "P1Y"),
            ("%s", "PT1S"),
            ("%s_as_float", "PT0.000001S"),
            ("%ms", "PT0.001S"),
            ("%epoch_microseconds", "PT0.000001S"),
        ] {
            assert_eq!(resolution(&Format::compile(format).unwrap()).unwrap().0, unit, "{format}");
            // The format's own precision is right, whatever the step.
            assert_eq!(misfit_of(format, "P10Y", unit), None, "{format}");
            assert_eq!(misfit_of(format, unit, unit), None, "{format}");
        }
    }

    /// airbytehq/airbyte#80282
    #[test]
    fn another_granularity_does_not_fit() {
        for (format, step, granularity, misfit) in [
            ("%Y-%m-%dT%H:%M:%SZ", "P1D", "PT0.000001S", Misfit::NeverTouch),
            ("%Y-%m-%dT%H:%M:%SZ", "P1D", "PT1M", Misfit::Gaps),
            ("%Y-%m-%dT%H:%M:%SZ", "P1D", "P1D", Misfit::Gaps),
            ("%Y-%m-%dT%H:%M:%S.%fZ", "P1D", "PT1S", Misfit::Gaps),
            ("%ms", "P1D", "PT1S", Misfit::Gaps),
            ("%s", "P1D", "PT0.001S", Misfit::NeverTouch),
            ("%Y-%m-%d", "P1M", "PT1S", Misfit::NeverTouch),
            ("%Y-%m-%d", "PT1H", "PT1S", Misfit::SameWindows),
            ("%Y-%m-%d", "P1D", "P1M", Misfit::EmptyWindows),
            ("%Y-%m", "P1Y", "P1D", Misfit::NeverTouch),
        ] {
            assert_eq!(misfit_of(format, step, granularity), Some(misfit), "{format} {step} {granularity}");
        }
    }
}
