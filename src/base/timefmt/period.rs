//! ISO-8601 durations, with months separate from exact time.
//!
//! Input: `P1M`, `PT0.000001S`. Output: a [`Period`] that is added to times by the calendar, as in isodate.

use std::fmt;

use time::{Date, Duration, Month, OffsetDateTime};

/// An ISO-8601 duration: calendar months separate from exact time, as in isodate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Period {
    /// Years and months, in months.
    pub months: i32,
    /// Everything else, in whole microseconds.
    pub exact: Duration,
}

impl Period {
    /// Parses `P1M`, `P1DT12H`, `PT0.000001S`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is not an ISO-8601 duration such as `P1D` or `PT1H`");
        let (negative, body) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let mut rest = body
            .strip_prefix('P')
            .map(|r| r.strip_suffix('\n').unwrap_or(r))
            .filter(|r| !r.is_empty())
            .ok_or_else(bad)?;
        let (mut months, mut micros, mut in_time) = (0i32, 0i128, false);
        // Units must be in descending order.
        let mut last_unit = 0;
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('T').filter(|_| !in_time) {
                in_time = true;
                rest = after;
                continue;
            }
            let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ',').ok_or_else(bad)?;
            let unit = rest.as_bytes()[end];
            let rank =
                if in_time { "HMS" } else { "YMWD" }.find(unit as char).ok_or_else(bad)? + if in_time { 10 } else { 1 };
            if rank <= last_unit || rest.starts_with(['.', ',']) || rest[..end].ends_with(['.', ',']) {
                return Err(bad());
            }
            last_unit = rank;
            let micros_per: i128 = match (unit, in_time) {
                (b'W', false) => 604_800_000_000,
                (b'D', false) => 86_400_000_000,
                (b'H', true) => 3_600_000_000,
                (b'M', true) => 60_000_000,
                (b'S', true) => 1_000_000,
                (b'Y' | b'M', false) => {
                    let (whole, fraction) = rest[..end].split_once(['.', ',']).unwrap_or((&rest[..end], ""));
                    let n: i32 = whole.parse().map_err(|_| bad())?;
                    if fraction.bytes().any(|b| b != b'0') {
                        return Err(bad());
                    }
                    months = months
                        .checked_add(n.checked_mul(if unit == b'Y' { 12 } else { 1 }).ok_or_else(bad)?)
                        .ok_or_else(bad)?;
                    rest = &rest[end + 1..];
                    continue;
                }
                _ => return Err(bad()),
            };
            let (whole, fraction) = rest[..end].split_once(['.', ',']).unwrap_or((&rest[..end], ""));
            let whole: i128 = if whole.is_empty() { 0 } else { whole.parse::<u32>().map_err(|_| bad())?.into() };
            micros += whole * micros_per;
            if !fraction.is_empty() {
                let digits = fraction.get(..fraction.len().min(12)).ok_or_else(bad)?;
                let scale = 10i128.pow(u32::try_from(digits.len()).map_err(|_| bad())?);
                micros += digits.parse::<i128>().map_err(|_| bad())? * micros_per / scale;
            }
            rest = &rest[end + 1..];
        }
        let sign = if negative { -1 } else { 1 };
        let nanos = micros * i128::from(sign) * 1000;
        let seconds = i64::try_from(nanos.div_euclid(1_000_000_000)).map_err(|_| bad())?;
        let exact = Duration::new(seconds, i32::try_from(nanos.rem_euclid(1_000_000_000)).map_err(|_| bad())?);
        Ok(Period { months: months * sign, exact })
    }

    /// Is it zero? (Python's falsy `timedelta(0)`: the reference treats it as "not set".)
    pub fn is_zero(&self) -> bool {
        self.months == 0 && self.exact.is_zero()
    }

    /// The length of the period, with months of thirty days; zero if it is negative.
    pub fn length(&self) -> std::time::Duration {
        let months = Duration::days(30) * self.months;
        (months + self.exact).try_into().unwrap_or_default()
    }

    /// `t` plus this period; a day past the end of its month becomes that month's last day.
    pub fn after(&self, t: OffsetDateTime) -> Option<OffsetDateTime> {
        shift_months(t, self.months)?.checked_add(self.exact).filter(|t| (1..=9999).contains(&t.year()))
    }

    /// `t` minus this period.
    pub fn before(&self, t: OffsetDateTime) -> Option<OffsetDateTime> {
        Period { months: -self.months, exact: -self.exact }.after(t)
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} months, {}", self.months, self.exact)
    }
}

fn shift_months(t: OffsetDateTime, months: i32) -> Option<OffsetDateTime> {
    if months == 0 {
        return Some(t);
    }
    let total = (t.year() * 12 + i32::from(u8::from(t.month())) - 1).checked_add(months)?;
    let (year, month) = (total.div_euclid(12), Month::try_from(u8::try_from(total.rem_euclid(12) + 1).ok()?).ok()?);
    let day = t.day().min(month.length(year));
    Some(t.replace_date(Date::from_calendar_date(year, month, day).ok()?))
}
