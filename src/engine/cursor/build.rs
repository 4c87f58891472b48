//! Compiles a cursor's definition into a [`CursorPlan`].
//!
//! Input: a definition, the safety margins of the config, and "now". Output: the compiled cursor, or the fault of an
//! invalid definition. Called by [`crate::engine::build`].

use serde_json::Value as Json;
use time::{OffsetDateTime, PrimitiveDateTime, UtcOffset};

use super::{CursorPlan, clamp, granularity};
use crate::base::config::Safety;
use crate::base::fault::{Fault, Result};
use crate::base::timefmt::{Format, Period, parse_iso};
use crate::manifest::model::{Bound, DatetimeBasedCursor, IncrementalSync, IncrementingCountCursor, RequestOption};
use crate::manifest::node::Text;
use crate::manifest::template::{EvalContext, Injection, Template, Types, Vars, text_of};

/// Compiles a cursor.
pub fn build(def: &IncrementalSync, safety: &Safety, cx: &EvalContext) -> Result<CursorPlan> {
    match def {
        IncrementalSync::DatetimeBasedCursor(def) => by_time(def, safety, cx),
        IncrementalSync::IncrementingCountCursor(def) => by_count(def, safety, cx),
    }
}

fn by_count(def: &IncrementingCountCursor, safety: &Safety, cx: &EvalContext) -> Result<CursorPlan> {
    let vars = Vars::new(cx);
    let format = Format::count();
    let start = match def.start_value.as_ref().filter(|t| !t.value.is_null()) {
        Some(text) => {
            let written = Template::compile(text, &[])?.text(&vars)?;
            let whole = written.trim().split('.').next().and_then(|whole| format.parse(whole));
            whole.ok_or_else(|| text.at.fault("`start_value` is not a number"))?
        }
        None => OffsetDateTime::UNIX_EPOCH,
    };
    Ok(CursorPlan {
        field: Template::compile(&def.cursor_field, &[])?.text(&vars)?,
        global: false,
        filters: false,
        data_feed: false,
        start,
        end: PrimitiveDateTime::MAX.assume_utc(),
        now: cx.now,
        now_is_fixed: cx.began.is_none(),
        asks_end: false,
        step: None,
        granularity: None,
        lookback: Period::default(),
        // Settle and overlap times do not apply to numbers.
        safety: Safety { new_partitions: safety.new_partitions, ..Safety::default() },
        strict: false,
        clamp: None,
        start_name: "start".into(),
        end_name: "end".into(),
        start_into: def.start_value_option.as_ref().map(|o| Injection::build(o, cx)).transpose()?,
        end_into: None,
        history: None,
        again: None,
        formats: vec![format.clone()],
        tells_days: false,
        format,
        at: def.at.clone(),
    })
}

fn by_time(def: &DatetimeBasedCursor, safety: &Safety, cx: &EvalContext) -> Result<CursorPlan> {
    let at = &def.at;
    let vars = Vars::new(cx);
    let compile = |source: &str, field: &str| Format::compile(source).map_err(|e| at.field(field, None).fault(e));
    let format = compile(&def.datetime_format, "datetime_format")?;
    let mut formats = Vec::new();
    for source in def.cursor_datetime_formats.iter().flatten() {
        formats.push(compile(source, "cursor_datetime_formats")?);
    }
    formats.push(format.clone());
    let period = |text: &Option<Text>| -> Result<Option<Period>> {
        let Some(text) = text.as_ref().filter(|t| !t.value.is_null()) else { return Ok(None) };
        let written = Template::compile(text, &[])?.text(&vars)?;
        Period::parse(&written).map(Some).map_err(|e| text.at.fault(e))
    };
    let (step, granularity) = (period(&def.step)?, period(&def.cursor_granularity)?);
    if step.is_some() != granularity.is_some() {
        return Err(at.fault("`step` and `cursor_granularity` must be given together, or neither"));
    }
    if step.is_some_and(|s| s.months < 0 || s.exact.is_negative() || s.is_zero()) {
        return Err(at.field("step", None).fault("`step` must be longer than 0"));
    }
    let end = match &def.end_datetime {
        Some(bound) => moment(bound, &format, &vars)?,
        None => cx.now,
    };
    // A zero granularity is falsy in the reference: the same as none.
    let granularity = granularity.filter(|g| !g.is_zero());
    let clamp = def.clamping.as_ref().map(|c| clamp::build(c, cx)).transpose()?;
    let end = clamp.map_or(end, |clamp| clamp.end(end, granularity));
    let name = |text: &Option<Text>, default: &str| match text {
        Some(t) => Template::compile(t, &[])?.text(&vars),
        None => Ok(default.to_owned()),
    };
    let inject = |def: &Option<RequestOption>| def.as_ref().map(|o| Injection::build(o, cx)).transpose();
    Ok(CursorPlan {
        field: Template::compile(&def.cursor_field, &[])?.text(&vars)?,
        global: def.global_substream_cursor.unwrap_or(false),
        filters: def.is_client_side_incremental.unwrap_or(false) || def.is_data_feed.unwrap_or(false),
        data_feed: def.is_data_feed.unwrap_or(false),
        start: moment(&def.start_datetime, &format, &vars)?,
        end,
        now: cx.now,
        now_is_fixed: cx.began.is_none(),
        asks_end: def.end_time_option.is_some(),
        step,
        granularity,
        lookback: period(&def.lookback_window)?.unwrap_or_default(),
        safety: safety.clone(),
        strict: def.is_compare_strictly.unwrap_or(false),
        clamp,
        start_name: name(&def.partition_field_start, "start_time")?,
        end_name: name(&def.partition_field_end, "end_time")?,
        start_into: inject(&def.start_time_option)?,
        end_into: inject(&def.end_time_option)?,
        history: None,
        again: None,
        format,
        tells_days: formats.iter().all(granularity::tells_days),
        formats,
        at: at.clone(),
    })
}

