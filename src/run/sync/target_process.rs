//! The target process while it is fed: it may die, hang or print nonsense.
//!
//! Input: a command line, and the bytes for the target's stdin. Output: the lines that it prints, and how it ended.
//! Called by `sync`. The target has its own process group: a signal to the run first closes the target's input, so
//! that it can load what it has; only a target that does not exit by itself is signalled, and then killed.

use parking_lot::Mutex;
use std::fmt;
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::base::config::Config;
use crate::base::config::references::{Reference, references};
use crate::base::fault::{Fault, Kind, Result};
use crate::tenant::target_command::TargetCommand;

/// After a signal, the time that a target has for its remaining input before it is signalled itself.
const AFTER_SIGNAL: Duration = Duration::from_secs(10);
/// The time to exit after a run that stopped by itself, for example at its deadline.
const AFTER_RUN: Duration = Duration::from_secs(300);
/// The time between the signal and the kill.
const AFTER_TERM: Duration = Duration::from_secs(5);
/// The hint for a failed target.
const HINT: &str = "the target's own messages above show why; bookmarks that it echoed are saved, and the rest is \
    read again";
/// How often the target's status is polled.
const LOOK: Duration = Duration::from_millis(20);
/// A line of a target is never longer than this plus a multiple of the longest state that it was sent, in bytes: JSON
/// may escape a character in six bytes.
const LONGEST_LINE: usize = 1 << 20;
const LONGER: usize = 6;

/// A running target.
#[derive(Debug)]
pub(crate) struct TargetProcess {
    child: Child,
    name: String,
    gauge: Arc<Gauge>,
    stdout: Option<ChildStdout>,
}

/// The target's input; dropping it closes the input.
#[derive(Debug)]
pub(crate) struct TargetInput {
    stdin: ChildStdin,
    gauge: Arc<Gauge>,
}

/// The target's activity, as far as it is visible from outside.
#[derive(Debug, Default)]
pub(crate) struct Gauge(Mutex<Seen>);

#[derive(Debug, Clone, Default)]
struct Seen {
    /// Since when the target has not read pending bytes.
    offered: Option<Instant>,
    /// When its input was closed.
    closed: Option<Instant>,
    /// When it last read or printed something.
    active: Option<Instant>,
    /// The longest state that it was sent, in bytes.
    longest: usize,
}

/// What a target inherits of the environment: the config's secrets are none of its business.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Environment {
    /// All but these variables.
    Without(Vec<String>),
    /// Nothing but these.
    Only(Vec<String>),
}

impl Environment {
    /// As `dripfeed.target_env` has it; else all but what the config refers to as `env:`.
    pub(crate) fn of(config: &Config) -> Environment {
        if let Some(names) = &config.ours.target_env {
            return Environment::Only(names.clone());
        }
        let names = references(&config.written).into_iter().filter_map(|reference| match reference {
            Reference::Variable(name) if !name.is_empty() => Some(name.to_owned()),
            _ => None,
        });
        Environment::Without(names.collect())
    }
}

/// How a target ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct End {
    status: ExitStatus,
    /// Was its input closed before it ended?
    fed: bool,
    /// Why it was killed, if it did not exit by itself.
    reason: Option<EndReason>,
}

/// Why a target was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EndReason {
    /// The target read and printed nothing for this long.
    Idle(Duration),
    /// The run was stopped, by a signal or otherwise, and the target did not exit in time.
    Stopped,
}

/// The next action for a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Wait,
    Signal(EndReason),
    Kill,
}

impl Write for TargetInput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.gauge.0.lock().offered.get_or_insert_with(Instant::now);
        let written = self.stdin.write(bytes);
        if !matches!(&written, Err(e) if e.kind() == io::ErrorKind::Interrupted) {
            let mut seen = self.gauge.0.lock();
            (seen.offered, seen.active) = (None, Some(Instant::now()));
        }
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stdin.flush()
    }
}

