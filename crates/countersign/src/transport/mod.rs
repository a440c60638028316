//! Where tonic, hyper and tokio meet our own types. The only room that knows them.

pub(crate) mod channel;
#[cfg(feature = "envoy-ratelimit")]
pub(crate) mod envoy_ratelimit;
pub(crate) mod gate;
pub(crate) mod server;
pub(crate) mod status;

pub(crate) use crate::warnings;

use std::time::Duration;

use tokio::time::Instant;

/// A setting by which our listener tells our channel that it came in plaintext to a port that
/// speaks TLS. Unknown to everybody else, and so ignored (RFC 9113 §6.5.2); from the range for
/// experimental use.
pub(crate) const SPEAKS_TLS_SETTING: u16 = 0xf0c5;

/// The instant after so long, or after what is as good as for ever: a duration of anybody's
/// choice must not overflow.
pub(crate) fn instant_after(duration: Duration) -> Instant {
    const FOR_EVER: Duration = Duration::from_secs(30 * 365 * 86_400);
    let now = Instant::now();
    now.checked_add(duration.min(FOR_EVER)).unwrap_or(now)
}
