//! Stream locks: only one run reads a stream at a time.
//!
//! Input: the selected streams of a run. Output: their locks, all or none. Called by `run` before the first request.
//! They are kernel locks on files (`flock`): they are released when the processes that hold them end, in whatever
//! way.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::Duration;

use rustix::io::{Errno, FdFlags, fcntl_getfd, fcntl_setfd};
use rustix::process::{Pid, test_kill_process, test_kill_process_group};
use serde::{Deserialize, Serialize};

use crate::base::fault::{Fault, Kind, Result};
use crate::base::store::{file_name, open_own};

/// Locks that are held until this is dropped, and until every process that inherited them is gone.
#[derive(Debug)]
pub struct Locks(Vec<File>);

/// The holder of locks.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Holder {
    /// The run ID.
    pub run_id: String,
    /// The slot of the run.
    pub slot: String,
    /// The process ID.
    pub pid: u32,
    /// The process ID of its target.
    pub target: Option<u32>,
    /// When it took the locks, RFC 3339.
    pub since: String,
}

impl Holder {
    /// The holder of a lock; `None` if it has not written its identity yet.
    fn read(file: &mut File) -> Option<Holder> {
        let mut text = String::new();
        file.take(4096).read_to_string(&mut text).ok()?;
        serde_json::from_str(&text).ok()
    }
}

/// The fault of a run that is blocked by another one.
fn busy(message: &str, holder: Option<Holder>) -> Fault {
    let waits = "this run read nothing; the next run reads the changes";
    let Some(Holder { slot, pid, target, since, .. }) = holder else {
        return Fault::new(
            Kind::Busy,
            format!("{message}, or a process that its target left behind still holds the lock"),
        )
        .hint(waits);
    };
    let fault = Fault::new(Kind::Busy, format!("{message} ({slot}, process {pid}) since {since}"));
    let is_gone = || !is_running(pid);
    match target.filter(|target| is_gone() && has_processes(*target)) {
        Some(target) => fault.hint(format!(
            "that run was killed, and its target (process group {target}) is still loading; if the target hangs, end \
            it: kill -- -{target}"
        )),
        None => fault.hint(waits),
    }
}

/// Does this process still exist? One of another user does, although it cannot be signalled.
fn is_running(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| test_kill_process(pid).err() != Some(Errno::SRCH))
}

/// Does a process of this leader's group still exist?
fn has_processes(leader: u32) -> bool {
    let pid = i32::try_from(leader).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| test_kill_process_group(pid).is_ok())
}

/// Locks a file. A process that only tests the lock holds it for a moment.
fn locked(file: &File) -> std::result::Result<(), std::fs::TryLockError> {
    for _ in 0..5 {
        match file.try_lock() {
            Err(std::fs::TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(5)),
            other => return other,
        }
    }
    file.try_lock()
}

/// The lock name of a stream's backfill: it does not block live runs.
pub fn of_backfill(stream: &str) -> String {
    format!("{stream}.backfill")
}

impl Drop for Locks {
    /// A process that the target left behind may still hold them: it is not a run.
    fn drop(&mut self) {
        for file in &self.0 {
            let _ = file.set_len(0);
        }
    }
}

impl Locks {
    /// Takes the locks of a tenant's streams in the state directory at `root`; `holder` is their new holder. Returns
    /// a fault of [`Kind::Busy`] at once if another run has one of them.
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
            let mut options = OpenOptions::new();
            options.create(true).truncate(false).read(true).write(true).mode(0o600);
            let file = open_own(&mut options, &path);
            let mut file = file.map_err(|e| failed(&e))?;
            match locked(&file) {
                Ok(()) => {}
                Err(std::fs::TryLockError::WouldBlock) => {
                    let message = format!("another run of tenant `{tenant}` is reading the stream `{stream}`");
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

    /// Writes the holder into the lock files, for information only.
    pub fn tell(&mut self, holder: &Holder) {
        let text = serde_json::to_string(holder).unwrap_or_default();
        for file in &mut self.0 {
            let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{text}"));
        }
    }

    /// Runs `start` so that a process that it starts inherits the locks: a target that is still loading blocks the
    /// next run, even if its own run was killed. Otherwise an older version of a record could overwrite a newer one.
    pub fn inherited<T>(&self, start: impl FnOnce() -> T) -> T {
        self.pass_on(true);
        let started = start();
        self.pass_on(false);
        started
    }

    fn pass_on(&self, on: bool) {
        for file in &self.0 {
            // An open file has flags; if they cannot be read, the lock does not cover the target.
            let Ok(flags) = fcntl_getfd(file.as_fd()) else { continue };
            let flags = if on { flags - FdFlags::CLOEXEC } else { flags | FdFlags::CLOEXEC };
            let _ = fcntl_setfd(file.as_fd(), flags);
        }
    }

    /// Does a run hold the stream's lock now? For reports: the answer may be outdated when this returns.
    pub fn is_held(root: &Path, source: &str, tenant: &str, stream: &str) -> bool {
        let folder = root.join("locks").join(file_name(source)).join(file_name(tenant));
        let file = open_own(OpenOptions::new().read(true), &folder.join(format!("{}.lock", file_name(stream))));
        // A shared lock, so that two readers do not mistake each other for a run.
        file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(std::fs::TryLockError::WouldBlock)))
    }
}
