//! The header `grpc-timeout`, as the gRPC-over-HTTP/2 specification has it.

use std::time::Duration;

use http::HeaderValue;

pub(super) const GRPC_TIMEOUT: &str = "grpc-timeout";

/// Reads `grpc-timeout`: at most eight digits and a unit.
pub(super) fn parse_timeout(value: &HeaderValue) -> Option<Duration> {
    let text = value.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3_600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

/// Writes `grpc-timeout` in the finest unit that fits eight digits.
pub(super) fn timeout_value(left: Duration) -> HeaderValue {
    const MOST: u128 = 99_999_999;
    let units = [
        (left.as_nanos(), 'n'),
        (left.as_micros(), 'u'),
        (left.as_millis(), 'm'),
        (u128::from(left.as_secs()), 'S'),
        (u128::from(left.as_secs() / 60), 'M'),
    ];
    let (number, unit) = units
        .into_iter()
        .find(|(number, _)| *number <= MOST)
        .unwrap_or((u128::from(left.as_secs() / 3_600).min(MOST), 'H'));
    HeaderValue::from_str(&format!("{number}{unit}")).expect("digits and a letter")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_written_in_the_finest_unit_that_fits() {
        for (left, text) in [
            (Duration::ZERO, "0n"),
            (Duration::from_nanos(99_999_999), "99999999n"),
            (Duration::from_millis(100), "100000u"),
            (Duration::from_secs(100), "100000m"),
            (Duration::from_secs(100_000), "100000S"),
            (Duration::from_secs(1_000_000_000), "16666666M"),
            (Duration::from_secs(100_000_000_000), "27777777H"),
        ] {
            let value = timeout_value(left);
            assert_eq!(value, text);
            let read = parse_timeout(&value).expect("our own");
            assert!(read <= left && left - read < Duration::from_secs(3_600));
        }
    }

    #[test]
    fn what_is_not_a_timeout_is_not_read_as_one() {
        for text in ["", "S", "1", "1s", "123456789S", "-1S", "1.5S", "+1S", " 1S"] {
            assert_eq!(parse_timeout(&HeaderValue::from_static(text)), None, "{text:?}");
        }
    }
}
