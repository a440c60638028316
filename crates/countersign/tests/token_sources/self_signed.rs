//! Tokens that are signed here.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use countersign::authentication::jwt::Algorithm;
use countersign::credentials::oauth::{
    ClientCredentials, JwtBearer, SelfSignedJwt, ServiceAccountKey, SignError, Signer,
    TokenEndpoint, TokenExchange, token_type,
};
use countersign::credentials::{CachedToken, FixedToken};
use countersign::{CallCredentials, async_trait};
use serde_json::{Value, json};
use tokio::time::advance;

use crate::stage::{BEGIN, ENDPOINT, Http, Wall, call, call_to, good, seconds};

/// A private key, as PEM.
pub(crate) fn key_pem() -> String {
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
    let der = STANDARD.encode(key.to_pkcs8v1().expect("DER"));
    format!("-----BEGIN PRIVATE KEY-----\n{der}\n-----END PRIVATE KEY-----\n")
}

/// Header and claims of a JWT.
pub(crate) fn claims_of(token: &str) -> (Value, Value) {
    let parts: Vec<&str> = token.split('.').collect();
    assert_eq!(parts.len(), 3);
    let read = |part: &str| {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64")).expect("JSON")
    };
    (read(parts[0]), read(parts[1]))
}

/// A signer that counts; a key service could be behind it.
#[derive(Clone, Debug, Default)]
struct Counting(Arc<AtomicUsize>);

#[async_trait]
impl Signer for Counting {
    fn algorithm(&self) -> Algorithm {
        Algorithm::RS256
    }

    fn key_id(&self) -> Option<&str> {
        None
    }

    async fn sign(&self, _message: &[u8]) -> Result<Vec<u8>, SignError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(vec![7; 64])
    }
}

#[tokio::test(start_paused = true)]
async fn oa_01_the_audience_is_the_host_with_a_slash() {
    let signer = Counting::default();
    let source = SelfSignedJwt::new("me", signer).with_clock(Wall::new());
    let credentials = CachedToken::builder(source).with_clock(Wall::new()).build();
    for (authority, audience) in [
        ("foo.com", "https://foo.com/"),
        ("foo.com:443", "https://foo.com/"),
        ("foo.com:8443", "https://foo.com:8443/"),
        ("[::1]:443", "https://[::1]/"),
    ] {
        let token = call_to(&credentials, authority).await.expect("a token");
        let (header, claims) = claims_of(&token);
        assert_eq!(header, json!({"alg": "RS256", "typ": "JWT"}));
        let expected = json!({
            "iss": "me", "sub": "me", "aud": audience, "iat": BEGIN, "exp": BEGIN + 3_600,
        });
        assert_eq!(claims, expected, "{authority}");
    }
    // OA-02: an audience that is no URI cannot arise, since an authority was parsed before.
}

