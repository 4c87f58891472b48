//! The maximum age of data under a schedule.
//!
//! Input: the schedule of a tier. Output: the longest time between two of its runs. Called by `status`, which
//! distinguishes late data from data that is not due yet.

use std::time::Duration;

use time::{Date, Month};

use super::cron_expr::Times;

/// The first year examined: it starts with a Monday, and leap years follow.
const FROM: i32 = 2018;
/// After this many years every weekday has met every date, including 29 February.
const YEARS: i32 = 28;

impl Times {
    /// The longest time from one run to the next.
    pub fn longest_gap(&self) -> Duration {
        let [minutes, hours, ..] = &self.0;
        let of_day: Vec<u32> =
            hours.values.iter().flat_map(|hour| minutes.values.iter().map(move |minute| hour * 60 + minute)).collect();
        let (Some(first), Some(last)) = (of_day.first(), of_day.last()) else { return Duration::MAX };
        let within = of_day.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0);
        let (mut days, mut before) = (1, None);
        let start = Date::from_calendar_date(FROM, Month::January, 1).map_or(0, Date::to_julian_day);
        for day in start..start + YEARS * 366 {
            if Date::from_julian_day(day).is_ok_and(|date| self.is_on(date)) {
                days = days.max(before.map_or(1, |before| day - before));
                before = Some(day);
            }
        }
        let days = u32::try_from(days).unwrap_or(1);
        Duration::from_secs(u64::from(within.max(days * 24 * 60 + first - last)) * 60)
    }

    /// Does it run on this date? If both kinds of days are restricted, either is enough, as in cron.
    fn is_on(&self, date: Date) -> bool {
        let [_, _, days, months, weekdays] = &self.0;
        let day = days.values.contains(&u32::from(date.day()));
        let weekday = weekdays.values.contains(&u32::from(date.weekday().number_days_from_sunday()));
        let limited = days.every.is_none() && weekdays.every.is_none();
        months.values.contains(&u32::from(u8::from(date.month())))
            && if limited { day || weekday } else { day && weekday }
    }
}
