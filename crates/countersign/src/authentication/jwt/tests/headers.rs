use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::super::{Algorithm, HmacAlgorithm, Jwt, KeySet, KeySource, SharedSecret};
use super::{AUDIENCE, ISSUER, Signer, built, good, signed_part, verdict};
use crate::secret::Secret;

fn hs256(header: &Value, claims: &Value, secret: &[u8]) -> String {
    let signed = signed_part(header, claims);
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(hmac::sign(&key, signed.as_bytes())))
}

#[test]
fn an_unsigned_token_is_refused_however_it_is_spelled() {
    let signer = Signer::new("k");
    let jwt = signer.jwt();
    assert_eq!(verdict(&jwt, &signer.token(&good())), "accepted");
    for alg in ["none", "None", "NONE", "nOnE", ""] {
        let signed = signed_part(&json!({"alg": alg, "kid": "k"}), &good());
        assert_eq!(verdict(&jwt, &format!("{signed}.")), "TOKEN_INVALID", "{alg:?}");
        let other = signer.token_with(&json!({"alg": alg, "kid": "k"}), &good());
        assert_eq!(verdict(&jwt, &other), "TOKEN_INVALID", "{alg:?} with a signature");
    }
}

#[test]
fn a_public_key_is_no_secret() {
    let signer = Signer::new("k");
    let jwk = signer.jwk().to_string();
    let point = {
        let mut point = vec![4];
        for name in ["x", "y"] {
            let text = signer.jwk()[name].as_str().expect("text").to_owned();
            point.extend(URL_SAFE_NO_PAD.decode(text).expect("base64url"));
        }
        point
    };
    for secret in [jwk.as_bytes(), &point] {
        let token = hs256(&json!({"alg": "HS256", "kid": "k"}), &good(), secret);
        assert_eq!(verdict(&signer.jwt(), &token), "TOKEN_INVALID");
    }
}

#[test]
fn the_header_names_an_algorithm_that_the_issuer_may_use_and_that_fits_the_key() {
    let signer = Signer::new("k");
    let token = signer.token(&good());
    let allowed = built(Jwt::builder().issuer(signer.issuer().algorithms([Algorithm::ES256])));
    assert_eq!(verdict(&allowed, &token), "accepted");
    let other = built(Jwt::builder().issuer(signer.issuer().algorithms([Algorithm::EdDSA])));
    assert_eq!(verdict(&other, &token), "TOKEN_INVALID");
    // Allowed, and not the key's.
    for alg in ["RS256", "PS256", "EdDSA", "ES384", "es256"] {
        let token = signer.token_with(&json!({"alg": alg, "kid": "k"}), &good());
        assert_eq!(verdict(&signer.jwt(), &token), "TOKEN_INVALID", "{alg}");
    }
}

#[test]
fn the_kid_chooses_the_key() {
    let (one, other) = (Signer::new("one"), Signer::new("other"));
    let set = |keys: Value| {
        let set = KeySet::from_json(&json!({ "keys": keys }).to_string()).expect("a key set");
        let issuer = Jwt::issuer(ISSUER).keys(KeySource::given(set)).audience(AUDIENCE);
        built(Jwt::builder().issuer(issuer))
    };
    let header = |kid: Value| match kid {
        Value::Null => json!({"alg": "ES256"}),
        kid => json!({"alg": "ES256", "kid": kid}),
    };
    let (single, both) = (set(json!([one.jwk()])), set(json!([one.jwk(), other.jwk()])));
    let mut same = other.jwk();
    same["kid"] = json!("one");
    let twice = set(json!([one.jwk(), same]));
    for (name, jwt, kid, told) in [
        ("its own", &both, json!("one"), "accepted"),
        ("another's", &both, json!("other"), "TOKEN_INVALID"),
        ("nobody's", &both, json!("third"), "TOKEN_INVALID"),
        ("none, and one key", &single, Value::Null, "accepted"),
        ("none, and two keys", &both, Value::Null, "TOKEN_INVALID"),
        ("of two keys", &twice, json!("one"), "TOKEN_INVALID"),
        ("a path", &single, json!("../../etc/passwd"), "TOKEN_INVALID"),
        ("a query", &single, json!("' OR 1=1 --"), "TOKEN_INVALID"),
    ] {
        let token = one.token_with(&header(kid), &good());
        assert_eq!(verdict(jwt, &token), told, "{name}");
    }
}

