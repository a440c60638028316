use std::time::{Duration, SystemTime};

use aws_lc_rs::hmac;
use countersign::{Clock, SystemClock};
use serde_json::{Map, Value, json};

use super::key::encode;
use super::{Algorithm, SigningKey};

/// Keys and the tokens that are signed with them, without any network.
#[derive(Clone, Debug)]
pub struct TokenMint {
    issuer: String,
    keys: Vec<SigningKey>,
    made: usize,
}

impl TokenMint {
    /// A mint with one key for ES256, named `key-1`.
    #[must_use]
    pub fn new(issuer: impl Into<String>) -> Self {
        Self { issuer: issuer.into(), keys: Vec::new(), made: 0 }.rotated(Algorithm::ES256)
    }

    /// The `iss` of its claims.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Its keys. The last one is the one that signs.
    #[must_use]
    pub fn keys(&self) -> &[SigningKey] {
        &self.keys
    }

    /// The key that signs.
    ///
    /// # Panics
    ///
    /// If all keys were dropped.
    #[must_use]
    pub fn current(&self) -> &SigningKey {
        self.keys.last().expect("a mint has a key unless all were dropped")
    }

    /// Adds a key, which signs from now on.
    pub fn add(&mut self, key: SigningKey) {
        self.keys.push(key);
    }

    /// Adds a new key of the same algorithm, `key-2` after `key-1`, which signs from now on.
    pub fn rotate(&mut self) -> SigningKey {
        let algorithm = self.keys.last().map_or(Algorithm::ES256, SigningKey::algorithm);
        *self = std::mem::replace(self, Self::empty()).rotated(algorithm);
        self.current().clone()
    }

    /// Drops every key but the one that signs.
    pub fn drop_old(&mut self) {
        self.keys.drain(..self.keys.len().saturating_sub(1));
    }

    /// Drops the keys of this `kid`.
    pub fn drop_key(&mut self, kid: &str) {
        self.keys.retain(|key| key.kid() != Some(kid));
    }

    /// The public keys, as a JWK Set (RFC 7517 §5).
    #[must_use]
    pub fn jwks(&self) -> Value {
        json!({ "keys": self.keys.iter().map(SigningKey::jwk).collect::<Vec<_>>() })
    }

    /// Claims that are good for an hour from now, by the system's clock: `iss`, `sub`, `aud`,
    /// `iat` and `exp`. A test changes what it is about.
    #[must_use]
    pub fn claims(&self, subject: &str, audience: &str) -> Value {
        self.claims_at(SystemClock.now(), subject, audience)
    }

    /// Claims that are good for an hour from a time.
    ///
    /// # Panics
    ///
    /// If the time is before 1970.
    #[must_use]
    pub fn claims_at(&self, now: SystemTime, subject: &str, audience: &str) -> Value {
        let seconds = |time: SystemTime| {
            time.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs()
        };
        json!({
            "iss": self.issuer,
            "sub": subject,
            "aud": audience,
            "iat": seconds(now),
            "exp": seconds(now + Duration::from_secs(3600)),
        })
    }

    /// A token with exactly these claims, signed with the current key.
    #[must_use]
    pub fn mint(&self, claims: &Value) -> String {
        self.token(claims).sign()
    }

    /// A token that is built step by step, to be wrong in one place.
    pub fn token(&self, claims: &Value) -> Mint {
        Mint::new(claims, self.current())
    }

    fn empty() -> Self {
        Self { issuer: String::new(), keys: Vec::new(), made: 0 }
    }

    fn rotated(mut self, algorithm: Algorithm) -> Self {
        self.made += 1;
        let key = SigningKey::generate(algorithm, &format!("key-{}", self.made));
        self.keys.push(key);
        self
    }
}

/// A token that is being made. By default a right one.
#[derive(Clone, Debug)]
#[must_use = "a token is made by `sign`"]
pub struct Mint {
    header: Map<String, Value>,
    header_text: Option<Vec<u8>>,
    payload: Vec<u8>,
    signer: Signer,
    is_broken: bool,
}

#[derive(Clone, Debug)]
enum Signer {
    Key(SigningKey),
    Hmac(Vec<u8>),
    Given(Vec<u8>),
}

impl Mint {
    /// A token with these claims, signed with a key whose `alg` and `kid` are in the header.
    pub fn new(claims: &Value, key: &SigningKey) -> Self {
        let mint = Self {
            header: Map::new(),
            header_text: None,
            payload: claims.to_string().into_bytes(),
            signer: Signer::Key(key.clone()),
            is_broken: false,
        };
        mint.header("typ", "JWT").key(key)
    }

    /// Signs with another key, whose `alg` and `kid` go into the header.
    pub fn key(mut self, key: &SigningKey) -> Self {
        self.header.remove("kid");
        if let Some(kid) = key.kid() {
            self.header.insert("kid".to_owned(), kid.into());
        }
        self.header.insert("alg".to_owned(), key.algorithm().name().into());
        self.signer = Signer::Key(key.clone());
        self
    }

    /// Signs with another key and leaves the header as it is.
    pub fn signed_by(mut self, key: &SigningKey) -> Self {
        self.signer = Signer::Key(key.clone());
        self
    }

    /// Sets a member of the header: `alg`, `typ`, `kid`, `crit`, `jwk` and whatever there is.
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header.insert(name.to_owned(), value.into());
        self
    }

    /// Removes a member of the header.
    pub fn without_header(mut self, name: &str) -> Self {
        self.header.remove(name);
        self
    }

    /// The header's text, which need not be JSON.
    pub fn header_text(mut self, text: impl AsRef<[u8]>) -> Self {
        self.header_text = Some(text.as_ref().to_vec());
        self
    }

    /// The payload's text, which need not be JSON.
    pub fn payload_text(mut self, text: impl AsRef<[u8]>) -> Self {
        self.payload = text.as_ref().to_vec();
        self
    }

    /// `alg` is `none` and the signature is empty (RFC 7519 §6).
    pub fn unsigned(self) -> Self {
        self.header("alg", "none").signature("")
    }

    /// `alg` is `HS256` and the signature is made with these bytes: with those of the
    /// [public key](SigningKey::public_key), the attack of RFC 8725 §2.1.
    pub fn hmac(mut self, secret: impl AsRef<[u8]>) -> Self {
        self.signer = Signer::Hmac(secret.as_ref().to_vec());
        self.header("alg", "HS256")
    }

    /// Puts these bytes in the place of the signature.
    pub fn signature(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.signer = Signer::Given(bytes.as_ref().to_vec());
        self
    }

    /// Flips one bit of the signature.
    pub fn broken(mut self) -> Self {
        self.is_broken = true;
        self
    }

    /// The token, in the compact form (RFC 7515 §7.1).
    #[must_use]
    pub fn sign(self) -> String {
        let header =
            self.header_text.unwrap_or_else(|| Value::Object(self.header).to_string().into());
        let signed = format!("{}.{}", encode(header), encode(self.payload));
        let mut signature = match self.signer {
            Signer::Key(key) => key.sign(signed.as_bytes()),
            Signer::Hmac(secret) => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
                hmac::sign(&key, signed.as_bytes()).as_ref().to_vec()
            }
            Signer::Given(bytes) => bytes,
        };
        if let (true, Some(byte)) = (self.is_broken, signature.last_mut()) {
            *byte ^= 1;
        }
        format!("{signed}.{}", encode(signature))
    }
}
