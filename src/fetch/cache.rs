//! Answers that other streams will ask for again: a parent's pages are fetched once a run.
//!
//! Comes in: a request and its answer. Goes out: the answer to the same request. Called by [`super::Fetcher`] for
//! streams that are some stream's parent, as the reference's `use_cache` does. Bodies are kept in a file without a name, so
//! that memory does not grow and nothing stays behind, however the process ends.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest as _, Sha256};
use ureq::http::HeaderMap;

use super::Reply;
use super::request::Prepared;
use crate::fault::{Fault, Result};

/// Kept answers.
#[derive(Debug, Default)]
pub(super) struct Cache(Mutex<Option<Kept>>);

#[derive(Debug)]
struct Kept {
    file: File,
    end: u64,
    index: HashMap<[u8; 32], Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    status: u16,
    headers: HeaderMap,
    at: u64,
    len: usize,
}

/// Method, address, headers and body: what makes two requests the same.
fn key(request: &Prepared) -> [u8; 32] {
    let mut hash = Sha256::new();
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
    /// The answer to the same request, if it was kept.
    pub(super) fn get(&self, request: &Prepared) -> Result<Option<Reply>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(kept) = kept.as_mut() else { return Ok(None) };
        let Some(entry) = kept.index.get(&key(request)).cloned() else { return Ok(None) };
        let mut body = vec![0; entry.len];
        let read = kept.file.seek(SeekFrom::Start(entry.at)).and_then(|_| kept.file.read_exact(&mut body));
        read.map_err(|e| Fault::local("cannot read a kept answer", &e))?;
        Ok(Some(Reply { status: entry.status, headers: entry.headers, body }))
    }

    /// Keeps an answer.
    pub(super) fn put(&self, request: &Prepared, reply: &Reply) -> Result<()> {
        if reply.status != 200 || request.method != "GET" {
            return Ok(());
        }
        let failed = |e: &std::io::Error| Fault::local("cannot keep an answer in the temporary folder", e);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = match kept.as_mut() {
            Some(kept) => kept,
            None => {
                kept.insert(Kept { file: tempfile::tempfile().map_err(|e| failed(&e))?, end: 0, index: HashMap::new() })
            }
        };
        kept.file
            .seek(SeekFrom::Start(kept.end))
            .and_then(|_| kept.file.write_all(&reply.body))
            .map_err(|e| failed(&e))?;
        let entry = Entry { status: reply.status, headers: reply.headers.clone(), at: kept.end, len: reply.body.len() };
        kept.end += reply.body.len() as u64;
        kept.index.insert(key(request), entry);
        Ok(())
    }
}
