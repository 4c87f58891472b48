//! Teaches the track the form of a record.
//!
//! Input: a record that the general scan found regular, with its schema and its observer. Output: the transitions that
//! pass it. Called by [`super::RecordSchema::scan_on`], for the first records of each form. It walks a record as the
//! general scan does, and must treat each value as that does.
//!
//! No key may come twice in an object. The bytes of a record of a known form cannot show that, since they are only
//! compared piece by piece. So each object's keys must have an order that all records agree with, and a record that
//! does not is not learned: from a key no way leads back to it.

use super::super::{Node, Prop, RecordSchema, Shape};
use super::{MAX_CHOICES, MAX_STEPS, MAX_TRANSITIONS, NONE, Scalar, Track, Transition, window};
use crate::base::json::observe::{Attention, CountingObserver, NOWHERE};
use crate::base::json::scan::{JsonKind, Scanner};

/// Records that are nested more deeply are not learned.
const MAX_DEPTH: usize = 32;
/// The longest literal, in bytes: it holds the keys from one scalar to the next.
const MAX_LITERAL: usize = 4096;

/// The walk over one record.
struct Lesson<'t, 's, O> {
    track: &'t mut Track,
    observer: &'s O,
    verbatim: bool,
    steps: Vec<Step>,
    /// The objects of the record: their paths, and the fields in their order.
    orders: Vec<(u32, Vec<usize>)>,
    /// Values that started since the last step.
    started: Vec<(u32, JsonKind)>,
}

/// A step to a scalar.
struct Step {
    /// The end of the literal before the scalar, and the end of the scalar.
    literal_end: usize,
    end: usize,
    path: u32,
    scalar: Scalar,
    place: u32,
    key: u32,
    is_cursor: bool,
    is_shown: bool,
    values: Box<[(u32, JsonKind)]>,
}

impl Track {
    /// Learns the form of the record at which the scanner stands, and which ends at `end`. Did it teach anything?
    #[cold]
    pub(super) fn learn(
        &mut self,
        schema: &RecordSchema,
        mut record: Scanner<'_>,
        end: usize,
        observer: &impl CountingObserver,
    ) -> bool {
        let known = self.transitions.len();
        if known >= MAX_TRANSITIONS || self.paths.len() >= MAX_TRANSITIONS {
            return false;
        }
        let (body, start) = (record.body(), record.at());
        let (steps, orders) = (Vec::new(), Vec::new());
        let mut lesson =
            Lesson { track: self, observer, verbatim: schema.verbatim, steps, orders, started: Vec::new() };
        if lesson.value((Some(&schema.root), None), 0, &mut record, 0).is_none() {
            return false;
        }
        let Lesson { steps, orders, started, .. } = lesson;
        if !orders.iter().all(|(path, order)| self.paths.note_order(*path, order)) {
            return false;
        }
        let (mut state, mut at) = (0, start);
        for step in steps {
            let (literal, path) = (&body[at..step.literal_end], step.path);
            at = step.end;
            if !self.add(state, literal, step) {
                return self.transitions.len() > known;
            }
            state = path;
        }
        let last = Step {
            literal_end: end,
            end,
            path: 0,
            scalar: Scalar::End,
            place: NOWHERE,
            key: 0,
            is_cursor: false,
            is_shown: false,
            values: started.into(),
        };
        self.add(state, &body[at..end], last);
        self.transitions.len() > known
    }

    /// Adds the transition of a step, unless it is there. False if the state has too many, or the literal is too long.
    fn add(&mut self, from: u32, literal: &[u8], step: Step) -> bool {
        if literal.len() > MAX_LITERAL {
            return false;
        }
        self.states.resize(self.states.len().max(self.paths.len()), NONE);
        let mut choices = 0;
        let mut at = self.states[from as usize];
        while let Some(transition) = self.transitions.get(at as usize) {
            if *transition.literal == *literal && transition.scalar == step.scalar {
                return true;
            }
            choices += 1;
            at = transition.sibling;
        }
        if choices == MAX_CHOICES {
            return false;
        }
        let sibling = self.states[from as usize];
        self.states[from as usize] = u32::try_from(self.transitions.len()).unwrap_or(NONE);
        let covered = u32::try_from(literal.len().min(16) * 8).unwrap_or(0);
        self.transitions.push(Transition {
            head: window(&literal[..literal.len().min(16)]),
            mask: u128::MAX.checked_shr(128 - covered).unwrap_or(0),
            tail: literal.last_chunk::<16>().map_or(0, |tail| u128::from_le_bytes(*tail)),
            literal: literal.into(),
            scalar: step.scalar,
            to: step.path,
            next: NONE,
            sibling,
            times: 0,
            values: step.values,
            place: step.place,
            key: step.key,
            is_cursor: step.is_cursor,
            is_shown: step.is_shown,
            is_noted: step.is_shown || step.is_cursor,
        });
        true
    }
}

