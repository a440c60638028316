use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use serde_json::{Map, Value};

use super::assertion::{JwtHeader, random_id, sign_jwt, write_json};
use super::endpoint::unsigned;
use super::signer::{SignError, Signer};
use crate::clock::{Clock, SystemClock};
use crate::credentials::{FetchedToken, TokenError, TokenRequest, TokenScope, TokenSource};
use crate::secret::Secret;

/// Tokens that the client signs itself, one for each host that it calls (AIP-4111).
///
/// The audience is `https://host/`, without the port if that is 443. A token is signed once for
/// each audience and lifetime, never for each call; servers have to know the public key.
#[derive(Clone, Debug)]
pub struct SelfSignedJwt {
    signer: Arc<dyn Signer>,
    claims: Claims,
    lifetime: Duration,
    audience: Option<String>,
    clock: Arc<dyn Clock>,
}

impl SelfSignedJwt {
    /// The lifetime of a token unless another is set, and the longest that Google's servers take.
    pub const LIFETIME: Duration = Duration::from_secs(3_600);

    /// Tokens by `issuer` about itself.
    pub fn new(issuer: impl Into<String>, signer: impl Signer) -> Self {
        Self::of(issuer.into(), Arc::new(signer))
    }

    pub(super) fn of(issuer: String, signer: Arc<dyn Signer>) -> Self {
        Self {
            signer,
            claims: Claims::new(issuer),
            lifetime: Self::LIFETIME,
            audience: None,
            clock: Arc::new(SystemClock),
        }
    }

    /// Tokens about somebody else.
    #[must_use]
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.claims.set_subject(subject.into());
        self
    }

    /// Adds a claim. Those that say who, for whom and how long stay as they are.
    #[must_use]
    pub fn claim(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.claims.add(name.into(), value.into());
        self
    }

    /// One token for this audience, in place of one for each host. It then goes to whatever
    /// hosts the credentials are given to: see
    /// [`PerAuthority`](crate::credentials::PerAuthority).
    #[must_use]
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audience = Some(audience.into());
        self
    }

    /// How long a token is good for. Default: [`LIFETIME`](Self::LIFETIME).
    #[must_use]
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// Reads the time from here. Default: the operating system's clock.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }
}

#[async_trait]
impl TokenSource for SelfSignedJwt {
    async fn fetch(&self, request: &TokenRequest) -> Result<FetchedToken, TokenError> {
        let audience = self.audience.clone().or_else(|| request.audience()).unwrap_or_default();
        let now = self.clock.now();
        let (token, end) =
            self.claims.sign(&*self.signer, &audience, now, self.lifetime, false).await?;
        Ok(FetchedToken::bearer(token).expires_in(self.lifetime).expires_at(end))
    }

    fn name(&self) -> &'static str {
        "self_signed_jwt"
    }

    fn scope(&self) -> TokenScope {
        match self.audience {
            Some(_) => TokenScope::Any,
            None => TokenScope::Host,
        }
    }
}

/// What a client states of itself.
#[derive(Clone, Debug)]
pub(super) struct Claims {
    members: Map<String, Value>,
    /// The members as JSON, but for the last brace.
    text: Vec<u8>,
    /// Of the key that signed first.
    header: OnceLock<JwtHeader>,
}

impl Claims {
    /// By somebody about themselves.
    pub(super) fn new(issuer: String) -> Self {
        let mut members = Map::new();
        members.insert("sub".to_owned(), issuer.clone().into());
        members.insert("iss".to_owned(), issuer.into());
        Self { text: unfinished(&members), members, header: OnceLock::new() }
    }

    /// Says whom it is about.
    pub(super) fn set_subject(&mut self, subject: String) {
        self.insert("sub".to_owned(), subject.into());
    }

    /// A claim of the user's own.
    pub(super) fn add(&mut self, name: String, value: Value) {
        if !matches!(name.as_str(), "iss" | "sub" | "aud" | "iat" | "exp" | "jti") {
            self.insert(name, value);
        }
    }

    fn insert(&mut self, name: String, value: Value) {
        self.members.insert(name, value);
        self.text = unfinished(&self.members);
    }

    /// Signs the statement; says too when it ends.
    pub(super) async fn sign(
        &self,
        signer: &dyn Signer,
        audience: &str,
        now: SystemTime,
        lifetime: Duration,
        once: bool,
    ) -> Result<(Secret<String>, SystemTime), TokenError> {
        if audience.trim().is_empty() {
            return Err(TokenError::permanent("a statement needs an audience"));
        }
        let issued = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let end = issued.saturating_add(lifetime.as_secs());
        let claims = self.written(audience, issued, end, once).map_err(unsigned)?;
        let header = self.header.get_or_init(|| JwtHeader::of(signer));
        let token = match header.is_of(signer) {
            true => sign_jwt(signer, header, &claims).await,
            false => sign_jwt(signer, &JwtHeader::of(signer), &claims).await,
        };
        let end = UNIX_EPOCH.checked_add(Duration::from_secs(end)).unwrap_or(now);
        Ok((token.map_err(unsigned)?, end))
    }

