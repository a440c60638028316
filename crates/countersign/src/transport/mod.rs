//! Where tonic, hyper and tokio meet our own types. The only room that knows them.

pub(crate) mod channel;
#[cfg(feature = "envoy-ratelimit")]
pub(crate) mod envoy_ratelimit;
pub(crate) mod gate;
pub(crate) mod server;
pub(crate) mod status;
mod warnings;

use std::time::Duration;

use tokio::net::TcpStream;
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

/// No delay for small messages, and a dead peer is noticed: after 30 s of silence TCP asks, and
/// on Linux data that nobody acknowledges for 20 s ends the connection.
pub(crate) fn tune_tcp(io: &TcpStream) {
    // None of these is worth failing a connection for.
    let _ = io.set_nodelay(true);
    let socket = socket2::SockRef::from(io);
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(30))
        .with_interval(Duration::from_secs(10));
    let _ = socket.set_tcp_keepalive(&keepalive);
    #[cfg(target_os = "linux")]
    let _ = socket.set_tcp_user_timeout(Some(Duration::from_secs(20)));
}
