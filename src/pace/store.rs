//! Stores a ledger: in the process, or in a file that the processes of a machine share.
//!
//! Input: a change. Output: the result of the change, once the ledger contains it. Called by [`super::limiter`].
//!
//! The file is locked (`flock`) only for a read, the change and a write in place, some microseconds, and never during
//! a sleep or a request; the lock of a dead process is released by the kernel. If the file is unusable, the process
//! uses a ledger of its own with a share of the limits, and reports this once.

use parking_lot::{Mutex, MutexGuard};
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::clock::{self, Clock};
use super::ledger::{Ledger, Moment, Unreadable};
use super::limit::Nanos;
use crate::base::platform;
use crate::base::store::open_own;

/// Stores a ledger.
pub trait LedgerStore: Send + Sync {
    /// Changes the ledger, and passes the time to the change; no other change happens in between. The clock is read
    /// after the lock is taken: otherwise a waiting process could write an older time than the previous one.
    fn update<T>(&self, clock: &dyn Clock, change: impl FnOnce(&mut Ledger, Nanos) -> T) -> T;
}

/// A ledger in memory, of this process or of a simulation.
#[derive(Debug, Default)]
pub struct MemoryLedger(Mutex<Ledger>);

impl LedgerStore for MemoryLedger {
    fn update<T>(&self, clock: &dyn Clock, change: impl FnOnce(&mut Ledger, Nanos) -> T) -> T {
        let mut ledger = self.0.lock();
        change(&mut ledger, clock.now())
    }
}

impl<S: LedgerStore> LedgerStore for &S {
    fn update<T>(&self, clock: &dyn Clock, change: impl FnOnce(&mut Ledger, Nanos) -> T) -> T {
        (**self).update(clock, change)
    }
}

impl<S: LedgerStore> LedgerStore for std::sync::Arc<S> {
    fn update<T>(&self, clock: &dyn Clock, change: impl FnOnce(&mut Ledger, Nanos) -> T) -> T {
        (**self).update(clock, change)
    }
}

/// The longest wait for the lock: its holders need microseconds, unless they are stopped.
const LOCK_WITHIN: Duration = Duration::from_secs(2);
/// After a failure, the time until the file is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(10);
/// The maximum size of a ledger, in bytes.
const MAX_BYTES: u64 = 1 << 16;
/// The share of the limits for a process that cannot see the others: three kinds of runs may be active.
const SHARE: f64 = 1.0 / 3.0;

/// Receives the reason why a ledger cannot be shared.
pub type Notice = Box<dyn Fn(&str) + Send + Sync>;

/// A ledger in a file.
pub struct SharedLedger {
    path: PathBuf,
    boot: String,
    notice: Notice,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    file: Option<File>,
    /// The fallback while the file is unusable.
    own: Ledger,
    failed: Option<Instant>,
    noticed: bool,
}

impl std::fmt::Debug for SharedLedger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("path", &self.path).finish_non_exhaustive()
    }
}

impl SharedLedger {
    /// The ledger in the file at `path`, which is created on first use.
    pub fn new(path: &Path, notice: Notice) -> SharedLedger {
        SharedLedger { path: path.to_owned(), boot: platform::boot_id(), notice, inner: Mutex::default() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    fn open(&self) -> io::Result<File> {
        if let Some(folder) = self.path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        open_own(OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600), &self.path)
    }

    /// Opens and locks the file. A file that was removed meanwhile is created again.
    fn locked<'i>(&self, slot: &'i mut Option<File>) -> io::Result<&'i File> {
        let until = Instant::now() + LOCK_WITHIN;
        while Instant::now() < until {
            if slot.is_none() {
                *slot = Some(self.open()?);
            }
            let Some(file) = slot.as_ref() else { continue };
            match file.try_lock() {
                Ok(()) if file.metadata()?.nlink() > 0 => return slot.as_ref().ok_or(io::ErrorKind::NotFound.into()),
                Ok(()) => *slot = None,
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_micros(50)),
                Err(TryLockError::Error(e)) => return Err(e),
            }
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "another process holds its lock"))
    }

    /// Reads the ledger from the file, which must be locked.
    fn read(&self, file: &File, now: Nanos) -> io::Result<(Ledger, Nanos)> {
        let size = file.metadata()?.len().min(MAX_BYTES);
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        file.read_exact_at(&mut bytes, 0)?;
        match Ledger::decode(&bytes, self.moment(now)) {
            Ok(read) => Ok(read),
            Err(Unreadable::Empty) => Ok((Ledger::default(), now)),
            Err(Unreadable::Damaged) => {
                let path = self.path.display();
                (self.notice)(&format!("the ledger {path} is damaged: it is reset, and all limits count as used up"));
                Ok((Ledger { lost_at: Some(now), ..Ledger::default() }, now))
            }
            Err(Unreadable::Foreign) => Err(io::Error::other("another version of dripfeed wrote it")),
        }
    }

    fn moment(&self, now: Nanos) -> Moment<'_> {
        Moment { boot: &self.boot, now, wall: clock::wall() }
    }

    /// The file is unusable: the process uses its own ledger for a while.
    fn failed(&self, inner: &mut Inner, error: &io::Error, own: Ledger) {
        inner.own = Ledger { share: Some(SHARE), members: Vec::new(), ..own };
        inner.failed = Some(Instant::now());
        inner.file = None;
        if !std::mem::replace(&mut inner.noticed, true) {
            let path = self.path.display();
            (self.notice)(&format!(
                "the ledger {path} cannot be shared ({error}): this run uses a third of the account's limits"
            ));
        }
    }
}

impl LedgerStore for SharedLedger {
    fn update<T>(&self, clock: &dyn Clock, change: impl FnOnce(&mut Ledger, Nanos) -> T) -> T {
        let mut inner = self.inner();
        if inner.failed.is_some_and(|at| at.elapsed() < AGAIN_AFTER) {
            return change(&mut inner.own, clock.now());
        }
        let mut slot = inner.file.take();
        let read = self.locked(&mut slot).and_then(|file| self.read(file, clock.now()));
        let (mut ledger, now) = match read {
            Ok(read) => read,
            Err(error) => {
                let now = clock.now();
                // Usage by other processes is unknown; usage since the last failure is known.
                let own = match inner.failed {
                    Some(_) => std::mem::take(&mut inner.own),
                    None => Ledger { lost_at: Some(now), ..Ledger::default() },
                };
                self.failed(&mut inner, &error, own);
                return change(&mut inner.own, now);
            }
        };
        if inner.failed.is_some() {
            ledger.merge(std::mem::take(&mut inner.own));
        }
        let out = change(&mut ledger, now);
        let bytes = ledger.encode(self.moment(now));
        let written = slot.as_ref().map_or(Err(io::ErrorKind::NotFound.into()), |file| file.write_all_at(&bytes, 0));
        match written {
            Ok(()) => {
                // Closing the file releases the lock too: an error here cannot leave it held.
                slot.as_ref().map(File::unlock);
                (inner.file, inner.failed) = (slot, None);
            }
            Err(error) => self.failed(&mut inner, &error, ledger),
        }
        out
    }
}