impl<O: CountingObserver> Lesson<'_, '_, O> {
    /// Walks a value; `None` if the record cannot be learned. Without a node the schema does not know the value.
    fn value(
        &mut self,
        (node, prop): (Option<&Node>, Option<&Prop>),
        path: u32,
        scanner: &mut Scanner<'_>,
        depth: usize,
    ) -> Option<()> {
        let kind = scanner.peek().ok()?;
        let start = scanner.at();
        let place = node.map_or(NOWHERE, |node| node.place);
        let attention = node.map_or(Attention::Count, |node| self.observer.attention(node.place, kind));
        if node.is_some() {
            self.started.push((place, kind));
        }
        let shape = node.map(|node| &node.shape);
        let (scalar, literal_end, is_shown) = match kind {
            JsonKind::Object | JsonKind::Array
                if attention != Attention::Count
                    || prop.is_some_and(|prop| prop.key.is_some())
                    || depth == MAX_DEPTH =>
            {
                return None;
            }
            JsonKind::Object => {
                let object = if let Some(Shape::Object(object)) = shape { Some(object) } else { None };
                let (mut first, mut hint, mut order) = (true, 0, Vec::new());
                scanner.enter().ok()?;
                while let Some(key) = scanner.key(&mut first).ok()? {
                    let (index, below) = self.track.paths.field(path, &key.value())?;
                    order.push(index);
                    let prop = object.and_then(|object| object.find(&key, &mut hint));
                    self.value((prop.map(|prop| &prop.node), prop), below, scanner, depth + 1)?;
                }
                if !order.is_empty() {
                    self.orders.push((path, order));
                    return Some(());
                }
                if depth == 0 {
                    // It ends where it starts, and any record starts there.
                    return None;
                }
                (Scalar::Fixed, scanner.at(), false)
            }
            JsonKind::Array => {
                let item = if let Some(Shape::Array(item)) = shape { Some(&**item) } else { None };
                let mut first = true;
                scanner.enter().ok()?;
                while scanner.element(&mut first).ok()? {
                    let below = self.track.paths.item(path);
                    self.value((item, None), below, scanner, depth + 1)?;
                }
                if !first {
                    return Some(());
                }
                (Scalar::Fixed, scanner.at(), false)
            }
            JsonKind::String => {
                scanner.string().ok()?;
                let scalar = match shape {
                    Some(Shape::DateTime) if !self.verbatim => Scalar::DateTime,
                    Some(Shape::Date) if !self.verbatim => Scalar::Date,
                    _ => Scalar::Text,
                };
                // What the wire requires is enough for an observer that requires the same.
                let is_shown = match attention {
                    Attention::Count => false,
                    Attention::DateTime => scalar != Scalar::DateTime,
                    Attention::Date => scalar != Scalar::Date,
                    Attention::Value | Attention::Integer => true,
                };
                (scalar, start + 1, is_shown)
            }
            JsonKind::Number => {
                scanner.number().ok()?;
                let is_integer = matches!(shape, Some(Shape::Integer)) && !self.verbatim;
                let scalar =
                    if is_integer || attention == Attention::Integer { Scalar::Integer } else { Scalar::Number };
                (scalar, start, attention != Attention::Count)
            }
            JsonKind::Bool if attention != Attention::Count => return None,
            JsonKind::Bool | JsonKind::Null => {
                scanner.skip().ok()?;
                (Scalar::Fixed, scanner.at(), false)
            }
        };
        let step = Step {
            literal_end,
            end: scanner.at(),
            path,
            scalar,
            place,
            key: if kind == JsonKind::Null { 0 } else { prop.and_then(|prop| prop.key).map_or(0, |bit| 1 << bit) },
            is_cursor: prop.is_some_and(|prop| prop.cursor),
            is_shown,
            values: std::mem::take(&mut self.started).into(),
        };
        (self.steps.len() < MAX_STEPS).then(|| self.steps.push(step))
    }
}
