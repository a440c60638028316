use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign::ClientTls;
use countersign::RootCertificates;
use countersign::authentication::jwt::KeySet;
use countersign::fetch::{FetchError, FetchLimits, HttpClient, HttpsClient};
use serde_json::{Value, json};

use super::*;
use crate::wait::until;

async fn get(url: &str) -> Result<http::Response<bytes::Bytes>, FetchError> {
    let client = HttpsClient::new(ClientTls::only_roots(RootCertificates::from_pem("")));
    let request = http::Request::get(url).body(bytes::Bytes::new()).expect("a request");
    client.send(request, FetchLimits::default()).await
}

async fn get_json(url: &str) -> Value {
    let answer = get(url).await.expect("an answer");
    assert_eq!(answer.status(), 200, "{url}");
    serde_json::from_slice(answer.body()).expect("JSON")
}

fn part(token: &str, index: usize) -> Vec<u8> {
    let part = token.split('.').nth(index).expect("three parts");
    URL_SAFE_NO_PAD.decode(part).expect("base64url")
}

fn verifies(token: &str, key: &SigningKey) -> bool {
    use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
    let algorithm: &dyn VerificationAlgorithm = match key.algorithm() {
        Algorithm::RS256 => &signature::RSA_PKCS1_2048_8192_SHA256,
        Algorithm::PS256 => &signature::RSA_PSS_2048_8192_SHA256,
        Algorithm::ES256 => &signature::ECDSA_P256_SHA256_FIXED,
        Algorithm::ES384 => &signature::ECDSA_P384_SHA384_FIXED,
        Algorithm::ES512 => &signature::ECDSA_P521_SHA512_FIXED,
        Algorithm::EdDSA => &signature::ED25519,
        other => panic!("not in this test: {other}"),
    };
    let (signed, _) = token.rsplit_once('.').expect("three parts");
    let key = UnparsedPublicKey::new(algorithm, key.public_key());
    key.verify(signed.as_bytes(), &part(token, 2)).is_ok()
}

const SIX: [Algorithm; 6] = [
    Algorithm::RS256,
    Algorithm::PS256,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::ES512,
    Algorithm::EdDSA,
];

fn key(algorithm: Algorithm) -> SigningKey {
    match algorithm {
        Algorithm::RS256 | Algorithm::PS256 => SigningKey::rsa(algorithm, "k"),
        other => SigningKey::generate(other, "k"),
    }
}

