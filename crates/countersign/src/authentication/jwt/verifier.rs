use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use super::cache::{Digest, VerifiedTokens};
use super::check::{self, Times};
use super::error::TokenError;
use super::hmac::SharedSecret;
use super::issuer::Issuer;
use super::keys::{Found, KeySet};
use super::profile::{self, Profile};
use super::proven::{Binding, Proven};
use super::revocation::{Revocable, Revocations};
use super::source::{Keys, Missing, Snapshot};
use super::token::Token;
use crate::authentication::Lease;
use crate::clock::Clock;
use crate::identity::{Found as FoundClaim, Principal, SpiffeId, TokenClaims};
use crate::jose::Algorithm;
use crate::jose::json::{Members, Seen};

/// The issuers that are trusted, and what is known of their tokens.
#[derive(Debug)]
pub(super) struct Verifier {
    issuers: Vec<Trusted>,
    /// For messages. There may be thousands, and strangers cause as many messages as they like.
    names: Arc<[String]>,
    /// By `iss`; by trust domain for JWT-SVIDs. Never by anything else that a token says.
    by_name: HashMap<String, usize>,
    by_trust_domain: HashMap<String, usize>,
    tokens: VerifiedTokens,
    revocations: Revocations,
    clock: Arc<dyn Clock>,
    authenticator: Arc<str>,
    verifications: AtomicU64,
}

#[derive(Debug)]
pub(super) struct Trusted {
    pub(super) name: String,
    pub(super) issuer: Issuer,
    pub(super) verification: Verification,
}

#[derive(Debug)]
pub(super) enum Verification {
    Keys(Keys),
    Shared(SharedSecret),
}

/// What is made of a token without waiting.
pub(super) enum Judged<'a> {
    Done(Result<Arc<Proven>, TokenError>),
    /// The issuer has not got the key, and asking again may help.
    Wait {
        keys: &'a Keys,
        seen: Snapshot,
        kid: Option<String>,
    },
}

