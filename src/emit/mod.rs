//! Everything that is written to stdout.
//!
//! Comes in: [`Message`]s from the threads that read, over one bounded channel. Goes out: whole lines. The
//! only code that may write to stdout. Called by `run` (sends) and `cli` (drains).

pub mod catalog;
pub mod singer;

use std::io::{self, Write};
use std::sync::Arc;

use serde_json::Value as Json;

use crate::fault::{Fault, Kind, Result};

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
    },
    /// A stream ended.
    End(Arc<str>),
}

/// Stdout, written in whole lines.
#[derive(Debug)]
pub struct Sink<W: Write> {
    out: W,
    buffer: Vec<u8>,
    /// Most bytes of one write.
    piece: usize,
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
        Sink { out, buffer: Vec::with_capacity(BUFFER + (64 << 10)), piece }
    }

    /// Takes whole lines.
    pub fn lines(&mut self, lines: &[u8]) -> Result<()> {
        if self.buffer.len() + lines.len() > BUFFER {
            self.drain()?;
        }
        if lines.len() > BUFFER {
            return write_all(&mut self.out, lines, self.piece);
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
        if !self.buffer.is_empty() {
            write_all(&mut self.out, &self.buffer, self.piece)?;
            self.buffer.clear();
        }
        Ok(())
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
