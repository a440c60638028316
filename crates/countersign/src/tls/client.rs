use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::failure::{ClientContext, explain_to_client, is_of_tls};
use super::provider::{ClockAsTime, provider};
use super::roots;
use super::verifier::{Seen, Shown, Watched};
use super::{Alpn, Identity, RootCertificates, TlsConfigError, TlsFailure};
use crate::clock::{Clock, SystemClock};
use crate::identity::Authority;

/// A version of TLS. Older ones than these do not exist here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TlsVersion {
    /// RFC 5246, with forward-secret authenticated suites only.
    Tls12,
    /// RFC 8446.
    Tls13,
}

impl TlsVersion {
    pub(super) fn rustls(versions: &[Self]) -> Vec<&'static rustls::SupportedProtocolVersion> {
        versions
            .iter()
            .map(|version| match version {
                Self::Tls12 => &rustls::version::TLS12,
                Self::Tls13 => &rustls::version::TLS13,
            })
            .collect()
    }
}

pub(super) const ALL_VERSIONS: [TlsVersion; 2] = [TlsVersion::Tls13, TlsVersion::Tls12];

/// How a client secures its connections.
///
/// Trusts the operating system's roots when nothing is said. The server's name is always
/// verified; it is the target's host unless [`ClientTls::verified_name`] says another. TLS 1.3
/// and 1.2, X25519MLKEM768 preferred, ALPN `h2` required. Sessions are never resumed, so every
/// connection checks everything.
///
/// Files are read before the first connection, and again before a later one that is made a minute
/// after the last reading: rotated certificates and roots count without a restart, for new
/// connections. While files cannot be used, or a key does not belong to its certificate, the last
/// set that was complete stays, and the log says so.
#[must_use = "it does nothing by itself"]
#[derive(Clone)]
pub struct ClientTls {
    trust: Trust,
    identity: Option<Identity>,
    verified_name: Option<String>,
    versions: Vec<TlsVersion>,
    alpn: Alpn,
    clock: Arc<dyn Clock>,
}

#[derive(Clone, Debug)]
enum Trust {
    System,
    Only(RootCertificates),
    SystemAnd(RootCertificates),
}

impl Default for ClientTls {
    fn default() -> Self {
        Self::system_roots()
    }
}

impl ClientTls {
    /// Trusts the operating system's roots. A system without any is an error, not an empty set.
    pub fn system_roots() -> Self {
        Self {
            trust: Trust::System,
            identity: None,
            verified_name: None,
            versions: ALL_VERSIONS.to_vec(),
            alpn: Alpn::Required,
            clock: Arc::new(SystemClock),
        }
    }

    /// Trusts these roots *instead of* the system's.
    pub fn only_roots(roots: RootCertificates) -> Self {
        Self { trust: Trust::Only(roots), ..Self::system_roots() }
    }

    /// Trusts these roots *and* the system's.
    pub fn system_roots_and(roots: RootCertificates) -> Self {
        Self { trust: Trust::SystemAnd(roots), ..Self::system_roots() }
    }

    /// Shows this certificate to servers that ask for one (mutual TLS).
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// Verifies this name, DNS or IP, rather than the target's host, and asks for it by SNI.
    ///
    /// The `:authority` of calls stays the target's. For a server whose certificate names
    /// something else than what is dialled; it makes a certificate for this name good for the
    /// target.
    pub fn verified_name(mut self, name: impl Into<String>) -> Self {
        self.verified_name = Some(name.into());
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

    /// Reads files and checks everything, as connecting would. Blocks on the file system.
    ///
    /// # Errors
    ///
    /// The first source or setting that cannot be used.
    pub fn check(&self) -> Result<(), TlsConfigError> {
        self.load().map(|_| ())
    }

    /// Blocks on the file system.
    pub(crate) fn load(&self) -> Result<LoadedClientTls, TlsConfigError> {
        let mut store = RootCertStore::empty();
        let mut trusted = Vec::new();
        if let Trust::System | Trust::SystemAnd(_) = &self.trust {
            roots::load_system(&mut store)?;
            trusted.push(format!("the system's {} roots", store.len()));
        }
        if let Trust::Only(roots) | Trust::SystemAnd(roots) = &self.trust {
            let before = store.len();
            roots.load_into(&mut store)?;
            let (count, s) = match store.len() - before {
                1 => (1, ""),
                more => (more, "s"),
            };
            trusted.push(format!("{count} root{s} from {roots:?}"));
        }
        let verified_name = match &self.verified_name {
            None => None,
            Some(name) => Some(
                ServerName::try_from(name.clone())
                    .map_err(|_| TlsConfigError::BadServerName { name: name.clone() })?,
            ),
        };
        let rejected = |reason: String| TlsConfigError::Rejected { reason };
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider())
            .build()
            .map_err(|error| rejected(error.to_string()))?;
        let identity = self.identity.as_ref().map(Identity::load).transpose()?;

        let mut config = ClientConfig::builder_with_details(
            provider(),
            Arc::new(ClockAsTime(Arc::clone(&self.clock))),
        )
        .with_protocol_versions(&TlsVersion::rustls(&self.versions))
        .map_err(|error| rejected(error.to_string()))?
        .with_webpki_verifier(Arc::clone(&verifier))
        .with_no_client_auth();
        config.alpn_protocols = vec![self.alpn.offered().to_vec()];
        // A resumed session skips the verifier, and with it whatever changed since.
        config.resumption = rustls::client::Resumption::disabled();

        Ok(LoadedClientTls {
            config,
            verifier,
            identity,
            verified_name,
            alpn: self.alpn,
            trusted: trusted.join(" and "),
            clock: Arc::clone(&self.clock),
        })
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls")
            .field("trust", &self.trust)
            .field("identity", &self.identity)
            .field("verified_name", &self.verified_name)
            .field("versions", &self.versions)
            .finish_non_exhaustive()
    }
}

