//! What callers are told of limits: the items of `RateLimit-Policy` and `RateLimit`
//! (draft-ietf-httpapi-ratelimit-headers-11), structured fields (RFC 9651).

use std::time::Duration;

use super::builder::STREAMS;
use super::rule::{Rule, Unit};

/// The largest integer of a structured field (RFC 9651 §3.3.1).
const LARGEST: u64 = 999_999_999_999_999;

/// `"caller";q=100;w=1;countersign-burst=20`: a hundred in a second, and twenty of them at once.
///
/// Windows are whole seconds there; for others `q` is what a whole number of seconds has.
pub(super) fn policy(rule: &Rule) -> String {
    let limit = rule.limit();
    let per = limit.per().as_nanos();
    let window = per.div_ceil(SECOND);
    let quota = u128::from(limit.rate()) * window * SECOND / per;
    let quota = u64::try_from(quota).unwrap_or(LARGEST).min(LARGEST);
    let window = u64::try_from(window).unwrap_or(LARGEST).min(LARGEST);
    let unit = match rule.unit {
        Unit::Calls => "",
        Unit::Bytes => ";qu=\"content-bytes\"",
    };
    let burst = limit.burst().min(LARGEST);
    format!("{};q={quota}{unit};w={window};countersign-burst={burst}", text(&rule.name))
}

/// `"streams";q=16;qu="concurrent-requests"`.
pub(super) fn streams_policy(most: u32) -> String {
    format!("{};q={most};qu=\"concurrent-requests\"", text(STREAMS))
}

/// `"caller";r=0;t=5`. Who spreads what is left over the window goes at the rate (§6, §8.5).
pub(super) fn available(name: &str, left: u64, window: Option<Duration>) -> String {
    let left = left.min(LARGEST);
    let mut item = format!("{};r={left}", text(name));
    if let Some(window) = window {
        let seconds = window.as_secs().saturating_add(u64::from(window.subsec_nanos() > 0));
        item.push_str(&format!(";t={}", seconds.min(LARGEST)));
    }
    item
}

const SECOND: u128 = 1_000_000_000;

/// A String (RFC 9651 §3.3.3). Names are of visible ASCII, since patterns are.
fn text(name: &str) -> String {
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::super::atomic::Pace;
    use super::super::limit::Limit;
    use super::super::map::WhenFull;
    use super::super::rule::Scope;
    use super::*;

    #[test]
    fn limits_are_told_in_whole_seconds() {
        for (rate, per_ms, burst, unit, told) in [
            (100, 1_000, 20, Unit::Calls, "\"caller\";q=100;w=1;countersign-burst=20"),
            (10, 100, 10, Unit::Calls, "\"caller\";q=100;w=1;countersign-burst=10"),
            (3, 1_500, 3, Unit::Calls, "\"caller\";q=4;w=2;countersign-burst=3"),
            (1, 86_400_000, 1, Unit::Calls, "\"caller\";q=1;w=86400;countersign-burst=1"),
            (
                1 << 20,
                1_000,
                5,
                Unit::Bytes,
                "\"caller\";q=1048576;qu=\"content-bytes\";w=1;countersign-burst=5",
            ),
        ] {
            let limit = Limit::new(rate, Duration::from_millis(per_ms)).expect("a limit");
            let pace = Pace::new(limit.with_burst(burst)).expect("in range");
            let places = (NonZeroUsize::MIN, WhenFull::Refuse);
            let rule = Rule::new("caller".to_owned(), (Scope::Caller, unit), pace, places);
            assert_eq!(policy(&rule), told);
        }
    }

    #[test]
    fn what_is_left_is_told_with_a_window_that_is_rounded_up() {
        let window = |ms: u64| Some(Duration::from_millis(ms));
        assert_eq!(available("caller", 3, window(1_001)), "\"caller\";r=3;t=2");
        assert_eq!(available("caller", 0, window(1_000)), "\"caller\";r=0;t=1");
        assert_eq!(available("streams", u64::MAX, None), "\"streams\";r=999999999999999");
        assert_eq!(available("a\"b\\", 0, None), "\"a\\\"b\\\\\";r=0");
    }
}
