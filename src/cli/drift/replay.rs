//! `drift replay`: sends quarantined records that now fit the schema.
//!
//! Input: quarantine files of a tenant's streams. Output: SCHEMA and RECORD of records that fit the current schema,
//! for a target as `read` writes them; the file keeps the others. Called by the verb. No request goes to the vendor.

use std::collections::HashMap;

use serde_json::{Value as Json, json};
use time::OffsetDateTime;

use super::Replay;
use crate::base::display::number;
use crate::base::fault::{Fault, Result};
use crate::base::json::scan::Scanner;
use crate::base::timefmt::{parse_iso, rfc3339};
use crate::drift::monitor::{DriftMonitor, Judged};
use crate::drift::quarantine::{self, Entry};
use crate::engine::build::StreamPlan;
use crate::protocol::Protocol;
use crate::protocol::singer::schema_line;
use crate::protocol::singer_catalog::Selection;
use crate::run::context::Context;
use crate::run::identity::state_dir_or_own;
use crate::run::load::{Purpose, ReadMode};
use crate::run::log::Level;

/// Replays the selected streams.
pub(super) fn run(context: &Context, asked: &Replay) -> Result<()> {
    let mut loaded = context.load(Purpose::Read)?;
    if loaded.identity.root.is_none() {
        loaded.identity.root = Some(state_dir_or_own(context, loaded.config.ours.state_dir.as_ref())?);
    }
    let (mut sent, mut remaining) = (0, 0);
    for stream in &loaded.plan.streams {
        if !context.options.selects(&loaded.config.ours.tiers, &stream.name)? {
            continue;
        }
        let verbatim = context.protocol == Protocol::Airbyte;
        let reading = ReadMode { sweep: false, whole: false, may_grow: true, verbatim, goes_on: true };
        let Some(watched) = loaded.monitor(stream, reading, context)? else { continue };
        let Some(path) = watched.quarantine() else { continue };
        quarantine::replay(path, |entries| {
            let passed = watched.passed().filter(|_| !asked.force);
            let may_be_old =
                |entry: &Entry| passed.is_some_and(|passed| parse_iso(&entry.at).is_none_or(|at| at < passed));
            let Fitting { lines, left, old } = fitting(context, stream, &watched, entries, may_be_old)?;
            if let (Some(passed), 1..) = (passed, old) {
                context.log.line(
                    Level::Warning,
                    &format!(
                        "{}: {} left in quarantine: the later run of {} may have sent newer versions; --force sends \
                         the quarantined versions",
                        stream.name,
                        number(old, "record"),
                        rfc3339(passed)
                    ),
                );
            }
            sent += entries.len() - left.iter().filter(|stays| **stays).count();
            remaining += left.iter().filter(|stays| **stays).count();
            let mut out = context.out.lock();
            out.lines(&lines)?;
            // Records leave the file only after they are written.
            out.flush()?;
            Ok(left)
        })?;
    }
    state(context)?;
    context.log.line(
        Level::Info,
        &format!("{} sent or replaced by a newer version; {remaining} left in quarantine", number(sent, "record")),
    );
    Ok(())
}

/// The result for a stream's entries.
struct Fitting {
    /// The lines of the records that fit, in the last version of each.
    lines: Vec<u8>,
    /// For each entry, whether it stays.
    left: Vec<bool>,
    /// The number of entries that stay only because newer versions may exist.
    old: usize,
}

fn fitting(
    context: &Context,
    stream: &StreamPlan,
    watched: &DriftMonitor,
    entries: &[Entry],
    may_be_old: impl Fn(&Entry) -> bool,
) -> Result<Fitting> {
    let mut listener = watched.listener();
    let mut last: HashMap<String, usize> = HashMap::new();
    let records: Vec<Option<&str>> = entries.iter().map(|entry| entry.record.as_ref().map(|r| r.get())).collect();
    let key = |record: &str| watched.key(record.as_bytes());
    for (at, record) in records.iter().enumerate() {
        if let Some(key) = record.and_then(key) {
            last.insert(key, at);
        }
    }
    let mut fit: Vec<Option<Vec<u8>>> = vec![None; entries.len()];
    let mut old = 0;
    for (at, record) in records.iter().enumerate() {
        let Some(record) = record else { continue };
        let key = key(record);
        let is_last = key.as_ref().is_none_or(|key| last.get(key) == Some(&at));
        if !is_last || record.len() as u64 > watched.max_record() {
            continue;
        }
        // A record whose change stops a stream stays in the file.
        if !matches!(watched.judge(&mut listener, record.as_bytes()), Ok(Judged::Sent)) {
            continue;
        }
        // A record without a key replaces no other.
        if key.is_some() && may_be_old(&entries[at]) {
            old += 1;
        } else {
            fit[at] = Some(record.as_bytes().to_vec());
        }
    }
    let schema = watched.schema();
    let wire = stream.wire(&schema, &Selection::default(), context.protocol);
    let prefix = context.protocol.before_record(stream.sent_name(context.protocol));
    let mut lines = Vec::new();
    if context.protocol == Protocol::Singer && fit.iter().any(Option::is_some) {
        let cursor = stream.cursor.as_ref().map(|c| c.field.as_str());
        lines = schema_line(stream.sent_name(context.protocol), &wire.schema, &stream.keys(), cursor);
    }
    for (entry, record) in entries.iter().zip(&fit).filter_map(|(entry, record)| Some((entry, record.as_ref()?))) {
        lines.extend_from_slice(&prefix);
        wire.rewrite(&mut Scanner::new(record), &mut lines).map_err(|e| Fault::bug(e.to_string()))?;
        // The extraction time is the time of the quarantine.
        let time = parse_iso(&entry.at).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        lines.extend_from_slice(&context.protocol.after_record(time));
    }
    // An older version of a sent record is no longer needed.
    let gone = |at: usize| {
        let newer = records[at].and_then(key).and_then(|key| last.get(&key).copied());
        fit[at].is_some() || newer.is_some_and(|newer| newer != at && fit[newer].is_some())
    };
    let left = (0..entries.len()).map(|at| !gone(at)).collect();
    Ok(Fitting { lines, left, old })
}

/// The given state comes last: a target passes on the last state, and so keeps the one it had.
fn state(context: &Context) -> Result<()> {
    let Some(path) = context.options.state.as_ref().filter(|_| context.protocol == Protocol::Singer) else {
        return Ok(());
    };
    let shown = path.display();
    let text =
        std::fs::read_to_string(path).map_err(|e| Fault::config(format!("cannot read the state {shown}: {e}")))?;
    let value: Json = serde_json::from_str(&text).map_err(|e| {
        Fault::config(format!("the state {shown} is not valid JSON at line {}, column {}", e.line(), e.column()))
    })?;
    context.out.lock().json(&json!({"type": "STATE", "value": value}))
}
