//! A target while it is fed: another process, which may die, hang or talk nonsense.
//!
//! Comes in: a command line, and the bytes for its input. Goes out: the lines that it prints, and how it ended. Called
//! by `cli`. The target has a process group of its own: a signal to the run ends its input first, so that it can load
//! what it has; only a target that does not end by itself is signalled, and then killed.

use parking_lot::Mutex;
use std::fmt;
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

use crate::base::fault::{Fault, Kind, Result};

/// A target may take so long for what it was given after a signal, before it is signalled itself.
const AFTER_SIGNAL: Duration = Duration::from_secs(10);
/// The same after a run that stopped by itself, such as by its deadline.
const AFTER_RUN: Duration = Duration::from_secs(300);
/// A signalled target is killed after so long.
const AFTER_TERM: Duration = Duration::from_secs(5);
/// What to do about a target that failed.
const HINT: &str = "its own messages above say why; bookmarks that it had echoed are kept, the rest is read again";
/// How often a target is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// A line of a target is never longer than this and so many times the longest state that it was sent, in bytes: JSON
/// writes a letter in as many as six.
const LONGEST_LINE: usize = 1 << 20;
const LONGER: usize = 6;

/// A target's command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetCommand {
    program: String,
    args: Vec<String>,
}

/// A target that runs.
#[derive(Debug)]
pub struct Target {
    child: Child,
    name: String,
    gauge: Arc<Gauge>,
    said: Option<ChildStdout>,
}

/// The target's input; it ends when this is dropped.
#[derive(Debug)]
pub struct Feed {
    stdin: ChildStdin,
    gauge: Arc<Gauge>,
}

/// What a target is doing, as far as can be seen from outside.
#[derive(Debug, Default)]
pub struct Gauge(Mutex<Seen>);

#[derive(Debug, Clone, Default)]
struct Seen {
    /// Since when something is written that it does not take.
    offered: Option<Instant>,
    /// When its input ended.
    closed: Option<Instant>,
    /// When it last took or said something.
    active: Option<Instant>,
    /// The longest state that it was sent, in bytes.
    longest: usize,
}

/// How a target ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    status: ExitStatus,
    /// Had its input ended before?
    fed: bool,
    /// Why it was ended, if it did not end by itself.
    why: Option<Why>,
}

/// Why a target is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It took and said nothing for so long.
    Idle(Duration),
    /// The run was stopped, by a signal or otherwise, and it did not end in time.
    Stopped,
}

/// What is done with a target next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Wait,
    Signal(Why),
    Kill,
}

impl TargetCommand {
    /// Splits a command line as a shell does.
    pub fn parse(text: &str) -> Result<TargetCommand> {
        let words = shlex::split(text).ok_or_else(|| {
            Fault::config("the target's command line has a quote without its end")
                .hint("see --target or dripfeed.target")
        })?;
        let mut words = words.into_iter();
        let program = words.next().filter(|program| !program.is_empty());
        let program = program.ok_or_else(|| {
            Fault::config("the target's command line is empty").hint("see --target or dripfeed.target")
        })?;
        Ok(TargetCommand { program, args: words.collect() })
    }

    /// Its executable.
    pub fn program(&self) -> &str {
        &self.program
    }

    /// Starts it. Its stderr is the run's own.
    pub fn start(&self) -> Result<(Target, Feed)> {
        let mut command = Command::new(&self.program);
        command.args(&self.args).stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        // Its arguments may hold what nobody should see.
        let name = self.program.rsplit('/').next().unwrap_or_default().to_owned();
        let mut child = command.spawn().map_err(|e| {
            Fault::config(format!("cannot start the target `{name}`: {e}"))
                .hint("it must be installed and on the PATH, or named with its path")
        })?;
        let (stdin, said) = (child.stdin.take(), child.stdout.take());
        let stdin = stdin.ok_or_else(|| Fault::bug("a target without input"))?;
        let gauge = Arc::new(Gauge::default());
        Ok((Target { child, name, gauge: gauge.clone(), said }, Feed { stdin, gauge }))
    }
}

impl Write for Feed {
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

impl Drop for Feed {
    fn drop(&mut self) {
        self.gauge.0.lock().closed = Some(Instant::now());
    }
}

impl Gauge {
    /// A state of so many bytes is sent: it may come back.
    pub fn sends(&self, bytes: usize) {
        let mut seen = self.0.lock();
        seen.longest = seen.longest.max(bytes);
    }
}

/// Hands on each line that a target prints, until it prints no more. Of a line that no state can be as long as, nothing
/// is handed on but that there was one.
fn listen(said: impl Read, gauge: &Gauge, hear: &mut dyn FnMut(Option<&[u8]>)) {
    let mut said = BufReader::new(said);
    let mut line = Vec::new();
    loop {
        let most = LONGEST_LINE + LONGER * gauge.0.lock().longest;
        line.clear();
        let limit = u64::try_from(most).unwrap_or(u64::MAX);
        match (&mut said).take(limit).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        gauge.0.lock().active = Some(Instant::now());
        if line.len() >= most && !line.ends_with(b"\n") {
            hear(None);
            // What is left of it goes by.
            loop {
                let passed = match said.fill_buf() {
                    Ok([]) | Err(_) => return,
                    Ok(bytes) => memchr::memchr(b'\n', bytes).map_or((bytes.len(), false), |at| (at + 1, true)),
                };
                said.consume(passed.0);
                gauge.0.lock().active = Some(Instant::now());
                if passed.1 {
                    break;
                }
            }
            continue;
        }
        let text = line.trim_ascii();
        if !text.is_empty() {
            hear(Some(text));
        }
    }
}

/// The fault of a target that ended well, and took no more before it did.
pub fn closed(name: &str) -> Fault {
    Fault::new(Kind::Local, format!("the target `{name}` closed its input before it had taken everything")).hint(HINT)
}

/// How a run is being stopped, as far as its target is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopping {
    /// Since when.
    pub since: Instant,
    /// Is there time, since nobody waits for the process to end?
    pub patient: bool,
}

