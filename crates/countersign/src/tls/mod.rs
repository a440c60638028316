//! Certificates and keys, trust, and what a handshake has to say. The room that knows rustls.
//!
//! Host names are always verified. What lowers that is in [`danger`](crate::danger).

mod alpn;
mod certificate;
mod client;
mod error;
mod failure;
mod files;
mod identity;
mod provider;
mod reloaded;
mod resolver;
mod roots;
mod served;
mod server;
mod telemetry;
mod tickets;
mod verifier;

pub use client::{ClientTls, TlsVersion};
pub use error::TlsConfigError;
pub use failure::{TlsFailure, TlsFailureKind};
pub use identity::Identity;
pub use roots::RootCertificates;
pub(crate) use server::LoadedServerTls;
pub use server::{ClientCertificates, ServerTls};
pub use telemetry::{HandshakeCounters, HandshakeResult, Resumption, Side};

pub(crate) use alpn::Alpn;
pub(crate) use certificate::shared_certificate;
pub(crate) use client::{ClientHandshake, LoadedClientTls};
pub(crate) use failure::explain_to_server;
pub(crate) use provider::tls_facts;
pub(crate) use reloaded::{NotLoaded, ReloadedClientTls};
pub(crate) use resolver::leaf_is_valid_for;
pub(crate) use served::ServedTls;
