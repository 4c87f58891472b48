//! Commands of secret managers: the value of `exec:COMMAND`.
//!
//! Input: a command line. Output: what it prints, or why it printed no value. Called by `references`. The command is
//! run without a shell and without input; its time and its output are bounded.

use std::io::Read;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process_group};

use crate::base::fault::Result;
use crate::base::stop::Stop;

/// The time that a command has.
const LONGEST: Duration = Duration::from_secs(30);
/// The largest output, in bytes.
const LARGEST: usize = 64 << 10;
/// The time that its pipes have to end after it: a process that it left behind may hold them open.
const AFTER_EXIT: Duration = Duration::from_secs(1);
/// How often its status is polled.
const POLL: Duration = Duration::from_millis(5);
/// The longest part of its last message that is shown, in characters.
const LONGEST_MESSAGE: usize = 200;

/// What came of a command: its output, or why there is none, without the command's arguments.
pub(super) type Output = std::result::Result<String, String>;

/// The words of a command line; the first is its program.
pub(super) fn words(command: &str) -> Option<Vec<String>> {
    shlex::split(command).filter(|words| words.first().is_some_and(|program| !program.is_empty()))
}

/// Runs a command. A fault is a stop request that came meanwhile.
pub(super) fn run(words: &[String], stop: &Stop) -> Result<Output> {
    run_within(LONGEST, words, stop)
}

fn run_within(longest: Duration, words: &[String], stop: &Stop) -> Result<Output> {
    stop.check()?;
    let (program, args) = (&words[0], &words[1..]);
    let mut command = Command::new(program);
    // A group of its own: a command that takes too long is killed with all that it started.
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(e) => return Ok(Err(format!("it cannot be started: {e}"))),
    };
    let (out, err) = (collect(child.stdout.take()), collect(child.stderr.take()));
    let until = Instant::now() + longest;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() > until => {
                kill(&mut child);
                return Ok(Err(format!("it did not end within {} s and was killed", longest.as_secs())));
            }
            Ok(None) => {
                if let Err(stopped) = stop.sleep(POLL) {
                    kill(&mut child);
                    return Err(stopped);
                }
            }
            Err(e) => return Ok(Err(format!("its end cannot be awaited: {e}"))),
        }
    };
    let printed = out.all();
    if !status.success() {
        let message = last_line(&err.all());
        return Ok(Err(format!("{}{message}", ended(status))));
    }
    Ok(value(printed))
}

/// What a stream has brought so far.
struct Collected {
    bytes: Arc<Mutex<Vec<u8>>>,
    ended: Receiver<()>,
}

/// Reads a stream on a thread of its own, so that a command that prints much does not wait for ever.
fn collect(stream: Option<impl Read + Send + 'static>) -> Collected {
    let (bytes, (sender, ended)) = (Arc::new(Mutex::new(Vec::new())), mpsc::channel());
    if let Some(mut stream) = stream {
        let bytes = bytes.clone();
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(count @ 1..) = stream.read(&mut chunk) {
                let mut bytes = bytes.lock();
                // The rest is discarded: a command that cannot write would not end.
                if bytes.len() <= LARGEST {
                    bytes.extend_from_slice(&chunk[..count]);
                }
            }
            drop(sender);
        });
    }
    Collected { bytes, ended }
}

impl Collected {
    /// All of it, once the command has ended.
    fn all(&self) -> Vec<u8> {
        let _ = self.ended.recv_timeout(AFTER_EXIT);
        std::mem::take(&mut *self.bytes.lock())
    }
}

fn kill(child: &mut Child) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(pid, Signal::KILL);
    }
    let _ = child.wait();
}

fn ended(status: ExitStatus) -> String {
    status.code().map_or_else(|| "a signal ended it".to_owned(), |code| format!("it exited with {code}"))
}

/// The last line of a command's messages, as a part of a sentence.
fn last_line(messages: &[u8]) -> String {
    let messages = String::from_utf8_lossy(messages);
    let line = messages.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let line: String = line.chars().filter(|c| !c.is_control()).take(LONGEST_MESSAGE).collect();
    if line.is_empty() { line } else { format!(": {line}") }
}

fn value(printed: Vec<u8>) -> Output {
    if printed.len() > LARGEST {
        return Err(format!("it printed more than {} KiB", LARGEST >> 10));
    }
    let text = String::from_utf8(printed).map_err(|_| "what it printed is not UTF-8".to_owned())?;
    match text.trim_end_matches(['\n', '\r']) {
        "" => Err("it printed nothing".to_owned()),
        value => Ok(value.to_owned()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_takes_too_long_is_killed_with_what_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let late = dir.path().join("late");
        let script = format!("(sleep 2; touch {}) & sleep 60", late.display());
        let words = ["sh", "-c", script.as_str()].map(str::to_owned);
        let began = Instant::now();
        let output = run_within(Duration::from_millis(200), &words, &Stop::default()).unwrap();
        assert!(output.unwrap_err().contains("was killed"));
        assert!(began.elapsed() < Duration::from_secs(2));
        std::thread::sleep(Duration::from_millis(2500));
        assert!(!late.exists(), "what it started goes on");
    }

    #[test]
    fn a_process_that_it_leaves_behind_is_not_waited_for() {
        let words = ["sh", "-c", "sleep 5 & echo value"].map(str::to_owned);
        let began = Instant::now();
        let output = run_within(LONGEST, &words, &Stop::default()).unwrap();
        assert!(began.elapsed() < Duration::from_secs(4));
        assert_eq!(output, Ok("value".into()));
    }
}