/// Signals all processes of a target's group. They may have ended just now.
fn send(leader: u32, signal: Signal) {
    let pid = i32::try_from(leader).ok().and_then(Pid::from_raw);
    let _ = pid.map(|pid| kill_process_group(pid, signal));
}

/// Is there a process of a target's group?
pub fn is_there(leader: u32) -> bool {
    let pid = i32::try_from(leader).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| test_kill_process_group(pid).is_ok())
}

/// Ends the processes of a target's group at once.
pub fn kill(leader: u32) {
    send(leader, Signal::KILL);
}

impl Seen {
    /// What is done with the target at `now`; `signalled` is when it was.
    fn next(&self, now: Instant, patience: Duration, stopping: Option<Stopping>, signalled: Option<Instant>) -> Next {
        let since = |at: Option<Instant>| at.map(|at| now.saturating_duration_since(at));
        if let Some(time) = since(signalled) {
            return if time >= AFTER_TERM { Next::Kill } else { Next::Wait };
        }
        // It owes something while it is offered bytes, and once it has all of them.
        let owes = self.offered.or(self.closed.map(|closed| self.active.map_or(closed, |active| active.max(closed))));
        if since(owes).is_some_and(|time| time >= patience) {
            return Next::Signal(Why::Idle(patience));
        }
        // Whatever it says meanwhile: of a run that is being stopped it gets so long and no longer.
        let grace = |stopping: Stopping| if stopping.patient { AFTER_RUN } else { AFTER_SIGNAL };
        let owes = self.offered.or(self.closed);
        if let Some(stopping) = stopping
            && since(owes.map(|owes| owes.max(stopping.since))).is_some_and(|time| time >= grace(stopping))
        {
            return Next::Signal(Why::Stopped);
        }
        Next::Wait
    }
}

impl Target {
    /// What it is doing.
    pub fn gauge(&self) -> Arc<Gauge> {
        self.gauge.clone()
    }

    /// Its name for people: the program's, without arguments.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Hands on what it prints, on a thread of its own, until it prints no more.
    pub fn listen(
        &mut self,
        mut hear: impl FnMut(Option<&[u8]>) + Send + 'static,
    ) -> Option<std::thread::JoinHandle<()>> {
        let (said, gauge) = (self.said.take()?, self.gauge.clone());
        Some(std::thread::spawn(move || listen(said, &gauge, &mut hear)))
    }

    /// Waits until it ends, and sees that it does: `patience` is how long it may take and say nothing while it owes
    /// something, `stopping` tells how the run is being stopped, `meanwhile` is called all the time.
    pub fn watch(
        &mut self,
        patience: Duration,
        mut stopping: impl FnMut() -> Option<Stopping>,
        mut meanwhile: impl FnMut(),
    ) -> End {
        let (mut signalled, mut why) = (None, None);
        loop {
            // Who cannot be waited for is not there.
            let status = self.child.try_wait().unwrap_or_else(|_| Some(ExitStatus::from_raw(0)));
            let seen = self.gauge.0.lock().clone();
            if let Some(status) = status {
                return End { status, fed: seen.closed.is_some(), why };
            }
            match seen.next(Instant::now(), patience, stopping(), signalled) {
                Next::Wait => {}
                Next::Signal(reason) => {
                    (signalled, why) = (Some(Instant::now()), Some(reason));
                    self.signal(Signal::TERM);
                }
                Next::Kill => self.signal(Signal::KILL),
            }
            meanwhile();
            std::thread::sleep(LOOK);
        }
    }

    /// Its process, which leads its group.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn signal(&self, signal: Signal) {
        send(self.pid(), signal);
    }
}

impl End {
    /// Did it take everything and end well?
    pub fn is_good(&self) -> bool {
        self.fed && self.status.success()
    }

    /// Had it everything before it ended?
    pub fn was_fed(&self) -> bool {
        self.fed
    }

    /// Was it ended because the run was?
    pub fn was_stopped(&self) -> bool {
        self.why == Some(Why::Stopped)
    }

    /// The fault that its end is; `name` is the target's.
    pub fn fault(&self, name: &str) -> Option<Fault> {
        if self.is_good() {
            return None;
        }
        let said = match self.why {
            Some(Why::Idle(time)) => {
                let time = time.as_secs();
                format!("the target `{name}` took and said nothing for {time} s, and was ended ({self})")
            }
            Some(Why::Stopped) => format!("the target `{name}` did not end in time, and was ended ({self})"),
            None if self.status.success() => {
                format!("the target `{name}` ended before it had taken everything ({self})")
            }
            None => format!("the target `{name}` failed ({self})"),
        };
        Some(Fault::new(Kind::Local, said).hint(HINT))
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
