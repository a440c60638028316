use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign::{Clock, SystemClock};
use countersign_testkit::greeter::{SAY_HELLO, TestServer};
use serde_json::{Value, json};

use crate::provider::TokenRequest;
use crate::world::{Failure, Outcome, Shown, World, expect};

/// A key that tokens are bound to, and the proofs that it makes (RFC 9449 §4.2).
pub(crate) struct DpopKey(Ed25519KeyPair);

impl DpopKey {
    pub(crate) fn generate() -> Result<Self, Failure> {
        Ok(Self(Ed25519KeyPair::generate().map_err(|_| "no key was made")?))
    }

    /// A proof for a POST to `url`; with a token, for use together with that.
    pub(crate) fn proof(&self, url: &str, token: Option<&str>) -> Result<String, Failure> {
        let mut id = [0; 16];
        aws_lc_rs::rand::fill(&mut id).map_err(|_| "no random numbers")?;
        let now: SystemTime = SystemClock.now();
        let mut claims = json!({
            "jti": URL_SAFE_NO_PAD.encode(id),
            "htm": "POST",
            "htu": url,
            "iat": now.duration_since(UNIX_EPOCH)?.as_secs(),
        });
        if let Some(token) = token {
            let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
            claims["ath"] = URL_SAFE_NO_PAD.encode(digest).into();
        }
        let x = URL_SAFE_NO_PAD.encode(self.0.public_key().as_ref());
        let header = json!({
            "typ": "dpop+jwt",
            "alg": "EdDSA",
            "jwk": {"kty": "OKP", "crv": "Ed25519", "x": x},
        });
        let encoded = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let message = format!("{}.{}", encoded(&header), encoded(&claims));
        let signature = URL_SAFE_NO_PAD.encode(self.0.sign(message.as_bytes()));
        Ok(format!("{message}.{signature}"))
    }
}

/// A token that is bound to a key counts with a new proof of that key for each call, and with
/// nothing else.
pub(crate) async fn bound(
    world: &World,
    server: &TestServer,
    resource: &'static str,
    principal: &str,
) -> Outcome {
    let (key, other) = (DpopKey::generate()?, DpopKey::generate()?);
    let proof = key.proof(&world.provider.token_endpoint(), None)?;
    let token = world.provider.token(TokenRequest::new(resource).proven_by(proof)).await?;
    let url = format!("{}{SAY_HELLO}", server.https("localhost"));
    let proof = key.proof(&url, Some(&token))?;
    let elsewhere = format!("{}/pkg.Other/Method", server.https("localhost"));
    let (required, invalid) = ("Unauthenticated PROOF_REQUIRED", "Unauthenticated PROOF_INVALID");
    for (name, proof, wanted) in [
        ("without a proof", None, required),
        ("its key's proof", Some(proof.clone()), principal),
        ("the same proof again", Some(proof), invalid),
        ("another key's proof", Some(other.proof(&url, Some(&token))?), invalid),
        ("a proof for another method", Some(key.proof(&elsewhere, Some(&token))?), invalid),
        ("a proof for no token", Some(key.proof(&url, None)?), invalid),
        ("a new proof", Some(key.proof(&url, Some(&token))?), principal),
    ] {
        expect(name, world.call(server, None, Shown::Dpop(&token, proof)).await?, wanted)?;
    }
    expect("as bearer", world.bearer(server, &token).await?, required)
}
