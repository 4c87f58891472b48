//! The track: passes records of a known form by the literal bytes between their scalars, without parsing them.
//!
//! Input: records that the general scan found regular, which teach it; then the bytes of each record. Output: the
//! [`RecordScan`] and the observations that the general scan would give; for a record of an unknown form nothing, and
//! then nothing was observed. Called by [`super::RecordSchema::scan_on`].
//!
//! It is an automaton. A state is the path of the scalar that was just passed; a transition is the bytes from there to
//! the next scalar (`,"name":"`). So whatever is between scalars is compared with bytes that were parsed once, and only
//! scalars are looked at. The keys of an object always come in one order (see `lesson`), so that none comes twice.
//!
//! What is only counted is counted by transition, and reported to the observer by [`Track::settle`].

mod lesson;
mod paths;

use super::{CursorText, RecordScan, RecordSchema};
use crate::base::json::observe::CountingObserver;
use crate::base::json::scan::{JsonKind, JsonText, Number, Scan, Scanner, plain_run};
use crate::base::timefmt::{is_date, is_utc};
use paths::Paths;

/// The most transitions: a stream with more forms than that has none that is worth to know.
const MAX_TRANSITIONS: usize = 4096;
/// The most transitions from one state: they are tried in turn.
const MAX_CHOICES: usize = 24;
/// The most scalars of a record that is learned or passed, so that what is noted of one record stays small.
const MAX_STEPS: usize = 4096;
/// It is off once so many more records missed it than hit it.
const MAX_MISSES: u32 = 256;
/// It learns no more once so many records taught it nothing.
const MAX_VAIN: u32 = 32;

/// No transition.
const NONE: u32 = u32::MAX;

/// The learned forms of a stream's records.
#[derive(Debug, Default)]
pub struct Track {
    transitions: Vec<Transition>,
    /// The first transition from each state; the others follow as siblings.
    states: Vec<u32>,
    paths: Paths,
    /// The transitions of the record at hand.
    taken: Vec<u32>,
    /// Its scalars that the observer looks at.
    noted: Vec<Noted>,
    /// The first transition of the record before.
    first: u32,
    hits: u32,
    misses: u32,
    /// Records that taught it nothing.
    vain: u32,
    /// The revision of the observer whose answers it holds.
    revision: u32,
    /// It passes no record.
    is_closed: bool,
}

/// The way from one scalar to the next.
#[derive(Debug)]
struct Transition {
    /// The first bytes of the literal, with a mask over those that it has.
    head: u128,
    mask: u128,
    /// The last bytes of a literal that is longer than `head`.
    tail: u128,
    literal: Box<[u8]>,
    scalar: Scalar,
    /// The state that follows.
    to: u32,
    /// The transition that was taken after this one the last time.
    next: u32,
    /// Another transition from the same state.
    sibling: u32,
    /// How often it was taken since [`Track::settle`].
    times: u32,
    /// The places and kinds of the values that start in it: the scalar, and the objects and lists around it.
    values: Box<[(u32, JsonKind)]>,
    /// The place of its scalar.
    place: u32,
    /// The bit of the key that the scalar is, if it is one.
    key: u32,
    is_cursor: bool,
    /// Does the observer look at the scalar?
    is_shown: bool,
    /// Is it one or both?
    is_noted: bool,
}

/// What follows a literal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scalar {
    /// A text; its opening quote is part of the literal.
    Text,
    /// A text that is a date and time in UTC.
    DateTime,
    /// A text that is a date.
    Date,
    /// An integer of at most 18 digits.
    Integer,
    /// A number without an exponent, and with at most 18 digits before the point.
    Number,
    /// Nothing: `true`, `null`, `{}` and the like are part of the literal.
    Fixed,
    /// The end of the record.
    End,
}

/// A scalar that is the cursor, or that the observer looks at, by its transition.
#[derive(Debug, Clone, Copy)]
struct Noted {
    transition: u32,
    is_text: bool,
    /// Is the text free of escapes, or the number an integer?
    is_plain: bool,
    start: usize,
    end: usize,
}

/// The first sixteen bytes, with zeros behind the end.
#[inline]
fn window(bytes: &[u8]) -> u128 {
    match bytes.first_chunk::<16>() {
        Some(chunk) => u128::from_le_bytes(*chunk),
        None => short_window(bytes),
    }
}

#[cold]
fn short_window(bytes: &[u8]) -> u128 {
    bytes.iter().rev().fold(0, |window, byte| window << 8 | u128::from(*byte))
}

