//! The Singer protocol: SCHEMA, RECORD, STATE.
//!
//! Input: [`Message`]s. Output: lines on stdout, ending with a STATE. Called by `run`. A STATE is written and flushed
//! only after the records that it covers, and always contains the whole state. What STATE lines take together grows
//! with the records, not with the number of streams or windows.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Value as Json, json};

use super::{Message, Out, Sink, each};
use crate::base::fault::{Fault, Result};
use crate::base::stop::Stop;
use crate::protocol::state::StateDoc;

/// Receives output before it is written.
pub trait Outgoing {
    /// Records of a stream.
    fn records(&mut self, stream: &str);

    /// The bookmark of a stream, on a line of `length` bytes.
    fn bookmark(&mut self, stream: &str, bookmark: Option<&Json>, length: usize);
}

/// No receiver.
impl Outgoing for () {
    fn records(&mut self, _: &str) {}

    fn bookmark(&mut self, _: &str, _: Option<&Json>, _: usize) {}
}

/// The SCHEMA line of a stream.
pub fn schema_line(stream: &str, schema: &Json, keys: &[String], cursor: Option<&str>) -> Vec<u8> {
    let bookmarks: Vec<&str> = cursor.into_iter().collect();
    let message = json!({
        "type": "SCHEMA", "stream": stream, "schema": schema, "key_properties": keys, "bookmark_properties": bookmarks,
    });
    let mut line = message.to_string().into_bytes();
    line.push(b'\n');
    line
}

/// A STATE is not delayed for longer than this.
const STATE_INTERVAL: Duration = Duration::from_secs(10);
/// Nor until more records than this follow it, in bytes.
const STATE_RECORDS: usize = 32 << 20;
/// A STATE up to this length is not delayed at all, in bytes.
const SMALL_STATE: usize = 2 << 10;

/// Writes until all senders are gone or the run is stopped.
pub fn drain(
    messages: &Receiver<Message>,
    out: &Out,
    doc: &mut StateDoc,
    stop: &Stop,
    outgoing: &mut dyn Outgoing,
) -> Result<()> {
    let mut states = StateWriter {
        doc,
        outgoing,
        // There is no STATE yet.
        stale: true,
        pending: BTreeMap::new(),
        records: 0,
        length: 0,
        at: Instant::now(),
    };
    each(messages, out, stop, &mut |message, sink| {
        match message {
            None => sink.flush()?,
            Some(Message::Begin(stream)) => states.doc.syncing(Some(&stream)),
            Some(Message::Schema { line }) => sink.lines(&line)?,
            Some(Message::Records { stream, lines, .. }) => {
                states.records(&stream, lines.len());
                sink.lines(&lines)?;
            }
            Some(Message::State { stream, state, replication, checkpoint: true }) => {
                states.bookmark(&stream, state.as_ref(), replication);
            }
            Some(Message::State { .. } | Message::Failed(_)) => {}
            Some(Message::End { .. }) => {
                states.doc.syncing(None);
                states.stale = true;
            }
        }
        if states.is_due() { states.write(sink) } else { Ok(()) }
    })?;
    let mut sink = out.lock();
    // The last line before any exit is a STATE, unless it would be empty.
    if states.stale && !states.doc.is_empty() {
        states.write(&mut sink)?;
    }
    sink.flush()
}

/// Writes STATE lines. A STATE is the whole document, so that with many streams or a large bookmark it is longer than
/// the records that it follows: then it waits, and the next one stands for both.
struct StateWriter<'d> {
    doc: &'d mut StateDoc,
    outgoing: &'d mut dyn Outgoing,
    /// Is there a change since the last STATE, or a record?
    stale: bool,
    /// The streams whose bookmark changed since the last STATE, and whether records followed that change.
    pending: BTreeMap<Arc<str>, bool>,
    /// Since the last STATE: the bytes of records.
    records: usize,
    /// The length of the last STATE.
    length: usize,
    /// When it was written.
    at: Instant,
}

impl StateWriter<'_> {
    /// Records of a stream are written.
    fn records(&mut self, stream: &Arc<str>, bytes: usize) {
        self.outgoing.records(stream);
        self.stale = true;
        self.records += bytes;
        if let Some(followed) = self.pending.get_mut(stream) {
            *followed = true;
        }
    }

    /// The bookmark of a stream changes.
    fn bookmark(&mut self, stream: &Arc<str>, state: Option<&Json>, replication: Option<(String, Json)>) {
        match state {
            Some(state) => self.doc.set(stream, state, replication.as_ref().map(|(f, v)| (f.as_str(), v.clone()))),
            None => self.doc.clear(stream),
        }
        self.stale = true;
        self.pending.insert(stream.clone(), false);
    }

    /// Must a STATE be written now?
    fn is_due(&self) -> bool {
        let is_short = || self.length <= self.records.max(SMALL_STATE);
        !self.pending.is_empty() && (is_short() || self.records >= STATE_RECORDS || self.at.elapsed() >= STATE_INTERVAL)
    }

    fn write(&mut self, sink: &mut Sink<impl Write>) -> Result<()> {
        let line = state_line(self.doc)?;
        for (stream, followed) in std::mem::take(&mut self.pending) {
            self.outgoing.bookmark(&stream, self.doc.bookmark(&stream), line.len());
            if followed {
                // The bookmark does not cover them.
                self.outgoing.records(&stream);
            }
        }
        (self.stale, self.records, self.length, self.at) = (false, 0, line.len(), Instant::now());
        sink.lines(&line)?;
        sink.flush()
    }
}

/// The STATE line of a document.
fn state_line(doc: &StateDoc) -> Result<Vec<u8>> {
    #[derive(Serialize)]
    struct StateMessage<'d> {
        r#type: &'static str,
        value: &'d StateDoc,
    }
    let message = StateMessage { r#type: "STATE", value: doc };
    let mut line = serde_json::to_vec(&message).map_err(|e| Fault::bug(e.to_string()))?;
    line.push(b'\n');
    Ok(line)
}
