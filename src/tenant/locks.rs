//! One run of a stream at a time.
//!
//! Input: the streams that a run chose. Output: their locks, all or none. Called by `cli` before the first
//! request. They are locks of the kernel on files (`flock`): they end with the processes that hold them, however those
//! end.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::Duration;

use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};
use rustix::process::{Pid, test_kill_process_group};
use serde::{Deserialize, Serialize};

use crate::base::fault::{Fault, Kind, Result};
use crate::base::store::file_name;

/// Locks that are held until this is dropped, and until every process is gone that inherited them.
#[derive(Debug)]
pub struct Locks(Vec<File>);

/// Who holds locks.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Holder {
    /// The run's name in events.
    pub run_id: String,
    /// Which of the tenant's runs it is.
    pub slot: String,
    /// Its process.
    pub pid: u32,
    /// The process of its target.
    pub target: Option<u32>,
    /// Since when, RFC 3339.
    pub since: String,
}

impl Holder {
    /// Who holds a lock; it may not have said so yet.
    fn read(file: &mut File) -> Option<Holder> {
        let mut text = String::new();
        file.take(4096).read_to_string(&mut text).ok()?;
        serde_json::from_str(&text).ok()
    }
}

/// The fault of a run that another one keeps away.
fn busy(message: &str, holder: Option<Holder>) -> Fault {
    let waits = "nothing was read; what changed meanwhile is read by the next run";
    let Some(Holder { slot, pid, target, since, .. }) = holder else {
        return Fault::new(Kind::Busy, format!("{message}, or a process that its target left behind has it still"))
            .hint(waits);
    };
    let fault = Fault::new(Kind::Busy, format!("{message} ({slot}, process {pid}) since {since}"));
    let is_gone = || !Path::new("/proc").join(pid.to_string()).exists();
    match target.filter(|target| is_gone() && has_processes(*target)) {
        Some(target) => fault.hint(format!(
            "that run was killed, and its target (process group {target}) still loads what it was given; if it hangs, \
            end it: kill -- -{target}"
        )),
        None => fault.hint(waits),
    }
}

/// Is there still a process of the group that this one led?
fn has_processes(leader: u32) -> bool {
    let pid = i32::try_from(leader).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| test_kill_process_group(pid).is_ok())
}

/// Locks a file. Who only looks whether it is locked holds it for a moment.
fn locked(file: &File) -> std::result::Result<(), std::fs::TryLockError> {
    for _ in 0..5 {
        match file.try_lock() {
            Err(std::fs::TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(5)),
            other => return other,
        }
    }
    file.try_lock()
}

/// The name of the lock that a backfill of a stream holds: it keeps live runs from nothing.
pub fn of_backfill(stream: &str) -> String {
    format!("{stream}.backfill")
}

impl Drop for Locks {
    /// A process that the target left behind may hold them still: it is no run.
    fn drop(&mut self) {
        for file in &self.0 {
            let _ = file.set_len(0);
        }
    }
}

impl Locks {
    /// Takes the locks of a tenant's streams in the state directory at `root`; `holder` is who has them from now on. A
    /// fault of [`Kind::Busy`] where another run has one of them, which is told at once.
    pub fn take(
        root: &Path,
        source: &str,
        tenant: &str,
        streams: impl IntoIterator<Item = String>,
        holder: &Holder,
    ) -> Result<Locks> {
        let folder = root.join("locks").join(file_name(source)).join(file_name(tenant));
        let failed = |e: &std::io::Error| Fault::local(format!("cannot lock in {}", folder.display()), e);
        DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(|e| failed(&e))?;
        let mut streams: Vec<String> = streams.into_iter().collect();
        streams.sort_unstable();
        let mut held = Vec::with_capacity(streams.len());
        for stream in streams {
            let path = folder.join(format!("{}.lock", file_name(&stream)));
            let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(0o600).open(&path);
            let mut file = file.map_err(|e| failed(&e))?;
            match locked(&file) {
                Ok(()) => {}
                Err(std::fs::TryLockError::WouldBlock) => {
                    let message = format!("another run of tenant `{tenant}` reads the stream `{stream}`");
                    return Err(busy(&message, Holder::read(&mut file)));
                }
                Err(std::fs::TryLockError::Error(e)) => return Err(failed(&e)),
            }
            held.push(file);
        }
        let mut locks = Locks(held);
        locks.tell(holder);
        Ok(locks)
    }

    /// Tells others who has them: for people alone.
    pub fn tell(&mut self, holder: &Holder) {
        let text = serde_json::to_string(holder).unwrap_or_default();
        for file in &mut self.0 {
            let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{text}"));
        }
    }

    /// Runs `start` so that a process which it starts holds the locks too: a target that still loads what a run gave it
    /// keeps the next one away, also when the run itself was killed. Otherwise an older version of a record could
    /// overtake a newer.
    pub fn inherited<T>(&self, start: impl FnOnce() -> T) -> T {
        self.pass_on(true);
        let started = start();
        self.pass_on(false);
        started
    }

    fn pass_on(&self, on: bool) {
        for file in &self.0 {
            // A file that is open has flags; without them the target alone is not waited for.
            let Ok(flags) = fcntl_getfd(file.as_fd()) else { continue };
            let flags = if on { flags - FdFlags::CLOEXEC } else { flags | FdFlags::CLOEXEC };
            let _ = fcntl_setfd(file.as_fd(), flags);
        }
    }

    /// Does a run hold the stream's lock now? For reports: it may have changed when this returns.
    pub fn is_held(root: &Path, source: &str, tenant: &str, stream: &str) -> bool {
        let folder = root.join("locks").join(file_name(source)).join(file_name(tenant));
        let file = OpenOptions::new().read(true).open(folder.join(format!("{}.lock", file_name(stream))));
        // Shared, so that two that look do not take each other for a run.
        file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(std::fs::TryLockError::WouldBlock)))
    }
}
