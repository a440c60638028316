use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::*;
use crate::credentials::oauth::PemSigner;

const ENDPOINT: &str = "https://id.example/introspect";
const NOW: SystemTime = UNIX_EPOCH;

async fn asked(client: &ClientAuthentication) -> Request<Bytes> {
    let form = Form::new().with("token", "t");
    client.request(&ENDPOINT.parse().expect("a URI"), form, NOW).await.expect("a request")
}

async fn body(client: &ClientAuthentication) -> String {
    let request = asked(client).await;
    assert!(!request.headers().contains_key(AUTHORIZATION));
    String::from_utf8(request.into_body().to_vec()).expect("text")
}

#[tokio::test]
async fn id_and_secret_are_encoded_before_they_are_joined() {
    let request = asked(&ClientAuthentication::basic("a:b", "p%1 ü")).await;
    let value = &request.headers()[AUTHORIZATION];
    let pair = value.to_str().expect("text").strip_prefix("Basic ").expect("the scheme");
    assert_eq!(STANDARD.decode(pair).expect("base64"), b"a%3Ab:p%251+%C3%BC");
    assert!(value.is_sensitive());
    assert_eq!(request.body(), "token=t");
    assert_eq!((request.method(), request.uri().to_string()), (&Method::POST, ENDPOINT.into()));
    assert_eq!(request.headers()[ACCEPT], "application/json");
    assert_eq!(request.headers()[CONTENT_TYPE], "application/x-www-form-urlencoded");
}

#[tokio::test]
async fn each_means_sends_what_it_has_to_and_no_more() {
    for (client, sent) in [
        (ClientAuthentication::none("me"), "token=t&client_id=me"),
        (ClientAuthentication::mutual_tls("me"), "token=t&client_id=me"),
        (ClientAuthentication::post("me", "s&1"), "token=t&client_id=me&client_secret=s%261"),
    ] {
        assert_eq!(body(&client).await, sent, "{}", client.method());
    }
}

/// Header and claims of an assertion.
async fn assertion(client: &ClientAuthentication) -> (Value, Value) {
    let body = body(client).await;
    let (head, jwt) = body.split_once("&client_assertion=").expect("an assertion");
    assert_eq!(
        head,
        "token=t&client_id=me&client_assertion_type=\
         urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer"
    );
    let parts: Vec<Vec<u8>> =
        jwt.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).expect("base64url")).collect();
    let [header, claims, _signature] = &parts[..] else { unreachable!("three parts") };
    let json = |text: &[u8]| serde_json::from_slice(text).expect("JSON");
    (json(header), json(claims))
}

#[tokio::test]
async fn an_assertion_says_what_rfc_7523_asks_for_once() {
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
    let der = key.to_pkcs8v1().expect("a key");
    let signer = PemSigner::from_pkcs8(der.as_ref()).expect("a key").with_key_id("k1");
    let client = ClientAuthentication::private_key_jwt("me", signer);
    let (header, claims) = assertion(&client).await;
    assert_eq!(header, json!({"alg": "ES256", "typ": "JWT", "kid": "k1"}));
    let jti = claims["jti"].as_str().expect("text").to_owned();
    assert_eq!(
        claims,
        json!({"iss": "me", "sub": "me", "aud": ENDPOINT, "jti": jti, "iat": 0, "exp": 60})
    );
    assert_ne!(assertion(&client).await.1["jti"], jti);
    let client = client.assertion_audience("https://id.example");
    assert_eq!(assertion(&client).await.1["aud"], "https://id.example");
}

/// Fails as a key management service does.
#[derive(Debug)]
struct OutOfReach;

#[crate::async_trait]
impl Signer for OutOfReach {
    fn algorithm(&self) -> crate::jose::Algorithm {
        crate::jose::Algorithm::ES256
    }

    fn key_id(&self) -> Option<&str> {
        None
    }

    async fn sign(&self, _message: &[u8]) -> Result<Vec<u8>, SignError> {
        Err(SignError::transient("the key service is out of reach"))
    }
}

#[tokio::test]
async fn without_a_signature_there_is_no_request() {
    let client = ClientAuthentication::private_key_jwt("me", OutOfReach);
    let endpoint = ENDPOINT.parse().expect("a URI");
    let error = client.request(&endpoint, Form::new(), NOW).await.expect_err("no signature");
    assert!(error.is_transient(), "{error}");
}

#[tokio::test]
async fn secrets_stay_hidden_in_debug_output() {
    for client in
        [ClientAuthentication::basic("me", "hunter2"), ClientAuthentication::post("me", "hunter2")]
    {
        let shown = format!("{client:?}");
        assert!(shown.contains("me") && !shown.contains("hunter2"), "{shown}");
    }
    let shown = format!("{:?}", asked(&ClientAuthentication::basic("me", "hunter2")).await);
    assert!(shown.contains("Sensitive"), "{shown}");
}
