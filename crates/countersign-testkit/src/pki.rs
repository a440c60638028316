//! Certificates in memory: an authority, what it issues, and every broken one that a test wants.
//!
//! ```
//! use countersign_testkit::pki::CertificateAuthority;
//!
//! let ca = CertificateAuthority::new("test CA");
//! let server = ca.server(&["localhost", "127.0.0.1"]);
//! let alice = ca.client(&["spiffe://dev/alice"]);
//! let expired = ca.issue().dns("localhost").for_server().expired().build();
//! # assert!(server.chain_pem().starts_with("-----BEGIN CERTIFICATE-----"));
//! # assert_eq!(alice.chain_der().len(), 1);
//! # assert!(expired.not_after() < server.not_before());
//! ```
//!
//! The short forms (`build`, `server`, `client`, `new`) panic on input that no certificate can
//! hold, which in a test is a bug of the test. Programs use `try_build`, which returns a
//! [`PkiError`].
//!
//! Times are whole seconds between the years 1970 and 9999; what lies outside is moved to the
//! nearer end. Where no time is passed in, certificates are valid around the system's time.

mod authority;
mod certificate;
mod error;
mod key;
mod leaf;
mod name;
mod pem;
mod validity;

pub use authority::{CertificateAuthority, CertificateAuthorityBuilder};
pub use certificate::{Certificate, self_signed};
pub use error::PkiError;
pub use key::KeyAlgorithm;
pub use leaf::LeafBuilder;

#[cfg(test)]
mod tests;
