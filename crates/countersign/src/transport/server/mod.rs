//! The server's listener: who may connect, how long that may take, and what is known afterwards.

mod answer;
mod budget;
mod drain;
mod handshake;
mod incoming;
mod io;
mod rewind;
mod warnings;

#[cfg(feature = "axum")]
mod axum;

pub use drain::Drain;
pub use incoming::Incoming;
pub use io::{ConnectionInfo, ServerIo};
