//! The message protocol: everything that is written to stdout.
//!
//! Input: [`Message`]s from the reading threads, over one bounded channel. Output: whole lines. Only this module
//! writes to stdout. Called by `engine` (sends) and `run` (drains).

pub mod airbyte;
pub mod configured_catalog;
pub mod singer;
pub mod singer_catalog;
pub mod state;
pub mod table_names;

use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use time::OffsetDateTime;

use crate::base::fault::{Fault, Kind, Result};
use crate::base::stop::Stop;
use crate::base::timefmt::rfc3339;

/// A message of a reading thread.
#[derive(Debug)]
pub enum Message {
    /// A stream begins.
    Begin(Arc<str>),
    /// The schema of a stream, sent before its first record.
    Schema {
        /// The line, newline included.
        line: Vec<u8>,
    },
    /// Records as complete lines.
    Records {
        /// The stream.
        stream: Arc<str>,
        /// The lines, newlines included.
        lines: Vec<u8>,
        /// The number of records.
        count: u64,
    },
    /// A stream's state, which covers all records of it that were sent before.
    State {
        /// The stream.
        stream: Arc<str>,
        /// The state; `None` for a stream without one.
        state: Option<Json>,
        /// The cursor field and its value, for people.
        replication: Option<(String, Json)>,
        /// Is the state worth resuming from: was something completed?
        checkpoint: bool,
    },
    /// Part of a stream failed.
    Failed(Fault),
    /// A stream ended; its last state follows.
    End {
        /// The stream.
        stream: Arc<str>,
        /// Was it read to its end?
        complete: bool,
    },
}

/// The message protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// SCHEMA, RECORD, STATE.
    Singer,
    /// RECORD, STATE, TRACE and more, as defined by the Airbyte protocol.
    Airbyte,
}

impl Protocol {
    /// The text before each record of a stream.
    pub fn before_record(self, stream: &str) -> Vec<u8> {
        let name = Json::String(stream.into());
        match self {
            Protocol::Singer => format!("{{\"type\":\"RECORD\",\"stream\":{name},\"record\":"),
            Protocol::Airbyte => format!("{{\"type\":\"RECORD\",\"record\":{{\"stream\":{name},\"data\":"),
        }
        .into_bytes()
    }

    /// The text after a record that was extracted at `time`.
    pub fn after_record(self, time: OffsetDateTime) -> Vec<u8> {
        match self {
            Protocol::Singer => format!(",\"time_extracted\":\"{}\"}}\n", rfc3339(time)),
            // Whole milliseconds: PyAirbyte drops records that have a fraction here.
            Protocol::Airbyte => format!(",\"emitted_at\":{}}}}}\n", time.unix_timestamp_nanos() / 1_000_000),
        }
        .into_bytes()
    }
}

impl Protocol {
    /// The field of a record that has the time of its delete; null for a living one. Singer's is the one that targets
    /// store beside the record, Airbyte's the one of its change-data-capture sources.
    pub fn deleted_at(self) -> &'static str {
        match self {
            Protocol::Singer => "_sdc_deleted_at",
            Protocol::Airbyte => "_ab_cdc_deleted_at",
        }
    }

    /// The state of a stream without a cursor.
    pub fn no_state(self) -> Json {
        match self {
            Protocol::Singer => json!({}),
            Protocol::Airbyte => json!({(airbyte::NO_CURSOR): true}),
        }
    }

    /// Adds the schema of that field to the schema of a stream.
    pub fn with_deleted_at(self, schema: &mut Json) {
        let field = match self {
            Protocol::Singer => json!({"type": ["null", "string"], "format": "date-time"}),
            Protocol::Airbyte => json!({"type": ["null", "string"]}),
        };
        if let Some(fields) = schema.get_mut("properties").and_then(Json::as_object_mut) {
            fields.insert(self.deleted_at().to_owned(), field);
        }
    }

    /// Can a record refer to a file?
    pub fn carries_files(self) -> bool {
        self == Protocol::Airbyte
    }

    /// The text after a record with removed fields; `suffix` is the usual text.
    pub fn with_nulled(self, suffix: &[u8], fields: &BTreeSet<&str>) -> Vec<u8> {
        let end: &[u8] = b"}}\n";
        let Some(start) = suffix.strip_suffix(end).filter(|_| self == Protocol::Airbyte) else {
            return suffix.to_vec();
        };
        let change = |field: &&str| json!({"field": field, "change": "NULLED", "reason": "SOURCE_SERIALIZATION_ERROR"});
        let changes: Vec<Json> = fields.iter().map(change).collect();
        [start, format!(",\"meta\":{}", json!({"changes": changes})).as_bytes(), end].concat()
    }

    /// The text after a record with a file; `suffix` is the text without it.
    pub fn with_file(self, suffix: &[u8], file: &Json) -> Vec<u8> {
        let end: &[u8] = b"}}\n";
        let Some(start) = suffix.strip_suffix(end).filter(|_| self.carries_files()) else { return suffix.to_vec() };
        [start, format!(",\"file_reference\":{file}").as_bytes(), end].concat()
    }
}

