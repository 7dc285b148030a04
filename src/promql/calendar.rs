//! The parts of a date, in UTC, of a number of seconds since 1970.

/// The calendar functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Calendar {
    Minute,
    Hour,
    DayOfWeek,
    DayOfMonth,
    DayOfYear,
    DaysInMonth,
    Month,
    Year,
}

impl Calendar {
    pub(super) fn named(name: &str) -> Option<Calendar> {
        Some(match name {
            "minute" => Calendar::Minute,
            "hour" => Calendar::Hour,
            "day_of_week" => Calendar::DayOfWeek,
            "day_of_month" => Calendar::DayOfMonth,
            "day_of_year" => Calendar::DayOfYear,
            "days_in_month" => Calendar::DaysInMonth,
            "month" => Calendar::Month,
            "year" => Calendar::Year,
            _ => return None,
        })
    }

    /// The part; NaN of what is no time within some hundred million years.
    pub(super) fn of(self, seconds: f64) -> f64 {
        if !(-1e16..1e16).contains(&seconds) {
            return f64::NAN;
        }
        let seconds = seconds as i64;
        let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let (year, month, day) = civil(days);
        let part = match self {
            Calendar::Minute => of_day / 60 % 60,
            Calendar::Hour => of_day / 3600,
            // 1970-01-01 was a Thursday; Sunday is 0.
            Calendar::DayOfWeek => (days + 4).rem_euclid(7),
            Calendar::DayOfMonth => day,
            Calendar::DayOfYear => days - days_before(year) + 1,
            Calendar::DaysInMonth => days_in(year, month),
            Calendar::Month => month,
            Calendar::Year => year,
        };
        part as f64
    }
}

/// Days from 1970-01-01 to the first of January of `year`.
fn days_before(year: i64) -> i64 {
    let past = year - 1;
    past * 365 + past.div_euclid(4) - past.div_euclid(100) + past.div_euclid(400) - 719_162
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Year, month and day of a number of days since 1970-01-01.
fn civil(days: i64) -> (i64, i64, i64) {
    // 146,097 days make 400 years: the guess is at most one year off.
    let mut year = 1970 + (days * 400).div_euclid(146_097);
    while days_before(year) > days {
        year -= 1;
    }
    while days_before(year + 1) <= days {
        year += 1;
    }
    let (mut month, mut day) = (1, days - days_before(year) + 1);
    while day > days_in(year, month) {
        day -= days_in(year, month);
        month += 1;
    }
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_known_dates() {
        use Calendar::{DayOfMonth, DayOfWeek, DayOfYear, DaysInMonth, Hour, Minute, Month, Year};
        for (seconds, part, expected) in [
            (0, Year, 1970),
            (0, DayOfWeek, 4),
            (-1, Year, 1969),
            (-1, DayOfYear, 365),
            (-1, Minute, 59),
            (951_782_400, Month, 2), // 2000-02-29
            (951_782_400, DayOfMonth, 29),
            (951_782_400, DayOfYear, 60),
            (951_782_400, DaysInMonth, 29),
            (1_709_164_800, DayOfYear, 60), // 2024-02-29
            (1_136_214_245, Hour, 15),
        ] {
            assert_eq!(part.of(seconds as f64), f64::from(expected), "{part:?} of {seconds}");
        }
        assert!(Year.of(f64::INFINITY).is_nan() && Year.of(f64::NAN).is_nan());
    }

    #[test]
    fn years_agree_with_a_count_of_days() {
        let mut days = 0;
        for year in 1970..2500 {
            assert_eq!(days_before(year), days);
            assert_eq!(civil(days), (year, 1, 1));
            days += 365 + i64::from(is_leap(year));
        }
    }
}
