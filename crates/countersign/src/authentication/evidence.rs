use std::fmt;
use std::time::SystemTime;

use http::HeaderMap;

use super::error::{AuthenticationError, Reason};
use super::lease::Lease;
use super::presented::Presented;
use crate::identity::{MethodPath, PeerIdentity, Principal, SecurityLevel};

/// What a caller presented, not yet believed: the connection it came by, and at most one
/// credential in its metadata.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    peer: &'a PeerIdentity,
    call: CallEvidence<'a>,
    proof: Proof<'a>,
    target: Option<CallTarget<'a>>,
    /// Whether it was accepted when the call began, and the call goes on.
    again: bool,
}

/// What a call is addressed to, for proofs that are made for one call alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallTarget<'a> {
    /// `:authority`, or `host`.
    pub authority: &'a str,
    /// `:path`.
    pub path: MethodPath<'a>,
}

/// What a call's `dpop` metadata holds (RFC 9449 §4.1). `Debug` does not show it.
#[derive(Clone, Copy, Default)]
pub enum Proof<'a> {
    /// There is none.
    #[default]
    None,
    /// One proof.
    One(&'a str),
    /// Several, or something that is not text: no proof (RFC 9449 §4.3).
    Malformed,
}

impl fmt::Debug for Proof<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::One(_) => "One(..)",
            Self::Malformed => "Malformed",
        })
    }
}

/// The credential in a call's metadata. `Debug` does not show it.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum CallEvidence<'a> {
    /// There is none.
    None,
    /// `authorization: Bearer <token>` (RFC 6750 §2.1).
    Bearer(&'a str),
    /// `x-api-key: <key>`.
    ApiKey(&'a str),
    /// `authorization` with another scheme.
    Other {
        /// The scheme as it was written; schemes are compared without regard to case.
        scheme: &'a str,
        /// What follows it.
        value: &'a str,
    },
}

/// Kinds of evidence, as a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EvidenceKinds {
    /// The client certificate of the connection.
    pub certificate: bool,
    /// `authorization`, whatever the scheme.
    pub authorization: bool,
    /// `x-api-key`.
    pub api_key: bool,
}

impl EvidenceKinds {
    /// The kinds in either.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            certificate: self.certificate || other.certificate,
            authorization: self.authorization || other.authorization,
            api_key: self.api_key || other.api_key,
        }
    }
}

impl CallEvidence<'_> {
    /// The longest credential that is looked at, in bytes.
    pub const MAX_BYTES: usize = 16 * 1024;

    /// Whether `kinds` has this kind.
    pub(crate) fn is_read_by(&self, kinds: EvidenceKinds) -> bool {
        match self {
            Self::None => false,
            Self::Bearer(_) | Self::Other { .. } => kinds.authorization,
            Self::ApiKey(_) => kinds.api_key,
        }
    }
}

impl fmt::Debug for CallEvidence<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Bearer(_) => "Bearer(..)",
            Self::ApiKey(_) => "ApiKey(..)",
            Self::Other { .. } => "Other(..)",
        })
    }
}

impl<'a> Evidence<'a> {
    /// Evidence for testing authenticators by themselves. It proves nothing.
    pub fn new(peer: &'a PeerIdentity, call: CallEvidence<'a>) -> Self {
        Self { peer, call, proof: Proof::None, target: None, again: false }
    }

    /// The same evidence with a proof of possession.
    #[must_use]
    pub fn with_proof(mut self, proof: Proof<'a>) -> Self {
        self.proof = proof;
        self
    }

    /// The same evidence for a call to somewhere.
    #[must_use]
    pub fn for_call(mut self, target: CallTarget<'a>) -> Self {
        self.target = Some(target);
        self
    }

    /// The same evidence of a call that goes on: its proof was for its beginning, and counted.
    #[must_use]
    pub(crate) fn looked_at_again(mut self) -> Self {
        self.again = true;
        self
    }

    /// Whether the call's proof was looked at when it began.
    pub(super) fn is_looked_at_again(&self) -> bool {
        self.again
    }

    /// Reads a call's metadata as the gate does, for those who stand no gate before a service.
    ///
    /// # Errors
    ///
    /// There is not exactly one credential, or it is not one:
    /// [`Reason::CredentialsMalformed`](super::Reason::CredentialsMalformed).
    pub fn from_metadata(
        metadata: &'a HeaderMap,
        peer: &'a PeerIdentity,
        kinds: EvidenceKinds,
    ) -> Result<Self, AuthenticationError> {
        Presented::find(metadata, kinds).evidence(peer).map_err(|malformed| {
            AuthenticationError::new(Reason::CredentialsMalformed, malformed.to_string())
        })
    }

    /// The connection that the call came by.
    pub fn peer(&self) -> &'a PeerIdentity {
        self.peer
    }

    /// The credential in the call's metadata.
    pub fn call(&self) -> CallEvidence<'a> {
        self.call
    }

    /// The proof of possession in the call's metadata.
    pub fn proof(&self) -> Proof<'a> {
        self.proof
    }

    /// What the call is addressed to; `None` where it is not known.
    pub fn target(&self) -> Option<CallTarget<'a>> {
        self.target
    }

    /// Vouches that this evidence proves `principal`. For authenticators alone.
    pub fn accept(&self, principal: Principal) -> Authenticated {
        Authenticated {
            principal,
            level: self.peer.security_level(),
            expires_at: None,
            lease: None,
            while_open: None,
            anonymous: false,
            next_nonce: None,
        }
    }
}