#[tokio::test(start_paused = true)]
async fn id_01_an_empty_audience_is_an_error_before_anything_is_signed_or_sent() {
    // grpc-go's constructors fail; ours do not, and no call gets as far as a signature.
    let signer = Counting::default();
    let credentials = CachedToken::new(SelfSignedJwt::new("me", signer.clone()).audience(" "));
    let error = call(&credentials).await.expect_err("no audience");
    assert_eq!(error.to_string(), "a statement needs an audience");
    assert!(!error.is_transient());

    let http = Http::default();
    let endpoint = || TokenEndpoint::without_client(ENDPOINT, http.clone()).expect("a URL");
    let bearer = JwtBearer::new(endpoint(), "me", signer.clone());
    let subject = FixedToken::new("subject");
    let exchange = TokenExchange::new(endpoint(), subject, token_type::JWT).expect("an exchange");
    let all: [(&str, Arc<dyn CallCredentials>); 4] = [
        ("JWT bearer", Arc::new(CachedToken::new(bearer.clone().assertion_audience("")))),
        ("its resource", Arc::new(CachedToken::new(bearer.resource("")))),
        ("exchange", Arc::new(CachedToken::new(exchange.audience("")))),
        (
            "client credentials",
            Arc::new(CachedToken::new(ClientCredentials::new(endpoint()).audience(""))),
        ),
    ];
    for (name, credentials) in all {
        // Sent empty, a parameter counts as left out, and the token would be for anybody.
        let error = call(&credentials).await.expect_err(name);
        assert!(!error.is_transient(), "{name}: {error}");
    }
    assert_eq!(http.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_token_is_signed_once_for_each_audience_and_lifetime() {
    let signer = Counting::default();
    let wall = Wall::new();
    let source = SelfSignedJwt::new("me", signer.clone()).with_clock(wall.clone());
    let credentials = CachedToken::builder(source).with_clock(wall).build();
    for _ in 0..1_000 {
        call_to(&credentials, "a.example").await.expect("a token");
        call_to(&credentials, "b.example").await.expect("a token");
    }
    assert_eq!(signer.0.load(Ordering::SeqCst), 2);
    advance(seconds(3_600)).await;
    call_to(&credentials, "a.example").await.expect("a token");
    assert_eq!(signer.0.load(Ordering::SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn a_fixed_audience_subject_and_claims_are_taken_over_and_the_rest_is_ours() {
    let source = SelfSignedJwt::new("me", Counting::default())
        .with_clock(Wall::new())
        .subject("alice")
        .audience("urn:orders")
        .lifetime(seconds(60))
        .claim("scope", "read")
        .claim("iss", "mallory")
        .claim("exp", 9_999_999_999_u64);
    let credentials = CachedToken::builder(source).with_clock(Wall::new()).build();
    let token = call(&credentials).await.expect("a token");
    assert_eq!(token, call_to(&credentials, "other.example").await.expect("the same"));
    let expected = json!({
        "iss": "me", "sub": "alice", "aud": "urn:orders", "scope": "read",
        "iat": BEGIN, "exp": BEGIN + 60,
    });
    assert_eq!(claims_of(&token).1, expected);
}

#[tokio::test(start_paused = true)]
async fn a_service_accounts_key_file_signs_and_is_exchanged() {
    let file = json!({
        "type": "service_account",
        "client_email": "svc@project.example",
        "private_key": key_pem(),
        "private_key_id": "k1",
        "token_uri": "https://oauth2.example/token",
        "project_id": "ignored",
    });
    let key = ServiceAccountKey::from_json(file.to_string()).expect("a key");
    assert_eq!(format!("{key:?}"), "ServiceAccountKey(svc@project.example)");
    let token = call(&CachedToken::new(key.self_signed())).await.expect("a token");
    let (header, claims) = claims_of(&token);
    assert_eq!((&header["kid"], &header["alg"]), (&"k1".into(), &"ES256".into()));
    assert_eq!(claims["iss"], "svc@project.example");
    assert_eq!(claims["aud"], "https://orders.example/");

    let http = Http::new([good("t1")]);
    let grant = key.exchanged("read write", http.clone()).expect("an endpoint");
    assert_eq!(call(&CachedToken::new(grant)).await.expect("a token"), "t1");
    assert_eq!(http.last().uri(), "https://oauth2.example/token");
    let (_, claims) = claims_of(&http.last_form()["assertion"]);
    assert_eq!(claims["scope"], "read write");
    assert_eq!(claims["aud"], "https://oauth2.example/token");
}

#[test]
fn what_is_no_key_file_is_refused_and_not_quoted() {
    let with = |name: &str, value: Value| {
        let mut file = json!({
            "type": "service_account", "client_email": "a@b", "private_key": key_pem(),
        });
        file[name] = value;
        file.to_string()
    };
    for text in [
        "hunter2".to_owned(),
        "{}".to_owned(),
        with("type", "authorized_user".into()),
        with("private_key", "hunter2".into()),
        with("private_key", 7.into()),
        with("client_email", Value::Null),
    ] {
        let error = ServiceAccountKey::from_json(&text).expect_err("no key file");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
    let key = ServiceAccountKey::from_json(with("x", 1.into())).expect("a key");
    key.exchanged("read", Http::default()).expect_err("no token_uri");
}
