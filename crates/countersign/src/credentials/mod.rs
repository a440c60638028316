//! What each end brings to a call: channel and server credentials per connection, call
//! credentials per RPC.

mod api_key;
mod bearer;
mod cache;
mod call;
mod channel;
mod composite;
mod dpop;
mod metadata;
pub mod oauth;
mod per_authority;
mod rejection;
mod server;
mod sources;
mod watch;

pub use api_key::ApiKey;
pub use bearer::BearerToken;
pub use cache::{
    CachedToken, CachedTokenBuilder, FetchedToken, KeepWarm, RefreshWindows, TokenError,
    TokenRequest, TokenScope, TokenSource, TokenTelemetry,
};
pub use call::{
    CallCredentials, CallCredentialsError, CallCredentialsErrorKind, CallDetails,
    ChannelSecurityInfo,
};
pub use channel::{CarriesCallCredentials, ChannelCredentials, Insecure, Local, Tls};
pub use composite::CompositeCallCredentials;
pub use dpop::{DpopKey, DpopToken};
pub use metadata::{CallMetadata, InvalidMetadata};
pub use per_authority::PerAuthority;
pub use rejection::Rejection;
pub use server::{ServerCredentials, ServerLimits};
#[cfg(feature = "exec")]
pub use sources::ExecPlugin;
pub use sources::{FileToken, FixedToken};
pub use watch::CertificateWatch;

pub(crate) use api_key::API_KEY;
pub(crate) use cache::unreached;
pub(crate) use channel::{AnyChannelCredentials, ChannelSecurity};
pub(crate) use server::ServerSecurity;
