//! Tokens that are bound to a key, from the endpoint to our own gate (RFC 9449).

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign::authentication::Authenticator;
use countersign::authentication::jwt::{DpopNonces, DpopSettings, Jwt, KeySet, KeySource};
use countersign::credentials::oauth::{ClientAuthentication, ClientCredentials, TokenEndpoint};
use countersign::credentials::{
    ApiKey, CachedToken, CallDetails, CallMetadata, ChannelSecurityInfo, CompositeCallCredentials,
    DpopKey, DpopToken, FixedToken, PerAuthority, Rejection,
};
use countersign::{
    CallCredentials, Channel, ChannelCredentials, Clock, Gate, Introspection, Rules, SecurityLevel,
    ServerCredentials, SystemClock, connect,
};
use countersign_testkit::clock::ManualClock;
use countersign_testkit::greeter::GreeterClient;
use countersign_testkit::greeter::proto::HelloRequest;
use countersign_testkit::issuer::TokenMint;
use countersign_testkit::pki::CertificateAuthority;
use http::HeaderMap;
use serde_json::{Value, json};
use tonic::{Code, Request};
use tower_layer::Layer;

use crate::self_signed::claims_of;
use crate::stage::{BEGIN, ENDPOINT, Http, Told, Wall, answer, call, chain, seconds};
use crate::support::{Reached, Served, greeter, identity, serve, trusting};

const ISSUER: &str = "https://id.example";

fn endpoint(http: &Http, key: &DpopKey) -> TokenEndpoint {
    let client = ClientAuthentication::none("me");
    TokenEndpoint::new(ENDPOINT, client, http.clone()).expect("a URL").with_dpop(key.clone())
}

fn bound(token: &str) -> Told {
    let body = json!({"access_token": token, "token_type": "DPoP", "expires_in": 3600});
    answer(200, &body.to_string())
}

fn wants_nonce(nonce: &str) -> Told {
    Told::Answer {
        status: 400,
        headers: vec![("dpop-nonce", nonce.to_owned())],
        body: r#"{"error":"use_dpop_nonce"}"#.to_owned(),
    }
}

