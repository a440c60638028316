//! A JWT signed with ES256, checked by the least code that will do and by `jsonwebtoken`.
//!
//! The library's own check comes with a later capability and has no subject yet.

use std::hint::black_box;
use std::time::SystemTime;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, EcdsaKeyPair, KeyPair as _, ParsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use countersign::{Clock as _, SystemClock};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;

use super::crypto::p256_key;
use super::{Subject, repeat};

/// How long the token is: what an issuer's usual claims come to with ES256.
pub const TOKEN_BYTES: usize = 661;

const ISSUER: &str = "https://id.example";
const AUDIENCE: &str = "orders";

/// A token and the key that it is checked with.
#[derive(Debug)]
pub struct Token {
    text: String,
    point: Vec<u8>,
}

#[derive(Deserialize)]
struct Header<'a> {
    alg: &'a str,
    kid: &'a str,
}

#[derive(Deserialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: &'a str,
    exp: u64,
}

/// What `jsonwebtoken` gives back, which it must own.
#[derive(Deserialize)]
struct OwnedClaims {
    sub: String,
}

impl Token {
    /// A new token of [`TOKEN_BYTES`], good for a day.
    ///
    /// # Panics
    ///
    /// When the system has no randomness.
    pub fn new() -> Self {
        let (pair, expires) = (p256_key(), unix_time() + 86_400);
        // Base64 cannot have every length, so two texts are stretched until the whole fits.
        let text = (0..4)
            .flat_map(|kid| (0..TOKEN_BYTES).map(move |scope| (kid, scope)))
            .map(|(kid, scope)| signing_input(expires, kid, scope))
            .find(|input| input.len() + 1 + 86 == TOKEN_BYTES)
            .map(|input| signed(&pair, input))
            .expect("some padding fits");
        Self { text, point: pair.public_key().as_ref().to_vec() }
    }

    /// The token itself.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Split, decode, borrow, check, and verify with a key that is parsed beforehand.
    pub fn check_minimal(&self) -> Box<dyn Subject> {
        let key = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.point).expect("a point");
        let text = self.text.clone();
        repeat(move || minimal(&key, black_box(&text)).expect("a good token"))
    }

    /// `jsonwebtoken` on the same cryptography.
    pub fn check_jsonwebtoken(&self) -> Box<dyn Subject> {
        let (x, y) = self.point[1..].split_at(32);
        let key =
            DecodingKey::from_ec_components(&BASE64.encode(x), &BASE64.encode(y)).expect("a point");
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        let text = self.text.clone();
        repeat(move || {
            let token = black_box(&text);
            jsonwebtoken::decode::<OwnedClaims>(token, &key, &validation)
                .expect("a good token")
                .claims
                .sub
                .len()
        })
    }
}

impl Default for Token {
    fn default() -> Self {
        Self::new()
    }
}

fn signing_input(expires: u64, kid: usize, scope: usize) -> String {
    let header = format!(r#"{{"alg":"ES256","typ":"JWT","kid":"2026-{}"}}"#, "k".repeat(kid));
    let claims = format!(
        r#"{{"iss":"{ISSUER}","aud":"{AUDIENCE}","sub":"5f0c1e6a-7d7b-4a39","iat":{},"exp":{expires},"jti":"0b9f4c1d","scope":"{}"}}"#,
        expires - 86_400,
        "s".repeat(scope),
    );
    format!("{}.{}", BASE64.encode(header), BASE64.encode(claims))
}

fn signed(pair: &EcdsaKeyPair, input: String) -> String {
    let signature = pair.sign(&SystemRandom::new(), input.as_bytes()).expect("randomness");
    format!("{input}.{}", BASE64.encode(signature.as_ref()))
}

fn minimal(key: &ParsedPublicKey, token: &str) -> Option<usize> {
    let (signed, signature) = token.rsplit_once('.')?;
    let (header, claims) = signed.split_once('.')?;
    let header = BASE64.decode(header).ok()?;
    let header: Header<'_> = serde_json::from_slice(&header).ok()?;
    if header.alg != "ES256" || !header.kid.starts_with("2026-") {
        return None;
    }
    let claims = BASE64.decode(claims).ok()?;
    let claims: Claims<'_> = serde_json::from_slice(&claims).ok()?;
    if claims.iss != ISSUER || claims.aud != AUDIENCE || claims.exp < unix_time() {
        return None;
    }
    let signature = BASE64.decode(signature).ok()?;
    key.verify_sig(signed.as_bytes(), &signature).ok()?;
    Some(claims.sub.len())
}

fn unix_time() -> u64 {
    SystemClock.now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_checks_accept_the_token_and_the_floor_refuses_a_forged_one() {
        let token = Token::new();
        assert_eq!(token.text().len(), TOKEN_BYTES);
        for mut check in [token.check_minimal(), token.check_jsonwebtoken()] {
            check.prepare(1);
            check.run();
        }
        let key = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &token.point).expect("a point");
        assert!(minimal(&key, token.text()).is_some());
        assert!(
            minimal(
                &key,
                &signed(&p256_key(), token.text().rsplit_once('.').expect("dots").0.to_owned())
            )
            .is_none()
        );
    }
}
