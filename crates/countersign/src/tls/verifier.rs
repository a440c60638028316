//! Wrappers that watch a handshake without judging it: the judgement is webpki's.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

/// What one handshake showed, kept for the sentence that explains a failure.
#[derive(Debug, Default)]
pub(super) struct Seen {
    server_chain: Mutex<Vec<CertificateDer<'static>>>,
    chain_refused: AtomicBool,
    client_certificate_asked: AtomicBool,
}

impl Seen {
    pub(super) fn server_chain(&self) -> Vec<CertificateDer<'static>> {
        self.server_chain.lock().expect("nothing panics under this lock").clone()
    }

    /// Whether the chain itself was refused, and not a signature made with its key.
    pub(super) fn chain_refused(&self) -> bool {
        self.chain_refused.load(Ordering::Relaxed)
    }

    pub(super) fn client_certificate_asked(&self) -> bool {
        self.client_certificate_asked.load(Ordering::Relaxed)
    }
}

/// Remembers the chain that the server showed, and hands the decision on.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) verifier: Arc<dyn ServerCertVerifier>,
    pub(super) seen: Arc<Seen>,
}

impl ServerCertVerifier for Watched {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain = std::iter::once(end_entity).chain(intermediates);
        *self.seen.server_chain.lock().expect("nothing panics under this lock") =
            chain.map(|certificate| certificate.clone().into_owned()).collect();
        let verified = self.verifier.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        self.seen.chain_refused.store(verified.is_err(), Ordering::Relaxed);
        verified
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

/// Shows our identity when asked, and remembers that it was asked for.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) identity: Option<Arc<CertifiedKey>>,
    pub(super) seen: Arc<Seen>,
}

impl ResolvesClientCert for Shown {
    // The issuers that the server hints at are not looked at: the certificate is the one that
    // the user chose, and the server's refusal of it says more than its absence would.
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        signature_schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        self.seen.client_certificate_asked.store(true, Ordering::Relaxed);
        self.identity
            .clone()
            .filter(|identity| identity.key.choose_scheme(signature_schemes).is_some())
    }

    // Always true, so that `resolve` is called and the asking is seen.
    fn has_certs(&self) -> bool {
        true
    }
}
