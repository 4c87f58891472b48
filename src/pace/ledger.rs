//! The ledger: what all processes of an account know of its limits.
//!
//! Input: the bytes of a ledger file. Output: a [`Ledger`], and its bytes again. Called by [`super::store`], which
//! keeps it, and [`super::limiter`], which decides by it. Plain data: nothing here waits or decides.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::limit::Nanos;
use super::limiter::Priority;

/// A member is forgotten when it has not been heard of for so long.
pub const LEASE: Nanos = 5_000_000_000;

/// The version of the file's form.
const VERSION: &str = "dripfeed-ledger 1";
/// The file's size is a multiple of this, so that a disk that fills up does not stop it from being written again.
const BLOCK: usize = 4096;
/// Limits that are kept, whoever uses them.
const MAX_LIMITS: usize = 64;
/// A rate that was found without a declared one is forgotten when it was not cut for so long.
const FORGET: Nanos = 900_000_000_000;

/// What is known of an account. Times are those of the shared clock.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ledger {
    /// When each limit, by name, is wholly free again.
    pub limits: BTreeMap<String, Nanos>,
    /// What a limit without an entry was is not known: nothing of it was left then.
    pub lost_at: Option<Nanos>,
    /// Nothing goes out before this.
    pub hold: Nanos,
    /// When those who yield may go once although others wait.
    pub floor: Nanos,
    /// For each policy, the rate that the vendor was found to bear.
    pub learned: BTreeMap<usize, Learned>,
    /// What the vendor says is left.
    pub quota: Option<Quota>,
    /// The processes that call.
    pub members: Vec<Member>,
    /// Calls since the account was last held or idle.
    pub meter: Meter,
    /// What a request cost lately, in points.
    pub points: Option<f64>,
    /// The share of the limits that may be used: less than one where the ledger cannot be shared.
    #[serde(skip)]
    pub share: Option<f64>,
}

/// A rate that was found by trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Learned {
    /// Calls a second.
    pub rate: f64,
    /// The rate that was too much the last time.
    pub broke_at: f64,
    /// The rate that is allowed: when it is reached again, nothing is to be learned any more.
    pub allowed: Option<f64>,
    /// When it is wholly free again.
    pub free_at: Nanos,
    /// When it was last cut.
    pub cut_at: Nanos,
    /// Calls that went well since it was last cut.
    pub good: u64,
}

/// What the vendor says is left of a limit of calls.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Quota {
    /// Calls.
    pub left: u64,
    /// When it said so.
    pub read_at: Nanos,
    /// When there is more.
    pub until: Nanos,
    /// When one call may try whether that is still so: a header can be wrong.
    pub probe_at: Nanos,
}

/// A process that calls.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// A number of its own.
    pub id: u64,
    /// Its place in the queue.
    pub priority: Priority,
    /// When it was last heard of.
    pub seen: Nanos,
    /// The policies under which it waits.
    pub waits: Vec<usize>,
    /// Calls that it has under way.
    pub flying: u64,
}

/// Calls over a time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Meter {
    /// Since then.
    pub since: Nanos,
    /// The last of them.
    pub last: Nanos,
    /// How many.
    pub calls: u64,
}

/// What stands in the file beside the ledger.
#[derive(Serialize, Deserialize)]
struct Page<L> {
    /// The machine's start that the times belong to.
    boot: String,
    /// The shared clock when it was written.
    at: Nanos,
    /// The wall clock then.
    wall: Nanos,
    ledger: L,
}

/// Why bytes are no ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreadable {
    /// There is none yet.
    Empty,
    /// It is torn or was changed.
    Damaged,
    /// Another version wrote it.
    Foreign,
}

/// Where and when a ledger is read or written.
#[derive(Debug, Clone, Copy)]
pub struct Moment<'b> {
    /// The machine's start.
    pub boot: &'b str,
    /// The shared clock.
    pub now: Nanos,
    /// The wall clock.
    pub wall: Nanos,
}

impl Ledger {
    /// Reads a ledger; gives it with the time that it is. One of an earlier start of the machine is moved to today's
    /// clock: as much time passed as the wall clock says, or none where that was set back.
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
            // Time does not go back.
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
        // Numbers and names only: there is nothing in it that cannot be written.
        let body = serde_json::to_vec(&page).unwrap_or_default();
        let mut bytes = format!("{VERSION} {} {:08x}\n", body.len(), crc32fast::hash(&body)).into_bytes();
        bytes.extend_from_slice(&body);
        bytes.push(b'\n');
        bytes.resize(bytes.len().next_multiple_of(BLOCK), b' ');
        bytes
    }

    /// Moves every time to another clock.
    fn shift(&mut self, to: &dyn Fn(Nanos) -> Nanos) {
        self.limits.values_mut().for_each(|t| *t = to(*t));
        (self.hold, self.floor) = (to(self.hold), to(self.floor));
        self.lost_at = self.lost_at.map(to);
        for learned in self.learned.values_mut() {
            (learned.free_at, learned.cut_at) = (to(learned.free_at), to(learned.cut_at));
        }
        if let Some(quota) = &mut self.quota {
            (quota.read_at, quota.until) = (to(quota.read_at), to(quota.until));
            quota.probe_at = to(quota.probe_at);
        }
        self.meter = Meter::default();
    }

    /// Forgets who was not heard of for a while, and limits that are free and of no use any more.
    pub fn prune(&mut self, now: Nanos) {
        self.members.retain(|m| m.seen.saturating_add(LEASE) > now);
        if self.limits.len() > MAX_LIMITS {
            self.limits.retain(|_, free_at| *free_at > now);
        }
        self.learned.retain(|_, l| l.allowed.is_some() || l.cut_at.saturating_add(FORGET) > now);
        if self.quota.as_ref().is_some_and(|q| q.until <= now) {
            self.quota = None;
        }
    }

    /// The member with this number, which is heard of now.
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

    /// Takes over what was taken elsewhere of the same limits.
    pub fn merge(&mut self, other: Ledger) {
        for (name, free_at) in other.limits {
            let ours = self.limits.entry(name).or_default();
            *ours = free_at.max(*ours);
        }
        self.hold = self.hold.max(other.hold);
        self.quota = self.quota.take().or(other.quota);
    }

    /// Calls under way, of all processes.
    pub fn flying(&self) -> u64 {
        self.members.iter().map(|m| m.flying).sum()
    }
}
