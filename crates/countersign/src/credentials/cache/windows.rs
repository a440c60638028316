use std::time::Duration;

use super::backoff::chance;

/// When a token is replaced, counted back from its end.
///
/// In the advisory window a call sets off a fetch and goes on with the token that is there. In
/// the mandatory window calls wait for the fetch; if it fails they go on with the token too, as
/// long as it lasts. Nothing happens while there are no calls.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct RefreshWindows {
    /// The advisory window as a part of the token's lifetime. Default: 0.2.
    pub advisory_share: f64,
    /// The shortest advisory window. Default: 10 s, and never more than half the lifetime.
    pub advisory_least: Duration,
    /// The longest advisory window. Default: 5 min.
    pub advisory_most: Duration,
    /// By how much at most an advisory window is cut short at random, as a part of it, so that
    /// a fleet that started together does not refresh together. Default: 0.25.
    pub jitter: f64,
    /// The mandatory window as a part of the token's lifetime. Default: 0.1.
    pub mandatory_share: f64,
    /// The longest mandatory window. Default: 30 s (gRFC A97).
    pub mandatory_most: Duration,
}

impl Default for RefreshWindows {
    fn default() -> Self {
        Self {
            advisory_share: 0.2,
            advisory_least: Duration::from_secs(10),
            advisory_most: Duration::from_secs(5 * 60),
            jitter: 0.25,
            mandatory_share: 0.1,
            mandatory_most: Duration::from_secs(30),
        }
    }
}

impl RefreshWindows {
    /// gRFC A97's: advisory in the minute before the last 30 s, mandatory in those, whatever the
    /// lifetime. For a file, which costs little to read and is rewritten by somebody else.
    pub fn file() -> Self {
        Self {
            advisory_share: 1.0,
            advisory_least: Duration::ZERO,
            advisory_most: Duration::from_secs(90),
            jitter: 0.0,
            mandatory_share: 1.0,
            mandatory_most: Duration::from_secs(30),
        }
    }

    /// The two windows of one token, with the jitter drawn.
    pub(super) fn of(&self, lifetime: Duration) -> Windows {
        let share = |share: f64| lifetime.mul_f64(share.clamp(0.0, 1.0));
        // Of a token that lasts ten seconds, ten seconds would be all of it: then each call
        // sets off the next fetch as soon as the last one is done.
        let least = self.advisory_least.min(lifetime / 2);
        let advisory = share(self.advisory_share).min(self.advisory_most).max(least);
        let advisory = advisory.mul_f64(1.0 - self.jitter.clamp(0.0, 1.0) * chance());
        let mandatory = share(self.mandatory_share).min(self.mandatory_most);
        Windows { advisory, mandatory }
    }
}

/// The windows of one token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Windows {
    advisory: Duration,
    mandatory: Duration,
}

/// Where a token stands on the way to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Fresh,
    Advisory,
    Mandatory,
    Expired,
}

impl Windows {
    /// How long the phase lasts in which so much is left; nothing of the last one.
    pub(super) fn phase_lasts(&self, left: Duration) -> Duration {
        left - match self.phase(left) {
            Phase::Fresh => self.advisory.max(self.mandatory),
            Phase::Advisory => self.mandatory,
            Phase::Mandatory | Phase::Expired => Duration::ZERO,
        }
    }

    pub(super) fn phase(&self, left: Duration) -> Phase {
        if left.is_zero() {
            Phase::Expired
        } else if left <= self.mandatory {
            Phase::Mandatory
        } else if left <= self.advisory {
            Phase::Advisory
        } else {
            Phase::Fresh
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn unjittered() -> RefreshWindows {
        RefreshWindows { jitter: 0.0, ..RefreshWindows::default() }
    }

    #[test]
    fn windows_are_shares_of_the_lifetime_between_their_bounds() {
        for (lifetime, advisory, mandatory) in [
            (seconds(86_400), seconds(300), seconds(30)),
            (seconds(3_600), seconds(300), seconds(30)),
            (seconds(300), seconds(60), seconds(30)),
            (seconds(100), seconds(20), seconds(10)),
            (seconds(30), seconds(10), seconds(3)),
            (seconds(10), seconds(5), seconds(1)),
            (seconds(1), Duration::from_millis(500), Duration::from_millis(100)),
        ] {
            let windows = unjittered().of(lifetime);
            assert_eq!(windows, Windows { advisory, mandatory }, "{lifetime:?}");
        }
    }

    #[test]
    fn jitter_cuts_a_window_by_a_quarter_at_most() {
        let mut seen = std::collections::HashSet::new();
        for _ in 0..200 {
            let windows = RefreshWindows::default().of(seconds(3_600));
            assert!((seconds(225)..=seconds(300)).contains(&windows.advisory), "{windows:?}");
            seen.insert(windows.advisory);
        }
        assert!(seen.len() > 100, "200 tokens share {} windows", seen.len());
    }

    #[test]
    fn a_token_walks_through_its_phases() {
        let windows = unjittered().of(seconds(3_600));
        for (left, phase) in [
            (3_600, Phase::Fresh),
            (301, Phase::Fresh),
            (300, Phase::Advisory),
            (31, Phase::Advisory),
            (30, Phase::Mandatory),
            (1, Phase::Mandatory),
            (0, Phase::Expired),
        ] {
            assert_eq!(windows.phase(seconds(left)), phase, "{left} s left");
        }
        for (left, lasts) in [(3_600, 3_300), (300, 270), (31, 1), (30, 30), (1, 1), (0, 0)] {
            assert_eq!(windows.phase_lasts(seconds(left)), seconds(lasts), "{left} s left");
        }
    }

    #[test]
    fn a_token_file_has_the_numbers_of_a97() {
        let windows = RefreshWindows::file().of(seconds(7_200));
        assert_eq!(windows, Windows { advisory: seconds(90), mandatory: seconds(30) });
    }
}
