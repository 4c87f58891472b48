//! Five cron fields, evaluated for one tenant and tier.
//!
//! Input: `H/15 2 * * mon-fri`. Output: plain numbers that every scheduler interprets alike (`7,22,37,52 2 * * 1-5`),
//! or a fault that explains the error. Called by `cli::schedule`.
//!
//! `H` works as in Jenkins: `H`, `H/15`, `H(0-29)`, `H(0-29)/10`. Schedulers differ in the rest: Sunday is 0 in all
//! of them and 7 in some, Meltano refuses a range with a step, few accept names. Therefore the output is lists of
//! numbers.

use std::collections::BTreeSet;
use std::fmt;

use super::jenkins_hash::Hash;
use crate::base::fault::{Fault, Result};

/// The schedule of a tier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Times(pub(super) [Field; 5]);

/// The values of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field {
    /// Set if written as `*` (1) or `*/n`.
    pub(super) every: Option<u32>,
    pub(super) values: BTreeSet<u32>,
}

/// The possible values of a field.
struct Kind {
    name: &'static str,
    first: u32,
    last: u32,
    /// The largest value of `H`: every month has 28 days, and Sunday must not occur twice.
    last_hashed: u32,
    /// The names of the values, from `first` on.
    names: &'static [&'static str],
}

const KINDS: [Kind; 5] = [
    Kind { name: "minute", first: 0, last: 59, last_hashed: 59, names: &[] },
    Kind { name: "hour", first: 0, last: 23, last_hashed: 23, names: &[] },
    Kind { name: "day of the month", first: 1, last: 31, last_hashed: 28, names: &[] },
    Kind {
        name: "month",
        first: 1,
        last: 12,
        last_hashed: 12,
        names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
    },
    Kind {
        name: "day of the week",
        first: 0,
        last: 7,
        last_hashed: 6,
        names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
    },
];

/// The maximum number of days of each month.
pub(super) const DAYS: [u32; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

impl Times {
    /// Parses five fields, for a tenant and tier.
    pub fn parse(text: &str, hash: &Hash<'_>) -> Result<Times> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let Ok(words) = <[&str; 5]>::try_from(words) else {
            return Err(Fault::config(format!("`{text}` is not a schedule: a schedule has five fields")).hint(
                "minute, hour, day of the month, month, day of the week, as in `H * * * *` or `H 2 * * mon-fri`",
            ));
        };
        let mut fields = Vec::with_capacity(5);
        for (kind, word) in KINDS.iter().zip(words) {
            fields.push(kind.field(word, hash)?);
        }
        let fields = <[Field; 5]>::try_from(fields).map_err(|_| Fault::bug("a parsed schedule lacks a field"))?;
        let times = Times(fields);
        times.comes()?;
        Ok(times)
    }

    /// Does such a date exist, and do all schedulers agree on it?
    fn comes(&self) -> Result<()> {
        let [_, _, days, months, weekdays] = &self.0;
        let step = |field: &Field| field.every.is_some_and(|every| every > 1);
        let any = |field: &Field| field.every == Some(1);
        if step(days) && !any(weekdays) || step(weekdays) && !any(days) {
            let message = "schedulers disagree about a day of the month and a day of the week together when one has \
                a step";
            return Err(
                Fault::config(message).hint("list the days, as in `1,11,21`, or set one of the two fields to `*`")
            );
        }
        let there =
            |month: &u32| DAYS.get(*month as usize - 1).is_some_and(|last| days.values.iter().any(|day| day <= last));
        if any(weekdays) && !months.values.iter().any(there) {
            return Err(Fault::config(format!("`{self}` never matches: no such date exists"))
                .hint("check the day of the month and the month"));
        }
        Ok(())
    }
}

