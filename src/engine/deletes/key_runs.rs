//! Sorted keys on disk: a few bytes for each, in flat memory.
//!
//! Input: keys in any order. Output: the same keys sorted, as often as wanted. Called by [`super::memory`] and
//! [`super::sweep`]. Keys are collected in memory up to a few MiB, then written as a sorted run to an unnamed file;
//! reading merges the runs. Each key leaves out what it shares with the one before, and a run is compressed: numbers
//! take about five bytes, UUIDs about twenty-two.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;

use crate::base::fault::{Fault, Result};

/// The size at which collected keys are written as a run, in bytes.
const RUN_BYTES: usize = 4 << 20;
/// The number of keys at which they are, which bounds what sorting needs.
const RUN_KEYS: usize = 1 << 16;
/// With more runs than this, they are merged into one: each is an open file.
const MAX_RUNS: usize = 32;

/// A key in a slice of its stream.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct KeyEntry {
    /// The key, as JSON.
    pub(super) key: Vec<u8>,
    /// A hash of the partition's identity; 0 if partitions do not matter.
    pub(super) partition: u64,
    /// What is known about it; its meaning is that of the caller.
    pub(super) flag: u8,
}

/// Keys being collected.
#[derive(Debug)]
pub(super) struct KeyRuns {
    folder: PathBuf,
    waiting: Vec<KeyEntry>,
    bytes: usize,
    runs: Vec<File>,
}

/// Entries in order; the same entry may come several times.
pub(super) type Entries<'e> = Box<dyn Iterator<Item = Result<KeyEntry>> + 'e>;

fn failed(e: &io::Error) -> Fault {
    Fault::local("cannot remember the keys of a stream in the state directory", e)
}

impl KeyRuns {
    /// No keys yet; runs are written to `folder`.
    pub(super) fn new(folder: &Path) -> KeyRuns {
        KeyRuns { folder: folder.to_owned(), waiting: Vec::new(), bytes: 0, runs: Vec::new() }
    }

    /// Adds a key.
    pub(super) fn add(&mut self, entry: KeyEntry) -> Result<()> {
        self.bytes += entry.key.len() + size_of::<KeyEntry>();
        self.waiting.push(entry);
        if self.bytes >= RUN_BYTES || self.waiting.len() >= RUN_KEYS { self.write_run() } else { Ok(()) }
    }

    /// Writes the collected keys as a run.
    fn write_run(&mut self) -> Result<()> {
        let mut waiting = std::mem::take(&mut self.waiting);
        self.bytes = 0;
        waiting.sort_unstable();
        waiting.dedup();
        let run = self.file(waiting.into_iter().map(Ok))?;
        self.runs.push(run);
        if self.runs.len() > MAX_RUNS {
            let merged = self.file(merged(self.readers()?))?;
            self.runs = vec![merged];
        }
        Ok(())
    }

    fn file(&self, entries: impl Iterator<Item = Result<KeyEntry>>) -> Result<File> {
        let mut file = tempfile::tempfile_in(&self.folder).map_err(|e| failed(&e))?;
        write(&mut file, entries)?;
        Ok(file)
    }

    fn readers(&self) -> Result<Vec<Entries<'_>>> {
        let of = |run: &File| {
            let mut file = run.try_clone().map_err(|e| failed(&e))?;
            file.rewind().map_err(|e| failed(&e))?;
            Ok(Box::new(KeyReader::new(file)) as Entries<'_>)
        };
        self.runs.iter().map(of).collect()
    }

    /// All keys in order, merged with those of other sources. Only one pass may be open at a time.
    pub(super) fn sorted<'e>(&'e mut self, others: Vec<Entries<'e>>) -> Result<Entries<'e>> {
        self.waiting.sort_unstable();
        let this: &'e KeyRuns = self;
        let mut sources = this.readers()?;
        sources.push(Box::new(this.waiting.iter().cloned().map(Ok)));
        sources.extend(others);
        Ok(Box::new(merged(sources)))
    }
}

/// Writes sorted entries; returns their number.
pub(super) fn write(file: &mut File, entries: impl Iterator<Item = Result<KeyEntry>>) -> Result<u64> {
    let mut out = DeflateEncoder::new(BufWriter::new(file), Compression::fast());
    let (mut before, mut line, mut count) = (Vec::new(), Vec::new(), 0);
    for entry in entries {
        let entry = entry?;
        let shared = before.iter().zip(&entry.key).take_while(|(a, b)| a == b).count();
        line.clear();
        // Zero ends the file: a shorter one is damaged.
        number(&mut line, shared as u64 + 1);
        number(&mut line, (entry.key.len() - shared) as u64);
        line.extend_from_slice(&entry.key[shared..]);
        line.extend_from_slice(&entry.partition.to_le_bytes());
        line.push(entry.flag);
        out.write_all(&line).map_err(|e| failed(&e))?;
        before = entry.key;
        count += 1;
    }
    out.write_all(&[0]).and_then(|()| out.finish()).and_then(|mut out| out.flush()).map_err(|e| failed(&e))?;
    Ok(count)
}

/// Appends a number, seven bits a byte.
fn number(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(u8::try_from(n & 0x7f).unwrap_or_default() | 0x80);
        n >>= 7;
    }
    out.push(u8::try_from(n).unwrap_or_default());
}

/// Reads the entries of a file.
pub(super) struct KeyReader {
    from: BufReader<DeflateDecoder<BufReader<File>>>,
    key: Vec<u8>,
    ended: bool,
}

