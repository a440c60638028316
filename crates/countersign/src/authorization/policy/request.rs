use std::net::IpAddr;
use std::time::SystemTime;

use http::HeaderMap;

use crate::authentication::Authenticated;
use crate::identity::{MethodPath, PeerAddress, PeerIdentity, Principal};

/// What a policy is asked about: one call. Borrowed from end to end, so that asking allocates
/// nothing.
///
/// ```
/// use countersign::authorization::{PeerFacts, PolicyRequest};
/// use countersign::identity::MethodPath;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let headers = http::HeaderMap::new();
/// let path = MethodPath::parse("/orders.v1.Orders/Get")?;
/// let request = PolicyRequest::new(path, &headers, PeerFacts::plaintext(), std::time::UNIX_EPOCH);
/// # drop(request);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct PolicyRequest<'a> {
    pub(super) path: MethodPath<'a>,
    pub(super) headers: &'a HeaderMap,
    pub(super) peer: PeerFacts<'a>,
    pub(super) callers: Callers<'a>,
    pub(super) now: SystemTime,
}

/// Who was proven for the call, in either form in which that may be known.
#[derive(Clone, Copy, Debug)]
pub(super) enum Callers<'a> {
    Authenticated(&'a [Authenticated]),
    Assumed(&'a [Principal]),
}

impl<'a> PolicyRequest<'a> {
    /// A call of which nobody was proven but whom the connection's certificate names.
    ///
    /// `headers` are the call's own, as they came. `now` is for rules that name a time of day.
    pub fn new(
        path: MethodPath<'a>,
        headers: &'a HeaderMap,
        peer: PeerFacts<'a>,
        now: SystemTime,
    ) -> Self {
        Self { path, headers, peer, callers: Callers::Assumed(&[]), now }
    }

    /// The same with those who were proven.
    #[must_use]
    pub fn with_callers(mut self, callers: &'a [Authenticated]) -> Self {
        self.callers = Callers::Authenticated(callers);
        self
    }

    /// The same with callers that nobody proved: for questions of the form "if it were alice".
    /// A server decides with [`with_callers`](Self::with_callers).
    #[must_use]
    pub fn with_assumed_callers(mut self, callers: &'a [Principal]) -> Self {
        self.callers = Callers::Assumed(callers);
        self
    }

    /// The method.
    pub fn path(&self) -> MethodPath<'a> {
        self.path
    }

    pub(super) fn any_caller(&self, mut wanted: impl FnMut(&'a Principal) -> bool) -> bool {
        match self.callers {
            Callers::Authenticated(all) => all.iter().any(|caller| wanted(caller.principal())),
            Callers::Assumed(all) => all.iter().any(wanted),
        }
    }

    /// Whether somebody in particular was proven.
    pub(super) fn has_known_caller(&self) -> bool {
        match self.callers {
            Callers::Authenticated(all) => all.iter().any(|caller| !caller.is_anonymous()),
            Callers::Assumed(all) => !all.is_empty(),
        }
    }

    pub(super) fn has_callers(&self) -> bool {
        self.any_caller(|_| true)
    }
}

/// What a policy wants to know of the other end of the connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct PeerFacts<'a> {
    pub(super) tls: bool,
    pub(super) certificate: Option<CertificateFacts<'a>>,
    pub(super) address: Option<IpAddr>,
    /// The transport does not tell where the peer is: perhaps at any address.
    pub(super) nowhere: bool,
}

/// The names in a certificate whose chain was verified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CertificateFacts<'a> {
    /// URI subject alternative names.
    pub uris: &'a [String],
    /// DNS subject alternative names.
    pub dns_names: &'a [String],
    /// The subject, as RFC 2253 and RFC 4514 write it.
    pub subject: &'a str,
}

impl<'a> PeerFacts<'a> {
    /// A peer without TLS: over TCP, over a Unix socket, or in memory. No principal of a
    /// certificate is one of it, not even the empty one (gRFC A43).
    pub fn plaintext() -> Self {
        Self::default()
    }

    /// A peer over TLS, with the names in its verified certificate, if it showed one.
    pub fn tls(certificate: Option<CertificateFacts<'a>>) -> Self {
        Self { tls: true, certificate, ..Self::default() }
    }

    /// The same peer at an address.
    #[must_use]
    pub fn at(mut self, address: IpAddr) -> Self {
        (self.address, self.nowhere) = (Some(address), false);
        self
    }
}

impl<'a> From<&'a PeerIdentity> for PeerFacts<'a> {
    fn from(peer: &'a PeerIdentity) -> Self {
        let certificate = peer.certificate().map(|certificate| CertificateFacts {
            uris: certificate.uris(),
            dns_names: certificate.dns_names(),
            subject: certificate.subject(),
        });
        let nowhere = matches!(peer.address(), PeerAddress::Unknown);
        let address = peer.address().ip();
        Self { tls: peer.tls().is_some(), certificate, address, nowhere }
    }
}
