//! What a call's metadata holds of credentials, before any of it is believed.

use http::header::{AUTHORIZATION, HeaderName};
use http::{HeaderMap, HeaderValue};

use super::evidence::{CallEvidence, Evidence, EvidenceKinds, Proof};
use crate::credentials::API_KEY;
use crate::identity::PeerIdentity;

/// The metadata that holds a proof of possession (RFC 9449 §4.1).
pub(crate) const DPOP: HeaderName = HeaderName::from_static("dpop");

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
            // Few calls have one, and to ask costs half as much as to look for all.
            if headers.contains_key(&DPOP) {
                found.add_proofs(headers);
            }
        }
        if kinds.api_key && headers.contains_key(&API_KEY) {
            for value in headers.get_all(&API_KEY) {
                found.add(Carrier::ApiKey, value);
            }
        }
        found
    }

    fn add_proofs(&mut self, headers: &'a HeaderMap) {
        for value in headers.get_all(&DPOP) {
            // RFC 9449 §4.3: exactly one.
            self.proof = match (self.proof, text_of(value)) {
                (Proof::None, Some(text)) => Proof::One(text),
                _ => Proof::Malformed,
            };
        }
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
            Ok(evidence) => match evidence.call() {
                CallEvidence::Bearer(token) => format!("bearer {token}"),
                CallEvidence::ApiKey(key) => format!("key {key}"),
                CallEvidence::None => "none".to_owned(),
                CallEvidence::Other { scheme, .. } => format!("other {scheme}"),
            },
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
}
