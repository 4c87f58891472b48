//! Paths into JSON, interpreted as the reference's `dpath` does: globs, indexes, and creation of missing parents.
//!
//! Input: a value and a path of evaluated segments. Output: the values at the path, or the value changed in place.
//! Called by many parts of `engine`. A segment is a name, a shell-like glob, or `**` for any number of levels; in a
//! list it is an index, possibly negative.

use serde_json::{Map, Value as Json};

/// The largest index to which a list may grow.
const LONGEST: usize = 100_000;

/// The value at a path of plain names and indexes.
pub fn get<'j>(json: &'j Json, path: &[String]) -> Option<&'j Json> {
    path.iter().try_fold(json, |at, step| match at {
        Json::Object(map) => map.get(step),
        Json::Array(items) => match step.strip_prefix('-') {
            Some(back) => items.get(items.len().checked_sub(back.parse().ok()?)?),
            None => items.get(step.parse::<usize>().ok()?),
        },
        _ => None,
    })
}

/// The only value that a path of globs matches, if any.
///
/// # Errors
/// The number of matches, if there are several.
pub fn one<'j>(json: &'j Json, path: &[String]) -> Result<Option<&'j Json>, usize> {
    if !path.iter().any(|segment| is_glob(segment)) {
        return Ok(get(json, path));
    }
    match values(json, path).as_slice() {
        [] => Ok(None),
        [value] => Ok(Some(value)),
        several => Err(several.len()),
    }
}

/// A step to a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'j> {
    /// A key of an object.
    Key(&'j str),
    /// An index of a list, and the list's length.
    Index(usize, usize),
}

impl std::fmt::Display for Step<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Step::Key(key) => f.write_str(key),
            Step::Index(index, _) => write!(f, "{index}"),
        }
    }
}

/// The values that a path of globs matches: a node's children before its deeper descendants.
pub fn values<'j>(at: &'j Json, path: &[String]) -> Vec<&'j Json> {
    let mut found = Vec::new();
    walk(at, path, &mut |_, value| found.push(value));
    found
}

/// The values at a path, each with its own path.
pub fn ways<'j>(at: &'j Json, path: &[String]) -> Vec<(Vec<Step<'j>>, &'j Json)> {
    let mut found = Vec::new();
    walk(at, path, &mut |way, value| found.push((way.to_vec(), value)));
    found
}

type Each<'e, 'j> = &'e mut dyn FnMut(&[Step<'j>], &'j Json);

fn walk<'j>(at: &'j Json, path: &[String], each: Each<'_, 'j>) {
    let mut way = Vec::new();
    match path.iter().position(|segment| segment == "**") {
        Some(deep) => everywhere(at, (&path[..deep], &path[deep + 1..]), &mut way, each),
        None => along(at, path, &mut way, each),
    }
}

fn along<'j>(at: &'j Json, path: &[String], way: &mut Vec<Step<'j>>, each: Each<'_, 'j>) {
    let Some((first, rest)) = path.split_first() else { return each(way, at) };
    for (step, child) in children(at).filter(|(step, _)| names(first, *step)) {
        way.push(step);
        along(child, rest, way, each);
        way.pop();
    }
}

/// Handles `**`: the rest of the path may match at any depth.
fn everywhere<'j>(at: &'j Json, path: (&[String], &[String]), way: &mut Vec<Step<'j>>, each: Each<'_, 'j>) {
    let (head, tail) = path;
    let all = |path: &[String], steps: &[Step<'j>]| path.iter().zip(steps).all(|(segment, step)| names(segment, *step));
    for (step, child) in children(at) {
        way.push(step);
        let fits = way.len() >= head.len() + tail.len() && all(head, way) && all(tail, &way[way.len() - tail.len()..]);
        if fits {
            each(way, child);
        }
        way.pop();
    }
    for (step, child) in children(at) {
        way.push(step);
        everywhere(child, path, way, each);
        way.pop();
    }
}

fn names(segment: &str, step: Step<'_>) -> bool {
    match step {
        Step::Key(key) => glob(segment, key),
        Step::Index(index, length) => is_index(segment, index, length),
    }
}

