use std::fmt;
use std::time::SystemTime;

use http::header::{AUTHORIZATION, HeaderName};
use http::{HeaderMap, HeaderValue};

use super::error::{AuthenticationError, Reason};
use super::lease::Lease;
use crate::credentials::API_KEY;
use crate::identity::{MethodPath, PeerIdentity, Principal, SecurityLevel};

/// The metadata that holds a proof of possession (RFC 9449 §4.1).
pub(crate) const DPOP: HeaderName = HeaderName::from_static("dpop");

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

/// The metadata holds something that is not exactly one credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("there are {0} credentials where one may be")]
    Several(usize),
    #[error("the credential is longer than 16 KiB")]
    TooLong,
    #[error("the credential has a character that none may have")]
    Characters,
    #[error("there is no scheme, or nothing after it")]
    Scheme,
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

/// Where a credential stands in the metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carrier {
    Authorization,
    ApiKey,
}

/// What a call's metadata holds for those who read it, before any of it is looked into.
#[derive(Clone, Copy)]
pub(crate) struct Presented<'a> {
    credential: Option<(Carrier, &'a HeaderValue)>,
    credentials: usize,
    proof: Proof<'a>,
}

/// Which metadata is there, or may be, to be taken out before the handler.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Carried {
    pub(crate) authorization: bool,
    pub(crate) api_key: bool,
    pub(crate) proof: bool,
}

impl Carried {
    /// All that somebody reads.
    pub(crate) fn perhaps(kinds: EvidenceKinds) -> Self {
        let EvidenceKinds { authorization, api_key, .. } = kinds;
        Self { authorization, api_key, proof: authorization }
    }

    /// Takes all of it out of a call's metadata, so that none of it reaches a handler.
    ///
    /// Returns the credential. A call with several has no caller, so nobody asks for theirs.
    pub(crate) fn take(self, headers: &mut HeaderMap) -> Option<(Carrier, HeaderValue)> {
        let of = |carrier| move |value| (carrier, value);
        let token = self.authorization.then(|| headers.remove(AUTHORIZATION)).flatten();
        if self.proof {
            headers.remove(DPOP);
        }
        let key = self.api_key.then(|| headers.remove(&API_KEY)).flatten();
        token.map(of(Carrier::Authorization)).or(key.map(of(Carrier::ApiKey)))
    }
}

impl<'a> Presented<'a> {
    /// Which of it is there. For calls with one credential at most, as all that pass are.
    pub(crate) fn carried(&self) -> Carried {
        let is = |wanted| self.credential.is_some_and(|(carrier, _)| carrier == wanted);
        Carried {
            authorization: is(Carrier::Authorization),
            api_key: is(Carrier::ApiKey),
            proof: self.has_proof(),
        }
    }

    /// What was found before, without a proof.
    pub(crate) fn again(credential: Option<(Carrier, &'a HeaderValue)>) -> Self {
        let credentials = usize::from(credential.is_some());
        Self { credential, credentials, proof: Proof::None }
    }

    /// Looks up what somebody reads.
    pub(crate) fn find(headers: &'a HeaderMap, kinds: EvidenceKinds) -> Self {
        let mut found = Self { credential: None, credentials: 0, proof: Proof::None };
        if kinds.authorization {
            for value in headers.get_all(AUTHORIZATION) {
                found.add(Carrier::Authorization, value);
            }
            for value in headers.get_all(DPOP) {
                // RFC 9449 §4.3: exactly one.
                found.proof = match (found.proof, text_of(value)) {
                    (Proof::None, Some(text)) => Proof::One(text),
                    _ => Proof::Malformed,
                };
            }
        }
        if kinds.api_key {
            for value in headers.get_all(&API_KEY) {
                found.add(Carrier::ApiKey, value);
            }
        }
        found
    }

    fn add(&mut self, carrier: Carrier, value: &'a HeaderValue) {
        self.credential = Some((carrier, value));
        self.credentials += 1;
    }

    /// The one credential as it was sent; `Ok(None)` when there is none.
    ///
    /// Two are none: whoever stands between could add one (RFC 6750 §2).
    pub(crate) fn credential(&self) -> Result<Option<(Carrier, &'a HeaderValue)>, Malformed> {
        match self.credentials {
            0 | 1 => Ok(self.credential),
            several => Err(Malformed::Several(several)),
        }
    }

    /// Whether there is a proof, or what should be one.
    pub(crate) fn has_proof(&self) -> bool {
        !matches!(self.proof, Proof::None)
    }

    /// Reads what was found. Nothing is believed yet.
    pub(crate) fn evidence(&self, peer: &'a PeerIdentity) -> Result<Evidence<'a>, Malformed> {
        let call = match self.credential()? {
            None => CallEvidence::None,
            Some((carrier, value)) => {
                if value.len() > CallEvidence::MAX_BYTES {
                    return Err(Malformed::TooLong);
                }
                let text = text_of(value).ok_or(Malformed::Characters)?;
                match carrier {
                    Carrier::Authorization => authorization_of(text)?,
                    Carrier::ApiKey => api_key_of(text)?,
                }
            }
        };
        Ok(Evidence::new(peer, call).with_proof(self.proof))
    }
}

/// Visible ASCII, spaces and tabs, as RFC 9110 §5.5 has field values of old.
fn text_of(value: &HeaderValue) -> Option<&str> {
    let text = std::str::from_utf8(value.as_bytes()).ok()?;
    every(text, |byte| matches!(byte, b' '..=b'~' | b'\t')).then_some(text)
}

/// Looks at all bytes, wherever the first bad one is: what never leaves early is done sixteen
/// bytes at a time.
fn every(text: &str, good: impl Fn(u8) -> bool) -> bool {
    text.bytes().fold(true, |so_far, byte| so_far & good(byte))
}

fn api_key_of(text: &str) -> Result<CallEvidence<'_>, Malformed> {
    match is_token(text) {
        true => Ok(CallEvidence::ApiKey(text)),
        false => Err(Malformed::Characters),
    }
}

fn authorization_of(text: &str) -> Result<CallEvidence<'_>, Malformed> {
    let (scheme, value) = text.split_once(' ').ok_or(Malformed::Scheme)?;
    // RFC 9110 §11.6.2 allows more than one space between scheme and token.
    let value = value.trim_start_matches(' ');
    if scheme.is_empty() || value.is_empty() {
        return Err(Malformed::Scheme);
    }
    // The scheme is case-insensitive (RFC 9110 §11.1), the token is not: split first, so that
    // only the scheme is folded.
    if !scheme.eq_ignore_ascii_case("bearer") {
        return match is_scheme(scheme) {
            true => Ok(CallEvidence::Other { scheme, value }),
            false => Err(Malformed::Scheme),
        };
    }
    match is_token(value) {
        true => Ok(CallEvidence::Bearer(value)),
        false => Err(Malformed::Characters),
    }
}

