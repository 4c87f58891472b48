//! The Singer protocol: SCHEMA, RECORD, STATE.
//!
//! Comes in: [`Message`]s. Goes out: lines on stdout, the last of them a STATE. Called by `cli`. A STATE is written
//! and flushed only after the records that it covers, and holds the whole state every time.

use std::io::Write;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use super::{Message, Sink};
use crate::fault::Result;
use crate::state::StateDoc;
use crate::stop::Stop;

/// The bytes before and after each record of a stream.
#[derive(Debug, Clone)]
pub struct RecordLine {
    /// Up to the record.
    pub prefix: Vec<u8>,
}

impl RecordLine {
    /// For records of `stream`.
    pub fn new(stream: &str) -> Self {
        let name = Json::String(stream.into());
        RecordLine { prefix: format!("{{\"type\":\"RECORD\",\"stream\":{name},\"record\":").into_bytes() }
    }

    /// What follows a record that was taken at `time` (RFC 3339).
    pub fn suffix(time: &str) -> Vec<u8> {
        format!(",\"time_extracted\":\"{time}\"}}\n").into_bytes()
    }
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

/// What was written waits no longer than this for more; nor does a signal wait to be seen.
const IDLE: Duration = Duration::from_millis(250);
/// After a signal, the threads that read get so long to end by themselves.
const GRACE: Duration = Duration::from_secs(2);

/// Writes until every sender is done, or the run was asked to stop. Gives how many records were written.
pub fn drain<W: Write>(
    messages: &Receiver<Message>,
    sink: &mut Sink<W>,
    doc: &mut StateDoc,
    stop: &Stop,
) -> Result<u64> {
    let mut written = 0;
    // Is there a state that was not written, or a record after the last one?
    let mut stale = true;
    let mut stopped: Option<Instant> = None;
    loop {
        if stop.asked().is_some() {
            let since = *stopped.get_or_insert_with(Instant::now);
            if since.elapsed() > GRACE {
                break;
            }
        }
        let wait = if stopped.is_some() { Duration::from_millis(50) } else { IDLE };
        match messages.recv_timeout(wait) {
            Ok(Message::Begin(stream)) => doc.syncing(Some(&stream)),
            Ok(Message::Schema { line }) => sink.lines(&line)?,
            Ok(Message::Records { lines, count }) => {
                sink.lines(&lines)?;
                written += count;
                stale = true;
            }
            Ok(Message::State { stream, state, replication }) => {
                match state {
                    Some(state) => doc.set(&stream, &state, replication.as_ref().map(|(f, v)| (f.as_str(), v.clone()))),
                    None => doc.clear(&stream),
                }
                write_state(sink, doc)?;
                stale = false;
            }
            Ok(Message::End(_)) => {
                doc.syncing(None);
                stale = true;
            }
            Err(RecvTimeoutError::Timeout) => sink.flush()?,
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    // The last line before any exit is a STATE, unless there is nothing to say.
    if stale && !doc.is_empty() {
        write_state(sink, doc)?;
    }
    sink.flush()?;
    Ok(written)
}

fn write_state<W: Write>(sink: &mut Sink<W>, doc: &StateDoc) -> Result<()> {
    sink.json(&json!({"type": "STATE", "value": doc.json()}))?;
    sink.flush()
}