impl KeyReader {
    /// A reader from the file's position on.
    pub(super) fn new(file: File) -> KeyReader {
        KeyReader { from: BufReader::new(DeflateDecoder::new(BufReader::new(file))), key: Vec::new(), ended: false }
    }

    fn number(&mut self) -> io::Result<usize> {
        let (mut n, mut shift) = (0_u64, 0);
        loop {
            let mut byte = [0];
            self.from.read_exact(&mut byte)?;
            n |= u64::from(byte[0] & 0x7f) << shift;
            if byte[0] < 0x80 {
                return usize::try_from(n).map_err(io::Error::other);
            }
            shift += 7;
            if shift > 56 {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
    }

    fn entry(&mut self) -> io::Result<Option<KeyEntry>> {
        let Some(shared) = self.number()?.checked_sub(1) else { return Ok(None) };
        let rest = self.number()?;
        if shared > self.key.len() || rest > RUN_BYTES {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.key.resize(shared + rest, 0);
        self.from.read_exact(&mut self.key[shared..])?;
        let (mut partition, mut flag) = ([0; 8], [0]);
        self.from.read_exact(&mut partition)?;
        self.from.read_exact(&mut flag)?;
        Ok(Some(KeyEntry { key: self.key.clone(), partition: u64::from_le_bytes(partition), flag: flag[0] }))
    }
}

impl Iterator for KeyReader {
    type Item = Result<KeyEntry>;

    fn next(&mut self) -> Option<Result<KeyEntry>> {
        if self.ended {
            return None;
        }
        let entry = self.entry().map_err(|e| failed(&e)).transpose();
        self.ended = !matches!(entry, Some(Ok(_)));
        entry
    }
}

/// Merges sorted sources.
fn merged(sources: Vec<Entries<'_>>) -> impl Iterator<Item = Result<KeyEntry>> + '_ {
    let mut sources = sources;
    let (mut heap, mut fault) = (BinaryHeap::new(), None);
    for (at, source) in sources.iter_mut().enumerate() {
        match source.next() {
            Some(Ok(entry)) => heap.push(Reverse((entry, at))),
            Some(Err(e)) => fault = Some(e),
            None => {}
        }
    }
    std::iter::from_fn(move || {
        if let Some(fault) = fault.take() {
            heap.clear();
            return Some(Err(fault));
        }
        let Reverse((entry, at)) = heap.pop()?;
        match sources[at].next() {
            Some(Ok(next)) => heap.push(Reverse((next, at))),
            Some(Err(e)) => fault = Some(e),
            None => {}
        }
        Some(Ok(entry))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn entry(key: &str, partition: u64, flag: u8) -> KeyEntry {
        KeyEntry { key: key.as_bytes().to_vec(), partition, flag }
    }

    /// A number that looks random.
    fn mixed(n: u64) -> u64 {
        let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        n ^ (n >> 31)
    }

    #[test]
    fn keys_come_back_sorted_from_many_runs() {
        let folder = tempfile::tempdir().unwrap();
        let mut runs = KeyRuns::new(folder.path());
        let count = RUN_KEYS as u64 * 3 + 17;
        for n in 0..count {
            runs.add(entry(&format!("\"{}\"", mixed(n)), n % 7, 0)).unwrap();
        }
        let mut wanted: Vec<String> = (0..count).map(|n| format!("\"{}\"", mixed(n))).collect();
        wanted.sort();
        for _ in 0..2 {
            let sorted: Vec<KeyEntry> = runs.sorted(Vec::new()).unwrap().map(Result::unwrap).collect();
            let keys: Vec<String> = sorted.iter().map(|e| String::from_utf8(e.key.clone()).unwrap()).collect();
            assert!(keys == wanted, "{} keys", keys.len());
        }
        assert_eq!(runs.runs.len(), 3);
    }

    #[test]
    fn a_damaged_file_is_a_fault_and_not_a_shorter_list() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = tempfile::tempfile_in(folder.path()).unwrap();
        let written = write(&mut file, (0..1000).map(|n| Ok(entry(&format!("{n:04}"), 0, 0)))).unwrap();
        assert_eq!(written, 1000);
        let length = file.metadata().unwrap().len();
        file.set_len(length / 2).unwrap();
        file.rewind().unwrap();
        let read: Vec<Result<KeyEntry>> = KeyReader::new(file).collect();
        assert!(read.last().unwrap().is_err(), "{} entries", read.len());
    }

    #[test]
    fn a_key_takes_few_bytes() {
        let folder = tempfile::tempdir().unwrap();
        // The digits of Asana's ids, and UUIDs as Linear has them.
        let uuid = |n: u64| {
            let hex = format!("{:016x}{:016x}", mixed(n), mixed(n + 1_000_000_000));
            format!("\"{}-{}-{}-{}-{}\"", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
        };
        let kinds: [(&dyn Fn(u64) -> String, u64); 2] =
            [(&|n| format!("\"12{:014}\"", mixed(n) % 100_000_000_000_000), 8), (&uuid, 23)];
        let count = 100_000;
        for (key, most) in kinds {
            let mut keys: Vec<String> = (0..count).map(key).collect();
            keys.sort();
            let mut file = tempfile::tempfile_in(folder.path()).unwrap();
            write(&mut file, keys.iter().map(|key| Ok(entry(key, 0, 0)))).unwrap();
            let bytes = file.metadata().unwrap().len();
            assert!(bytes <= most * count, "{bytes} bytes for {count} keys such as {}", keys[0]);
        }
    }
}
