//! Authentication for gRPC: who is calling, how do we know, and what may they do?
//!
//! Both ends of a call, on rustls and tonic:
//!
//! * A client connects with [`ChannelCredentials`], and its calls carry [`CallCredentials`]:
//!   [`connect`], [`Channel`], [`ClientRequestExt`].
//! * A server listens with [`ServerCredentials`] and stands a [`Gate`] before its services:
//!   [`Incoming`], [`Authenticator`], [`Rules`], [`ServerRequestExt`]. The gate may ask a
//!   [policy](authorization::Policy), count by a [quota](quota::Quota), and leave a
//!   [record](audit) of each decision.
//! * What fails says why: [`ConnectError`], [`CallError`], and on the server one log line and
//!   one counter ([`tls::HandshakeCounters`]).
//!
//! The [book](https://github.com/countersign/countersign/blob/main/docs/book/src/SUMMARY.md) begins
//! with a first server in ten minutes, and ends with an index of errors.
//!
//! Host names are always verified; what lowers safety is in [`danger`]. Nothing here reads the
//! environment, registers anything process-wide, or spawns a task from a constructor.
//!
//! # A server
//!
//! ```no_run
//! use countersign::{Gate, Identity, MutualTls, Rules, ServerCredentials, StaticTokens};
//! # use countersign::{ClientCertificates, RootCertificates};
//!
//! # async fn serve(greeter: tonic::service::Routes) -> Result<(), Box<dyn std::error::Error>> {
//! let credentials = ServerCredentials::tls(Identity::from_pem_files("server.pem", "server.key"))
//!     .client_certificates(ClientCertificates::optional(RootCertificates::from_pem_file("ca.pem")))
//!     .build()?;
//! let gate = Gate::builder()
//!     .authenticate(StaticTokens::from_file("tokens.json")?)
//!     .authenticate(MutualTls::new())
//!     .authorize(Rules::new().health_is_public().authenticated("/helloworld.Greeter/*"))
//!     .build()?;
//! countersign::server_builder()
//!     .layer(gate)
//!     .add_routes(greeter)
//!     .serve_with_incoming(credentials.bind("0.0.0.0:8443").await?)
//!     .await?;
//! # Ok(())
//! # }
//! ```
//!
//! # A client
//!
//! ```no_run
//! use countersign::{BearerToken, ChannelCredentials, ClientTls, connect};
//!
//! # async fn call() -> Result<(), Box<dyn std::error::Error>> {
//! let credentials = ChannelCredentials::tls(ClientTls::system_roots())
//!     .with_call_credentials(BearerToken::from_file("/run/secrets/token"));
//! let channel = connect("https://orders.example:8443", credentials).await?;
//! // let mut orders = OrdersClient::new(channel);
//! # drop(channel);
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! * `system-roots` (default): trust the operating system's certificate store when no roots are
//!   given.
//! * `axum`: `axum::serve` over [`Incoming`].
//! * `exec`: `credentials::ExecPlugin`, a token source that runs a program.
//! * `sqlite`, `postgres`: [API keys](authentication::api_keys) in a database.
//! * `opentelemetry`: [audit] events as OpenTelemetry log records.
//! * `toml`, `yaml`: policies in TOML and YAML; `cel`: policies with CEL conditions.
//! * `valkey`, `envoy-ratelimit`: [quotas that several gates share](quota::store).

pub mod audit;
pub mod authentication;
pub mod authorization;
mod causes;
pub mod clock;
pub mod credentials;
pub mod danger;
mod digest;
pub mod fetch;
#[cfg(all(test, unix))]
mod fifo;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod identity;
mod jose;
pub mod quota;
pub mod secret;
mod tcp;
pub mod tls;
mod transport;
mod warnings;

pub use async_trait::async_trait;

pub use authentication::jwt::{Issuer, Jwt};
pub use authentication::{Authenticator, Introspection, MutualTls, StaticTokens};
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
#[cfg(feature = "envoy-ratelimit")]
pub use transport::envoy_ratelimit::EnvoyRateLimit;
pub use transport::gate::{
    AuthContext, Gate, GateBody, GateBuilder, GateError, GateFuture, GateService, PeerInfoLayer,
    PeerInfoService, ServerRequestExt, StreamExpiry,
};
pub use transport::server::{
    ConnectionInfo, Drain, Incoming, PerCore, ServerIo, Worker, WorkerError, Workers,
    server_builder,
};

/// The README's programs compile.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

/// The book's programs compile.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/book/src/tokens.md")]
#[doc = include_str!("../../../docs/book/src/issuer-recipes.md")]
#[doc = include_str!("../../../docs/book/src/other-sdks.md")]
#[doc = include_str!("../../../docs/book/src/api-keys.md")]
#[doc = include_str!("../../../docs/book/src/policy.md")]
#[doc = include_str!("../../../docs/book/src/audit.md")]
#[doc = include_str!("../../../docs/book/src/quotas.md")]
struct Book;

/// The programs of the book that need a feature.
#[cfg(all(doctest, feature = "valkey", feature = "envoy-ratelimit"))]
#[doc = include_str!("../../../docs/book/src/shared-quotas.md")]
struct BookOfFleets;