/// A caller whose principal has been proven for this call.
///
/// Only an authenticator makes one, from evidence that it accepts, so what asks for it cannot
/// be reached before the check.
///
/// ```
/// # use countersign::Principal;
/// # use countersign::authentication::Authenticated;
/// fn who(caller: &Authenticated) -> &Principal {
///     caller.principal()
/// }
/// ```
///
/// A name is anybody's to write, and a proof is not, nor can one proof be made of another:
///
/// ```compile_fail,E0451
/// # use countersign::Principal;
/// # use countersign::authentication::Authenticated;
/// fn root(caller: Authenticated) -> Authenticated {
///     Authenticated { principal: Principal::new("root", "mutual-tls"), ..caller }
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Authenticated {
    principal: Principal,
    level: SecurityLevel,
    expires_at: Option<SystemTime>,
    lease: Option<Lease>,
    /// What a lease would be that does not count for other calls.
    while_open: Option<Lease>,
    anonymous: bool,
    next_nonce: Option<Box<str>>,
}

impl Authenticated {
    /// Who it is.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// How well the connection protected what proved it.
    pub fn security_level(&self) -> SecurityLevel {
        self.level
    }

    /// When what proved it ends, leeway included; `None` if it does not end by itself. Streams
    /// end then too.
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.expires_at
    }

    /// The same with an end. For authenticators.
    #[must_use]
    pub fn expiring_at(mut self, end: SystemTime) -> Self {
        self.expires_at = Some(end);
        self
    }

    /// Whether it is nobody in particular, let in by
    /// [`Anonymous`](super::Anonymous).
    pub fn is_anonymous(&self) -> bool {
        self.anonymous
    }

    /// Nobody in particular.
    pub(super) fn made_anonymous(self) -> Self {
        Self { anonymous: true, ..self }
    }

    /// The same caller in the name of another authenticator, which stands for the one that
    /// proved it.
    pub(super) fn vouched_by(self, authenticator: &str) -> Self {
        let known = &self.principal;
        let principal = match known.token() {
            Some(token) => Principal::with_token(known.name(), authenticator, token.clone()),
            None => Principal::new(known.name(), authenticator),
        };
        Self { principal, ..self }
    }

    /// The same caller, who is known only as long as another one is.
    pub(super) fn bound_to(self, other: &Self) -> Self {
        let expires_at = self.expires_at.into_iter().chain(other.expires_at).min();
        let own = self.lease_of_call().cloned();
        let lease = match (self.lease, &other.lease) {
            (Some(lease), Some(other)) => Some(lease.and(other.clone())),
            _ => None,
        };
        let while_open = match (own, other.lease_of_call()) {
            (Some(lease), Some(other)) => Some(lease.and(other.clone())),
            (one, other) => one.or_else(|| other.cloned()),
        };
        let next_nonce = self.next_nonce.or_else(|| other.next_nonce.clone());
        Self { expires_at, lease, while_open, next_nonce, ..self }
    }

    /// The same caller, to be proven for each call.
    pub(super) fn not_leased(self) -> Self {
        Self { while_open: self.lease_of_call().cloned(), lease: None, ..self }
    }

    /// The same with a lease that counts for this call alone, for as long as it goes on.
    pub(super) fn leased_while_open(self, lease: Lease) -> Self {
        Self { while_open: Some(lease), ..self }
    }

    /// The same, and the nonce that the caller's next proof should hold (RFC 9449 §8.2).
    pub(super) fn with_next_nonce(self, nonce: Option<String>) -> Self {
        Self { next_nonce: nonce.map(String::into_boxed_str), ..self }
    }

    /// The nonce that the caller's next proof should hold, where this one's is about to end. For
    /// the answer to the call.
    pub(crate) fn next_nonce(&self) -> Option<&str> {
        self.next_nonce.as_deref()
    }

    /// How long a call that goes on need not be looked at again.
    pub(crate) fn lease_of_call(&self) -> Option<&Lease> {
        self.lease.as_ref().or(self.while_open.as_ref())
    }

    /// When it has to be looked at again at the latest: its lease's end or its own.
    pub(crate) fn ends(&self) -> Option<SystemTime> {
        let lease = self.lease.as_ref().and_then(Lease::ends_at);
        lease.into_iter().chain(self.expires_at).min()
    }

    /// How long the same evidence need not be looked at again; `None`: it is, for each call.
    pub fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref()
    }

    /// The same with a lease. For authenticators, and only where nothing but the connection and
    /// the credential decided: a proof that is made for one call is looked at for each.
    #[must_use]
    pub fn leased(mut self, lease: Lease) -> Self {
        self.lease = Some(lease);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_stays_hidden_in_debug_output() {
        let peer = PeerIdentity::unknown();
        let shown = format!("{:?}", Evidence::new(&peer, CallEvidence::Bearer("hunter2")));
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