impl Transition {
    /// Is it the one that `rest` takes? `window` is the start of `rest`. At most one transition of a state is.
    #[inline]
    fn fits(&self, window: u128, rest: &[u8]) -> bool {
        (window ^ self.head) & self.mask == 0
            && (self.literal.len() <= 16 || self.fits_to_its_end(rest))
            && (!matches!(self.scalar, Scalar::Integer | Scalar::Number)
                || rest.get(self.literal.len()).is_some_and(|b| b.is_ascii_digit() || *b == b'-'))
    }

    #[inline]
    fn fits_to_its_end(&self, rest: &[u8]) -> bool {
        let Some(literal) = rest.get(..self.literal.len()) else { return false };
        literal.last_chunk::<16>().is_some_and(|tail| u128::from_le_bytes(*tail) == self.tail)
            && (literal.len() <= 32 || *literal == *self.literal)
    }
}

impl Track {
    /// A track that passes no record.
    pub fn closed() -> Track {
        Track { is_closed: true, ..Track::default() }
    }

    /// Passes the record at which the scanner stands.
    #[inline]
    fn pass<'a>(&mut self, scanner: &mut Scanner<'a>, observer: &mut impl CountingObserver) -> Option<RecordScan<'a>> {
        self.taken.clear();
        self.noted.clear();
        let Some((end, keys)) = self.find(scanner.body(), scanner.at()) else {
            for taken in &self.taken {
                self.transitions[*taken as usize].times -= 1;
            }
            return None;
        };
        scanner.move_past(end);
        let mut seen = RecordScan { keys, ..RecordScan::default() };
        for Noted { transition, is_text, is_plain, start, end } in self.noted.iter().copied() {
            let Transition { place, is_shown, is_cursor, .. } = self.transitions[transition as usize];
            let raw = scanner.slice(start..end);
            let text = JsonText { raw, escaped: !is_plain };
            match is_text {
                true if is_shown => observer.text(place, &text),
                false if is_shown => observer.number(place, &Number { raw, integer: is_plain }),
                _ => {}
            }
            if is_cursor {
                seen.cursor = Some(if is_text { CursorText::Text(text) } else { CursorText::Number(raw) });
            }
        }
        Some(seen)
    }

    /// The end of the record at `start` and the bits of its keys, if its form is known. What it took until then is
    /// counted, and in `taken`.
    fn find(&mut self, body: &[u8], start: usize) -> Option<(usize, u32)> {
        let mut keys = 0;
        let (mut state, mut before, mut next) = (0, NONE, self.first);
        let mut rest = body.get(start..)?;
        loop {
            let window = window(rest);
            if !self.transitions.get(next as usize).is_some_and(|transition| transition.fits(window, rest)) {
                next = self.other(state, window, rest)?;
                match self.transitions.get_mut(before as usize) {
                    Some(before) => before.next = next,
                    None => self.first = next,
                }
            }
            let transition = self.transitions.get_mut(next as usize)?;
            transition.times += 1;
            self.taken.push(next);
            if self.taken.len() > MAX_STEPS {
                return None;
            }
            let scalar = rest.get(transition.literal.len()..)?;
            let is_noted = transition.is_noted;
            rest = match transition.scalar {
                Scalar::Text | Scalar::DateTime | Scalar::Date => {
                    let (length, is_plain) = text_length(scalar)?;
                    let (raw, after) = scalar.split_at_checked(length)?;
                    let fits = match transition.scalar {
                        Scalar::DateTime => is_utc(raw),
                        Scalar::Date => is_date(raw),
                        _ => true,
                    };
                    if !fits {
                        return None;
                    }
                    if is_noted {
                        let start = body.len() - scalar.len();
                        self.noted.push(Noted {
                            transition: next,
                            is_text: true,
                            is_plain,
                            start,
                            end: start + length,
                        });
                    }
                    after.get(1..)?
                }
                Scalar::Integer | Scalar::Number => {
                    let (length, is_plain) = number_length(scalar)?;
                    if !is_plain && transition.scalar == Scalar::Integer {
                        return None;
                    }
                    if is_noted {
                        let start = body.len() - scalar.len();
                        self.noted.push(Noted {
                            transition: next,
                            is_text: false,
                            is_plain,
                            start,
                            end: start + length,
                        });
                    }
                    scalar.get(length..)?
                }
                Scalar::Fixed => scalar,
                Scalar::End => return Some((body.len() - scalar.len(), keys)),
            };
            keys |= transition.key;
            (state, before, next) = (transition.to, next, transition.next);
        }
    }

    /// The transition from `state` that `rest` takes.
    #[inline(never)]
    fn other(&self, state: u32, window: u128, rest: &[u8]) -> Option<u32> {
        let mut at = *self.states.get(state as usize)?;
        while let Some(transition) = self.transitions.get(at as usize) {
            if transition.fits(window, rest) {
                return Some(at);
            }
            at = transition.sibling;
        }
        None
    }

    /// Reports what was counted to the observer.
    pub fn settle(&mut self, observer: &mut impl CountingObserver) {
        for transition in &mut self.transitions {
            let times = std::mem::take(&mut transition.times);
            if times > 0 {
                transition.values.iter().for_each(|(place, kind)| observer.values(*place, *kind, times));
            }
        }
    }

    /// Drops what was counted: a page failed.
    pub fn forget_counts(&mut self) {
        self.transitions.iter_mut().for_each(|transition| transition.times = 0);
    }

    /// Forgets what it learned if the observer's answers changed since.
    fn follow(&mut self, observer: &mut impl CountingObserver) {
        if self.revision != observer.revision() {
            self.settle(observer);
            *self = Track { revision: observer.revision(), is_closed: self.is_closed, ..Track::default() };
        }
    }

    /// Is it useless for these records?
    fn is_off(&self) -> bool {
        self.is_closed || self.misses > self.hits.saturating_add(MAX_MISSES)
    }
}

