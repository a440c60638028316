use std::net::SocketAddr;

use socket2::{Domain, Socket, Type};
use tokio::net::TcpListener;

/// A port on which nobody listens, and which nobody else is given: connecting is refused, until
/// the test listens there, and again when it has stopped. For as long as this is kept.
#[derive(Debug)]
pub(crate) struct ClosedPort {
    socket: Socket,
}

impl ClosedPort {
    pub(crate) fn new() -> Self {
        Self { socket: bound(([127, 0, 0, 1], 0).into()) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        let address = self.socket.local_addr().expect("an address");
        address.as_socket().expect("an IP address")
    }

    /// Listens there.
    pub(crate) fn listen(&self) -> TcpListener {
        let socket = bound(self.address());
        socket.listen(128).expect("listening");
        TcpListener::from_std(socket.into()).expect("inside a runtime")
    }
}

/// A socket that shares its port with others of this kind alone.
fn bound(address: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_reuse_address(true).expect("a socket option");
    #[cfg(unix)]
    socket.set_reuse_port(true).expect("a socket option");
    socket.bind(&address.into()).expect("bound");
    socket.set_nonblocking(true).expect("not blocking");
    socket
}
