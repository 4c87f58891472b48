//! The paths of values in a stream's records, numbered, and the order of the keys in their objects.
//!
//! Input: the keys of each object, in their order. Output: numbers; whether the order contradicts that of earlier
//! records. Called by [`super::lesson`].

use std::collections::BTreeSet;

/// The most fields of one object: with more of them, names are data.
const MAX_FIELDS: usize = 1024;

/// The paths of a stream's records. The first is the record itself.
#[derive(Debug)]
pub(super) struct Paths {
    all: Vec<Inner>,
}

impl Default for Paths {
    fn default() -> Self {
        Paths { all: vec![Inner::default()] }
    }
}

/// What is inside of the values at a path.
#[derive(Debug, Default)]
struct Inner {
    fields: Vec<Field>,
    /// The path of a list's items.
    item: Option<u32>,
}

#[derive(Debug)]
struct Field {
    name: Box<str>,
    path: u32,
    /// The fields that came directly after this one.
    followers: BTreeSet<usize>,
}

impl Paths {
    /// The number of paths.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    fn add(&mut self) -> u32 {
        self.all.push(Inner::default());
        u32::try_from(self.all.len() - 1).unwrap_or(u32::MAX)
    }

    /// The path of the items of the list at `path`.
    pub(super) fn item(&mut self, path: u32) -> u32 {
        if let Some(item) = self.all[path as usize].item {
            return item;
        }
        let item = self.add();
        self.all[path as usize].item = Some(item);
        item
    }

    /// The index and the path of a field of the object at `path`; `None` if it has too many.
    pub(super) fn field(&mut self, path: u32, name: &str) -> Option<(usize, u32)> {
        let fields = &self.all[path as usize].fields;
        if let Some(index) = fields.iter().position(|field| *field.name == *name) {
            return Some((index, fields[index].path));
        }
        if fields.len() == MAX_FIELDS {
            return None;
        }
        let below = self.add();
        let fields = &mut self.all[path as usize].fields;
        fields.push(Field { name: name.into(), path: below, followers: BTreeSet::new() });
        Some((fields.len() - 1, below))
    }

    /// Notes that an object at `path` has these fields in this order. False if an order of all its fields that agrees
    /// with every record does not exist: then nothing is noted.
    pub(super) fn note_order(&mut self, path: u32, order: &[usize]) -> bool {
        let fields = &mut self.all[path as usize].fields;
        let mut added = Vec::new();
        for pair in order.windows(2) {
            if fields[pair[0]].followers.insert(pair[1]) {
                added.push((pair[0], pair[1]));
            }
        }
        if added.is_empty() || has_order(fields) {
            return true;
        }
        for (before, after) in added {
            fields[before].followers.remove(&after);
        }
        false
    }
}

/// Can the fields be put into an order in which each comes before its followers? (Kahn's algorithm.)
fn has_order(fields: &[Field]) -> bool {
    let mut before = vec![0_usize; fields.len()];
    fields.iter().flat_map(|field| &field.followers).for_each(|follower| before[*follower] += 1);
    let mut free: Vec<usize> = (0..fields.len()).filter(|index| before[*index] == 0).collect();
    let mut ordered = 0;
    while let Some(index) = free.pop() {
        ordered += 1;
        for follower in &fields[index].followers {
            before[*follower] -= 1;
            if before[*follower] == 0 {
                free.push(*follower);
            }
        }
    }
    ordered == fields.len()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn fields_have_one_order() {
        let mut paths = Paths::default();
        let mut note = |names: &str| {
            let order: Vec<usize> = names.chars().map(|n| paths.field(0, &n.to_string()).unwrap().0).collect();
            paths.note_order(0, &order)
        };
        assert!(note("ac"));
        assert!(note("ab"));
        assert!(note("abc"), "`ac` and `ab` say nothing of `b` and `c`");
        assert!(!note("acb"));
        assert!(!note("aa"), "no field comes twice");
        assert!(note("bcd"));
        assert!(!note("da"));
    }
}