    /// The whole object.
    fn written(
        &self,
        audience: &str,
        issued: u64,
        end: u64,
        once: bool,
    ) -> Result<Vec<u8>, SignError> {
        // Names, numbers, and a `jti` of 22 characters.
        const MORE: usize = 104;
        let mut json = Vec::with_capacity(self.text.len() + audience.len() + MORE);
        json.extend_from_slice(&self.text);
        json.extend_from_slice(br#","aud":"#);
        write_json(&mut json, audience);
        json.extend_from_slice(br#","iat":"#);
        write_json(&mut json, &issued);
        json.extend_from_slice(br#","exp":"#);
        write_json(&mut json, &end);
        if once {
            json.extend_from_slice(br#","jti":"#);
            write_json(&mut json, &random_id()?);
        }
        json.push(b'}');
        Ok(json)
    }
}

/// JSON to which more members can be added: `sub` is always there before them.
fn unfinished(members: &Map<String, Value>) -> Vec<u8> {
    let mut json = Vec::new();
    write_json(&mut json, members);
    json.pop();
    json
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::Ed25519KeyPair;

    use super::*;
    use crate::credentials::oauth::PemSigner;
    use crate::jose::{Algorithm, base64url};

    fn read(part: &str) -> Value {
        let mut room = vec![0; part.len()];
        let length = base64url::decode_into(part, &mut room).expect("base64url");
        serde_json::from_slice(&room[..length]).expect("JSON")
    }

    fn parts(token: &Secret<String>) -> (Value, Value) {
        let mut parts = token.expose().split('.').map(str::to_owned);
        let (header, claims) = (parts.next().expect("a header"), parts.next().expect("claims"));
        assert!(parts.next().is_some_and(|signature| signature.len() == 86));
        assert_eq!(parts.next(), None);
        (read(&header), read(&claims))
    }

    fn pem_signer() -> PemSigner {
        let key = Ed25519KeyPair::generate().expect("a key").to_pkcs8v1().expect("DER");
        PemSigner::from_pkcs8(key.as_ref()).expect("a key")
    }

    /// Like a key management service whose key is replaced.
    #[derive(Debug)]
    struct Rotating {
        key_id: &'static str,
        signer: PemSigner,
    }

    #[async_trait]
    impl Signer for Rotating {
        fn algorithm(&self) -> Algorithm {
            self.signer.algorithm()
        }

        fn key_id(&self) -> Option<&str> {
            Some(self.key_id)
        }

        async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
            self.signer.sign(message).await
        }
    }

    #[tokio::test]
    async fn a_statement_says_what_it_was_told_whatever_has_to_be_escaped() {
        let mut claims = Claims::new("a\"b\\c\u{1}é".to_owned());
        claims.add("tenant".to_owned(), serde_json::json!({"a\"": ["b", 1, null]}));
        claims.add("exp".to_owned(), 1.into());
        let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let signer = pem_signer().with_key_id("k\"1");
        let lifetime = Duration::from_secs(60);
        let signed = claims.sign(&signer, "x\"y", now, lifetime, false).await;
        let (token, end) = signed.expect("a token");
        let (header, said) = parts(&token);
        assert_eq!(header, serde_json::json!({"alg": "EdDSA", "typ": "JWT", "kid": "k\"1"}));
        assert_eq!(
            said,
            serde_json::json!({
                "iss": "a\"b\\c\u{1}é", "sub": "a\"b\\c\u{1}é", "tenant": {"a\"": ["b", 1, null]},
                "aud": "x\"y", "iat": 1_800_000_000, "exp": 1_800_000_060,
            })
        );
        assert_eq!(end, now + lifetime);
        claims.set_subject("other".to_owned());
        let mut ids = Vec::new();
        for _ in 0..2 {
            let (token, _) =
                claims.sign(&pem_signer(), "x", now, lifetime, true).await.expect("a token");
            let (header, said) = parts(&token);
            assert_eq!(header, serde_json::json!({"alg": "EdDSA", "typ": "JWT"}));
            assert_eq!(said["sub"], "other");
            ids.push(said["jti"].as_str().expect("an id").to_owned());
        }
        assert!(ids[0].len() == 22 && ids[0] != ids[1]);
        claims.sign(&signer, " ", now, lifetime, false).await.expect_err("no audience");
    }

    #[tokio::test]
    async fn a_header_names_the_key_that_signs() {
        let claims = Claims::new("a".to_owned());
        let (now, lifetime) = (UNIX_EPOCH, Duration::from_secs(60));
        let mut signer = Rotating { key_id: "k1", signer: pem_signer() };
        for key_id in ["k1", "k2", "k2", "k1"] {
            signer.key_id = key_id;
            let signed = claims.sign(&signer, "x", now, lifetime, false).await;
            assert_eq!(parts(&signed.expect("a token").0).0["kid"], key_id);
        }
    }
}
