use std::net::SocketAddr;

use socket2::{Domain, Socket, Type};
use tokio::net::TcpListener;

/// A port on which nobody listens, and which nobody else can take: connecting is refused.
pub(crate) struct ClosedPort {
    socket: Socket,
}

impl ClosedPort {
    pub(crate) fn new() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let loopback: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        socket.bind(&loopback.into()).expect("bound");
        socket.set_nonblocking(true).expect("not blocking");
        Self { socket }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        let address = self.socket.local_addr().expect("an address");
        address.as_socket().expect("an IP address")
    }

    /// Listens there.
    pub(crate) fn open(self) -> TcpListener {
        self.socket.listen(128).expect("listening");
        TcpListener::from_std(self.socket.into()).expect("inside a runtime")
    }
}
