//! A JWT of 661 bytes, verified by the library, by the least code that will do, by the bare
//! signature's check, and by `jsonwebtoken`.

use std::any::Any;
use std::hint::black_box;
use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use countersign::authentication::jwt::{Issuer, Jwt, JwtBuilder, KeySet, KeySource};
use countersign::authentication::{Authenticator as _, CallEvidence, Evidence};
use countersign::{Clock as _, PeerIdentity, SystemClock};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;

use super::crypto::p256_key;
use super::{Subject, Turn, repeat};

/// How long the token is: what an issuer's usual claims come to with ES256.
pub const TOKEN_BYTES: usize = 661;

const ISSUER: &str = "https://id.example";
const AUDIENCE: &str = "orders";

/// A token and the key that it is checked with.
#[derive(Debug)]
pub struct Token {
    text: String,
    key: Key,
}

#[derive(Debug)]
enum Key {
    P256(EcdsaKeyPair),
    Rsa(RsaKeyPair),
    Ed25519(Ed25519KeyPair),
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
    /// A new token of [`TOKEN_BYTES`], signed with ES256 and good for a day.
    ///
    /// # Panics
    ///
    /// When the system has no randomness.
    pub fn es256() -> Self {
        Self::signed_by(Key::P256(p256_key()))
    }