/// What a token is checked with.
enum Key<'a> {
    Set { keys: Arc<KeySet>, generation: u64, of: &'a Keys },
    Shared(&'a SharedSecret),
}

impl Verifier {
    /// For how long a verified token is not looked at again, at most.
    const REMEMBERED: Duration = Duration::from_secs(5 * 60);

    /// For how long a forged token is known to be one.
    const FORGED: Duration = Duration::from_secs(5);

    pub(super) fn new(
        issuers: Vec<Trusted>,
        authenticator: Arc<str>,
        capacity: usize,
        revocations: Revocations,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let named = |svid: bool| {
            let of_kind = move |(_, one): &(usize, &Trusted)| {
                (one.issuer.profile == Profile::JwtSvid) == svid
            };
            let entry = |(index, one): (usize, &Trusted)| (one.name.clone(), index);
            issuers.iter().enumerate().filter(of_kind).map(entry).collect()
        };
        let mut names: Vec<_> = issuers.iter().map(|one| one.name.clone()).collect();
        names.sort();
        Self {
            names: names.into(),
            by_name: named(false),
            by_trust_domain: named(true),
            issuers,
            tokens: VerifiedTokens::new(capacity),
            revocations,
            clock,
            authenticator,
            verifications: AtomicU64::new(0),
        }
    }

    pub(super) fn issuers(&self) -> &[Trusted] {
        &self.issuers
    }

    /// How many signatures were checked.
    pub(super) fn verifications(&self) -> u64 {
        self.verifications.load(Ordering::Relaxed)
    }

    pub(super) fn judge(&self, text: &str) -> Judged<'_> {
        self.judge_with(text, None)
    }

    /// Judges a token whose issuer was asked again.
    pub(super) fn judge_again(
        &self,
        text: &str,
        keys: &Keys,
        snapshot: Snapshot,
    ) -> Result<Arc<Proven>, TokenError> {
        match self.judge_with(text, Some((keys, snapshot))) {
            Judged::Done(result) => result,
            Judged::Wait { kid, .. } => Err(TokenError::UnknownKey { kid }),
        }
    }

    fn judge_with<'a>(&'a self, text: &str, asked: Option<(&'a Keys, Snapshot)>) -> Judged<'a> {
        if text.len() > Token::MAX_BYTES {
            return Judged::Done(Err(TokenError::Malformed("it is longer than 16 KiB")));
        }
        let now = self.clock.now();
        let digest = self.tokens.digest(text);
        if let Some(known) = digest.as_ref().and_then(|digest| self.tokens.find(digest, now)) {
            return Judged::Done(known);
        }
        match self.judge_new(text, digest.as_ref(), now, asked) {
            Ok(judged) => judged,
            Err(error) => Judged::Done(Err(error)),
        }
    }

    /// The cheap checks first, and the signature last.
    fn judge_new<'a>(
        &'a self,
        text: &str,
        digest: Option<&Digest>,
        now: SystemTime,
        asked: Option<(&'a Keys, Snapshot)>,
    ) -> Result<Judged<'a>, TokenError> {
        let mut room = Vec::new();
        let token = Token::parse(text, &mut room)?;
        let trusted = self.issuer_of(&token)?;
        let algorithm = trusted.algorithm(&token)?;
        let times = check::claims(&trusted.issuer, &token.header, &token.claims, now)?;
        let key = match &trusted.verification {
            Verification::Shared(secret) => Key::Shared(secret),
            Verification::Keys(keys) => {
                let kid = token.header.kid.as_deref();
                let snapshot = match asked {
                    Some((asked, snapshot)) if std::ptr::eq(asked, keys) => snapshot,
                    _ => keys.snapshot(),
                };
                let found = snapshot.keys.as_ref().map(|set| match algorithm {
                    Some(algorithm) => set.find(kid, algorithm),
                    None => Found::Unfit,
                });
                match found {
                    Some(Found::Key { .. }) => {}
                    Some(Found::Unfit | Found::Unclear) => {
                        return Err(TokenError::UnknownKey { kid: kid.map(str::to_owned) });
                    }
                    // No such key, or no keys at all: what then depends on when they were asked.
                    Some(Found::Unknown) | None => {
                        let kid = kid.map(str::to_owned);
                        return match keys.missing(&snapshot, kid.as_deref()) {
                            Missing::Wait => Ok(Judged::Wait { keys, seen: snapshot, kid }),
                            Missing::Final => Err(TokenError::UnknownKey { kid }),
                            Missing::Unavailable { retry_after } => {
                                Err(TokenError::Unavailable { retry_after: Some(retry_after) })
                            }
                        };
                    }
                }
                let Snapshot { keys: Some(set), generation } = snapshot else {
                    return Err(TokenError::Unavailable { retry_after: None });
                };
                Key::Set { keys: set, generation, of: keys }
            }
        };
        let forged_for = || {
            let lease = Lease::until(now + Self::FORGED);
            match &key {
                Key::Set { generation, of, .. } => lease.within(of.generation(), *generation),
                Key::Shared(_) => lease,
            }
        };
        let verify = || self.verify(&token, trusted, algorithm, &key, times, now);
        Ok(Judged::Done(self.tokens.verify_once(digest, now, verify, forged_for)))
    }

    fn issuer_of(&self, token: &Token<'_>) -> Result<&Trusted, TokenError> {
        let unknown = |found: &str| {
            let (found, trusted) = (found.to_owned(), Arc::clone(&self.names));
            TokenError::Issuer { found, trusted }
        };
        let issuer = check::text(&token.claims, "iss")?;
        if let Some(index) = issuer.and_then(|issuer| self.by_name.get(issuer)) {
            return Ok(&self.issuers[*index]);
        }
        if !self.by_trust_domain.is_empty() {
            let missing = || TokenError::MissingClaim { name: "sub".to_owned() };
            let subject = check::text(&token.claims, "sub")?.ok_or_else(missing)?;
            let wrong = |_| TokenError::Claim { name: "sub".to_owned(), expected: "a SPIFFE ID" };
            match SpiffeId::parse(subject) {
                Ok(id) => {
                    let index = self.by_trust_domain.get(id.trust_domain());
                    let index = index.ok_or_else(|| unknown(id.trust_domain()))?;
                    return Ok(&self.issuers[*index]);
                }
                Err(error) if self.by_name.is_empty() => return Err(wrong(error)),
                Err(_) => {}
            }
        }
        let missing = || TokenError::MissingClaim { name: "iss".to_owned() };
        Err(unknown(issuer.ok_or_else(missing)?))
    }

    fn verify(
        &self,
        token: &Token<'_>,
        trusted: &Trusted,
        algorithm: Option<Algorithm>,
        key: &Key<'_>,
        times: Times,
        now: SystemTime,
    ) -> Result<Proven, TokenError> {
        self.verifications.fetch_add(1, Ordering::Relaxed);
        // Before looking, so that a change in between ends the lease.
        let revoked_before = self.revocations.generation().now();
        let signed = token.signed.as_bytes();
        // Of a token that names no key it still is known which one signed it.
        let mut kid = token.header.kid.as_deref();
        let verified = match key {
            Key::Shared(secret) => secret.verifies(signed, token.signature),
            Key::Set { keys, .. } => match algorithm.map(|known| keys.find(kid, known)) {
                Some(Found::Key { key, kid: found }) => {
                    kid = found;
                    key.verify_sig(signed, token.signature).is_ok()
                }
                _ => false,
            },
        };
        if !verified {
            return Err(TokenError::Signature);
        }
        let binding = Binding::read(&token.claims);
        let names = &trusted.issuer.names;
        let text = |name: &str| token.claims.get(name).and_then(Seen::as_str);
        let subject = token.claims.look_up(&names.subject).and_then(Seen::as_str);
        let revocable = Revocable {
            issuer: &trusted.name,
            subject: text("sub"),
            mapped_subject: subject,
            id: text("jti"),
            kid,
            issued_at: times.issued_at,
        };
        if self.revocations.has(&revocable) {
            return Err(TokenError::Revoked);
        }
        let binding = binding?;
        let end = times.end.to_system_time();
        let keys = match key {
            Key::Set { generation, of, .. } => Some((of.generation(), *generation)),
            Key::Shared(_) => None,
        };
        let claims = TokenClaims::from_text(
            token.payload,
            |name| token.claims.get(name).map(found),
            Arc::clone(names),
        );
        let name = trusted.principal_name(&token.claims, subject.unwrap_or_default());
        let principal = Principal::proven_by(&self.authenticator, name, claims);
        let until = end.min(now + Self::REMEMBERED);
        let revocations = (self.revocations.generation(), revoked_before);
        Ok(Proven::new(principal, end, binding, until, revocations, keys))
    }
}

