use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::watch::CertificateWatch;
use crate::tls::{HandshakeCounters, Identity, ServedTls, ServerTls, TlsConfigError};

/// How a server secures its connections, and how much strangers may ask of it.
///
/// One must be chosen; there is no default and no silent plaintext.
#[derive(Clone)]
pub struct ServerCredentials {
    pub(crate) security: ServerSecurity,
    pub(crate) limits: ServerLimits,
    pub(crate) http1: bool,
    pub(crate) counters: HandshakeCounters,
}

#[derive(Clone)]
pub(crate) enum ServerSecurity {
    Tls(Arc<ServedTls>),
    Local,
    Insecure,
}

impl ServerCredentials {
    /// TLS with this identity; finish with [`ServerTls::build`].
    pub fn tls(identity: Identity) -> ServerTls {
        ServerTls::new(identity)
    }

    /// This machine alone: Unix sockets (`PrivacyAndIntegrity`) and loopback addresses
    /// (`NoSecurity`). A peer from anywhere else is refused.
    pub fn local() -> Self {
        Self::new(ServerSecurity::Local)
    }

    /// Plaintext, spelled out. Anyone on the way reads and changes it.
    pub fn insecure() -> Self {
        Self::new(ServerSecurity::Insecure)
    }

    /// Bounds what strangers may ask. Default: [`ServerLimits::default`].
    #[must_use]
    pub fn limits(mut self, limits: ServerLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Lets HTTP/1.1 in beside HTTP/2, for gRPC-Web and for axum. Default: HTTP/2 only.
    ///
    /// What comes of it is reloaded apart from the credentials that it was made of.
    #[must_use]
    pub fn allow_http1(mut self) -> Self {
        self.http1 = true;
        if let ServerSecurity::Tls(tls) = &mut self.security {
            *tls = Arc::new(tls.with_http1());
        }
        self
    }

    /// Counts handshakes here. Default: counters of its own, see
    /// [`handshakes`](Self::handshakes).
    #[must_use]
    pub fn count_handshakes(mut self, counters: HandshakeCounters) -> Self {
        self.counters = counters;
        self
    }

    /// The counters of all listeners made from these credentials.
    pub fn handshakes(&self) -> &HandshakeCounters {
        &self.counters
    }

    /// Reads certificates, keys and the authorities of clients again; handshakes that begin from
    /// now on use them, on every listener of these credentials and of their clones.
    ///
    /// `true` if something else is in use now; `false` if the certificates are the same, or if
    /// there is no TLS. Everything is read and checked first, and takes its place at once.
    ///
    /// Connections that are open go on with what they began with, even where their client's
    /// authority is trusted no more. Bound their age with `max_connection_age` of tonic's server.
    /// Sessions are not resumed across a change.
    ///
    /// Blocks on the file system. [`watch`](Self::watch) calls it from time to time.
    ///
    /// # Errors
    ///
    /// What cannot be used, for instance a key that does not belong to its certificate because
    /// only one of the two is written yet. What was in use stays in use.
    pub fn reload(&self) -> Result<bool, TlsConfigError> {
        match &self.security {
            ServerSecurity::Tls(tls) => tls.reload(),
            ServerSecurity::Local | ServerSecurity::Insecure => Ok(false),
        }
    }

    /// [Reloads](Self::reload) every 10 s, for as long as what it returns is kept.
    ///
    /// Contents are compared, and not times or names, so it sees what Kubernetes, cert-manager or
    /// an ACME client replaces, whichever way they do. A change is logged at info. What cannot be
    /// used is logged as a warning, at once and every minute, and what was in use stays.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn watch(&self) -> CertificateWatch {
        CertificateWatch::start(self.clone())
    }

    fn new(security: ServerSecurity) -> Self {
        Self {
            security,
            limits: ServerLimits::default(),
            http1: false,
            counters: HandshakeCounters::new(),
        }
    }
}

impl ServerTls {
    /// Reads files and checks everything. Blocks on the file system.
    ///
    /// # Errors
    ///
    /// The first source or setting that cannot be used.
    pub fn build(self) -> Result<ServerCredentials, TlsConfigError> {
        Ok(ServerCredentials::new(ServerSecurity::Tls(Arc::new(ServedTls::load(self)?))))
    }
}

impl fmt::Debug for ServerCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let security = match &self.security {
            ServerSecurity::Tls(_) => "tls",
            ServerSecurity::Local => "local",
            ServerSecurity::Insecure => "insecure",
        };
        f.debug_struct("ServerCredentials")
            .field("security", &security)
            .field("limits", &self.limits)
            .field("handshakes", &self.counters)
            .finish()
    }
}

/// What strangers may ask of a listener before anybody knows who they are.
///
/// An address is an IPv4 address or an IPv6 /64, which is what one customer is given.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerLimits {
    /// Connections open at the same time, those still shaking hands included. Default: 10,000.
    ///
    /// Above it a new one makes another leave: the oldest on which a [`Gate`](crate::Gate) or a
    /// [`PeerInfoLayer`](crate::PeerInfoLayer) never let a call through, or else the oldest on
    /// which they let through nobody but callers without proof, as on public methods; to the
    /// layer, a verified client certificate is the only proof. Where there is neither, and where
    /// nothing ever told one from the other, the new one is closed at once.
    pub max_connections: usize,
    /// The same per address. Default: no limit, since a load balancer is one address.
    pub max_connections_per_address: Option<usize>,
    /// Handshakes at the same time. Above it the *oldest* is cut, so that peers who say nothing
    /// make room for those who do. Default: 1,024.
    pub max_pending_handshakes: usize,
    /// The same per address. Default: 256.
    pub max_pending_handshakes_per_address: usize,
    /// One deadline for the TLS handshake and the HTTP/2 preface together. Default: 10 s.
    pub handshake_timeout: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            max_connections_per_address: None,
            max_pending_handshakes: 1_024,
            max_pending_handshakes_per_address: 256,
            handshake_timeout: Duration::from_secs(10),
        }
    }
}

impl ServerLimits {
    /// Sets [`max_connections`](Self::max_connections).
    #[must_use]
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = connections;
        self
    }

    /// Sets [`max_connections_per_address`](Self::max_connections_per_address).
    #[must_use]
    pub fn max_connections_per_address(mut self, connections: usize) -> Self {
        self.max_connections_per_address = Some(connections);
        self
    }

    /// Sets [`max_pending_handshakes`](Self::max_pending_handshakes). At least 1.
    #[must_use]
    pub fn max_pending_handshakes(mut self, handshakes: usize) -> Self {
        self.max_pending_handshakes = handshakes.max(1);
        self
    }

    /// Sets [`max_pending_handshakes_per_address`](Self::max_pending_handshakes_per_address).
    /// At least 1.
    #[must_use]
    pub fn max_pending_handshakes_per_address(mut self, handshakes: usize) -> Self {
        self.max_pending_handshakes_per_address = handshakes.max(1);
        self
    }

    /// Sets [`handshake_timeout`](Self::handshake_timeout).
    #[must_use]
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake_timeout = timeout;
        self
    }
}
