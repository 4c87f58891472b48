//! The ledger: the shared knowledge of all processes of an account about its limits.
//!
//! Input: the bytes of a ledger file. Output: a [`Ledger`], and its bytes. Called by [`super::store`], which stores
//! it, and [`super::limiter`], which decides by it. Plain data: nothing here waits or decides.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::limit::Nanos;
use super::limiter::Priority;
use super::short_window::WindowPlaces;

/// A member without a sign of life for this long is removed.
pub const LEASE: Nanos = 5_000_000_000;

/// The format version of the file.
const VERSION: &str = "dripfeed-ledger 1";
/// The file's size is a multiple of this, so that it can still be rewritten when the disk is full.
const BLOCK: usize = 4096;
/// The maximum number of stored limits.
const MAX_LIMITS: usize = 64;
/// A learned rate without a declared one, and a 429 by jitter, expire after this time.
const FORGET: Nanos = 900_000_000_000;

/// The state of an account's limits. Times are those of the shared clock.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ledger {
    /// The time at which each limit is completely free, by name.
    pub limits: BTreeMap<String, Nanos>,
    /// The time at which unknown limits are assumed to have been used up.
    pub lost_at: Option<Nanos>,
    /// No call is sent before this time.
    pub hold: Nanos,
    /// The next time at which a yielding run may send one call although others wait.
    pub floor: Nanos,
    /// What is taken of short windows, by the name of the limit.
    pub places: BTreeMap<String, WindowPlaces>,
    /// The recent 429s of each policy that are taken for jitter.
    pub jitter: BTreeMap<usize, Vec<Nanos>>,
    /// The learned rate of each policy.
    pub learned: BTreeMap<usize, Learned>,
    /// The remaining calls reported by the vendor.
    pub quota: Option<Quota>,
    /// The active processes.
    pub members: Vec<Member>,
    /// Calls since the account was last held or idle.
    pub meter: Meter,
    /// The recent cost of a request, in points.
    pub points: Option<f64>,
    /// The usable share of the limits: less than one if the ledger cannot be shared.
    #[serde(skip)]
    pub share: Option<f64>,
}

/// A learned rate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Learned {
    /// Calls per second.
    pub rate: f64,
    /// The rate at the last cut.
    pub broke_at: f64,
    /// The allowed rate: when it is reached again, learning ends.
    pub allowed: Option<f64>,
    /// When the limit is completely free.
    pub free_at: Nanos,
    /// The time of the last cut.
    pub cut_at: Nanos,
    /// Successful calls since the last cut.
    pub good: u64,
}

/// The remaining calls of a limit, reported by the vendor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Quota {
    /// The number of remaining calls.
    pub left: u64,
    /// When it was reported.
    pub read_at: Nanos,
    /// When the limit resets.
    pub until: Nanos,
    /// When one call may probe whether the quota is still used up: a header can be wrong.
    pub probe_at: Nanos,
}

/// An active process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// The unique number of the member.
    pub id: u64,
    /// The priority of the member.
    pub priority: Priority,
    /// The time of the member's last sign of life.
    pub seen: Nanos,
    /// The policies for which it waits.
    pub waits: Vec<usize>,
    /// The number of its calls in flight.
    pub flying: u64,
}

/// Counts calls over a time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Meter {
    /// The start of the count.
    pub since: Nanos,
    /// The last call.
    pub last: Nanos,
    /// The number of calls.
    pub calls: u64,
}

/// The header of the ledger file.
#[derive(Serialize, Deserialize)]
struct Page<L> {
    /// The boot id that the times belong to.
    boot: String,
    /// The shared clock at the time of writing.
    at: Nanos,
    /// The wall clock at the time of writing.
    wall: Nanos,
    ledger: L,
}

/// Why bytes cannot be read as a ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreadable {
    /// The file is empty.
    Empty,
    /// The content is incomplete or was changed.
    Damaged,
    /// Another version wrote the ledger.
    Foreign,
}

/// The context for reading or writing a ledger.
#[derive(Debug, Clone, Copy)]
pub struct Moment<'b> {
    /// The boot id of the machine.
    pub boot: &'b str,
    /// The shared clock.
    pub now: Nanos,
    /// The wall clock.
    pub wall: Nanos,
}

