//! `drift replay`: sends quarantined records that now fit the schema.
//!
//! Input: quarantine files of a tenant's streams. Output: SCHEMA and RECORD of records that fit the current schema,
//! for a target as `read` writes them; the file keeps those that do not fit. A record of which a run sent a newer
//! version leaves the file without being sent. Called by the verb. No request goes to the vendor.

use std::collections::{HashMap, HashSet};

use serde_json::{Value as Json, json};
use time::OffsetDateTime;

use super::Replay;
use crate::base::display::number;
use crate::base::fault::{Fault, Result};
use crate::base::json::scan::Scanner;
use crate::base::timefmt::parse_iso;
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
    let (mut sent, mut replaced, mut remaining) = (0, 0, 0);
    for stream in &loaded.plan.streams {
        if !context.options.selects(&loaded.config.ours.tiers, &stream.name)? {
            continue;
        }
        let verbatim = context.protocol == Protocol::Airbyte;
        let reading = ReadMode::look(verbatim);
        let Some(watched) = loaded.monitor(stream, reading, context)? else { continue };
        let Some(path) = watched.quarantine() else { continue };
        quarantine::replay(path, |entries| {
            let Replayed { lines, fates } = replayed(context, stream, &watched, entries, asked.force)?;
            let count = |wanted: EntryFate| fates.iter().filter(|fate| **fate == wanted).count();
            sent += count(EntryFate::Sent);
            replaced += count(EntryFate::Replaced);
            remaining += count(EntryFate::Stays);
            let mut out = context.out.lock();
            out.lines(&lines)?;
            // Records leave the file only after they are written.
            out.flush()?;
            Ok(stay(entries, &fates, |record| watched.key(record)))
        })?;
    }
    state(context)?;
    let dropped = match replaced {
        0 => String::new(),
        _ => format!(", {} dropped because a newer version was sent", number(replaced, "older version")),
    };
    let message = format!("{} sent{dropped}, {remaining} left in quarantine", number(sent, "record"));
    context.log.line(Level::Info, &message);
    Ok(())
}

/// What happens to an entry of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EntryFate {
    /// It fits, and is sent.
    Sent,
    /// A newer version of the record was sent, by this replay or an earlier run.
    Replaced,
    /// It does not fit.
    Stays,
    /// It is the mark of a newer version, not a record.
    Mark,
}

/// The result for a stream's entries.
struct Replayed {
    /// The lines of the records that fit, in the last version of each.
    lines: Vec<u8>,
    /// The fate of each entry.
    fates: Vec<EntryFate>,
}

/// Decides about each entry. With `force`, records are sent although a newer version was sent.
fn fates(watched: &DriftMonitor, entries: &[Entry], force: bool) -> Vec<EntryFate> {
    let keys: Vec<Option<String>> = entries.iter().map(|entry| watched.key(bytes(entry)?)).collect();
    let mut newer: HashSet<&str> = HashSet::new();
    let mut fates = vec![EntryFate::Stays; entries.len()];
    for (at, entry) in entries.iter().enumerate().rev() {
        if !entry.is_record() {
            newer.extend(entry.key.as_deref());
            fates[at] = EntryFate::Mark;
        } else if !force && keys[at].as_deref().is_some_and(|key| newer.contains(key)) {
            fates[at] = EntryFate::Replaced;
        }
    }
    let open = |fates: &[EntryFate]| (0..entries.len()).filter(|at| fates[*at] == EntryFate::Stays).collect::<Vec<_>>();
    // A record without a key replaces no other.
    let last: HashMap<&str, usize> = open(&fates).iter().filter_map(|at| Some((keys[*at].as_deref()?, *at))).collect();
    let last_of = |at: usize| keys[at].as_deref().map_or(at, |key| last.get(key).copied().unwrap_or(at));
    let mut listener = watched.listener();
    for at in open(&fates) {
        let fits = bytes(&entries[at]).is_some_and(|record| {
            last_of(at) == at
                && record.len() as u64 <= watched.max_record()
                // A record whose change stops a stream stays in the file.
                && matches!(watched.judge(&mut listener, record), Ok(Judged::Sent))
        });
        if fits {
            fates[at] = EntryFate::Sent;
        }
    }
    for at in open(&fates) {
        if fates[last_of(at)] == EntryFate::Sent {
            fates[at] = EntryFate::Replaced;
        }
    }
    fates
}

/// The record of an entry, if it is JSON.
fn bytes(entry: &Entry) -> Option<&[u8]> {
    entry.record.as_ref().map(|record| record.get().as_bytes())
}

/// Which entries stay in the file: records that were not sent, and the marks that such records need.
fn stay(entries: &[Entry], fates: &[EntryFate], key: impl Fn(&[u8]) -> Option<String>) -> Vec<bool> {
    let mut keys = HashSet::new();
    let stays = |(entry, fate): (&Entry, &EntryFate)| match fate {
        EntryFate::Stays => {
            keys.extend(bytes(entry).and_then(&key));
            true
        }
        EntryFate::Mark => entry.key.as_ref().is_some_and(|key| keys.contains(key)),
        EntryFate::Sent | EntryFate::Replaced => false,
    };
    entries.iter().zip(fates).map(stays).collect()
}

fn replayed(
    context: &Context,
    stream: &StreamPlan,
    watched: &DriftMonitor,
    entries: &[Entry],
    force: bool,
) -> Result<Replayed> {
    let fates = fates(watched, entries, force);
    // The schema includes what the records that fit added to it.
    let schema = watched.schema();
    let wire = stream.wire(&schema, &Selection::default(), context.protocol);
    let prefix = context.protocol.before_record(stream.sent_name(context.protocol));
    let mut lines = Vec::new();
    if context.protocol == Protocol::Singer && fates.contains(&EntryFate::Sent) {
        let cursor = stream.cursor.as_ref().map(|c| c.field.as_str());
        lines = schema_line(stream.sent_name(context.protocol), &wire.schema, &stream.keys(), cursor);
    }
    for (entry, _) in entries.iter().zip(&fates).filter(|(_, fate)| **fate == EntryFate::Sent) {
        let Some(record) = bytes(entry) else { continue };
        lines.extend_from_slice(&prefix);
        wire.rewrite(&mut Scanner::new(record), &mut lines).map_err(|e| Fault::bug(e.to_string()))?;
        // The extraction time is the time of the quarantine.
        let time = parse_iso(&entry.at).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        lines.extend_from_slice(&context.protocol.after_record(time));
    }
    Ok(Replayed { lines, fates })
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
