//! OAuth 2.0 as a client speaks it: how it proves who it is to an authorization server, the keys
//! that sign for it, and the grants that tokens come from.

pub(crate) mod assertion;
mod client_authentication;
mod client_credentials;
mod endpoint;
mod form;
mod jwt_bearer;
mod parameters;
mod pem_signer;
mod refresh_token;
mod self_signed;
mod service_account;
mod signer;
mod store;
mod subject_tokens;
mod token_exchange;

pub use client_authentication::ClientAuthentication;
pub use client_credentials::ClientCredentials;
pub use endpoint::TokenEndpoint;
pub use jwt_bearer::JwtBearer;
pub use pem_signer::{InvalidSigningKey, PemSigner};
pub use refresh_token::RefreshToken;
pub use self_signed::SelfSignedJwt;
pub use service_account::ServiceAccountKey;
pub use signer::{SignError, Signer};
pub use store::{RefreshTokenFile, RefreshTokenStore, StoredToken};
pub use subject_tokens::{OnBehalfOf, SubjectTokens};
pub use token_exchange::{TokenExchange, token_type};

#[cfg(feature = "exec")]
pub(crate) use endpoint::shortened;
pub(crate) use form::Form;
