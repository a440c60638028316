//! Times as RFC 3339 writes them, with fractions.

use std::time::{SystemTime, UNIX_EPOCH};

/// A time in UTC with so many digits of its second, nine at most, as `2026-11-29T11:20:07.5Z`.
/// Times before 1970 are shown as its beginning.
pub(super) fn rfc3339(time: SystemTime, digits: usize) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs();
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let fraction = u64::from(since.subsec_nanos());
    // By hand: every record has one, and `write!` takes ten times as long.
    let mut out = Vec::with_capacity(30);
    for (number, least, then) in [
        (year, 4, b'-'),
        (month, 2, b'-'),
        (day, 2, b'T'),
        (hour, 2, b':'),
        (minute, 2, b':'),
        (second, 2, b'.'),
        (fraction, 9, b'Z'),
    ] {
        padded(&mut out, number, least);
        out.push(then);
    }
    out.truncate(out.len() - 1 - (9 - digits));
    out.push(b'Z');
    String::from_utf8(out).expect("digits and what stands between them")
}

/// A number with so many digits at least.
fn padded(out: &mut Vec<u8>, number: u64, least: usize) {
    let mut digits = [b'0'; 20];
    let (mut at, mut left) = (digits.len(), number);
    while left > 0 {
        at -= 1;
        digits[at] += (left % 10) as u8;
        left /= 10;
    }
    out.extend_from_slice(&digits[at.min(digits.len() - least)..]);
}

/// Year, month and day of the proleptic Gregorian calendar, for a count of days since 1970.
///
/// In eras of 400 years that begin in March, so that the leap day is the last one of a year.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let january = u64::from(month >= 10);
    (era * 400 + year + january, if january == 1 { month - 9 } else { month + 3 }, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use x509_cert::der::DateTime;

    use super::*;

    #[test]
    fn times_are_shown_as_another_implementation_shows_them() {
        // Every tenth day and then some, until the year 9999.
        for step in 0..290_000_u64 {
            let since = Duration::from_secs(step * 864_000 + step * 7_919 % 864_000);
            let Ok(other) = DateTime::from_unix_duration(since) else { break };
            let shown = rfc3339(UNIX_EPOCH + since, 9);
            assert_eq!(shown.replace(".000000000", ""), other.to_string());
        }
    }

    #[test]
    fn fractions_have_as_many_digits_as_asked_for() {
        let time = UNIX_EPOCH + Duration::new(1_795_951_207, 12_345_678);
        assert_eq!(rfc3339(time, 9), "2026-11-29T11:20:07.012345678Z");
        assert_eq!(rfc3339(time, 6), "2026-11-29T11:20:07.012345Z");
        let before = UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(rfc3339(before, 9), "1970-01-01T00:00:00.000000000Z");
    }
}