/// Stdout of a run, shared by the writer thread and occasional messages of others.
pub type Out = Arc<Mutex<Sink<Box<dyn Write + Send>>>>;

/// The longest time that output waits for more, or that a signal waits to be noticed.
const IDLE: Duration = Duration::from_millis(250);
/// The time that reading threads have to end by themselves after a signal.
const GRACE: Duration = Duration::from_secs(2);

/// Passes each message and stdout to `write`, until all senders are gone or the run is stopped; `None` while there is
/// none.
fn each(
    messages: &Receiver<Message>,
    out: &Out,
    stop: &Stop,
    write: &mut dyn FnMut(Option<Message>, &mut Sink<Box<dyn Write + Send>>) -> Result<()>,
) -> Result<()> {
    let mut stopped: Option<Instant> = None;
    loop {
        let over = stop.asked().is_some() && stopped.get_or_insert_with(Instant::now).elapsed() > GRACE;
        if over && !stop.waits_for_critical() {
            return Ok(());
        }
        let wait = if stopped.is_some() { Duration::from_millis(50) } else { IDLE };
        match messages.recv_timeout(wait) {
            Ok(message) => write(Some(message), &mut out.lock())?,
            Err(RecvTimeoutError::Timeout) => write(None, &mut out.lock())?,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}

/// Writes stdout in whole lines.
#[derive(Debug)]
pub struct Sink<W: Write> {
    out: W,
    buffer: Vec<u8>,
    /// The largest single write, in bytes.
    piece: usize,
    /// Why nothing more can be written.
    broken: Option<Fault>,
}

/// Linux's `PIPE_BUF`: the kernel writes up to this many bytes to a pipe atomically. Whole lines of this size are
/// never torn, even if the process is killed. Targets refuse a torn line, and lose the state before it.
const ATOMIC: usize = 4096;

/// Lines of this size together are written at once, in bytes.
const MANY: usize = 128 << 10;

/// The buffer is written when it exceeds this size.
const BUFFER: usize = 256 << 10;

impl<W: Write> Sink<W> {
    /// A sink over `out`; `pipe` states whether it is a pipe.
    pub fn new(out: W, pipe: bool) -> Self {
        let piece = if pipe { ATOMIC } else { usize::MAX };
        Sink { out, buffer: Vec::with_capacity(BUFFER + (64 << 10)), piece, broken: None }
    }

    /// Writes whole lines.
    pub fn lines(&mut self, lines: &[u8]) -> Result<()> {
        if self.buffer.len() + lines.len() > BUFFER {
            self.drain()?;
        }
        // Many lines are not copied first.
        if lines.len() >= MANY {
            self.drain()?;
            return self.write(lines);
        }
        self.buffer.extend_from_slice(lines);
        Ok(())
    }

    /// Writes a JSON value as one line.
    pub fn json(&mut self, value: &Json) -> Result<()> {
        let mut line = serde_json::to_vec(value).map_err(|e| Fault::bug(e.to_string()))?;
        line.push(b'\n');
        self.lines(&line)
    }

    fn drain(&mut self) -> Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let written = self.write(&buffer);
        buffer.clear();
        self.buffer = buffer;
        written
    }

    /// Writes lines. After a failure nothing more is written, because it is unknown which bytes were delivered.
    fn write(&mut self, lines: &[u8]) -> Result<()> {
        if let Some(fault) = &self.broken {
            return Err(fault.clone());
        }
        let written = write_all(&mut self.out, lines, self.piece);
        self.broken = written.as_ref().err().cloned();
        written
    }

    /// Writes all buffered output.
    pub fn flush(&mut self) -> Result<()> {
        self.drain()?;
        self.out.flush().map_err(|e| closed(&e))
    }
}

/// Writes whole lines in pieces of at most `piece` bytes; a longer line is a piece of its own.
fn write_all(out: &mut impl Write, mut lines: &[u8], piece: usize) -> Result<()> {
    while !lines.is_empty() {
        let window = &lines[..lines.len().min(piece)];
        let end = match memchr::memrchr(b'\n', window) {
            Some(last) if lines.len() > piece => last + 1,
            None => memchr::memchr(b'\n', lines).map_or(lines.len(), |first| first + 1),
            Some(_) => lines.len(),
        };
        out.write_all(&lines[..end]).map_err(|e| closed(&e))?;
        lines = &lines[end..];
    }
    Ok(())
}

fn closed(error: &io::Error) -> Fault {
    if error.kind() == io::ErrorKind::BrokenPipe {
        Fault::new(Kind::Downstream, "the reader of stdout has closed it").hint(
            "nothing is wrong if you cut the output short, as with `head`; otherwise see the log of the program behind \
            the pipe; the next run continues from the last saved state",
        )
    } else {
        Fault::local("cannot write to stdout", error)
    }
}
