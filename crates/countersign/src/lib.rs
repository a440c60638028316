//! Authentication for gRPC.

pub mod authentication;
pub mod authorization;
pub mod clock;
pub mod credentials;
pub mod danger;
pub mod identity;
pub mod secret;
pub mod tls;
mod transport;

pub use async_trait::async_trait;

pub use authentication::{Authenticator, MutualTls, StaticTokens};
pub use authorization::Rules;
pub use clock::{Clock, SystemClock};
pub use credentials::{
    ApiKey, BearerToken, CallCredentials, ChannelCredentials, CompositeCallCredentials,
    ServerCredentials, ServerLimits,
};
pub use identity::{PeerIdentity, Principal, SecurityLevel};
pub use secret::Secret;
pub use tls::{ClientCertificates, ClientTls, Identity, RootCertificates};
pub use transport::channel::{
    Backoff, Balancing, CallError, CallPhase, Channel, ChannelBuilder, ClientRequestExt,
    ConnectError, ConnectErrorKind, ConnectStage, Keepalive, Resolve, ResponseBody, connect,
    connect_lazy,
};
pub use transport::gate::{
    AuthContext, Gate, GateBuilder, GateError, GateFuture, GateService, PeerInfoLayer,
    PeerInfoService, ServerRequestExt,
};
pub use transport::server::{ConnectionInfo, Drain, Incoming, ServerIo};
