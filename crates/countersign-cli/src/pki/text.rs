//! How times, bytes and foreign text look to people.

use std::time::{Duration, SystemTime};

use time::OffsetDateTime;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// `2026-11-29 11:20 UTC`
pub(crate) fn time(time: SystemTime) -> String {
    let time = date_time(time);
    format!(
        "{:04}-{:02}-{:02} {:02}:{:02} UTC",
        time.year(),
        u8::from(time.month()),
        time.day(),
        time.hour(),
        time.minute()
    )
}

/// `2026-11-29T11:20:07Z` (RFC 3339)
pub(crate) fn timestamp(time: SystemTime) -> String {
    let time = date_time(time);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        time.year(),
        u8::from(time.month()),
        time.day(),
        time.hour(),
        time.minute(),
        time.second()
    )
}

/// Times from certificates lie between 1970 and 9999; others are moved to the nearer end.
fn date_time(time: SystemTime) -> OffsetDateTime {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_secs()).ok())
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// A length of time in its largest fitting unit, rounded down: `6 days`, `23 hours`, `1 minute`.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (count, unit) = match seconds {
        DAY.. => (seconds / DAY, "day"),
        HOUR.. => (seconds / HOUR, "hour"),
        MINUTE.. => (seconds / MINUTE, "minute"),
        _ => (seconds, "second"),
    };
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{plural}")
}

/// `9f:2c:…`, every byte.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

/// The first four bytes of a fingerprint, enough to tell two apart by eye.
pub(crate) fn short_hex(bytes: &[u8]) -> String {
    if bytes.len() > 4 { format!("{}:…", hex(&bytes[..4])) } else { hex(bytes) }
}

/// Text that somebody else wrote, safe to show: what moves the cursor, turns the direction of
/// writing or takes no space is shown as an escape.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_deceptive(c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}

fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

/// Rows of cells in columns, two blanks apart. The last column is as wide as it likes.
pub(crate) fn table(rows: &[[&str; 3]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let (first, second) = (width(0).unwrap_or(0), width(1).unwrap_or(0));
    rows.iter()
        .map(|[a, b, c]| format!("{a:first$}  {b:second$}  {c}").trim_end().to_owned())
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_in_utc() {
        let moment = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_951_207);
        assert_eq!(time(moment), "2026-11-29 11:20 UTC");
        assert_eq!(timestamp(moment), "2026-11-29T11:20:07Z");
    }

    #[test]
    fn lengths_of_time_use_their_largest_fitting_unit() {
        let cases = [
            (7 * DAY, "7 days"),
            (2 * DAY - 1, "1 day"),
            (DAY - 1, "23 hours"),
            (HOUR, "1 hour"),
            (HOUR - 1, "59 minutes"),
            (59, "59 seconds"),
            (0, "0 seconds"),
        ];
        for (seconds, shown) in cases {
            assert_eq!(duration(Duration::from_secs(seconds)), shown);
        }
    }

    #[test]
    fn text_that_could_deceive_a_terminal_or_its_reader_is_escaped() {
        assert_eq!(printable("CN=dev\u{1b}[2K CA"), "CN=dev\\u{1b}[2K CA");
        assert_eq!(printable("CN=\u{202e}moc"), "CN=\\u{202e}moc");
        assert_eq!(printable("a\nb"), "a\\u{a}b");
    }

    #[test]
    fn text_in_any_script_is_shown_as_it_is() {
        assert_eq!(printable("CN=Zürich 東京"), "CN=Zürich 東京");
    }

    #[test]
    fn columns_line_up() {
        let shown = table(&[["ca", "dev CA", "ca.pem"], ["valid", "7 days", ""]]);
        assert_eq!(shown, "ca     dev CA  ca.pem\nvalid  7 days");
    }
}
