//! Points in time as text (RFC 3339), to the second.

use crate::base::UnixSeconds;

/// Reads a date and time with its offset; a fraction of a second is dropped, a leap second is the one after it.
/// Nothing where it is none, or before 1970.
pub(crate) fn parse(text: &str) -> Option<UnixSeconds> {
    let (date, time) = text.split_at_checked(10)?;
    let time = time.strip_prefix(['T', 't'])?;
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let (clock, rest) = time.split_at_checked(8)?;
    let [hour, minute, second] = numbers(clock, ':', [2, 2, 2])?;
    let zone = match rest.strip_prefix('.') {
        Some(fraction) => {
            let zone = fraction.trim_start_matches(|digit: char| digit.is_ascii_digit());
            (zone.len() < fraction.len()).then_some(zone)?
        }
        None => rest,
    };
    let lawful = (1..=12).contains(&month)
        && (1..=days_of(year, month)).contains(&day)
        && hour <= 23
        && minute <= 59
        && second <= 60;
    let days = lawful.then(|| days_since_epoch(year, month, day))?;
    let local = days * 86_400 + hour * 3600 + minute * 60 + second;
    u64::try_from(local - offset(zone)?).ok().map(UnixSeconds)
}

/// Writes a point in time, in the zone Z.
#[cfg(feature = "storage")]
pub(crate) fn format(time: UnixSeconds) -> String {
    let days = i64::try_from(time.0 / 86_400).unwrap_or(i64::MAX).min(days_since_epoch(9999, 12, 31));
    // A year is never shorter, so this is the year or one of the next ones.
    let mut year = 1970 + days / 366;
    while days_since_epoch(year + 1, 1, 1) <= days {
        year += 1;
    }
    let mut month = 12;
    while days_since_epoch(year, month, 1) > days {
        month -= 1;
    }
    let day = days - days_since_epoch(year, month, 1) + 1;
    let (hour, minute, second) = (time.0 / 3600 % 24, time.0 / 60 % 60, time.0 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Seconds that a zone is ahead.
fn offset(zone: &str) -> Option<i64> {
    if zone == "Z" || zone == "z" {
        return Some(0);
    }
    let sign = if zone.starts_with('+') { 1 } else { -1 };
    let [hours, minutes] = numbers(zone.strip_prefix(['+', '-'])?, ':', [2, 2])?;
    (hours <= 23 && minutes <= 59).then_some(sign * (hours * 3600 + minutes * 60))
}

/// Numbers of exactly so many digits.
fn numbers<const N: usize>(text: &str, between: char, digits: [usize; N]) -> Option<[i64; N]> {
    let mut parts = text.split(between);
    let mut out = [0; N];
    for (number, digits) in out.iter_mut().zip(digits) {
        let part = parts.next()?;
        let good = part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit());
        *number = good.then(|| part.parse().ok()).flatten()?;
    }
    parts.next().is_none().then_some(out)
}

const fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

const fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + is_leap(year) as i64,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01, in the Gregorian calendar.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let before = year - 1;
    let of_years = before * 365 + before / 4 - before / 100 + before / 400;
    let of_months: i64 = (1..month).map(|earlier| days_of(year, earlier)).sum();
    // 719,162 days lie before 1970.
    of_years + of_months + day - 1 - 719_162
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_others_read_them() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T12:00:00Z", 951_825_600),
            ("2021-09-30T16:25:24.000Z", 1_633_019_124),
            ("2021-09-30T18:25:24+02:00", 1_633_019_124),
            ("2021-09-30t11:55:24.999999-04:30", 1_633_019_124),
            ("2100-03-01T00:00:00z", 4_107_542_400),
        ] {
            assert_eq!(parse(text), Some(UnixSeconds(seconds)), "{text}");
        }
    }

    #[test]
    #[cfg(feature = "storage")]
    fn times_read_back_as_they_are_written() {
        assert_eq!(format(UnixSeconds(951_825_600)), "2000-02-29T12:00:00Z");
        for seconds in (0..4_200_000_000).step_by(86_399 * 7) {
            assert_eq!(parse(&format(UnixSeconds(seconds))), Some(UnixSeconds(seconds)));
        }
    }

    #[test]
    fn other_texts_are_no_times() {
        for text in [
            "",
            "2021-09-30",
            "2021-09-30 16:25:24Z",
            "2021-09-30T16:25:24",
            "2021-09-30T16:25:24.Z",
            "2021-9-30T16:25:24Z",
            "2021-13-01T00:00:00Z",
            "2021-02-29T00:00:00Z",
            "2021-09-30T24:00:00Z",
            "2021-09-30T16:60:00Z",
            "2021-09-30T16:25:24+2:00",
            "2021-09-30T16:25:24+24:00",
            "1969-12-31T23:59:59Z",
            "2021-09-30T16:25:24Zx",
            "2021-09-3\u{661}T16:25:24Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