/// [`ClientTls`] with everything read and checked.
pub(crate) struct LoadedClientTls {
    config: ClientConfig,
    verifier: Arc<dyn ServerCertVerifier>,
    identity: Option<Arc<CertifiedKey>>,
    verified_name: Option<ServerName<'static>>,
    alpn: Alpn,
    trusted: String,
    clock: Arc<dyn Clock>,
}

impl LoadedClientTls {
    /// What rustls needs for another protocol than HTTP/2, and the name to verify if one was
    /// given. No name of a protocol is offered where it has none.
    #[cfg(any(feature = "postgres", feature = "valkey"))]
    pub(crate) fn for_protocol(
        self,
        alpn: &[&[u8]],
    ) -> (Arc<ClientConfig>, Option<ServerName<'static>>) {
        let mut config = self.config;
        config.dangerous().set_certificate_verifier(self.verifier);
        if let Some(identity) = self.identity {
            let shown = rustls::sign::SingleCertAndKey::from(identity);
            config.client_auth_cert_resolver = Arc::new(shown);
        }
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        (Arc::new(config), self.verified_name)
    }

    /// Prepares one handshake with the server at `authority`.
    pub(crate) fn handshake(
        &self,
        authority: &Authority,
    ) -> Result<ClientHandshake, TlsConfigError> {
        let name = match &self.verified_name {
            Some(name) => name.clone(),
            None => ServerName::try_from(authority.host())
                .map_err(|_| TlsConfigError::BadServerName { name: authority.host() })?,
        };
        let seen = Arc::new(Seen::default());
        let mut config = self.config.clone();
        config.dangerous().set_certificate_verifier(Arc::new(Watched {
            verifier: Arc::clone(&self.verifier),
            seen: Arc::clone(&seen),
        }));
        config.client_auth_cert_resolver =
            Arc::new(Shown { identity: self.identity.clone(), seen: Arc::clone(&seen) });
        Ok(ClientHandshake {
            config: Arc::new(config),
            name,
            seen,
            has_identity: self.identity.is_some(),
            alpn: self.alpn,
            trusted: self.trusted.clone(),
            clock: Arc::clone(&self.clock),
        })
    }
}

/// One handshake, and afterwards the knowledge to explain what the server made of it.
pub(crate) struct ClientHandshake {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    seen: Arc<Seen>,
    has_identity: bool,
    alpn: Alpn,
    trusted: String,
    clock: Arc<dyn Clock>,
}

impl ClientHandshake {
    /// Shakes hands over `io`. Cancel-safe: dropping the future closes `io`.
    ///
    /// With TLS 1.3 success does not mean that the server accepted our certificate: its verdict
    /// is the first thing to be read afterwards, and [`explain`](Self::explain) names it.
    pub(crate) async fn run<S>(&self, io: S) -> Result<TlsStream<S>, TlsFailure>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let stream = TlsConnector::from(Arc::clone(&self.config))
            .connect(self.name.clone(), io)
            .await
            .map_err(|error| self.explain(&error))?;
        match stream.get_ref().1.alpn_protocol() {
            Some(agreed) if agreed == self.alpn.offered() => Ok(stream),
            None if self.alpn != Alpn::Required => Ok(stream),
            _ => Err(TlsFailure::server_without_alpn(self.alpn)),
        }
    }

    /// Explains an error after the handshake, if it is TLS that went wrong: a server's verdict on
    /// our certificate, for instance.
    pub(crate) fn explain_later(&self, error: &io::Error) -> Option<TlsFailure> {
        is_of_tls(error).then(|| self.explain(error))
    }

    /// Explains an error of the handshake, or of the first read after it.
    pub(crate) fn explain(&self, error: &io::Error) -> TlsFailure {
        explain_to_client(
            error,
            &ClientContext {
                name: &self.name,
                server_chain: &self.seen.server_chain(),
                chain_refused: self.seen.chain_refused(),
                asked_for_certificate: self.seen.client_certificate_asked(),
                has_identity: self.has_identity,
                alpn: self.alpn,
                trusted: &self.trusted,
                now: self.clock.now(),
            },
        )
    }
}