/// A token of RFC 9110 §5.6.2, as §11.1 has it.
fn is_scheme(text: &str) -> bool {
    every(text, |byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// Visible ASCII without a comma, by which proxies join two values into one.
fn is_token(text: &str) -> bool {
    !text.is_empty() && every(text, |byte| byte.is_ascii_graphic() & (byte != b','))
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

    const ALL: EvidenceKinds =
        EvidenceKinds { certificate: true, authorization: true, api_key: true };

    fn read(headers: &[(&'static str, &str)], kinds: EvidenceKinds) -> String {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().expect("a header value"));
        }
        match Presented::find(&map, kinds).evidence(&PeerIdentity::unknown()) {
            Ok(Evidence { call: CallEvidence::Bearer(token), .. }) => format!("bearer {token}"),
            Ok(Evidence { call: CallEvidence::ApiKey(key), .. }) => format!("key {key}"),
            Ok(Evidence { call: CallEvidence::None, .. }) => "none".to_owned(),
            Ok(Evidence { call: CallEvidence::Other { scheme, .. }, .. }) => {
                format!("other {scheme}")
            }
            Err(error) => format!("{error:?}"),
        }
    }

    #[test]
    fn exactly_one_credential_is_read() {
        let long = format!("Bearer {}", "t".repeat(CallEvidence::MAX_BYTES));
        for (name, headers, told) in [
            ("none", &[][..], "none"),
            ("bearer", &[("authorization", "Bearer t")], "bearer t"),
            ("scheme in another case", &[("authorization", "bEARER t")], "bearer t"),
            ("two spaces", &[("authorization", "Bearer  t")], "bearer t"),
            ("key", &[("x-api-key", "k")], "key k"),
            ("other scheme", &[("authorization", "Basic dTpw")], "other Basic"),
            ("no scheme", &[("authorization", "t")], "Scheme"),
            ("tab after the scheme", &[("authorization", "Bearer\t t")], "Scheme"),
            ("scheme in quotes", &[("authorization", "\"Basic\" dTpw")], "Scheme"),
            ("nothing after the scheme", &[("authorization", "Bearer ")], "Scheme"),
            ("empty", &[("authorization", "")], "Scheme"),
            ("space inside", &[("authorization", "Bearer a b")], "Characters"),
            ("trailing space", &[("authorization", "Bearer a ")], "Characters"),
            ("joined by a proxy", &[("authorization", "Bearer a,Bearer b")], "Characters"),
            ("too long", &[("authorization", long.as_str())], "TooLong"),
            ("empty key", &[("x-api-key", "")], "Characters"),
            (
                "two values",
                &[("authorization", "Bearer a"), ("authorization", "Bearer a")],
                "Several(2)",
            ),
            ("both kinds", &[("authorization", "Bearer a"), ("x-api-key", "k")], "Several(2)"),
        ] {
            assert_eq!(read(headers, ALL), told, "{name}");
        }
    }

    #[test]
    fn what_nobody_reads_is_not_looked_at() {
        let both = [("authorization", "Bearer a"), ("x-api-key", "k")];
        let tokens_only = EvidenceKinds { authorization: true, ..EvidenceKinds::default() };
        assert_eq!(read(&both, tokens_only), "bearer a");
        assert_eq!(read(&both, EvidenceKinds::default()), "none");
    }

    #[test]
    fn a_credential_stays_hidden_in_debug_output() {
        let peer = PeerIdentity::unknown();
        let shown = format!("{:?}", Evidence::new(&peer, CallEvidence::Bearer("hunter2")));
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
