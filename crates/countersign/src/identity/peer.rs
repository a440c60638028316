use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use rustls_pki_types::CertificateDer;

use crate::identity::{Principal, SecurityLevel, SpiffeId};

/// What is known of the other end of one connection.
///
/// Parsed once, when the connection is accepted, and shared by all its calls; it never changes
/// while the connection lives. Cloning is one atomic increment.
#[derive(Clone, Debug)]
pub struct PeerIdentity {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    address: PeerAddress,
    local: Option<SocketAddr>,
    level: SecurityLevel,
    tls: Option<TlsFacts>,
    /// Most peers show none, so it is not kept here.
    certificate: Option<Box<PeerCertificate>>,
}

impl PeerIdentity {
    pub(crate) fn new(
        address: PeerAddress,
        local: Option<SocketAddr>,
        level: SecurityLevel,
        tls: Option<TlsFacts>,
        certificate: Option<PeerCertificate>,
    ) -> Self {
        let certificate = certificate.map(Box::new);
        Self { inner: Arc::new(Inner { address, local, level, tls, certificate }) }
    }

    /// A peer of which nothing is known: no address, no protection, no certificate.
    ///
    /// The gate uses it for calls that come over a connection that is not ours, so that what
    /// cannot be told counts for nothing.
    pub fn unknown() -> Self {
        Self::new(PeerAddress::Unknown, None, SecurityLevel::NoSecurity, None, None)
    }

    /// Where the peer is.
    pub fn address(&self) -> &PeerAddress {
        &self.inner.address
    }

    /// The address on which the connection was accepted, for TCP.
    pub fn local_address(&self) -> Option<SocketAddr> {
        self.inner.local
    }

    /// How well the connection protects what is sent over it.
    pub fn security_level(&self) -> SecurityLevel {
        self.inner.level
    }

    /// What TLS negotiated; `None` without TLS.
    pub fn tls(&self) -> Option<&TlsFacts> {
        self.inner.tls.as_ref()
    }

    /// The peer's certificate. `Some` only if its chain was verified.
    pub fn certificate(&self) -> Option<&PeerCertificate> {
        self.inner.certificate.as_deref()
    }

    /// The SPIFFE ID in the verified certificate, if it has one.
    pub fn spiffe_id(&self) -> Option<&SpiffeId> {
        self.certificate().and_then(PeerCertificate::spiffe_id)
    }
}

/// Where a peer is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerAddress {
    /// A TCP peer.
    Tcp(SocketAddr),
    /// A process on this machine, as the kernel names it.
    Unix(UnixPeer),
    /// Not told by the transport.
    Unknown,
}

impl PeerAddress {
    /// The IP address of a TCP peer.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp(address) => Some(address.ip()),
            Self::Unix(_) | Self::Unknown => None,
        }
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(peer) => peer.fmt(f),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

/// The process at the other end of a Unix socket (`SO_PEERCRED`), as it was when it connected.
///
/// Each part is `None` where the kernel does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnixPeer {
    /// Effective user.
    pub uid: Option<u32>,
    /// Effective group.
    pub gid: Option<u32>,
    /// Process. It may have ended, and its number may be in use again: never decide on it.
    pub pid: Option<i32>,
}

impl fmt::Display for UnixPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unix")?;
        for (name, value) in [("uid", self.uid.map(i64::from)), ("pid", self.pid.map(i64::from))] {
            if let Some(value) = value {
                write!(f, ":{name}={value}")?;
            }
        }
        Ok(())
    }
}

/// What a TLS handshake settled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsFacts {
    /// `TLSv1.3` or `TLSv1.2`.
    pub version: &'static str,
    /// For instance `TLS13_AES_256_GCM_SHA384`.
    pub cipher_suite: &'static str,
    /// For instance `X25519MLKEM768`.
    pub key_exchange_group: Option<&'static str>,
    /// The name that the client asked for (SNI).
    pub server_name: Option<String>,
    /// The application protocol, `h2` unless an old peer was let in by name.
    pub application_protocol: Option<String>,
    /// Whether an earlier session was resumed. Never where client certificates are asked for.
    pub resumed: bool,
}

/// A peer's certificate whose chain was verified, with its names by kind.
#[derive(Clone)]
pub struct PeerCertificate {
    pub(crate) spiffe_id: Option<SpiffeId>,
    pub(crate) uris: Box<[String]>,
    pub(crate) dns_names: Box<[String]>,
    pub(crate) emails: Box<[String]>,
    pub(crate) ip_addresses: Box<[IpAddr]>,
    pub(crate) subject: Box<str>,
    pub(crate) serial: Box<str>,
    pub(crate) thumbprint: [u8; 32],
    pub(crate) not_before: SystemTime,
    pub(crate) not_after: SystemTime,
    /// Shared with what tonic is told.
    pub(crate) chain: Arc<Vec<CertificateDer<'static>>>,
    /// What mutual TLS makes of it, kept for the connection's other calls.
    pub(crate) principal: OnceLock<Option<Principal>>,
}

impl PeerCertificate {
    /// The SPIFFE ID: the only URI name, if it is one and names a workload (X509-SVID §2).
    pub fn spiffe_id(&self) -> Option<&SpiffeId> {
        self.spiffe_id.as_ref()
    }

    /// URI subject alternative names, in the certificate's order.
    pub fn uris(&self) -> &[String] {
        &self.uris
    }

    /// DNS subject alternative names, in the certificate's order and spelling.
    pub fn dns_names(&self) -> &[String] {
        &self.dns_names
    }

    /// E-mail subject alternative names.
    pub fn emails(&self) -> &[String] {
        &self.emails
    }

    /// IP subject alternative names.
    pub fn ip_addresses(&self) -> &[IpAddr] {
        &self.ip_addresses
    }

    /// The subject as RFC 4514 writes it, most specific part first: `CN=orders,O=Example`.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The serial number in hexadecimal.
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// SHA-256 of the whole certificate, the `x5t#S256` of RFC 8705 before base64url.
    pub fn thumbprint(&self) -> &[u8; 32] {
        &self.thumbprint
    }

    /// The beginning of its validity.
    pub fn not_before(&self) -> SystemTime {
        self.not_before
    }

    /// The end of its validity.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// The chain that the peer sent, in DER, leaf first.
    pub fn chain(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.chain.iter().map(|certificate| certificate.as_ref())
    }
}

impl fmt::Debug for PeerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerCertificate")
            .field("spiffe_id", &self.spiffe_id)
            .field("uris", &self.uris)
            .field("dns_names", &self.dns_names)
            .field("emails", &self.emails)
            .field("ip_addresses", &self.ip_addresses)
            .field("subject", &self.subject)
            .field("serial", &self.serial)
            .field("chain_length", &self.chain.len())
            .finish_non_exhaustive()
    }
}
