//! OAuth 2.0 as a client speaks it: how it proves who it is to an authorization server, and the
//! keys that sign for it.

pub(crate) mod assertion;
mod client_authentication;
mod form;
mod pem_signer;
mod signer;

pub use client_authentication::ClientAuthentication;
pub use pem_signer::{InvalidSigningKey, PemSigner};
pub use signer::{SignError, Signer};

pub(crate) use form::Form;
