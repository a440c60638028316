//! The whole verification, with keys that are given.

mod claims;
mod headers;
mod issuers;
mod oracle;
mod proofs;
mod remembered;

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::{Issuer, Jwt, JwtBuilder, KeySet, KeySource};
use crate::authentication::{Authenticator, CallEvidence, Evidence};
use crate::clock::Clock;
use crate::identity::{PeerIdentity, Principal};

const ISSUER: &str = "https://id.example";
const AUDIENCE: &str = "orders";
const NOW: u64 = 1_800_000_000;

/// A clock that a test moves.
#[derive(Clone, Debug)]
struct Moved(Arc<Mutex<SystemTime>>);

impl Moved {
    fn at(seconds: u64) -> Self {
        Self(Arc::new(Mutex::new(UNIX_EPOCH + Duration::from_secs(seconds))))
    }

    fn advance(&self, by: Duration) {
        *self.0.lock().expect("never poisoned") += by;
    }
}

impl Clock for Moved {
    fn now(&self) -> SystemTime {
        *self.0.lock().expect("never poisoned")
    }
}

/// Signs with ES256.
struct Signer {
    pair: EcdsaKeyPair,
    kid: &'static str,
}

impl Signer {
    fn new(kid: &'static str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("randomness");
        Self { pair, kid }
    }

    fn jwk(&self) -> Value {
        let (x, y) = self.pair.public_key().as_ref()[1..].split_at(32);
        let [x, y] = [x, y].map(|half| URL_SAFE_NO_PAD.encode(half));
        json!({"kty": "EC", "crv": "P-256", "kid": self.kid, "x": x, "y": y})
    }

    fn keys(&self) -> KeySource {
        let set = json!({"keys": [self.jwk()]});
        KeySource::given(KeySet::from_json(&set.to_string()).expect("a key set"))
    }

    fn header(&self) -> Value {
        json!({"alg": "ES256", "kid": self.kid, "typ": "JWT"})
    }

    fn token(&self, claims: &Value) -> String {
        self.token_with(&self.header(), claims)
    }

    fn token_with(&self, header: &Value, claims: &Value) -> String {
        let signed = signed_part(header, claims);
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.expect("randomness")))
    }

    fn issuer(&self) -> Issuer {
        Jwt::issuer(ISSUER).keys(self.keys()).audience(AUDIENCE).leeway(Duration::ZERO)
    }

    fn jwt(&self) -> Jwt {
        built(Jwt::builder().issuer(self.issuer()))
    }
}

fn signed_part(header: &Value, claims: &Value) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", encode(header), encode(claims))
}

fn built(builder: JwtBuilder) -> Jwt {
    builder.clock(Moved::at(NOW)).build().expect("settings that can hold")
}

/// Claims that every check passes.
fn good() -> Value {
    json!({"iss": ISSUER, "sub": "alice", "aud": AUDIENCE, "exp": NOW + 300, "iat": NOW})
}

/// The same with another claim; `null` takes it out.
fn with(name: &str, value: Value) -> Value {
    let mut claims = good();
    let members = claims.as_object_mut().expect("an object");
    match value {
        Value::Null => drop(members.remove(name)),
        value => drop(members.insert(name.to_owned(), value)),
    }
    claims
}

fn prove(jwt: &Jwt, token: &str) -> Result<Principal, &'static str> {
    let peer = PeerIdentity::unknown();
    let evidence = Evidence::new(&peer, CallEvidence::Bearer(token));
    match jwt.authenticate_now(&evidence).expect("nothing has to be waited for") {
        Ok(Some(caller)) => Ok(caller.principal().clone()),
        Ok(None) => Err("nothing to read"),
        Err(error) => Err(error.reason().as_str()),
    }
}

/// The reason, or `accepted`.
fn verdict(jwt: &Jwt, token: &str) -> &'static str {
    match prove(jwt, token) {
        Ok(_) => "accepted",
        Err(reason) => reason,
    }
}
