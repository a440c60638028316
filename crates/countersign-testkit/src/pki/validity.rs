//! From when until when a certificate is valid.

use std::time::{Duration, SystemTime};

use time::OffsetDateTime;

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The last second that a certificate can name: 9999-12-31 23:59:59 UTC (RFC 5280 §4.1.2.5).
const LAST_SECOND: u64 = 253_402_300_799;

/// Both ends belong to the time in which the certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
}

impl Validity {
    /// Cut to what a certificate can say, so that getters and certificate agree.
    pub(super) fn new(not_before: SystemTime, not_after: SystemTime) -> Self {
        Self { not_before: whole_seconds(not_before), not_after: whole_seconds(not_after) }
    }

    pub(super) fn authority_default() -> Self {
        let now = now();
        Self::new(now - HOUR, now + 3650 * DAY)
    }

    pub(super) fn self_signed_default() -> Self {
        let now = now();
        Self::new(now - HOUR, now + 30 * DAY)
    }

    /// A week around the system's time, within the authority's own life. An authority that lives
    /// at another time (a test that moves its clock) shares its whole life.
    pub(super) fn leaf_default(authority: Self) -> Self {
        let now = now();
        let week =
            Self::new(authority.not_before.max(now - HOUR), authority.not_after.min(now + 7 * DAY));
        if week.not_before < week.not_after { week } else { authority }
    }

    pub(super) fn expired() -> Self {
        let now = now();
        Self::new(now - 2 * DAY, now - DAY)
    }

    pub(super) fn not_yet_valid() -> Self {
        let now = now();
        Self::new(now + DAY, now + 8 * DAY)
    }

    /// `notBefore` and `notAfter` in rcgen's type.
    pub(super) fn bounds(self) -> (OffsetDateTime, OffsetDateTime) {
        (date_time(self.not_before), date_time(self.not_after))
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a certificate for which a test names no time is valid around the system's"
)]
fn now() -> SystemTime {
    SystemTime::now()
}

fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs().min(LAST_SECOND))
}

fn whole_seconds(time: SystemTime) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(unix_seconds(time))
}

fn date_time(time: SystemTime) -> OffsetDateTime {
    i64::try_from(unix_seconds(time))
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .expect("cut to the years from 1970 to 9999")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_cut_to_whole_seconds() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_999);
        let validity = Validity::new(time, time);
        assert_eq!(validity.not_before, SystemTime::UNIX_EPOCH + Duration::from_secs(1));
    }

    #[test]
    fn times_that_no_certificate_can_name_move_to_the_nearer_end() {
        let validity = Validity::new(
            SystemTime::UNIX_EPOCH - DAY,
            SystemTime::UNIX_EPOCH + Duration::from_secs(LAST_SECOND) + DAY,
        );
        let (not_before, not_after) = validity.bounds();
        assert_eq!(not_before.year(), 1970);
        assert_eq!(not_after.year(), 9999);
    }

    #[test]
    fn a_leaf_of_a_short_lived_authority_ends_with_it() {
        let authority = Validity::new(now() - HOUR, now() + DAY);
        assert_eq!(Validity::leaf_default(authority).not_after, authority.not_after);
    }

    #[test]
    fn a_leaf_of_an_authority_of_another_time_shares_its_life() {
        let authority = Validity::new(SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH + DAY);
        assert_eq!(Validity::leaf_default(authority), authority);
    }
}
