//! What our TCP connections have in common, whoever opens them.

use std::time::Duration;

use tokio::net::TcpStream;

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