#[tokio::test(start_paused = true)]
async fn the_endpoint_gets_a_proof_and_once_more_with_its_nonce() {
    let key = DpopKey::generate().expect("a key");
    let http = Http::new([wants_nonce("n1"), bound("t1")]);
    let source = ClientCredentials::new(endpoint(&http, &key).with_clock(Wall::new()));
    let credentials = CachedToken::new(source);
    let token = credentials.token(&Default::default()).await.expect("a token");
    assert_eq!((token.expose().as_str(), http.count()), ("t1", 2));
    let request = http.last();
    let proof = request.headers()["dpop"].to_str().expect("text");
    let (header, claims) = claims_of(proof);
    assert_eq!((&header["typ"], &header["alg"]), (&"dpop+jwt".into(), &"ES256".into()));
    assert_eq!(header["jwk"].as_object().expect("a key").len(), 4, "the public half alone");
    let jti = claims["jti"].clone();
    assert_eq!(
        claims,
        json!({"htm": "POST", "htu": ENDPOINT, "iat": BEGIN, "nonce": "n1", "jti": jti})
    );
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_is_never_content_is_asked_twice_and_no_more() {
    let key = DpopKey::generate().expect("a key");
    let http = Http::new([wants_nonce("n1"), wants_nonce("n2")]);
    let credentials = CachedToken::new(ClientCredentials::new(endpoint(&http, &key)));
    let error = call(&credentials).await.expect_err("refused");
    assert!(chain(&error).ends_with("answered 400 use_dpop_nonce"), "{}", chain(&error));
    assert_eq!(http.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_not_bound_is_neither_taken_nor_sent() {
    let key = DpopKey::generate().expect("a key");
    let http = Http::new([crate::stage::good("t1")]);
    let credentials = CachedToken::new(ClientCredentials::new(endpoint(&http, &key)));
    let error = call(&credentials).await.expect_err("a bearer token");
    assert!(error.to_string().ends_with("gave a token of type \"Bearer\", not DPoP"), "{error}");
    let credentials = DpopToken::new(CachedToken::new(FixedToken::new("t1")), key);
    let error = call(&credentials).await.expect_err("a bearer token");
    assert_eq!(error.to_string(), "the source's token is not bound to a key");
    assert!(!error.is_transient());
}

#[tokio::test(start_paused = true)]
async fn each_call_has_a_proof_of_its_own() {
    let key = DpopKey::generate().expect("a key");
    let http = Http::new([bound("t1")]);
    let token = CachedToken::new(ClientCredentials::new(endpoint(&http, &key)));
    let credentials = DpopToken::new(token, key.clone()).with_clock(Wall::new());
    let security = ChannelSecurityInfo::new("tls", SecurityLevel::PrivacyAndIntegrity);
    let mut seen = Vec::new();
    for path in ["/a.B/C", "/a.B/D"] {
        let details = CallDetails::new("orders.example:443", path);
        let mut metadata = CallMetadata::default();
        credentials.get_metadata(&details, &security, &mut metadata).await.expect("metadata");
        assert_eq!(metadata.get("authorization"), Some(&b"DPoP t1"[..]));
        let proof = std::str::from_utf8(metadata.get("dpop").expect("a proof")).expect("text");
        let (_, claims) = claims_of(proof);
        let jti = claims["jti"].clone();
        let ath = digest(&SHA256, b"t1");
        let htu = format!("https://orders.example{path}");
        assert_eq!(claims["htu"], htu);
        assert_eq!(claims["ath"], URL_SAFE_NO_PAD.encode(ath));
        assert_eq!((&claims["htm"], &claims["iat"]), (&"POST".into(), &BEGIN.into()));
        assert!(!seen.contains(&jti));
        seen.push(jti);

        // A nonce is worth another try once.
        let mut answer = HeaderMap::new();
        answer.insert("dpop-nonce", "fresh".parse().expect("a value"));
        let rejection = Rejection::new(&details, &metadata, Some("PROOF_NONCE"), &answer);
        assert_eq!(credentials.rejected(&rejection), path == "/a.B/C");
        let shown = format!("{credentials:?}");
        assert!(shown.contains(key.thumbprint()) && !shown.contains("t1"), "{shown}");
    }
}

/// A server whose gate wants proofs with nonces that are given out for 20 s, and a client with
/// this key.
struct Guarded {
    greeter: GreeterClient<Channel>,
    /// What came to the gate.
    before: Reached,
    clock: ManualClock,
    _server: Served,
}

impl Guarded {
    /// A call's outcome, and how many requests it took.
    async fn call(&mut self) -> (Result<(), Code>, usize) {
        let so_far = self.before.count();
        let request = Request::new(HelloRequest { name: "you".to_owned() });
        let result = self.greeter.say_hello(request).await;
        (result.map(drop).map_err(|status| status.code()), self.before.count() - so_far)
    }
}

/// How the gate finds out what a token is worth.
#[derive(Clone, Copy, Debug)]
enum By {
    Keys,
    Introspection,
}

impl By {
    const BOTH: [Self; 2] = [Self::Keys, Self::Introspection];

    fn authenticator(
        self,
        mint: &TokenMint,
        claims: &Value,
        proofs: DpopSettings,
        clock: ManualClock,
    ) -> Arc<dyn Authenticator> {
        match self {
            Self::Keys => {
                let keys = KeySet::from_json(&mint.jwks().to_string()).expect("keys");
                let issuer = Jwt::issuer(ISSUER).keys(KeySource::given(keys)).audience("orders");
                let jwt = Jwt::builder().issuer(issuer).proofs(proofs).clock(clock);
                Arc::new(jwt.build().expect("an authenticator"))
            }
            Self::Introspection => {
                let mut known = claims.clone();
                known["active"] = true.into();
                known["token_type"] = "DPoP".into();
                let answers = (0..100).map(|_| Told::Answer {
                    status: 200,
                    headers: vec![("content-type", "application/json".to_owned())],
                    body: known.to_string(),
                });
                let tokens = Introspection::new("https://id.example/introspect")
                    .authenticated_by(ClientAuthentication::none("gate"))
                    .http_client(Http::new(answers))
                    .audience("orders")
                    .dpop(proofs)
                    .clock(clock);
                Arc::new(tokens.build().expect("an authenticator"))
            }
        }
    }
}

async fn at_the_gate(by: By, with_key: &DpopKey, bound_to: &DpopKey) -> Guarded {
    let clock = ManualClock::new(SystemClock.now());
    let mint = TokenMint::new(ISSUER);
    let mut claims = mint.claims("alice", "orders");
    claims["cnf"] = json!({"jkt": bound_to.thumbprint()});
    let nonces = DpopNonces::random().expect("nonces").with_period(seconds(20));
    let proofs = DpopSettings::new().with_nonces(nonces);
    let gate = Gate::builder()
        .authenticate(by.authenticator(&mint, &claims, proofs, clock.clone()))
        .authorize(Rules::new().authenticated("/countersign.demo.v1.Greeter/*"))
        .build()
        .expect("a gate");
    let ca = CertificateAuthority::new("test CA");
    let reached = Reached::default();
    let incoming = ServerCredentials::tls(identity(&ca.server(&["localhost"])))
        .build()
        .expect("server credentials")
        .bind("127.0.0.1:0")
        .await;
    let before = Reached::default();
    let service = before.layer(gate.layer(greeter(&reached)));
    let server = serve(incoming.expect("bound"), service);

    let http = Http::new([bound(&mint.mint(&claims))]);
    let token = CachedToken::new(ClientCredentials::new(endpoint(&http, bound_to)));
    let credentials = DpopToken::new(token, with_key.clone()).with_clock(clock.clone());
    let tls = ChannelCredentials::tls(trusting(&ca)).with_call_credentials(credentials);
    let channel = connect(server.https("localhost"), tls).await.expect("connected");
    Guarded { greeter: GreeterClient::new(channel), before, clock, _server: server }
}

#[tokio::test]
async fn our_gate_takes_a_bound_token_with_its_proof_and_not_with_anothers() {
    let (key, other) = (DpopKey::generate().expect("a key"), DpopKey::generate().expect("a key"));
    for by in By::BOTH {
        let mut guarded = at_the_gate(by, &key, &key).await;
        assert_eq!(guarded.call().await, (Ok(()), 2), "{by:?}: the first call twice");
        for _ in 0..2 {
            assert_eq!(guarded.call().await, (Ok(()), 1), "{by:?}");
        }
        let mut guarded = at_the_gate(by, &other, &key).await;
        assert_eq!(guarded.call().await, (Err(Code::Unauthenticated), 1), "{by:?}");
    }
}

/// RFC 9449 §8.2.
#[tokio::test]
async fn whoever_calls_once_in_a_period_takes_each_nonce_from_an_answer() {
    let key = DpopKey::generate().expect("a key");
    for by in By::BOTH {
        let mut guarded = at_the_gate(by, &key, &key).await;
        assert_eq!(guarded.call().await, (Ok(()), 2), "{by:?}: the first call twice");
        for _ in 0..10 {
            guarded.clock.advance(seconds(20));
            assert_eq!(guarded.call().await, (Ok(()), 1), "{by:?}: the answer before had it");
        }
        // Nobody was told those that were given out meanwhile.
        guarded.clock.advance(seconds(40));
        assert_eq!(guarded.call().await, (Ok(()), 2), "{by:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_nonce_is_taken_from_any_answer_and_for_its_host_alone() {
    let key = DpopKey::generate().expect("a key");
    let http = Http::new([bound("t1")]);
    let token = CachedToken::new(ClientCredentials::new(endpoint(&http, &key)));
    let credentials = DpopToken::new(token, key.clone()).with_clock(Wall::new());
    // As the channel does, through whatever wraps them.
    let credentials = CompositeCallCredentials::new(
        PerAuthority::new()
            .with("a.example", Arc::new(credentials.clone()))
            .and_then(|it| it.with("b.example", credentials))
            .expect("authorities"),
        ApiKey::new("beside-it").expect("a key"),
    );
    let security = ChannelSecurityInfo::new("tls", SecurityLevel::PrivacyAndIntegrity);
    let to = |host: &str| CallDetails::new(host, "/a.B/C");
    let mut answer = HeaderMap::new();
    for (given, kept) in [
        (None, None),
        (Some("one"), Some("one")),
        (None, Some("one")),
        (Some("two"), Some("two")),
        (Some("not visible"), Some("two")),
        (Some(""), Some("two")),
    ] {
        answer.clear();
        if let Some(nonce) = given {
            answer.insert("dpop-nonce", nonce.parse().expect("a value"));
        }
        credentials.answered(&to("a.example:443"), &answer);
        for (host, nonce) in [("a.example", kept), ("b.example", None)] {
            let mut metadata = CallMetadata::default();
            credentials.get_metadata(&to(host), &security, &mut metadata).await.expect("metadata");
            let proof = std::str::from_utf8(metadata.get("dpop").expect("a proof")).expect("text");
            let (_, claims) = claims_of(proof);
            assert_eq!(claims.get("nonce").and_then(|it| it.as_str()), nonce, "{host} {given:?}");
        }
    }
}