/// The time of a bound in the manifest.
fn moment(bound: &Bound, format: &Format, vars: &Vars<'_>) -> Result<OffsetDateTime> {
    let read = |text: &Text, format: &Format| -> Result<OffsetDateTime> {
        let template = Template::compile(text, &[])?;
        let value = match template.value(vars, Types::Any) {
            Ok(value) => text_of(&value),
            // The template failed because the config lacks what it reads.
            Err(_) if missing_key(&template, vars).is_some() => String::new(),
            Err(fault) => return Err(fault),
        };
        let of_config = || {
            // A config may be more or less precise than the format. Digits alone may be anything.
            let reads = template.entries_of("config").is_none_or(|keys| !keys.is_empty());
            parse_iso(&value).filter(|_| reads && value.as_bytes().get(4) == Some(&b'-'))
        };
        format.parse(&value).or_else(of_config).ok_or_else(|| not_a_time(&template, &value, format, vars))
    };
    match bound {
        Bound::Text(text) => read(text, format),
        Bound::MinMax(def) => {
            let own = match def.datetime_format.as_deref().filter(|f| !f.is_empty()) {
                Some(source) => Format::compile(source).map_err(|e| def.at.fault(e))?,
                None => format.clone(),
            };
            let mut time = read(&def.datetime, &own)?;
            let stated = |t: &Option<Text>| t.clone().filter(|t| !t.value.is_null() && t.value.as_str() != Some(""));
            if let Some(text) = stated(&def.min_datetime) {
                time = time.max(read(&text, &own)?);
            }
            if let Some(text) = stated(&def.max_datetime) {
                time = time.min(read(&text, &own)?);
            }
            Ok(time)
        }
    }
}

/// The first key of the config that a template reads and the config lacks.
fn missing_key(template: &Template, vars: &Vars<'_>) -> Option<String> {
    let empty = |value: &Json| value.is_null() || value.as_str() == Some("");
    let keys = template.entries_of("config").unwrap_or_default();
    keys.into_iter().find(|key| vars.cx.config.get(key.as_str()).is_none_or(empty))
}

/// The fault for a bound that is not a time: it names the config keys that the bound reads, and an example.
fn not_a_time(template: &Template, value: &str, format: &Format, vars: &Vars<'_>) -> Fault {
    let keys = template.entries_of("config").unwrap_or_default();
    let missing = missing_key(template, vars);
    let form = format.source();
    let message = match (missing, keys.first()) {
        (Some(key), _) => format!("config `{key}` is missing; the cursor starts or ends there"),
        (None, Some(key)) => format!("the time that config `{key}` gives does not match the format `{form}`"),
        (None, None) => format!("the time does not match the format `{form}`"),
    };
    let time = parse_iso(value).unwrap_or(vars.cx.now);
    // A format without an offset is read as UTC.
    let time = if format.tells_offset() { time } else { time.checked_to_offset(UtcOffset::UTC).unwrap_or(time) };
    let example = format.format(time);
    let fault = template.at().fault(message);
    if keys.is_empty() {
        fault.hint(format!("write it as `{example}`, or change `datetime_format`"))
    } else {
        fault.hint(format!("write it as `{example}`"))
    }
}
