//! `axum::serve` over a secured listener.

use std::io;

use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;

use super::{ConnectionInfo, Incoming, ServerIo};
use crate::identity::PeerAddress;

impl axum::serve::Listener for Incoming {
    type Io = ServerIo;
    type Addr = PeerAddress;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let io = self.next_connection().await;
        let address = io.peer().address().clone();
        (io, address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(Incoming::local_addr(self).map_or(PeerAddress::Unknown, PeerAddress::Tcp))
    }
}

impl Connected<IncomingStream<'_, Incoming>> for ConnectionInfo {
    fn connect_info(stream: IncomingStream<'_, Incoming>) -> Self {
        tonic::transport::server::Connected::connect_info(stream.io())
    }
}
