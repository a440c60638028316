//! The server's tower layer: nobody reaches a handler unless a rule says so by name.

mod builder;
mod challenge;
mod context;
mod decision;
mod denial;
mod details;
mod judged;
mod layer;
mod memory;
mod service;

pub use builder::{GateBuilder, GateError};
pub use context::{AuthContext, PeerInfoLayer, PeerInfoService, ServerRequestExt};
pub use layer::Gate;
pub use service::{GateFuture, GateService};

pub(crate) use memory::Memory;
