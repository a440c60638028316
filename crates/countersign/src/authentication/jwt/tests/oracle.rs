//! `jsonwebtoken` beside us, told to check what we always check. Where the two differ, the row
//! says so and why, and fails when they agree one day.

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};

use super::{AUDIENCE, ISSUER, NOW, Signer, good, verdict, with};

/// What the oracle makes of a token, without its own clock: times are compared elsewhere.
fn oracle(signer: &Signer, token: &str) -> bool {
    let jwk: Jwk = serde_json::from_value(signer.jwk()).expect("a key");
    let key = DecodingKey::from_jwk(&jwk).expect("a key");
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_issuer(&[ISSUER]);
    validation.set_audience(&[AUDIENCE]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    validation.validate_exp = false;
    jsonwebtoken::decode::<Value>(token, &key, &validation).is_ok()
}

#[test]
fn the_oracle_agrees_but_for_what_is_listed() {
    let signer = Signer::new("k");
    let forged = Signer::new("k");
    let jwt = signer.jwt();
    let with_header = |name: &str, value: Value| {
        let mut header = signer.header();
        header[name] = value;
        signer.token_with(&header, &good())
    };
    let duplicate = {
        use base64::Engine;
        use base64::engine::general_purpose::URL_SAFE_NO_PAD;
        let claims = format!(
            r#"{{"iss":"{ISSUER}","sub":"alice","aud":"{AUDIENCE}","role":"user","role":"admin","exp":{}}}"#,
            NOW + 300
        );
        let signed = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(signer.header().to_string()),
            URL_SAFE_NO_PAD.encode(claims)
        );
        let random = aws_lc_rs::rand::SystemRandom::new();
        let signature = signer.pair.sign(&random, signed.as_bytes()).expect("randomness");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    };
    for (name, token, differs) in [
        ("as it should be", signer.token(&good()), None),
        ("forged", forged.token(&good()), None),
        ("another issuer", signer.token(&with("iss", json!("https://x"))), None),
        ("no issuer", signer.token(&with("iss", Value::Null)), None),
        ("another audience", signer.token(&with("aud", json!("x"))), None),
        ("no audience", signer.token(&with("aud", Value::Null)), None),
        ("several audiences", signer.token(&with("aud", json!(["x", AUDIENCE]))), None),
        ("no subject", signer.token(&with("sub", Value::Null)), None),
        ("another algorithm", with_header("alg", json!("ES384")), None),
        ("no token", "a.b.c".to_owned(), None),
        ("a member twice", duplicate, Some("RFC 8259 §4 leaves open which of the two counts")),
        ("crit", with_header("crit", json!(["x"])), Some("RFC 7515 §4.1.11 wants it refused")),
        ("b64", with_header("b64", json!(false)), Some("RFC 7797 would sign other bytes")),
        ("typ", with_header("typ", json!("dpop+jwt")), Some("RFC 8725 §3.11: another kind")),
        ("an ID token", signer.token(&with("nonce", json!("n"))), Some("RFC 8725 §3.12")),
        ("bound", signer.token(&with("cnf", json!({"jkt": "x"}))), Some("RFC 9449 §7.2")),
        ("nbf", signer.token(&with("nbf", json!(NOW + 9))), Some("it does not look by default")),
    ] {
        let (ours, theirs) = (verdict(&jwt, &token) == "accepted", oracle(&signer, &token));
        match differs {
            None => assert_eq!(ours, theirs, "{name}"),
            Some(why) => assert!(!ours && theirs, "{name}: {why}: {ours} and {theirs}"),
        }
    }
}