fn found(claim: Seen<'_>) -> FoundClaim<'_> {
    match claim {
        Seen::Text(text) => FoundClaim::Text(text),
        Seen::Other(_) => FoundClaim::Other,
    }
}

impl Trusted {
    /// The header's algorithm, if the issuer may use it; `None` for a shared secret's.
    fn algorithm(&self, token: &Token<'_>) -> Result<Option<Algorithm>, TokenError> {
        let found = token.header.algorithm.as_ref();
        let refused =
            |allowed: Vec<&'static str>| TokenError::Algorithm { found: found.to_owned(), allowed };
        match &self.verification {
            Verification::Shared(secret) if secret.algorithm().name() == found => Ok(None),
            Verification::Shared(secret) => Err(refused(vec![secret.algorithm().name()])),
            Verification::Keys(_) => {
                let known = Algorithm::from_name(found);
                match known.filter(|known| self.issuer.algorithms.contains(known)) {
                    Some(algorithm) => Ok(Some(algorithm)),
                    None => {
                        let allowed = self.issuer.algorithms.iter();
                        Err(refused(allowed.map(|one| one.name()).collect()))
                    }
                }
            }
        }
    }

    /// Names of one issuer cannot be those of another: an issuer has no `#`.
    fn principal_name(&self, claims: &Members<'_>, subject: &str) -> String {
        let named = || [&self.name, "#", subject].concat();
        match self.issuer.profile {
            // What chose the trust domain, whichever claim else counts as the subject.
            Profile::JwtSvid => {
                claims.get("sub").and_then(Seen::as_str).unwrap_or_default().to_owned()
            }
            Profile::K8sServiceAccount => match profile::service_account(claims) {
                Ok((namespace, account)) => format!("{namespace}/{account}"),
                Err(_) => named(),
            },
            _ => named(),
        }
    }
}