impl RecordSchema {
    /// As [`RecordSchema::scan`]; `track` passes records of a known form.
    #[inline]
    pub fn scan_on<'a>(
        &self,
        track: &mut Track,
        scanner: &mut Scanner<'a>,
        observer: &mut impl CountingObserver,
    ) -> Scan<RecordScan<'a>> {
        track.follow(observer);
        if track.is_off() {
            return self.scan(scanner, observer);
        }
        if let Some(seen) = track.pass(scanner, observer) {
            track.hits = track.hits.saturating_add(1);
            return Ok(seen);
        }
        track.misses = track.misses.saturating_add(1);
        let record = scanner.clone();
        let seen = self.scan(scanner, observer)?;
        if !seen.change && !observer.is_odd() && track.vain < MAX_VAIN {
            track.vain += u32::from(!track.learn(self, record, scanner.at(), observer));
        }
        Ok(seen)
    }
}

/// The length of a text, and whether it is free of escapes; `None` if it has no end, or a broken escape, or one that a
/// target may refuse: NUL, half of a surrogate pair. It is stricter than [`Scanner::string`] followed by `clean`, and
/// quicker, since it looks at each escape once.
#[inline]
fn text_length(rest: &[u8]) -> Option<(usize, bool)> {
    let length = plain_run(rest, 0);
    if *rest.get(length)? == b'"' {
        Some((length, true))
    } else {
        escaped_length(rest, length).map(|length| (length, false))
    }
}

/// The length of a text with an escape at `at`.
#[inline(never)]
fn escaped_length(rest: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += match (*rest.get(at)?, rest.get(at + 1)) {
            (b'"', _) => return Some(at),
            (b'\\', Some(b'n' | b'"' | b'\\' | b'/' | b't' | b'r' | b'b' | b'f')) => 2,
            (b'\\', Some(b'u')) => {
                let hex = rest.get(at + 2..at + 6).filter(|hex| hex.iter().all(u8::is_ascii_hexdigit))?;
                let is_surrogate = hex[0] | 0x20 == b'd' && hex[1] >= b'8';
                if is_surrogate || hex == b"0000" {
                    return None;
                }
                6
            }
            _ => return None,
        };
        at = plain_run(rest, at);
    }
}

/// The length of a number, and whether it is an integer; `None` for one that the general scan must look at. With
/// `Scanner::number` a record of 20 values took 5 % more instructions.
#[inline]
fn number_length(rest: &[u8]) -> Option<(usize, bool)> {
    let start = usize::from(*rest.first()? == b'-');
    let (digits, after) = digits(rest, start)?;
    if !(1..=18).contains(&digits) || digits > 1 && *rest.get(start)? == b'0' {
        return None;
    }
    let end = start + digits;
    match after {
        b'e' | b'E' => None,
        b'.' => {
            let (digits, after) = self::digits(rest, end + 1)?;
            (digits > 0 && !matches!(after, b'e' | b'E' | b'.')).then_some((end + 1 + digits, false))
        }
        _ => Some((end, true)),
    }
}

/// The number of digits from `from` on, and the byte after them.
#[inline]
fn digits(rest: &[u8], from: usize) -> Option<(usize, u8)> {
    let mut at = from;
    loop {
        let byte = *rest.get(at)?;
        if !byte.is_ascii_digit() {
            return Some((at - from, byte));
        }
        at += 1;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
