//! Answers that other streams will ask for again: a parent's pages are fetched once a run.
//!
//! Input: a request and its answer. Output: the answer to the same request. Called by [`super::Fetcher`] for
//! streams that are some stream's parent, as the reference's `use_cache` does; of several threads that want the same,
//! one asks and the others wait. Bodies are kept in a file without a name, so
//! that memory does not grow and nothing stays behind, however the process ends.

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

/// A request, as far as its answer depends on it.
pub(super) type Key = [u8; 32];

/// Kept answers.
#[derive(Debug, Default)]
pub(super) struct Cache {
    stored: Mutex<Kept>,
    /// A request is not under way any more.
    landed: Condvar,
}

#[derive(Debug, Default)]
struct Kept {
    /// The bodies, one after the other.
    file: Option<File>,
    end: u64,
    index: HashMap<Key, Entry>,
    under_way: HashSet<Key>,
}

/// The right to ask the vendor for what is not kept yet; the others who want the same wait until it is given back.
#[derive(Debug)]
pub(super) struct Claim<'c> {
    cache: &'c Cache,
    key: Key,
}

/// What is known about a request.
#[derive(Debug)]
pub(super) enum Found<'c> {
    /// Its answer.
    Reply(Reply),
    /// Nothing: who asked first is to fetch it.
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

/// Method, address, headers and body, and the owner of the credentials that are taken later: what makes two requests
/// the same.
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

    /// The answer to the same request, if it was kept, or as soon as another thread has it; else a claim. With `anew`
    /// what was kept does not serve.
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
        let Some(file) = &mut self.file else { return Err(Fault::bug("a kept answer without a file")) };
        let read = file.seek(SeekFrom::Start(entry.at)).and_then(|_| file.read_exact(&mut body));
        read.map_err(|e| Fault::local("cannot read a kept answer", &e))?;
        let Entry { status, headers, took, end, .. } = entry;
        let url = url.to_owned();
        Ok(Reply { status, headers, body, took, url, embedded: false, filed: None, error: None, end })
    }
}

impl Claim<'_> {
    /// Keeps the answer to the claimed request.
    pub(super) fn keep(self, request: &PreparedRequest, reply: &Reply) -> Result<()> {
        if reply.status != 200 || request.method != "GET" {
            return Ok(());
        }
        let failed = |e: &std::io::Error| Fault::local("cannot keep an answer in the temporary folder", e);
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