#[test]
fn a_key_that_comes_with_the_token_is_not_used() {
    let (known, attacker) = (Signer::new("k"), Signer::new("k"));
    for member in ["jwk", "jku", "x5u", "x5c"] {
        let mut header = attacker.header();
        header[member] = match member {
            "jwk" => attacker.jwk(),
            "x5c" => json!(["AAAA"]),
            _ => json!("https://evil.example/jwks"),
        };
        let token = attacker.token_with(&header, &good());
        assert_eq!(verdict(&known.jwt(), &token), "TOKEN_INVALID", "{member}");
        let token = known.token_with(&header, &good());
        assert_eq!(verdict(&known.jwt(), &token), "accepted", "{member} of no consequence");
    }
}

#[test]
fn what_is_signed_is_what_is_read() {
    let signer = Signer::new("k");
    let (token, jwt) = (signer.token(&good()), signer.jwt());
    let [header, payload, signature] =
        <[&str; 3]>::try_from(token.split('.').collect::<Vec<_>>()).expect("three");
    let mut admin = good();
    admin["sub"] = json!("root");
    let forged = URL_SAFE_NO_PAD.encode(admin.to_string());
    let bytes = URL_SAFE_NO_PAD.decode(signature).expect("base64url");
    let short = URL_SAFE_NO_PAD.encode(&bytes[..bytes.len() - 4]);
    for (name, token, told) in [
        ("as it was", token.clone(), "accepted"),
        ("other claims", format!("{header}.{forged}.{signature}"), "TOKEN_INVALID"),
        ("no signature", format!("{header}.{payload}."), "TOKEN_INVALID"),
        ("a shorter signature", format!("{header}.{payload}.{short}"), "TOKEN_INVALID"),
        ("a longer signature", format!("{token}AAAA"), "TOKEN_INVALID"),
        ("zeros", format!("{header}.{payload}.{}", "A".repeat(86)), "TOKEN_INVALID"),
        ("padded", format!("{token}=="), "CREDENTIALS_MALFORMED"),
        ("a space", format!("{header}. {payload}.{signature}"), "CREDENTIALS_MALFORMED"),
        ("a line break", format!("{token}\n"), "CREDENTIALS_MALFORMED"),
        ("JSON form", json!({"payload": payload}).to_string(), "CREDENTIALS_MALFORMED"),
    ] {
        assert_eq!(verdict(&jwt, &token), told, "{name}");
    }
}

#[test]
fn a_shared_secret_is_an_issuer_of_its_own() {
    let secret = [7; 32];
    let short = SharedSecret::new(HmacAlgorithm::HS256, &Secret::new(vec![7; 31]));
    assert!(short.is_err());
    let shared = SharedSecret::new(HmacAlgorithm::HS256, &Secret::new(secret.to_vec()));
    let issuer = Jwt::shared_secret(ISSUER, shared.expect("long enough")).audience(AUDIENCE);
    let jwt = built(Jwt::builder().issuer(issuer));
    let header = |alg: &str| json!({"alg": alg, "typ": "JWT"});
    assert_eq!(verdict(&jwt, &hs256(&header("HS256"), &good(), &secret)), "accepted");
    assert_eq!(verdict(&jwt, &hs256(&header("HS256"), &good(), &[8; 32])), "TOKEN_INVALID");
    assert_eq!(verdict(&jwt, &hs256(&header("HS512"), &good(), &secret)), "TOKEN_INVALID");
    assert_eq!(verdict(&jwt, &Signer::new("k").token(&good())), "TOKEN_INVALID");
}
