//! The sandbox's data: every record is generated from its number, so that millions use no memory.
//!
//! Input: seed, tenant, numbers. Output: JSON text. Called by `server`.

use std::collections::HashMap;
use std::fmt::Write as _;

use time::{Duration, OffsetDateTime, macros::datetime};

use super::Settings;
use crate::base::timefmt::rfc3339;

const BEGIN: OffsetDateTime = datetime!(2024-01-01 00:00 UTC);
const SPAN: i64 = 2 * 365 * 86_400;
const EDITS_BEGIN: OffsetDateTime = datetime!(2026-01-01 00:00 UTC);

const WORDS: [&str; 24] = [
    "invoice",
    "launch",
    "review",
    "draft",
    "budget",
    "señal",
    "roadmap",
    "Überblick",
    "sync",
    "client",
    "報告",
    "plan",
    "fix",
    "design",
    "contract",
    "hire",
    "audit",
    "deploy",
    "retro",
    "survey",
    "brief",
    "demo",
    "quote",
    "ship",
];

/// A task at one place of the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Task {
    pub(super) number: u64,
    /// How many times it was edited.
    pub(super) version: u32,
    /// The task's place in the order of last changes.
    pub(super) place: u64,
}

/// One tenant's tasks in the order of their last change, with their edits.
#[derive(Debug, Default)]
pub(super) struct Edits {
    /// The task of each edit, in order.
    log: Vec<u64>,
    /// The number of edits before the start.
    before: usize,
    /// The last place of each edited task, and its number of edits.
    latest: HashMap<u64, (u64, u32)>,
}

impl Edits {
    /// The edits before the start.
    pub(super) fn before(settings: &Settings) -> Edits {
        let mut edits = Edits::default();
        // In sequence; after the last task, edits continue with the first.
        (0..settings.edited).filter_map(|n| n.checked_rem(settings.tasks)).for_each(|task| edits.edit(settings, task));
        edits.before = edits.log.len();
        edits
    }

    /// The number of edits since the start.
    pub(super) fn made(&self) -> usize {
        self.log.len() - self.before
    }

    /// Edits a task: it moves to the end of the order.
    pub(super) fn edit(&mut self, settings: &Settings, task: u64) {
        let place = settings.tasks + self.log.len() as u64;
        self.log.push(task);
        let entry = self.latest.entry(task).or_insert((0, 0));
        *entry = (place, entry.1 + 1);
    }

    /// The number of places in the order, including those of tasks that moved.
    pub(super) fn places(&self, settings: &Settings) -> u64 {
        settings.tasks + self.log.len() as u64
    }

    /// The task with a number.
    pub(super) fn of(&self, number: u64) -> Task {
        let (place, version) = self.latest.get(&number).copied().unwrap_or((number, 0));
        Task { number, version, place }
    }

    /// The task at a place; `None` if it moved.
    pub(super) fn at(&self, settings: &Settings, place: u64) -> Option<Task> {
        let number = match usize::try_from(place.checked_sub(settings.tasks).unwrap_or(u64::MAX)) {
            Ok(edit) if place >= settings.tasks => *self.log.get(edit)?,
            _ => place,
        };
        let task = self.of(number);
        (task.place == place).then_some(task)
    }
}

/// When the task at a place was last changed.
pub(super) fn changed_at(settings: &Settings, place: u64) -> OffsetDateTime {
    if place < settings.tasks {
        let seconds = i128::from(SPAN) * i128::from(place) / i128::from(settings.tasks.max(1));
        BEGIN + Duration::seconds(i64::try_from(seconds).unwrap_or(0))
    } else {
        EDITS_BEGIN + Duration::seconds(i64::try_from(place - settings.tasks).unwrap_or(0))
    }
}

/// Mixes two numbers: splitmix64.
pub(super) fn mix(a: u64, b: u64) -> u64 {
    let mut z = a ^ b.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn word(n: u64) -> &'static str {
    WORDS[usize::try_from(n % WORDS.len() as u64).unwrap_or(0)]
}