    /// The same with RS256, by a key of 2,048 bits.
    ///
    /// # Panics
    ///
    /// When the system has no randomness.
    pub fn rs256() -> Self {
        Self::signed_by(Key::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).expect("randomness")))
    }

    /// The same with Ed25519.
    ///
    /// # Panics
    ///
    /// When the system has no randomness.
    pub fn eddsa() -> Self {
        Self::signed_by(Key::Ed25519(Ed25519KeyPair::generate().expect("randomness")))
    }

    fn signed_by(key: Key) -> Self {
        let expires = unix_time() + 86_400;
        // Base64 cannot have every length, so two texts are stretched until the whole fits.
        let text = (0..4)
            .flat_map(|subject| (0..TOKEN_BYTES).map(move |scope| (subject, scope)))
            .map(|(subject, scope)| signing_input(key.algorithm(), expires, subject, scope, 0))
            .find(|input| input.len() + 1 + key.signature_characters() == TOKEN_BYTES)
            .map(|input| key.signed(&input))
            .expect("some padding fits");
        Self { text, key }
    }

    /// So many other tokens of the same key.
    pub fn others(&self, count: usize) -> Vec<String> {
        let expires = unix_time() + 86_400;
        (1..=count)
            .map(|id| self.key.signed(&signing_input(self.key.algorithm(), expires, 1, 300, id)))
            .collect()
    }

    /// The token itself.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signature alone, the key parsed beforehand and the signature decoded.
    pub fn check_signature(&self) -> Box<dyn Subject> {
        let (signed, signature) = self.text.rsplit_once('.').expect("a token has dots");
        let signature = BASE64.decode(signature).expect("base64url");
        let (key, signed) = (self.key.parsed(), signed.as_bytes().to_vec());
        repeat(move || key.verify_sig(black_box(&signed), &signature).expect("a good signature"))
    }

    /// The library, which remembers nothing.
    pub fn check_ours(&self) -> Box<dyn Subject> {
        self.check_with(&self.trusted(Jwt::builder().remember_tokens(0)))
    }

    /// The library, for a token among so many that it remembers.
    pub fn find_remembered(&self, count: usize) -> Box<dyn Subject> {
        let mut lookups = self.remembered(count).lookups(0);
        repeat(move || lookups.find_next())
    }

    /// The library, which remembers so many tokens.
    pub fn remembered(&self, count: usize) -> Remembered {
        let jwt = self.trusted(Jwt::builder().remember_tokens(2 * count));
        let peer = PeerIdentity::unknown();
        let tokens: Arc<[String]> = self.others(count).into();
        for token in tokens.iter() {
            assert!(proven(&jwt, &peer, token), "a good token");
        }
        Remembered { jwt, tokens }
    }

    /// The library, which remembers nothing, with so many issuers that it trusts.
    pub fn check_among_issuers(&self, count: usize) -> Box<dyn Subject> {
        let keys = KeySource::given(self.key_set(1));
        let others = (1..count).map(|n| format!("https://id{n}.example"));
        let builder = others.fold(Jwt::builder().remember_tokens(0), |builder, other| {
            builder.issuer(Jwt::issuer(other).keys(keys.clone()).audience(AUDIENCE))
        });
        self.check_with(&self.trusted(builder))
    }

    /// The library, which remembers nothing, for an issuer with so many keys, at most 100.
    pub fn check_among_keys(&self, count: usize) -> Box<dyn Subject> {
        let keys = KeySource::given(self.key_set(count));
        let issuer = Jwt::issuer(ISSUER).keys(keys).audience(AUDIENCE);
        let builder = Jwt::builder().remember_tokens(0).issuer(issuer);
        self.check_with(&builder.build().expect("an issuer"))
    }

    /// This token's key, after others.
    fn key_set(&self, count: usize) -> KeySet {
        let others = (1..count)
            .map(|n| Key::P256(p256_key()).jwk().replacen("2026-11", &format!("other-{n}"), 1));
        let keys: Vec<_> = others.chain([self.key.jwk()]).collect();
        let set = format!(r#"{{"keys":[{}]}}"#, keys.join(","));
        KeySet::from_json(&set).expect("a key set")
    }

    fn check_with(&self, jwt: &Jwt) -> Box<dyn Subject> {
        let (jwt, peer, text) = (jwt.clone(), PeerIdentity::unknown(), self.text.clone());
        repeat(move || assert!(proven(&jwt, &peer, black_box(&text)), "a good token"))
    }

    /// A gate's authenticator for this token's issuer.
    pub fn authenticator(&self) -> Jwt {
        self.trusted(Jwt::builder())
    }

    fn trusted(&self, builder: JwtBuilder) -> Jwt {
        let keys = KeySource::given(self.key_set(1));
        let issuer: Issuer = Jwt::issuer(ISSUER).keys(keys).audience(AUDIENCE);
        builder.issuer(issuer).build().expect("an issuer")
    }

    /// Split, decode, borrow, check, and verify with a key that is parsed beforehand. ES256 alone.
    pub fn check_minimal(&self) -> Box<dyn Subject> {
        let (key, text) = (self.key.parsed(), self.text.clone());
        repeat(move || minimal(&key, black_box(&text)).expect("a good token"))
    }

    /// `jsonwebtoken` on the same cryptography.
    pub fn check_jsonwebtoken(&self) -> Box<dyn Subject> {
        let (key, algorithm) = self.key.for_jsonwebtoken();
        let mut validation = Validation::new(algorithm);
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

/// Tokens that were verified and are remembered. A clone has the same memory.
#[derive(Clone, Debug)]
pub struct Remembered {
    jwt: Jwt,
    tokens: Arc<[String]>,
}

impl Remembered {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.tokens.len()
    }

    /// Lookups that begin at this place, below their number, and go round all tokens.
    pub fn lookups(&self, from: usize) -> Lookups {
        let (jwt, tokens) = (self.jwt.clone(), Arc::clone(&self.tokens));
        let turn = Turn::among(tokens.len()).from(from);
        Lookups { jwt, peer: PeerIdentity::unknown(), tokens, turn }
    }
}

/// One thread's lookups of tokens that are remembered.
#[derive(Debug)]
pub struct Lookups {
    jwt: Jwt,
    peer: PeerIdentity,
    tokens: Arc<[String]>,
    turn: Turn,
}

impl Lookups {
    /// Looks the next token up. Whether it is proven.
    pub fn find_next(&mut self) -> bool {
        proven(&self.jwt, &self.peer, black_box(&self.tokens[self.turn.next()]))
    }
}

/// Verifies so many tokens and keeps what is remembered of them: for what a token takes.
pub fn hold_remembered(count: usize) -> Box<dyn Any> {
    let token = Token::es256();
    let jwt = token.trusted(Jwt::builder().remember_tokens(2 * count));
    let peer = PeerIdentity::unknown();
    let expires = unix_time() + 86_400;
    for id in 0..count {
        // One after the other, so that no more than one is there besides what is remembered.
        let input = signing_input(token.key.algorithm(), expires, 1, 300, id);
        assert!(proven(&jwt, &peer, &token.key.signed(&input)), "a good token");
    }
    Box::new(jwt)
}

fn proven(jwt: &Jwt, peer: &PeerIdentity, token: &str) -> bool {
    let evidence = Evidence::new(peer, CallEvidence::Bearer(token));
    matches!(jwt.authenticate_now(&evidence), Some(Ok(Some(_))))
}

impl Key {
    fn algorithm(&self) -> &'static str {
        match self {
            Self::P256(_) => "ES256",
            Self::Rsa(_) => "RS256",
            Self::Ed25519(_) => "EdDSA",
        }
    }

    fn signature_characters(&self) -> usize {
        match self {
            Self::P256(_) | Self::Ed25519(_) => 86,
            Self::Rsa(_) => 342,
        }
    }

    fn public(&self) -> Vec<u8> {
        match self {
            Self::P256(pair) => pair.public_key().as_ref().to_vec(),
            Self::Rsa(pair) => {
                let der: PublicKeyX509Der<'_> = pair.public_key().as_der().expect("a key");
                der.as_ref().to_vec()
            }
            Self::Ed25519(pair) => pair.public_key().as_ref().to_vec(),
        }
    }

    fn parsed(&self) -> ParsedPublicKey {
        let public = self.public();
        match self {
            Self::P256(_) => ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, public),
            Self::Rsa(_) => ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public),
            Self::Ed25519(_) => ParsedPublicKey::new(&ED25519, public),
        }
        .expect("a key")
    }

    fn jwk(&self) -> String {
        match self {
            Self::P256(_) => {
                let point = self.public();
                let (x, y) = point[1..].split_at(32);
                let (x, y) = (BASE64.encode(x), BASE64.encode(y));
                format!(r#"{{"kty":"EC","kid":"2026-11","crv":"P-256","x":"{x}","y":"{y}"}}"#)
            }
            Self::Rsa(pair) => {
                let key = pair.public_key();
                let n = BASE64.encode(key.modulus().big_endian_without_leading_zero());
                let e = BASE64.encode(key.exponent().big_endian_without_leading_zero());
                format!(r#"{{"kty":"RSA","kid":"2026-11","n":"{n}","e":"{e}"}}"#)
            }
            Self::Ed25519(_) => {
                let x = BASE64.encode(self.public());
                format!(r#"{{"kty":"OKP","kid":"2026-11","crv":"Ed25519","x":"{x}"}}"#)
            }
        }
    }

    fn for_jsonwebtoken(&self) -> (DecodingKey, Algorithm) {
        let jwk = serde_json::from_str(&self.jwk()).expect("a key");
        let key = DecodingKey::from_jwk(&jwk).expect("a key");
        let algorithm = match self {
            Self::P256(_) => Algorithm::ES256,
            Self::Rsa(_) => Algorithm::RS256,
            Self::Ed25519(_) => Algorithm::EdDSA,
        };
        (key, algorithm)
    }

    fn signed(&self, input: &str) -> String {
        let (random, message) = (SystemRandom::new(), input.as_bytes());
        let signature = match self {
            Self::P256(pair) => pair.sign(&random, message).expect("randomness").as_ref().to_vec(),
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .expect("a signature");
                signature
            }
            Self::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
        };
        format!("{input}.{}", BASE64.encode(signature))
    }
}

fn signing_input(algorithm: &str, expires: u64, subject: usize, scope: usize, id: usize) -> String {
    let header = format!(r#"{{"alg":"{algorithm}","typ":"JWT","kid":"2026-11"}}"#);
    let claims = format!(
        r#"{{"iss":"{ISSUER}","aud":"{AUDIENCE}","sub":"5f0c1e6a-7d7b-4a39{}","iat":{},"exp":{expires},"jti":"{id:08}","scope":"{}"}}"#,
        "a".repeat(subject),
        expires - 86_400,
        "s".repeat(scope),
    );
    format!("{}.{}", BASE64.encode(header), BASE64.encode(claims))
}

fn minimal(key: &ParsedPublicKey, token: &str) -> Option<usize> {
    let (signed, signature) = token.rsplit_once('.')?;
    let (header, claims) = signed.split_once('.')?;
    let header = BASE64.decode(header).ok()?;
    let header: Header<'_> = serde_json::from_slice(&header).ok()?;
    if header.alg != "ES256" || header.kid != "2026-11" {
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
    fn every_check_accepts_the_token_and_refuses_a_forged_one() {
        for token in [Token::es256(), Token::rs256(), Token::eddsa()] {
            assert_eq!(token.text().len(), TOKEN_BYTES);
            for mut check in
                [token.check_signature(), token.check_jsonwebtoken(), token.find_remembered(3)]
            {
                check.prepare(1);
                check.run();
            }
            let (jwt, peer) = (token.authenticator(), PeerIdentity::unknown());
            let mut forged = token.text().to_owned();
            forged.replace_range(forged.len() - 8..forged.len() - 4, "AAAA");
            assert!(proven(&jwt, &peer, token.text()) && !proven(&jwt, &peer, &forged));
        }
        let token = Token::es256();
        let forged = Token::es256();
        assert!(minimal(&token.key.parsed(), token.text()).is_some());
        assert!(minimal(&token.key.parsed(), forged.text()).is_none());
    }
}