impl Ledger {
    /// Reads a ledger; returns it with the current time. Times from before a reboot are converted to the current
    /// clock: the elapsed time is that of the wall clock, or zero if the wall clock was set back.
    pub fn decode(bytes: &[u8], moment: Moment<'_>) -> Result<(Ledger, Nanos), Unreadable> {
        if bytes.iter().all(|b| matches!(b, 0 | b' ' | b'\n')) {
            return Err(Unreadable::Empty);
        }
        let end = bytes.iter().position(|b| *b == b'\n').ok_or(Unreadable::Damaged)?;
        let head = std::str::from_utf8(&bytes[..end]).map_err(|_| Unreadable::Damaged)?;
        let Some(header) = head.strip_prefix(VERSION) else {
            return Err(if head.starts_with("dripfeed-ledger ") { Unreadable::Foreign } else { Unreadable::Damaged });
        };
        let parts: Option<(usize, u32)> = header
            .trim()
            .split_once(' ')
            .and_then(|(length, sum)| Some((length.parse().ok()?, u32::from_str_radix(sum, 16).ok()?)));
        let (length, sum) = parts.ok_or(Unreadable::Damaged)?;
        let body = bytes.get(end + 1..).and_then(|rest| rest.get(..length)).ok_or(Unreadable::Damaged)?;
        if crc32fast::hash(body) != sum {
            return Err(Unreadable::Damaged);
        }
        let page: Page<Ledger> = serde_json::from_slice(body).map_err(|_| Unreadable::Damaged)?;
        let mut ledger = page.ledger;
        let same_start = page.boot == moment.boot && !page.boot.is_empty();
        if same_start || page.boot == moment.boot && page.at <= moment.now {
            // The clock must not go back.
            return Ok((ledger, moment.now.max(page.at)));
        }
        let passed = moment.wall.saturating_sub(page.wall);
        ledger.members.clear();
        ledger.shift(&|t| moment.now.saturating_add(t.saturating_sub(page.at).saturating_sub(passed)));
        Ok((ledger, moment.now))
    }

    /// The bytes of a ledger.
    pub fn encode(&self, moment: Moment<'_>) -> Vec<u8> {
        let page = Page { boot: moment.boot.to_owned(), at: moment.now, wall: moment.wall, ledger: self };
        // The content is only numbers and names, which can always be serialized.
        let body = serde_json::to_vec(&page).unwrap_or_default();
        let mut bytes = format!("{VERSION} {} {:08x}\n", body.len(), crc32fast::hash(&body)).into_bytes();
        bytes.extend_from_slice(&body);
        bytes.push(b'\n');
        bytes.resize(bytes.len().next_multiple_of(BLOCK), b' ');
        bytes
    }

    /// Converts every time to another clock.
    fn shift(&mut self, to: &dyn Fn(Nanos) -> Nanos) {
        self.limits.values_mut().for_each(|t| *t = to(*t));
        (self.hold, self.floor) = (to(self.hold), to(self.floor));
        self.lost_at = self.lost_at.map(to);
        self.places.values_mut().for_each(|places| places.shift(to));
        self.jitter.values_mut().flatten().for_each(|t| *t = to(*t));
        for learned in self.learned.values_mut() {
            (learned.free_at, learned.cut_at) = (to(learned.free_at), to(learned.cut_at));
        }
        if let Some(quota) = &mut self.quota {
            (quota.read_at, quota.until) = (to(quota.read_at), to(quota.until));
            quota.probe_at = to(quota.probe_at);
        }
        self.meter = Meter::default();
    }

    /// Removes silent members, and free limits that are no longer used.
    pub fn prune(&mut self, now: Nanos) {
        self.members.retain(|m| m.seen.saturating_add(LEASE) > now);
        if self.limits.len() > MAX_LIMITS {
            self.limits.retain(|_, free_at| *free_at > now);
        }
        self.places.retain(|_, places| places.prune(now));
        self.jitter.retain(|_, times| {
            times.retain(|t| t.saturating_add(FORGET) > now);
            !times.is_empty()
        });
        self.learned.retain(|_, l| l.allowed.is_some() || l.cut_at.saturating_add(FORGET) > now);
        if self.quota.as_ref().is_some_and(|q| q.until <= now) {
            self.quota = None;
        }
    }

    /// The member with this number; updates its sign of life.
    pub fn member(&mut self, id: u64, priority: Priority, now: Nanos) -> &mut Member {
        let found = self.members.iter().position(|m| m.id == id);
        let at = found.unwrap_or_else(|| {
            self.members.push(Member { id, priority, seen: now, waits: Vec::new(), flying: 0 });
            self.members.len() - 1
        });
        let member = &mut self.members[at];
        member.seen = now;
        member
    }

    /// Merges usage of the same limits from another ledger.
    pub fn merge(&mut self, other: Ledger) {
        for (name, free_at) in other.limits {
            let ours = self.limits.entry(name).or_default();
            *ours = free_at.max(*ours);
        }
        for (name, places) in other.places {
            self.places.entry(name).or_default().merge(places);
        }
        self.hold = self.hold.max(other.hold);
        self.quota = self.quota.take().or(other.quota);
    }

    /// The number of calls in flight, over all processes.
    pub fn flying(&self) -> u64 {
        self.members.iter().map(|m| m.flying).sum()
    }
}
