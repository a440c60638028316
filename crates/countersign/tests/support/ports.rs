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

/// A port for a server that cannot be told to choose one itself: nobody else gets it while this
/// lives, and the server can take it and come back to it.
pub(crate) struct HeldPort {
    port: u16,
    /// Bound, and never listening. On Linux, whoever asks to share the address as well may listen
    /// there, as servers do, and the system gives the port to nobody who asks for any.
    _socket: Option<Socket>,
}

impl HeldPort {
    pub(crate) fn new() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_reuse_address(true).expect("a socket option");
        let loopback: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        socket.bind(&loopback.into()).expect("bound");
        let address = socket.local_addr().expect("an address");
        let port = address.as_socket().expect("an IP address").port();
        // Elsewhere an address that is bound is taken.
        Self { port, _socket: cfg!(target_os = "linux").then_some(socket) }
    }

    pub(crate) fn number(&self) -> u16 {
        self.port
    }
}
