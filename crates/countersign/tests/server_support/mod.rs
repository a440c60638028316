//! What the tests of the server's side share: clients that say exactly what a test wants said, a
//! listener whose connections the test holds, and time that stands still.

#![allow(dead_code, reason = "each test file uses its own part of it")]

pub(crate) mod guests;
#[path = "../support/ports.rs"]
pub(crate) mod ports;
pub(crate) mod time;
pub(crate) mod wire;

use countersign::{Identity, RootCertificates, ServerCredentials};
use countersign_testkit::pki::{Certificate, CertificateAuthority};

/// A certificate as the library takes it.
pub(crate) fn identity(certificate: &Certificate) -> Identity {
    Identity::from_pem(certificate.chain_pem(), certificate.key_pem())
}

/// An authority as the library trusts it.
pub(crate) fn roots(ca: &CertificateAuthority) -> RootCertificates {
    RootCertificates::from_pem(ca.certificate_pem())
}

/// A TLS server called `localhost`, with nothing but defaults.
pub(crate) fn tls_credentials(ca: &CertificateAuthority) -> ServerCredentials {
    ServerCredentials::tls(identity(&ca.server(&["localhost"]))).build().expect("credentials")
}

/// Tasks that live in this runtime.
pub(crate) fn alive_tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}
