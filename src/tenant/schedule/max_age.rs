//! How long data may grow old by its schedule.
//!
//! Input: the times of a tier. Output: the longest time from one of its runs to the next. Called by `status`,
//! which tells data that is late from data that is not due yet.

use std::time::Duration;

use time::{Date, Month};

use super::cron_expr::Times;

/// The year from which days are looked at: it begins with a Monday, and a leap year is among those that follow.
const FROM: i32 = 2018;
/// So many years: every day of the week meets every day of the month, a 29th of February too.
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

    /// Is it a day on which it runs? Where both kinds of days are limited either is enough, as cron has it.
    fn is_on(&self, date: Date) -> bool {
        let [_, _, days, months, weekdays] = &self.0;
        let day = days.values.contains(&u32::from(date.day()));
        let weekday = weekdays.values.contains(&u32::from(date.weekday().number_days_from_sunday()));
        let limited = days.every.is_none() && weekdays.every.is_none();
        months.values.contains(&u32::from(u8::from(date.month())))
            && if limited { day || weekday } else { day && weekday }
    }
}
