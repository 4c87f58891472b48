//! The current wire schema of a stream: it may grow while the stream is read.
//!
//! Input: the stream's plan, the selected fields, the evolved schema from drift. Output: the SCHEMA line, and the
//! schema by which records are scanned and rewritten. Called by the writer, and by the scheduler, which sends the
//! SCHEMA line.

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value as Json;

use crate::drift::monitor::DriftMonitor;
use crate::engine::build::StreamPlan;
use crate::engine::deletes::row_version::RowVersion;
use crate::engine::deletes::sweep::Sweep;
use crate::engine::shape::wire::RecordSchema;
use crate::engine::shape::wire::track::Track;
use crate::protocol::Protocol;
use crate::protocol::singer::schema_line;
use crate::protocol::singer_catalog::Selection;

/// One version of a stream's wire schema.
pub(in crate::engine) struct SchemaVersion {
    /// The SCHEMA line.
    pub(in crate::engine) schema: Vec<u8>,
    pub(in crate::engine) wire: RecordSchema,
    pub(in crate::engine) generation: u32,
    /// The tracks that slices of this stream learned, while no slice uses them; `None` if records are always parsed.
    tracks: Option<Mutex<Vec<Track>>>,
}

impl SchemaVersion {
    /// A track for a slice: one that another slice has taught, if there is one.
    pub(in crate::engine) fn take_track(&self) -> Track {
        match &self.tracks {
            Some(tracks) => tracks.lock().pop().unwrap_or_default(),
            None => Track::closed(),
        }
    }

    /// Keeps a track for the next slice; it holds no counts.
    pub(in crate::engine) fn give_back(&self, track: Track) {
        if let Some(tracks) = &self.tracks {
            tracks.lock().push(track);
        }
    }

    /// Is this version newer than another?
    pub(in crate::engine) fn is_later(&self, other: &SchemaVersion) -> bool {
        self.generation > other.generation
    }

    /// Is a key text in this version that was not in another one?
    pub(in crate::engine) fn retypes_keys(&self, other: &SchemaVersion) -> bool {
        self.generation != other.generation && !self.wire.text_keys().is_subset(&other.wire.text_keys())
    }

    /// Rewrites Singer RECORD lines of an earlier version, with keys in their current type.
    pub(in crate::engine) fn with_its_keys(&self, lines: &[u8]) -> Vec<u8> {
        let keys = self.wire.text_keys();
        let mut out = Vec::with_capacity(lines.len() + lines.len() / 8);
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            let Ok(mut message) = serde_json::from_slice::<Json>(line) else {
                out.extend_from_slice(line);
                continue;
            };
            for key in &keys {
                let value = message.get_mut("record").and_then(|record| record.get_mut(*key));
                if let Some(value) = value.filter(|value| !value.is_string()) {
                    *value = Json::String(value.to_string());
                }
            }
            out.extend_from_slice(message.to_string().as_bytes());
            out.push(b'\n');
        }
        out
    }
}

/// What all slices of a stream share.
pub(in crate::engine) struct StreamOut {
    pub(in crate::engine) protocol: Protocol,
    pub(in crate::engine) prefix: Vec<u8>,
    fields: Selection,
    /// Do its records have the field of deletes?
    pub(in crate::engine) marks_deletes: bool,
    /// Finds out which records are gone.
    pub(in crate::engine) sweep: Option<Sweep>,
    /// The version of its rows.
    pub(in crate::engine) rows: Option<RowVersion>,
    pub(in crate::engine) watched: Option<Arc<DriftMonitor>>,
    current: Mutex<Arc<SchemaVersion>>,
}

impl StreamOut {
    pub(in crate::engine) fn new(
        plan: &StreamPlan,
        fields: &Selection,
        watched: Option<&Arc<DriftMonitor>>,
        protocol: Protocol,
    ) -> Self {
        StreamOut {
            protocol,
            prefix: protocol.before_record(plan.sent_name(protocol)),
            fields: fields.clone(),
            sweep: None,
            rows: None,
            marks_deletes: plan.deletes.as_ref().is_some_and(|deletes| deletes.sends_marks()),
            watched: watched.cloned(),
            current: Mutex::new(Arc::new(version(plan, fields, watched, protocol))),
        }
    }

    /// The current version.
    pub(in crate::engine) fn version(&self, plan: &StreamPlan) -> Arc<SchemaVersion> {
        let mut current = self.current.lock();
        if self.watched.as_ref().is_some_and(|watched| watched.generation() != current.generation) {
            *current = Arc::new(version(plan, &self.fields, self.watched.as_ref(), self.protocol));
        }
        current.clone()
    }
}

/// The version for the monitor's current schema.
fn version(
    plan: &StreamPlan,
    fields: &Selection,
    watched: Option<&Arc<DriftMonitor>>,
    protocol: Protocol,
) -> SchemaVersion {
    // Read before the schema: a change in between causes one more update.
    let generation = watched.map_or(0, |watched| watched.generation());
    let grown = watched.map(|watched| watched.schema());
    let wire = plan.wire(grown.as_deref().unwrap_or(&plan.schema), fields, protocol);
    let wire = match watched {
        Some(watched) => wire.numbered(&*watched.places()),
        None => wire,
    };
    let mut wire = wire;
    if plan.deletes.as_ref().is_some_and(|deletes| deletes.sends_marks()) {
        protocol.with_deleted_at(&mut wire.schema);
    }
    let cursor = plan.cursor.as_ref().map(|c| c.field.as_str());
    let schema = schema_line(plan.sent_name(protocol), &wire.schema, &plan.keys(), cursor);
    // To compare both ways, and for reports of errors.
    let is_off = std::env::var("DRIPFEED_TRACK").is_ok_and(|track| track == "off");
    SchemaVersion { schema, wire, generation, tracks: (!is_off).then(Mutex::default) }
}

impl StreamPlan {
    /// The stream's wire schema, from its current schema. Airbyte's is the vendor's own.
    pub fn wire(&self, schema: &Json, fields: &Selection, protocol: Protocol) -> RecordSchema {
        let cursor = self.cursor.as_ref().map(|c| c.field.as_str());
        match protocol {
            Protocol::Singer => RecordSchema::build(schema, &self.keys(), cursor, fields),
            Protocol::Airbyte => RecordSchema::build(schema, &self.keys(), cursor, fields).verbatim(),
        }
    }
}
