//! Caches responses that several streams request: a parent's pages are fetched once per run.
//!
//! Input: a request and its response. Output: the response to the same request. Called by [`super::Fetcher`] for
//! parent streams, as the reference's `use_cache` does. If several threads need the same response, one requests it
//! and the others wait. Bodies are stored in an unnamed file: memory does not grow, and nothing is left behind,
//! however the process ends.

use parking_lot::{Condvar, Mutex, MutexGuard};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use ureq::http::HeaderMap;

use super::request::PreparedRequest;
use super::{BodyEnd, Reply};
use crate::base::fault::{Fault, Result};
use crate::base::stop::Stop;

/// The hash of everything in a request that its response depends on.
pub(super) type Key = [u8; 32];

/// Cached responses.
#[derive(Debug, Default)]
pub(super) struct Cache {
    stored: Mutex<Kept>,
    /// Signals that a request is no longer in flight.
    landed: Condvar,
}

#[derive(Debug, Default)]
struct Kept {
    /// The bodies, concatenated.
    file: Option<File>,
    end: u64,
    index: HashMap<Key, Entry>,
    under_way: HashSet<Key>,
}

/// The right to request what is not cached yet; other threads that need the same wait until it is released.
#[derive(Debug)]
pub(super) struct Claim<'c> {
    cache: &'c Cache,
    key: Key,
}

/// The result of a cache lookup.
#[derive(Debug)]
pub(super) enum Found<'c> {
    /// The cached response.
    Reply(Reply),
    /// A miss: the caller must fetch the response.
    Nothing(Claim<'c>),
}

#[derive(Debug, Clone)]
struct Entry {
    status: u16,
    headers: HeaderMap,
    took: Duration,
    at: u64,
    len: usize,
    end: BodyEnd,
}

/// Hashes method, URL, headers and body, and the owner of the credentials that are added later: these make two
/// requests equal.
pub(super) fn key(request: &PreparedRequest, owner: Option<usize>) -> Key {
    let mut hash = Sha256::new();
    hash.update(owner.unwrap_or_default().to_le_bytes());
    for part in [&request.method, &request.url] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    for (name, value) in &request.headers {
        hash.update(name.as_bytes());
        hash.update([0]);
        hash.update(value.as_bytes());
        hash.update([0]);
    }
    hash.update(request.body.as_ref().map_or(&[][..], |b| &b.bytes));
    hash.finalize().into()
}

impl Cache {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.stored.lock()
    }

    /// The cached response to an equal request, after a wait if another thread is fetching it; otherwise a claim.
    /// With `anew`, cached responses are ignored.
    pub(super) fn get(&self, key: Key, url: &str, anew: bool, stop: &Stop) -> Result<Found<'_>> {
        let mut stored = self.lock();
        loop {
            if !anew && let Some(entry) = stored.index.get(&key).cloned() {
                return stored.read(entry, url).map(Found::Reply);
            }
            if stored.under_way.insert(key) {
                return Ok(Found::Nothing(Claim { cache: self, key }));
            }
            stop.check()?;
            self.landed.wait_for(&mut stored, Duration::from_millis(100));
        }
    }
}

impl Kept {
    fn read(&mut self, entry: Entry, url: &str) -> Result<Reply> {
        let mut body = vec![0; entry.len];
        let Some(file) = &mut self.file else { return Err(Fault::bug("a cached response has no file")) };
        let read = file.seek(SeekFrom::Start(entry.at)).and_then(|_| file.read_exact(&mut body));
        read.map_err(|e| Fault::local("cannot read a cached response", &e))?;
        let Entry { status, headers, took, end, .. } = entry;
        let url = url.to_owned();
        Ok(Reply { status, headers, body, took, url, embedded: false, filed: None, error: None, end })
    }
}

impl Claim<'_> {
    /// Stores the response to the claimed request.
    pub(super) fn keep(self, request: &PreparedRequest, reply: &Reply) -> Result<()> {
        if reply.status != 200 || request.method != "GET" {
            return Ok(());
        }
        let failed = |e: &std::io::Error| Fault::local("cannot cache a response in the temporary folder", e);
        let mut stored = self.cache.lock();
        let at = stored.end;
        if stored.file.is_none() {
            stored.file = Some(tempfile::tempfile().map_err(|e| failed(&e))?);
        }
        if let Some(file) = &mut stored.file {
            file.seek(SeekFrom::Start(at)).and_then(|_| file.write_all(&reply.body)).map_err(|e| failed(&e))?;
        }
        let (headers, len) = (reply.headers.clone(), reply.body.len());
        let entry = Entry { status: reply.status, headers, took: reply.took, at, len, end: reply.end };
        stored.end += reply.body.len() as u64;
        stored.index.insert(self.key, entry);
        Ok(())
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.cache.lock().under_way.remove(&self.key);
        self.cache.landed.notify_all();
    }
}
