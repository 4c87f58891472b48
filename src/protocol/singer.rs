//! The Singer protocol: SCHEMA, RECORD, STATE.
//!
//! Input: [`Message`]s. Output: lines on stdout, ending with a STATE. Called by `run`. A STATE is written and flushed
//! only after the records that it covers, and always contains the whole state.

use std::sync::mpsc::Receiver;

use serde_json::{Value as Json, json};

use super::{Message, Out, each};
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

/// Writes until all senders are gone or the run is stopped.
pub fn drain(
    messages: &Receiver<Message>,
    out: &Out,
    doc: &mut StateDoc,
    stop: &Stop,
    outgoing: &mut dyn Outgoing,
) -> Result<()> {
    // Is there an unwritten state, or a record after the last one?
    let mut stale = true;
    each(messages, out, stop, &mut |message, sink| {
        match message {
            Message::Begin(stream) => doc.syncing(Some(&stream)),
            Message::Schema { line } => sink.lines(&line)?,
            Message::Records { stream, lines, .. } => {
                outgoing.records(&stream);
                sink.lines(&lines)?;
                stale = true;
            }
            Message::State { stream, state, replication, checkpoint: true } => {
                match state {
                    Some(state) => doc.set(&stream, &state, replication.as_ref().map(|(f, v)| (f.as_str(), v.clone()))),
                    None => doc.clear(&stream),
                }
                let line = state_line(doc)?;
                outgoing.bookmark(&stream, doc.bookmark(&stream), line.len());
                sink.lines(&line)?;
                sink.flush()?;
                stale = false;
            }
            Message::State { .. } | Message::Failed(_) => {}
            Message::End { .. } => {
                doc.syncing(None);
                stale = true;
            }
        }
        Ok(())
    })?;
    let mut sink = out.lock();
    // The last line before any exit is a STATE, unless it would be empty.
    if stale && !doc.is_empty() {
        sink.lines(&state_line(doc)?)?;
    }
    sink.flush()
}

fn state_line(doc: &StateDoc) -> Result<Vec<u8>> {
    let mut line =
        serde_json::to_vec(&json!({"type": "STATE", "value": doc.json()})).map_err(|e| Fault::bug(e.to_string()))?;
    line.push(b'\n');
    Ok(line)
}