impl Drop for TargetInput {
    fn drop(&mut self) {
        self.gauge.0.lock().closed = Some(Instant::now());
    }
}

impl Gauge {
    /// Records that a state of this size is sent: the target may echo it.
    pub(crate) fn sends(&self, bytes: usize) {
        let mut seen = self.0.lock();
        seen.longest = seen.longest.max(bytes);
    }
}

/// Passes on each line that a target prints, until its output ends. A line longer than any state is reported without
/// its content.
fn listen(stdout: impl Read, gauge: &Gauge, on_line: &mut dyn FnMut(Option<&[u8]>)) {
    let mut stdout = BufReader::new(stdout);
    let mut line = Vec::new();
    loop {
        let most = LONGEST_LINE + LONGER * gauge.0.lock().longest;
        line.clear();
        let limit = u64::try_from(most).unwrap_or(u64::MAX);
        match (&mut stdout).take(limit).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        gauge.0.lock().active = Some(Instant::now());
        if line.len() >= most && !line.ends_with(b"\n") {
            on_line(None);
            // The rest of the line is discarded.
            loop {
                let passed = match stdout.fill_buf() {
                    Ok([]) | Err(_) => return,
                    Ok(bytes) => memchr::memchr(b'\n', bytes).map_or((bytes.len(), false), |at| (at + 1, true)),
                };
                stdout.consume(passed.0);
                gauge.0.lock().active = Some(Instant::now());
                if passed.1 {
                    break;
                }
            }
            continue;
        }
        let text = line.trim_ascii();
        if !text.is_empty() {
            on_line(Some(text));
        }
    }
}

/// The fault for a target that exited with success before it consumed everything.
pub(crate) fn closed(name: &str) -> Fault {
    Fault::new(Kind::Local, format!("the target `{name}` closed its input before it read everything")).hint(HINT)
}

/// How a run is being stopped, from the target's point of view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stopping {
    /// When the stop began.
    pub(crate) since: Instant,
    /// Is there time, because nobody waits for the process to end?
    pub(crate) patient: bool,
}

/// Signals all processes of a target's group; they may already have ended.
fn send(leader: u32, signal: Signal) {
    let pid = i32::try_from(leader).ok().and_then(Pid::from_raw);
    let _ = pid.map(|pid| kill_process_group(pid, signal));
}

/// Kills the processes of a target's group.
pub(crate) fn kill(leader: u32) {
    send(leader, Signal::KILL);
}

impl Seen {
    /// The next action for the target at `now`; `signalled` is when it was signalled.
    fn next(&self, now: Instant, patience: Duration, stopping: Option<Stopping>, signalled: Option<Instant>) -> Next {
        let since = |at: Option<Instant>| at.map(|at| now.saturating_duration_since(at));
        if let Some(time) = since(signalled) {
            return if time >= AFTER_TERM { Next::Kill } else { Next::Wait };
        }
        // It owes progress while bytes are pending, and after it has all of them.
        let owes = self.offered.or(self.closed.map(|closed| self.active.map_or(closed, |active| active.max(closed))));
        if since(owes).is_some_and(|time| time >= patience) {
            return Next::Signal(EndReason::Idle(patience));
        }
        // In a stopping run the grace period is fixed, whatever the target prints.
        let grace = |stopping: Stopping| if stopping.patient { AFTER_RUN } else { AFTER_SIGNAL };
        let owes = self.offered.or(self.closed);
        if let Some(stopping) = stopping
            && since(owes.map(|owes| owes.max(stopping.since))).is_some_and(|time| time >= grace(stopping))
        {
            return Next::Signal(EndReason::Stopped);
        }
        Next::Wait
    }
}

