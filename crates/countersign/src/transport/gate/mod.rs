//! The server's tower layer: nobody reaches a handler unless a rule says so by name.

mod builder;
mod context;
mod denial;
mod service;

pub use builder::{GateBuilder, GateError};
pub use context::{AuthContext, PeerInfoLayer, PeerInfoService, ServerRequestExt};
pub use service::{Gate, GateFuture, GateService};