/// Appends a user.
pub(super) fn user(seed: u64, n: u64, out: &mut String) {
    let h = mix(seed ^ 0x75, n);
    let (first, last) = (word(h), word(h >> 8));
    let role = ["member", "admin", "guest"][usize::try_from(h >> 16).unwrap_or(0) % 3];
    let _ = write!(
        out,
        r#"{{"id":"u{n}","name":"{first} {last}","email":"{n}@example.com","role":"{role}","active":{},"#,
        h & 7 != 0
    );
    let _ = write!(
        out,
        r#""capacity":{}.5,"created_at":"{}"}}"#,
        h % 40,
        rfc3339(BEGIN + Duration::hours(i64::try_from(n % 10_000).unwrap_or(0)))
    );
}

/// Appends a project.
pub(super) fn project(seed: u64, n: u64, settings: &Settings, out: &mut String) {
    let h = mix(seed ^ 0x70, n);
    let color = ["red", "green", "blue"][usize::try_from(h >> 16).unwrap_or(0) % 3];
    let _ = write!(
        out,
        r#"{{"id":"p{n}","name":"{} {}","color":"{color}","archived":{},"owner":{{"id":"u{}"}},"created_at":"{}"}}"#,
        word(h),
        word(h >> 8),
        h & 15 == 0,
        h % settings.users.max(1),
        rfc3339(BEGIN + Duration::days(i64::try_from(n % 700).unwrap_or(0)))
    );
}

/// Appends a task.
pub(super) fn task(seed: u64, task: Task, settings: &Settings, out: &mut String) {
    let Task { number: n, version, place } = task;
    let h = mix(seed, n);
    let done = h & 3 == 0;
    let changed = rfc3339(changed_at(settings, place));
    let _ = write!(out, r#"{{"id":"t{n}","name":"{} {} {}","#, word(h), word(h >> 5), word(h >> 10));
    let _ = write!(
        out,
        r#""notes":"{} the {}: \"{}\" \u2014 {}\nthen {}","#,
        word(h >> 3),
        word(h >> 7),
        word(h >> 11),
        word(h >> 13),
        word(h >> 17)
    );
    let _ = write!(
        out,
        r#""completed":{done},"priority":"{}","project_id":"p{}","assignee":"#,
        ["low", "normal", "high"][usize::try_from(h >> 20).unwrap_or(0) % 3],
        (h >> 24) % settings.projects.max(1)
    );
    if h & 31 == 1 {
        out.push_str("null");
    } else {
        let u = (h >> 28) % settings.users.max(1);
        let _ = write!(out, r#"{{"id":"u{u}","email":"{u}@example.com"}}"#);
    }
    let _ = write!(
        out,
        r#","tags":["{}","{}"],"custom_fields":[{{"id":"c1","name":"{}","number":{}.25}}],"#,
        word(h >> 32),
        word(h >> 36),
        word(h >> 40),
        h % 1000
    );
    let _ = write!(out, r#""estimate_hours":{}.125,"#, (h >> 44) % 80);
    let _ = write!(out, r#""comment_count":{},"version":{version},"#, (h >> 50) % 30);
    // Fields that only some tasks have, and fields that hardly any has.
    if (h >> 46) & 3 == 0 {
        let _ = write!(out, r#""milestone":"{}","#, word(h >> 48));
    }
    if (h >> 12) & 63 == 0 {
        let _ = write!(out, r#""parent_id":"t{}","#, (h >> 18) % settings.tasks.max(1));
    }
    if h & 7 == 2 {
        out.push_str(r#""due_on":null,"#);
    } else {
        let due = BEGIN + Duration::days(i64::try_from((h >> 33) % 900).unwrap_or(0));
        let _ = write!(out, r#""due_on":"{}","#, due.date());
    }
    let _ = write!(
        out,
        r#""created_at":"{}","modified_at":"{changed}"}}"#,
        rfc3339(BEGIN - Duration::hours(i64::try_from(h % 9000).unwrap_or(0)))
    );
}