impl TargetProcess {
    /// Starts the target. It shares the run's stderr.
    pub(crate) fn start(command: &TargetCommand, environment: &Environment) -> Result<(TargetProcess, TargetInput)> {
        let mut process = Command::new(command.program());
        match environment {
            Environment::Without(names) => {
                for name in names {
                    process.env_remove(name);
                }
            }
            Environment::Only(names) => {
                let inherited = names.iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
                process.env_clear().envs(inherited);
            }
        }
        process.args(command.args()).stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        // Its arguments may contain secrets.
        let name = command.name().to_owned();
        let mut child = process.spawn().map_err(|e| {
            Fault::config(format!("cannot start the target `{name}`: {e}"))
                .hint("install it and put it on the PATH, or give its path")
        })?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let stdin = stdin.ok_or_else(|| Fault::bug("a target without input"))?;
        let gauge = Arc::new(Gauge::default());
        Ok((TargetProcess { child, name, gauge: gauge.clone(), stdout }, TargetInput { stdin, gauge }))
    }

    /// The target's activity gauge.
    pub(crate) fn gauge(&self) -> Arc<Gauge> {
        self.gauge.clone()
    }

    /// The target's name in messages: the program's, without arguments.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Passes on its output lines, on a separate thread, until its output ends.
    pub(crate) fn listen(
        &mut self,
        mut on_line: impl FnMut(Option<&[u8]>) + Send + 'static,
    ) -> Option<std::thread::JoinHandle<()>> {
        let (stdout, gauge) = (self.stdout.take()?, self.gauge.clone());
        Some(std::thread::spawn(move || listen(stdout, &gauge, &mut on_line)))
    }

    /// Waits until the target ends, and enforces it: `patience` is the longest time without progress while it owes
    /// some, `stopping` states how the run is being stopped, `meanwhile` is called in every iteration.
    pub(crate) fn watch(
        &mut self,
        patience: Duration,
        mut stopping: impl FnMut() -> Option<Stopping>,
        mut meanwhile: impl FnMut(),
    ) -> End {
        let (mut signalled, mut end_reason) = (None, None);
        loop {
            // A process that cannot be waited for no longer exists.
            let status = self.child.try_wait().unwrap_or_else(|_| Some(ExitStatus::from_raw(0)));
            let seen = self.gauge.0.lock().clone();
            if let Some(status) = status {
                return End { status, fed: seen.closed.is_some(), reason: end_reason };
            }
            match seen.next(Instant::now(), patience, stopping(), signalled) {
                Next::Wait => {}
                Next::Signal(reason) => {
                    (signalled, end_reason) = (Some(Instant::now()), Some(reason));
                    self.signal(Signal::TERM);
                }
                Next::Kill => self.signal(Signal::KILL),
            }
            meanwhile();
            std::thread::sleep(LOOK);
        }
    }

    /// The target's process ID; the process leads its group.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn signal(&self, signal: Signal) {
        send(self.pid(), signal);
    }
}

impl End {
    /// Did it consume everything and exit with success?
    pub(crate) fn is_good(&self) -> bool {
        self.fed && self.status.success()
    }

    /// Was its input complete before it ended?
    pub(crate) fn was_fed(&self) -> bool {
        self.fed
    }

    /// Was it killed because the run was stopped?
    pub(crate) fn was_stopped(&self) -> bool {
        self.reason == Some(EndReason::Stopped)
    }

    /// The fault for its end; `name` is the target's.
    pub(crate) fn fault(&self, name: &str) -> Option<Fault> {
        if self.is_good() {
            return None;
        }
        let message = match self.reason {
            Some(EndReason::Idle(time)) => {
                let time = time.as_secs();
                format!("the target `{name}` read and printed nothing for {time} s and was ended ({self})")
            }
            Some(EndReason::Stopped) => format!("the target `{name}` did not exit in time and was ended ({self})"),
            None if self.status.success() => {
                format!("the target `{name}` exited before it read everything ({self})")
            }
            None => format!("the target `{name}` failed ({self})"),
        };
        Some(Fault::new(Kind::Local, message).hint(HINT))
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.status.code(), self.status.signal()) {
            (Some(code), _) => write!(f, "exit code {code}"),
            (None, Some(signal)) => write!(f, "killed by signal {signal}"),
            (None, None) => f.write_str("no exit code"),
        }
    }
}
