//! The server's listener: who may connect, how long that may take, and what is known afterwards.

mod answer;
mod budget;
mod drain;
mod handshake;
mod incoming;
mod io;
mod per_core;
mod rewind;

#[cfg(feature = "axum")]
mod axum;

pub use drain::Drain;
pub use incoming::Incoming;
pub(crate) use io::connection_info;
pub use io::{ConnectionInfo, ServerIo};
pub use per_core::{PerCore, Worker, WorkerError, Workers};

/// tonic's server builder, with the bounds that it leaves open.
///
/// At most 200 streams at once on a connection, 1,024 streams reset for errors before it is
/// closed (RUSTSEC-2024-0003), 32 KiB of headers, which is room for the longest token, and a ping
/// after two minutes of silence, so that a peer that is gone gives its place back. Each may be
/// set again.
pub fn server_builder() -> tonic::transport::Server {
    tonic::transport::Server::builder()
        .max_concurrent_streams(200)
        .http2_max_local_error_reset_streams(Some(1024))
        .http2_max_header_list_size(32 * 1024)
        .http2_keepalive_interval(Some(std::time::Duration::from_secs(120)))
}
