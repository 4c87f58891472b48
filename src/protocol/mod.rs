//! Everything that is written to stdout.
//!
//! Input: [`Message`]s from the threads that read, over one bounded channel. Output: whole lines. The
//! only code that may write to stdout. Called by `run` (sends) and `cli` (drains).

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

/// What the threads that read have to say.
#[derive(Debug)]
pub enum Message {
    /// A stream begins.
    Begin(Arc<str>),
    /// What its records look like: before the first of them.
    Schema {
        /// The line, newline included.
        line: Vec<u8>,
    },
    /// Records as finished lines.
    Records {
        /// The stream.
        stream: Arc<str>,
        /// The lines, newlines included.
        lines: Vec<u8>,
        /// How many.
        count: u64,
    },
    /// A stream's state, which covers every record of it that was sent before.
    State {
        /// The stream.
        stream: Arc<str>,
        /// Its state; none for a stream that keeps none.
        state: Option<Json>,
        /// Its cursor field and value, for people.
        replication: Option<(String, Json)>,
        /// Is it worth resuming from: was something finished?
        checkpoint: bool,
    },
    /// Something of a stream failed.
    Failed(Fault),
    /// A stream ended; its last state follows.
    End {
        /// The stream.
        stream: Arc<str>,
        /// Was it read to its end?
        complete: bool,
    },
}

/// How messages are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// SCHEMA, RECORD, STATE.
    Singer,
    /// RECORD, STATE, TRACE and more, by Airbyte's protocol.
    Airbyte,
}

impl Protocol {
    /// What stands before each record of a stream.
    pub fn before_record(self, stream: &str) -> Vec<u8> {
        let name = Json::String(stream.into());
        match self {
            Protocol::Singer => format!("{{\"type\":\"RECORD\",\"stream\":{name},\"record\":"),
            Protocol::Airbyte => format!("{{\"type\":\"RECORD\",\"record\":{{\"stream\":{name},\"data\":"),
        }
        .into_bytes()
    }

    /// What stands after a record that was taken at `time`.
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
    /// Can a record be told to have a file?
    pub fn carries_files(self) -> bool {
        self == Protocol::Airbyte
    }

    /// What stands after a record some of whose fields were taken out; `suffix` without them.
    pub fn with_nulled(self, suffix: &[u8], fields: &BTreeSet<&str>) -> Vec<u8> {
        let end: &[u8] = b"}}\n";
        let Some(start) = suffix.strip_suffix(end).filter(|_| self == Protocol::Airbyte) else {
            return suffix.to_vec();
        };
        let change = |field: &&str| json!({"field": field, "change": "NULLED", "reason": "SOURCE_SERIALIZATION_ERROR"});
        let changes: Vec<Json> = fields.iter().map(change).collect();
        [start, format!(",\"meta\":{}", json!({"changes": changes})).as_bytes(), end].concat()
    }

    /// What stands after a record that has a file; `suffix` without it.
    pub fn with_file(self, suffix: &[u8], file: &Json) -> Vec<u8> {
        let end: &[u8] = b"}}\n";
        let Some(start) = suffix.strip_suffix(end).filter(|_| self.carries_files()) else { return suffix.to_vec() };
        [start, format!(",\"file_reference\":{file}").as_bytes(), end].concat()
    }
}

/// Stdout of a run: the messages of one thread, and what others have to say in between.
pub type Out = Arc<Mutex<Sink<Box<dyn Write + Send>>>>;

/// What was written waits no longer than this for more; nor does a signal wait to be seen.
const IDLE: Duration = Duration::from_millis(250);
/// After a signal, the threads that read get so long to end by themselves.
const GRACE: Duration = Duration::from_secs(2);

/// Hands each message on with stdout, until every sender is done or the run was asked to stop.
fn each(
    messages: &Receiver<Message>,
    out: &Out,
    stop: &Stop,
    write: &mut dyn FnMut(Message, &mut Sink<Box<dyn Write + Send>>) -> Result<()>,
) -> Result<()> {
    let mut stopped: Option<Instant> = None;
    loop {
        let over = stop.asked().is_some() && stopped.get_or_insert_with(Instant::now).elapsed() > GRACE;
        if over && !stop.waits_for_critical() {
            return Ok(());
        }
        let wait = if stopped.is_some() { Duration::from_millis(50) } else { IDLE };
        match messages.recv_timeout(wait) {
            Ok(message) => write(message, &mut out.lock())?,
            Err(RecvTimeoutError::Timeout) => out.lock().flush()?,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}

/// Stdout, written in whole lines.
#[derive(Debug)]
pub struct Sink<W: Write> {
    out: W,
    buffer: Vec<u8>,
    /// Most bytes of one write.
    piece: usize,
    /// Why nothing more can be written.
    broken: Option<Fault>,
}

/// What the kernel writes to a pipe as a whole or not at all (Linux's `PIPE_BUF`): so many bytes of whole lines are
/// never torn, not even when the process is killed. Targets refuse a torn line, and lose the state before it.
const ATOMIC: usize = 4096;

/// Written at once when more than this waits.
const BUFFER: usize = 256 << 10;

impl<W: Write> Sink<W> {
    /// A sink over `out`; `pipe` tells whether it is one.
    pub fn new(out: W, pipe: bool) -> Self {
        let piece = if pipe { ATOMIC } else { usize::MAX };
        Sink { out, buffer: Vec::with_capacity(BUFFER + (64 << 10)), piece, broken: None }
    }

    /// Takes whole lines.
    pub fn lines(&mut self, lines: &[u8]) -> Result<()> {
        if self.buffer.len() + lines.len() > BUFFER {
            self.drain()?;
        }
        if lines.len() > BUFFER {
            return self.write(lines);
        }
        self.buffer.extend_from_slice(lines);
        Ok(())
    }

    /// Takes a JSON value as one line.
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

    /// Writes lines. After a failure nothing more is written: nobody knows what of it went out.
    fn write(&mut self, lines: &[u8]) -> Result<()> {
        if let Some(fault) = &self.broken {
            return Err(fault.clone());
        }
        let written = write_all(&mut self.out, lines, self.piece);
        self.broken = written.as_ref().err().cloned();
        written
    }

    /// Writes out everything taken so far.
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
        Fault::new(Kind::Downstream, "the reader of stdout is gone")
            .hint("see the target's own log; its last state is where to go on")
    } else {
        Fault::local("cannot write to stdout", error)
    }
}