fn children(at: &Json) -> Box<dyn Iterator<Item = (Step<'_>, &Json)> + '_> {
    match at {
        Json::Object(map) => Box::new(map.iter().map(|(key, value)| (Step::Key(key), value))),
        Json::Array(items) => {
            let length = items.len();
            Box::new(items.iter().enumerate().map(move |(index, value)| (Step::Index(index, length), value)))
        }
        _ => Box::new(std::iter::empty()),
    }
}

/// Sets every place that a path of globs matches; false if there is none.
pub fn set(at: &mut Json, path: &[String], value: &Json) -> bool {
    let Some((first, rest)) = path.split_first() else {
        *at = value.clone();
        return true;
    };
    let deep = first == "**";
    let mut found = deep && !rest.is_empty() && set(at, rest, value);
    let below = if deep { path } else { rest };
    match at {
        Json::Object(map) => {
            for (_, child) in map.iter_mut().filter(|(key, _)| deep || glob(first, key)) {
                found |= set(child, below, value);
            }
        }
        Json::Array(items) => {
            let length = items.len();
            for (index, child) in items.iter_mut().enumerate() {
                if deep || is_index(first, index, length) {
                    found |= set(child, below, value);
                }
            }
        }
        _ => {}
    }
    found
}

/// Sets one place and creates missing parents: a list if an index follows, else an object.
///
/// # Errors
/// The number of segments up to a value that cannot contain others; nothing is set then.
pub fn put(at: &mut Json, path: &[String], value: Json) -> Result<(), usize> {
    let Some((first, rest)) = path.split_first() else {
        *at = value;
        return Ok(());
    };
    let new = || match rest.first() {
        Some(next) if next.bytes().all(|b| b.is_ascii_digit()) && !next.is_empty() => Json::Array(Vec::new()),
        _ => Json::Object(Map::new()),
    };
    let child = match at {
        Json::Object(map) => map.entry(first.clone()).or_insert_with(new),
        Json::Array(items) => {
            let index = first.parse().ok().filter(|index| *index < LONGEST).ok_or(0_usize)?;
            if items.len() <= index {
                items.resize(index + 1, Json::Null);
                items[index] = new();
            }
            &mut items[index]
        }
        _ => return Err(0),
    };
    put(child, rest, value).map_err(|depth| depth + 1)
}

/// Removes the matches of a path of globs. In a list, the last item is removed; any other item becomes null, so that
/// all keep their index.
pub fn remove(at: &mut Json, path: &[String]) {
    let Some((first, rest)) = path.split_first() else { return };
    let deep = first == "**";
    if deep && !rest.is_empty() {
        remove(at, rest);
    }
    let (last, below) = (rest.is_empty(), if deep { path } else { rest });
    match at {
        Json::Object(map) => {
            if last {
                map.retain(|key, _| !(deep || glob(first, key)));
            }
            map.iter_mut().filter(|(key, _)| deep || glob(first, key)).for_each(|(_, child)| remove(child, below));
        }
        Json::Array(items) => {
            let length = items.len();
            for index in 0..length {
                if !deep && !is_index(first, index, length) {
                    continue;
                }
                if last {
                    drop_item(items, index);
                } else {
                    remove(&mut items[index], below);
                }
            }
        }
        _ => {}
    }
}

/// Removes an item of a list without moving the others.
pub fn drop_item(items: &mut Vec<Json>, index: usize) {
    if index + 1 == items.len() {
        items.pop();
    } else {
        items[index] = Json::Null;
    }
}

/// Does a segment refer to this index of a list of that length?
fn is_index(pattern: &str, index: usize, length: usize) -> bool {
    match pattern.parse::<isize>() {
        Ok(n) => usize::try_from(n).map_or_else(|_| length.checked_sub(n.unsigned_abs()), Some) == Some(index),
        Err(_) => glob(pattern, &index.to_string()),
    }
}

/// Is the segment more than a plain name?
pub fn is_glob(segment: &str) -> bool {
    segment.contains(['*', '?', '['])
}

/// Shell-like matching of one segment, as in Python's `fnmatchcase`: `*` matches any text, `?` one character, `[a-z]`
/// and `[!a-z]` one character of a set.
pub fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        if pattern.get(p) == Some(&'*') {
            star = Some((p, t));
            p += 1;
        } else if let Some(length) = fits(&pattern[p..], text[t]) {
            p += length;
            t += 1;
        } else if let Some((at, from)) = star {
            p = at + 1;
            t = from + 1;
            star = Some((at, from + 1));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// The length of the pattern's first element, if the character matches it.
fn fits(pattern: &[char], c: char) -> Option<usize> {
    match pattern.first()? {
        '?' => Some(1),
        '[' => {
            let negated = pattern.get(1) == Some(&'!');
            let from = if negated { 2 } else { 1 };
            // A leading bracket belongs to the set; an unclosed bracket is a literal character.
            let Some(end) = (from + 1..pattern.len()).find(|i| pattern[*i] == ']') else {
                return (c == '[').then_some(1);
            };
            let (set, mut at, mut within) = (&pattern[from..end], 0, false);
            while at < set.len() {
                let range = set.get(at + 1) == Some(&'-') && at + 2 < set.len();
                within |= if range { (set[at]..=set[at + 2]).contains(&c) } else { set[at] == c };
                at += if range { 3 } else { 1 };
            }
            (within != negated).then_some(end + 1)
        }
        letter => (*letter == c).then_some(1),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn path(text: &str) -> Vec<String> {
        text.split('.').map(str::to_owned).collect()
    }

    /// Each line is a result of Python's `fnmatch.fnmatchcase`.
    #[test]
    fn globs_match_as_in_python() {
        for (pattern, text, matches) in [
            ("a*", "abc", true),
            ("*c", "abcc", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[!a-c]x", "dx", true),
            ("[]]", "]", true),
            ("[", "[", true),
            ("[a", "[a", true),
            ("[a-]", "-", true),
            ("*[0-9]*", "a1b", true),
            ("", "", true),
            ("", "a", false),
            ("A", "a", false),
        ] {
            assert_eq!(glob(pattern, text), matches, "{pattern} {text}");
        }
    }

    /// The result of dpath 2.2.0.
    #[test]
    fn removal_keeps_the_places_of_a_list() {
        for (at, given, left) in [
            ("l.0", json!({"l": [1, 2, 3]}), json!({"l": [null, 2, 3]})),
            ("l.-1", json!({"l": [1, 2, 3]}), json!({"l": [1, 2]})),
            ("l.*", json!({"l": [1, 2, 3]}), json!({"l": [null, null]})),
            ("**.s", json!({"s": 1, "a": {"s": 2, "b": [{"s": 3}]}}), json!({"a": {"b": [{}]}})),
            ("a.x*", json!({"a": {"x1": 1, "y": 2}, "x": 3}), json!({"a": {"y": 2}, "x": 3})),
            ("nope.x", json!({"a": 1}), json!({"a": 1})),
        ] {
            let mut value = given;
            remove(&mut value, &path(at));
            assert_eq!(value, left, "{at}");
        }
    }

    #[test]
    fn a_way_is_made_and_a_value_is_no_way() {
        let mut value = json!({"a": 1});
        put(&mut value, &path("l.1.x"), json!(5)).expect("a list is made");
        put(&mut value, &path("o.p"), json!(6)).expect("an object is made");
        assert_eq!(value, json!({"a": 1, "l": [null, {"x": 5}], "o": {"p": 6}}));
        assert_eq!(put(&mut value, &path("a.b"), json!(7)), Err(1));
        assert_eq!(put(&mut value, &path("l.x"), json!(7)), Err(1));
    }

    #[test]
    fn values_come_in_the_order_of_dpath() {
        let value = json!({"a": {"x": {"x": 1}}, "x": 2, "l": [{"x": 3}]});
        let shown = |way: &[Step<'_>]| way.iter().map(ToString::to_string).collect::<Vec<_>>().join(".");
        let found = |at: &str| ways(&value, &path(at)).iter().map(|(way, _)| shown(way)).collect::<Vec<_>>();
        assert_eq!(found("**.x"), ["x", "a.x", "a.x.x", "l.0.x"]);
        assert_eq!(found("l.-1.*"), ["l.0.x"]);
        assert_eq!(found("a.**"), ["a", "a.x", "a.x.x"]);
    }
}
