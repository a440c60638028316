use std::time::Duration;

/// Reads a length of time: a whole number and `ms`, `s`, `m`, `h` or `d`, such as `15m`.
///
/// # Errors
///
/// When it is something else, or longer than can be counted.
pub fn length(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (count, unit) = text.split_at(digits);
    let wrong = || format!("{text:?} is no length of time such as `90s`, `15m`, `12h` or `7d`");
    let count: u64 = count.parse().map_err(|_| wrong())?;
    let seconds = |each: u64| count.checked_mul(each).map(Duration::from_secs).ok_or_else(wrong);
    match unit {
        "ms" => Ok(Duration::from_millis(count)),
        "s" => seconds(1),
        "m" => seconds(60),
        "h" => seconds(60 * 60),
        "d" => seconds(24 * 60 * 60),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_a_number_and_a_unit() {
        for (text, seconds) in [("0s", 0), ("90s", 90), ("15m", 900), ("12h", 43_200)] {
            assert_eq!(length(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(length("7d"), Ok(Duration::from_secs(604_800)));
        assert_eq!(length("20ms"), Ok(Duration::from_millis(20)));
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in ["", "15", "m", "-1s", "1.5h", "1 s", "1w", "99999999999999999999s"] {
            assert!(length(text).is_err(), "{text}");
        }
        assert!(length("999999999999999999d").is_err());
    }
}
