//! Times in tokens: seconds since 1970, with or without a fraction (RFC 7519 §2).

use std::time::{Duration, SystemTime};

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::pki::text;

/// The time that a claim says, if a clock can show it.
pub(super) fn of(claim: &Value) -> Option<SystemTime> {
    let since = Duration::try_from_secs_f64(claim.as_f64()?).ok()?;
    let latest = Duration::from_secs(253_402_300_799);
    (since <= latest).then(|| SystemTime::UNIX_EPOCH + since)
}

/// `2026-11-29T11:20:07Z (in 41 minutes)`
pub(super) fn shown(time: SystemTime, now: SystemTime) -> String {
    format!("{} ({})", text::timestamp(time), apart(time, now))
}

/// `in 41 minutes`, `14 minutes ago`
pub(super) fn apart(time: SystemTime, now: SystemTime) -> String {
    match time.duration_since(now) {
        Ok(ahead) if ahead.is_zero() => "now".to_owned(),
        Ok(ahead) => format!("in {}", text::duration(ahead)),
        Err(behind) => format!("{} ago", text::duration(behind.duration())),
    }
}

/// Reads a time from the command line: RFC 3339, or seconds since 1970.
pub(super) fn parse(text: &str) -> Result<SystemTime, String> {
    if let Ok(seconds) = text.parse::<u32>() {
        return Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.into()));
    }
    OffsetDateTime::parse(text, &Rfc3339)
        .map(SystemTime::from)
        .map_err(|_| format!("{text:?} is no time such as 2026-11-29T11:20:07Z or 1795951207"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn claims_are_times_if_a_clock_can_show_them() {
        let at = |seconds| Some(SystemTime::UNIX_EPOCH + Duration::from_secs_f64(seconds));
        assert_eq!(of(&json!(1_795_951_207)), at(1_795_951_207.0));
        assert_eq!(of(&json!(1.5)), at(1.5));
        for claim in [json!(-1), json!(1e300), json!("1"), json!(null), json!(253_402_300_800_u64)]
        {
            assert_eq!(of(&claim), None, "{claim}");
        }
    }

    #[test]
    fn times_on_the_command_line_have_two_forms() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_951_207);
        assert_eq!(parse("1795951207"), Ok(time));
        assert_eq!(parse("2026-11-29T11:20:07Z"), Ok(time));
        assert_eq!(parse("2026-11-29T12:20:07+01:00"), Ok(time));
        for text in ["", "tomorrow", "-1", "2026-11-29"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn how_far_off_a_time_is_has_a_direction() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        assert_eq!(apart(now + Duration::from_secs(120), now), "in 2 minutes");
        assert_eq!(apart(now - Duration::from_secs(1), now), "1 second ago");
        assert_eq!(apart(now, now), "now");
    }
}