impl Kind {
    fn field(&self, word: &str, hash: &Hash<'_>) -> Result<Field> {
        let (mut every, mut values) = (None, BTreeSet::new());
        let items: Vec<&str> = word.split(',').collect();
        for item in &items {
            let (range, step) = match item.split_once('/') {
                Some((range, step)) => (range, Some(step)),
                None => (*item, None),
            };
            let (from, to) = self.range(range, item)?;
            let (hashed, one) = (range.starts_with('H'), range != "*" && !range.contains(['-', 'H']));
            let size = to - from + 1;
            let step = match step.map(str::parse::<u32>) {
                None => None,
                Some(_) if one => {
                    return Err(self.wrong(item, &format!("a step needs a range, as in `{from}-{}/…`", self.last)));
                }
                Some(Ok(step)) if (1..=size).contains(&step) => Some(step),
                Some(_) => return Err(self.wrong(item, &format!("the step must be a number from 1 to {size} here"))),
            };
            // One value of the range, or the first one within the first step.
            let first = if hashed { from + hash.below(self.name, step.unwrap_or(size)) } else { from };
            let step_by = step.unwrap_or(if hashed { size } else { 1 });
            values.extend((first..=to).step_by(step_by as usize));
            if range == "*" && (items.len() == 1 || step.is_none()) {
                every = step.or(Some(1));
            }
        }
        // Sunday is both 0 and 7.
        if self.last == 7 && values.remove(&7) {
            values.insert(0);
        }
        Ok(Field { every, values })
    }

    /// The first and the last value of a range; for a single value, twice that value.
    fn range(&self, range: &str, item: &str) -> Result<(u32, u32)> {
        let ends = match range {
            "*" => return Ok((self.first, if self.last == 7 { 6 } else { self.last })),
            "H" => return Ok((self.first, self.last_hashed)),
            _ => range.strip_prefix("H(").and_then(|rest| rest.strip_suffix(')')),
        };
        let value = |text: &str| self.value(text, item);
        let (from, to) = match (ends, ends.unwrap_or(range).split_once('-')) {
            (_, Some((from, to))) => (value(from)?, value(to)?),
            (Some(_), None) => return Err(self.wrong(item, "write the range of an `H` as in `H(0-29)`")),
            (None, None) => {
                let value = value(range)?;
                (value, value)
            }
        };
        if from > to {
            return Err(
                self.wrong(item, "a range must begin with the smaller value; write two ranges, separated by a comma")
            );
        }
        Ok((from, to))
    }

    /// A number or a name.
    fn value(&self, text: &str, item: &str) -> Result<u32> {
        let named = self.names.iter().position(|name| name.eq_ignore_ascii_case(text));
        let digits = !text.is_empty() && text.len() <= 2 && text.bytes().all(|b| b.is_ascii_digit());
        let number = digits.then(|| text.parse::<u32>().ok()).flatten();
        let found = named.and_then(|at| u32::try_from(at).ok()).map(|at| at + self.first).or(number);
        found.filter(|value| (self.first..=self.last).contains(value)).ok_or_else(|| {
            let names = if self.names.is_empty() { String::new() } else { format!(", or {}", self.names.join(", ")) };
            self.wrong(
                item,
                &format!(
                    "it takes {} to {}{names}, `*`, and `H` for a value that differs by tenant",
                    self.first, self.last
                ),
            )
        })
    }

    fn wrong(&self, item: &str, hint: &str) -> Fault {
        Fault::config(format!("`{item}` is not a valid {}", self.name)).hint(hint)
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&fields.join(" "))
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.every, self.values.first(), self.values.last()) {
            (Some(1), ..) => f.write_str("*"),
            (Some(every), ..) => write!(f, "*/{every}"),
            (None, Some(first), Some(last))
                if self.values.len() > 2 && (last - first) as usize + 1 == self.values.len() =>
            {
                write!(f, "{first}-{last}")
            }
            _ => f.write_str(&self.values.iter().map(u32::to_string).collect::<Vec<_>>().join(",")),
        }
    }
}