#[test]
fn every_algorithm_signs_what_its_key_verifies_and_no_other_does() {
    for algorithm in SIX {
        let key = key(algorithm);
        let mint = Mint::new(&json!({ "sub": "alice" }), &key);
        let token = mint.clone().sign();
        assert!(verifies(&token, &key), "{algorithm}");
        assert_eq!(part(&token, 1), br#"{"sub":"alice"}"#);
        let header: Value = serde_json::from_slice(&part(&token, 0)).expect("JSON");
        assert_eq!(header, json!({ "typ": "JWT", "alg": algorithm.name(), "kid": "k" }));
        assert!(!verifies(&mint.broken().sign(), &key), "{algorithm}");
        let other = SigningKey::generate(algorithm, "k");
        assert!(!verifies(&token, &other), "{algorithm}");
    }
}

#[test]
fn every_public_key_is_one_that_the_library_can_use() {
    let mut mint = TokenMint::new("https://id.example");
    for algorithm in SIX {
        mint.add(key(algorithm).named(algorithm.name()));
    }
    let set = KeySet::from_json(&mint.jwks().to_string()).expect("a key set");
    assert_eq!((set.len(), set.skipped()), (7, &[][..]));
}

#[test]
fn tokens_can_be_wrong_in_every_place() {
    let mint = TokenMint::new("https://id.example");
    let public_key = mint.current().public_key();
    let token = || mint.token(&json!({ "sub": "alice" }));
    let header = |token: &str| -> Value { serde_json::from_slice(&part(token, 0)).expect("JSON") };

    let unsigned = token().unsigned().sign();
    assert_eq!(header(&unsigned)["alg"], "none");
    assert!(unsigned.ends_with('.'));

    let confused = token().hmac(&public_key).sign();
    assert_eq!(header(&confused)["alg"], "HS256");
    let secret = hmac::Key::new(hmac::HMAC_SHA256, &public_key);
    let (signed, _) = confused.rsplit_once('.').expect("three parts");
    hmac::verify(&secret, signed.as_bytes(), &part(&confused, 2)).expect("a good HMAC");

    let critical = token().header("crit", json!(["x"])).without_header("kid").sign();
    assert_eq!(header(&critical)["crit"], json!(["x"]));
    assert_eq!(header(&critical).get("kid"), None);
    assert!(verifies(&critical, mint.current()));

    let other = SigningKey::generate(Algorithm::ES256, "other");
    let foreign = token().signed_by(&other).sign();
    assert_eq!(header(&foreign)["kid"], "key-1");
    assert!(verifies(&foreign, &other) && !verifies(&foreign, mint.current()));

    let raw = token().header_text("{").payload_text("}").signature("x").sign();
    assert_eq!(
        (part(&raw, 0), part(&raw, 1), part(&raw, 2)),
        (b"{".into(), b"}".into(), b"x".into())
    );
}

#[tokio::test]
async fn metadata_and_keys_are_where_the_standards_put_them() {
    for path in ["", "/realms/one"] {
        let issuer = TestIssuer::start_at(path).await;
        let base = issuer.url();
        let base = base.strip_suffix(path).expect("it ends with its path");
        for document in [
            format!("/.well-known/oauth-authorization-server{path}"),
            format!("{path}/.well-known/openid-configuration"),
        ] {
            let metadata = get_json(&format!("{base}{document}?x=y")).await;
            assert_eq!(metadata["issuer"], issuer.url());
            assert_eq!(metadata["jwks_uri"], issuer.jwks_url());
            assert_eq!(issuer.requests(&document), 1);
        }
        let keys = get_json(&issuer.jwks_url()).await;
        assert_eq!(keys["keys"][0]["kid"], "key-1");
        assert_eq!(issuer.requests(&issuer.jwks_path()), 1);
        assert_eq!(get(&format!("{base}/elsewhere")).await.expect("an answer").status(), 404);
        assert_eq!(issuer.all_requests(), 4);
    }
}

#[tokio::test]
async fn rotation_adds_a_key_and_old_ones_go_when_they_are_dropped() {
    let issuer = TestIssuer::start().await;
    let old = issuer.mint(&json!({}));
    let newer = issuer.rotate();
    assert!(verifies(&issuer.mint(&json!({})), &newer) && !verifies(&old, &newer));
    let kids = |set: Value| -> Vec<Value> {
        set["keys"].as_array().expect("keys").iter().map(|key| key["kid"].clone()).collect()
    };
    assert_eq!(kids(get_json(&issuer.jwks_url()).await), ["key-1", "key-2"]);
    issuer.drop_old();
    assert_eq!(kids(get_json(&issuer.jwks_url()).await), ["key-2"]);
    issuer.publish(json!({ "keys": 1 }));
    assert_eq!(get_json(&issuer.jwks_url()).await, json!({ "keys": 1 }));
    issuer.publish(None);
    assert_eq!(kids(get_json(&issuer.jwks_url()).await), ["key-2"]);
}

#[tokio::test]
async fn it_misbehaves_until_it_recovers() {
    let issuer = TestIssuer::start().await;
    let url = issuer.jwks_url();
    issuer.misbehave(Behaviour::Status(500));
    assert_eq!(get(&url).await.expect("an answer").status(), 500);
    issuer.misbehave_at("/jwks", Behaviour::Redirect("https://id.example/".to_owned()));
    let redirect = get(&url).await.expect("an answer");
    assert_eq!(
        (redirect.status().as_u16(), &redirect.headers()["location"]),
        (302, &http::HeaderValue::from_static("https://id.example/"))
    );
    issuer.misbehave_at("/jwks", Behaviour::Text("garbage".to_owned()));
    assert_eq!(get(&url).await.expect("an answer").body(), "garbage");
    issuer.misbehave_at("/jwks", Behaviour::Oversized);
    assert!(matches!(get(&url).await, Err(FetchError::TooLarge { .. })));
    issuer.misbehave_at("/jwks", Behaviour::HangUp);
    assert!(matches!(get(&url).await, Err(FetchError::Unreachable { .. })));
    issuer.cache_control("max-age=60");
    issuer.recover();
    let answer = get(&url).await.expect("an answer");
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["cache-control"]),
        (200, &http::HeaderValue::from_static("max-age=60"))
    );
}

#[tokio::test]
async fn who_hangs_answers_when_it_is_told_to() {
    let issuer = TestIssuer::start().await;
    issuer.misbehave(Behaviour::Hang);
    let url = issuer.jwks_url();
    let asking = tokio::spawn(async move { get(&url).await });
    until("it is asked", || issuer.requests("/jwks") == 1).await;
    assert_eq!(issuer.connections(), 1);
    issuer.recover();
    let answer = asking.await.expect("a task").expect("an answer");
    assert_eq!(answer.status(), 200);
    until("the connection is closed", || issuer.connections() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn who_drips_is_slower_than_anybody_waits() {
    let issuer = TestIssuer::start().await;
    issuer.misbehave(Behaviour::Drip);
    let begun = tokio::time::Instant::now();
    assert!(matches!(get(&issuer.jwks_url()).await, Err(FetchError::Timeout { .. })));
    assert!(begun.elapsed() >= Duration::from_secs(5));
}

#[tokio::test]
async fn it_stops_and_comes_back_on_its_port() {
    let mut issuer = TestIssuer::start().await;
    let url = issuer.jwks_url();
    get_json(&url).await;
    issuer.stop().await;
    assert!(matches!(get(&url).await, Err(FetchError::Unreachable { .. })));
    issuer.restart();
    get_json(&url).await;
    assert_eq!(issuer.requests("/jwks"), 2);
}
