//! What our TCP connections have in common, whoever opens them.

use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

/// How long data may stay unacknowledged. Set last, so that who has it has the rest too.
#[cfg(target_os = "linux")]
const USER_TIMEOUT: Duration = Duration::from_secs(20);

/// No delay for small messages, and a dead peer is noticed: after 30 s of silence TCP asks, and
/// on Linux data that nobody acknowledges for 20 s ends the connection.
pub(crate) fn tune_tcp(io: &TcpStream) {
    tune(&socket2::SockRef::from(io));
}

/// Spares accepted connections the calls: on Linux they have from the beginning what their
/// listener has.
pub(crate) fn tune_listener(listener: &TcpListener) {
    #[cfg(target_os = "linux")]
    tune(&socket2::SockRef::from(listener));
    #[cfg(not(target_os = "linux"))]
    let _ = listener;
}

/// The same as [`tune_tcp`], for a connection that was accepted. One that the system queued
/// before its listener was tuned has none of it.
pub(crate) fn tune_accepted(io: &TcpStream) {
    #[cfg(target_os = "linux")]
    if socket2::SockRef::from(io).tcp_user_timeout().is_ok_and(|set| set == Some(USER_TIMEOUT)) {
        return;
    }
    tune_tcp(io);
}

fn tune(socket: &socket2::SockRef<'_>) {
    // None of these is worth failing a connection for.
    let _ = socket.set_tcp_nodelay(true);
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(30))
        .with_interval(Duration::from_secs(10));
    let _ = socket.set_tcp_keepalive(&keepalive);
    #[cfg(target_os = "linux")]
    let _ = socket.set_tcp_user_timeout(Some(USER_TIMEOUT));
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    fn is_tuned(io: &TcpStream) -> bool {
        let socket = socket2::SockRef::from(io);
        let keepalive = (socket.keepalive(), socket.tcp_keepalive_time());
        let interval = socket.tcp_keepalive_interval().expect("an option");
        matches!(keepalive, (Ok(true), Ok(time)) if time == Duration::from_secs(30))
            && interval == Duration::from_secs(10)
            && socket.tcp_user_timeout().expect("an option") == Some(USER_TIMEOUT)
            && io.nodelay().expect("an option")
    }

    #[tokio::test]
    async fn what_is_accepted_is_tuned_whenever_it_was_queued() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let address = listener.local_addr().expect("an address");
        let _early = TcpStream::connect(address).await.expect("connected");
        tune_listener(&listener);
        let _late = TcpStream::connect(address).await.expect("connected");
        let (early, _) = listener.accept().await.expect("accepted");
        let (late, _) = listener.accept().await.expect("accepted");
        assert!(!is_tuned(&early), "queued before its listener was tuned");
        assert!(is_tuned(&late), "has its listener's options");
        tune_accepted(&early);
        tune_accepted(&late);
        assert!(is_tuned(&early) && is_tuned(&late));
    }
}
