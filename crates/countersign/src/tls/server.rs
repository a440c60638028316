use std::fmt;
use std::sync::Arc;

use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};

use super::client::ALL_VERSIONS;
use super::provider::{ClockAsTime, provider};
use super::resolver::BySni;
use super::tickets::Tickets;
use super::{Alpn, Identity, RootCertificates, TlsConfigError, TlsVersion};
use crate::clock::{Clock, SystemClock};

/// Whether a server asks its clients for certificates.
///
/// The two kinds that ask cannot be written without the roots that judge the answer.
#[derive(Clone, Debug, Default)]
pub struct ClientCertificates {
    mode: Mode,
}

#[derive(Clone, Debug, Default)]
enum Mode {
    #[default]
    None,
    Optional(RootCertificates),
    Required(RootCertificates),
}

impl ClientCertificates {
    /// Clients are not asked. The default.
    pub fn none() -> Self {
        Self { mode: Mode::None }
    }

    /// Clients may show a certificate. One that does not verify against `roots` ends the
    /// connection; a client without one stays unidentified.
    pub fn optional(roots: RootCertificates) -> Self {
        Self { mode: Mode::Optional(roots) }
    }

    /// Clients have to show a certificate that verifies against `roots`.
    ///
    /// ```
    /// # use countersign::{ClientCertificates, RootCertificates};
    /// ClientCertificates::required(RootCertificates::from_pem_file("clients-ca.pem"));
    /// ```
    ///
    /// There are no roots that would do for everybody:
    ///
    /// ```compile_fail,E0061
    /// # use countersign::{ClientCertificates, RootCertificates};
    /// ClientCertificates::required();
    /// ```
    pub fn required(roots: RootCertificates) -> Self {
        Self { mode: Mode::Required(roots) }
    }
}

/// How a server secures its connections; see
/// [`ServerCredentials::tls`](crate::ServerCredentials::tls).
///
/// TLS 1.3 and 1.2, X25519MLKEM768 preferred, ALPN `h2` required.
///
/// Sessions are resumed by tickets that hold them (RFC 8446 §4.6.1, RFC 5077), so that any number
/// of clients can come back and the server keeps nothing but a key. That is its own: it changes
/// after 6 hours and opens nothing after 12, and what is loaded anew has another. Early data is
/// refused. Where client certificates are asked for, no session is resumed, since that would skip
/// their check.
#[must_use = "it does nothing by itself"]
#[derive(Clone)]
pub struct ServerTls {
    identities: Vec<Identity>,
    client_certificates: ClientCertificates,
    versions: Vec<TlsVersion>,
    alpn: Alpn,
    clock: Arc<dyn Clock>,
}

impl ServerTls {
    pub(crate) fn new(identity: Identity) -> Self {
        Self {
            identities: vec![identity],
            client_certificates: ClientCertificates::none(),
            versions: ALL_VERSIONS.to_vec(),
            alpn: Alpn::Required,
            clock: Arc::new(SystemClock),
        }
    }

    /// Adds an identity, shown to clients that ask for a name in its certificate (SNI).
    ///
    /// The first identity of all answers clients that ask for no name or for an unknown one.
    pub fn and_identity(mut self, identity: Identity) -> Self {
        self.identities.push(identity);
        self
    }

    /// Whether to ask clients for certificates. Default: no.
    pub fn client_certificates(mut self, client_certificates: ClientCertificates) -> Self {
        self.client_certificates = client_certificates;
        self
    }

    /// Allows these versions. Default: 1.3 and 1.2.
    pub fn versions(mut self, versions: impl Into<Vec<TlsVersion>>) -> Self {
        self.versions = versions.into();
        self
    }

    /// Judges validity by this clock. Default: the system's.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    pub(crate) fn alpn(mut self, alpn: Alpn) -> Self {
        self.alpn = alpn;
        self
    }

    /// What the sources hold, checked one by one. Blocks on the file system.
    pub(super) fn read(&self) -> Result<Material, TlsConfigError> {
        let identities = self.identities.iter().map(Identity::load).collect::<Result<_, _>>()?;
        let trusted = match &self.client_certificates.mode {
            Mode::None => None,
            Mode::Optional(roots) | Mode::Required(roots) => {
                let mut store = RootCertStore::empty();
                roots.load_into(&mut store)?;
                Some(Arc::new(store))
            }
        };
        Ok(Material { identities, trusted })
    }

    pub(super) fn assemble(&self, material: Material) -> Result<LoadedServerTls, TlsConfigError> {
        let rejected =
            |error: &dyn fmt::Display| TlsConfigError::Rejected { reason: error.to_string() };
        let builder = ServerConfig::builder_with_details(
            provider(),
            Arc::new(ClockAsTime(Arc::clone(&self.clock))),
        )
        .with_protocol_versions(&TlsVersion::rustls(&self.versions))
        .map_err(|error| rejected(&error))?;

        let builder = match &material.trusted {
            None => builder.with_no_client_auth(),
            Some(store) => {
                let mut verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::clone(store), provider());
                if let Mode::Optional(_) = self.client_certificates.mode {
                    verifier = verifier.allow_unauthenticated();
                }
                builder
                    .with_client_cert_verifier(verifier.build().map_err(|error| rejected(&error))?)
            }
        };
        let mut config =
            builder.with_cert_resolver(Arc::new(BySni::new(material.identities.clone())));
        config.alpn_protocols = vec![b"h2".to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        if material.trusted.is_some() {
            config.send_tls13_tickets = 0;
        } else {
            // Whoever comes back brings the session along; a store would have room for so many.
            let tickets =
                Tickets::new(Arc::clone(&self.clock)).map_err(|error| rejected(&error))?;
            config.ticketer = Arc::new(tickets);
            config.send_tls13_tickets = 1;
        }
        Ok(LoadedServerTls {
            config: Arc::new(config),
            alpn: self.alpn,
            clock: Arc::clone(&self.clock),
            material,
        })
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls")
            .field("identities", &self.identities)
            .field("client_certificates", &self.client_certificates)
            .field("versions", &self.versions)
            .finish_non_exhaustive()
    }
}

/// What was read: who the server is, and whom it trusts to name clients.
#[derive(Clone)]
pub(super) struct Material {
    identities: Vec<Arc<CertifiedKey>>,
    trusted: Option<Arc<RootCertStore>>,
}

/// By the certificates: each key belongs to its own, so another key comes with another certificate.
impl PartialEq for Material {
    fn eq(&self, other: &Self) -> bool {
        self.identities.len() == other.identities.len()
            && std::iter::zip(&self.identities, &other.identities)
                .all(|(ours, theirs)| ours.cert == theirs.cert)
            && match (&self.trusted, &other.trusted) {
                (Some(ours), Some(theirs)) => ours.roots == theirs.roots,
                (None, None) => true,
                _ => false,
            }
    }
}

/// [`ServerTls`] with everything read and checked.
#[derive(Clone)]
pub(crate) struct LoadedServerTls {
    pub(super) material: Material,
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) alpn: Alpn,
    pub(crate) clock: Arc<dyn Clock>,
}

impl LoadedServerTls {
    /// Offers HTTP/1.1 after HTTP/2.
    pub(super) fn offer_http1(&mut self) {
        let mut config = ServerConfig::clone(&self.config);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        self.config = Arc::new(config);
    }
}
