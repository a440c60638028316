//! Which of several identities a server shows.

use std::fmt;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, ServerName};

/// Picks by the name that the client asks for; the first identity answers everyone else.
///
/// Among the identities that are valid for the name, the first whose key can sign in a way that
/// the client understands. Where none can, the first of all is handed to rustls, which then finds
/// the mismatch and says what it is; handing it nothing would only say that there was nothing.
pub(super) struct BySni {
    identities: Vec<Arc<CertifiedKey>>,
}

impl BySni {
    pub(super) fn new(identities: Vec<Arc<CertifiedKey>>) -> Self {
        Self { identities }
    }

    fn pick(&self, hello: &ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // There is nothing to choose, and so nothing to look for in the certificate.
        if let [only] = self.identities.as_slice() {
            return Some(Arc::clone(only));
        }
        let can_sign = |identity: &&Arc<CertifiedKey>| {
            identity.key.choose_scheme(hello.signature_schemes()).is_some()
        };
        let named = hello.server_name().and_then(|name| {
            let name = ServerName::try_from(name).ok()?;
            self.identities
                .iter()
                .filter(|identity| leaf_is_valid_for(&identity.cert[0], &name))
                .find(can_sign)
        });
        named
            .or_else(|| self.identities.iter().find(can_sign))
            .or_else(|| self.identities.first())
            .cloned()
    }
}

impl ResolvesServerCert for BySni {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.pick(&hello)
    }
}

impl fmt::Debug for BySni {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BySni({} identities)", self.identities.len())
    }
}

/// Whether a leaf certificate speaks for `name`. Only its own names count, never its issuers'.
pub(crate) fn leaf_is_valid_for(leaf: &CertificateDer<'_>, name: &ServerName<'_>) -> bool {
    webpki::EndEntityCert::try_from(leaf)
        .and_then(|leaf| leaf.verify_is_valid_for_subject_name(name))
        .is_ok()
}
