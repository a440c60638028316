//! The server's tower layer: nobody reaches a handler unless a rule says so by name.

mod audit;
mod authorizer;
mod body;
mod builder;
mod challenge;
mod context;
mod decision;
mod denial;
mod details;
mod interface;
mod layer;
mod memory;
mod metering;
mod readiness;
mod service;
mod shared_quota;
mod watch;
mod watching;

pub use body::GateBody;
pub use builder::{GateBuilder, GateError};
pub use context::{AuthContext, PeerInfoLayer, PeerInfoService, ServerRequestExt};
pub use layer::Gate;
pub use service::{GateFuture, GateService};
pub use watching::StreamExpiry;

pub(crate) use memory::Memory;
