//! Opaque tokens: who is asked about them, how often, and what an answer counts.

#[path = "introspection/endpoint.rs"]
mod endpoint;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign::authentication::jwt::thumbprint;
use countersign::authentication::{
    AuthenticationError, Authenticator, CallEvidence, CallTarget, Evidence, IntrospectionBuilder,
    IntrospectionError, KnowsAudience, Outcome, Proof,
};
use countersign::credentials::oauth::ClientAuthentication;
use countersign::identity::{MethodPath, PeerIdentity};
use countersign::{Introspection, danger};
use countersign_testkit::clock::ManualClock;
use countersign_testkit::logs::Logs;
use countersign_testkit::wait::until;
use endpoint::{Endpoint, Says};
use serde_json::{Value, json};

const URL: &str = "https://id.example/introspect?tenant=planted-query-5d1f";
const TOKEN: &str = "planted-token-2YotnFZFEjr1zCsicMWpAA";
const SECRET: &str = "planted-secret-gX1fBat3bV";

fn start() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// An endpoint, the clock that everyone reads, and what asks.
struct World {
    endpoint: Endpoint,
    clock: ManualClock,
    tokens: Introspection,
}

impl World {
    fn new() -> Self {
        Self::with(|builder| builder)
    }

    fn with(
        change: impl FnOnce(IntrospectionBuilder<KnowsAudience>) -> IntrospectionBuilder<KnowsAudience>,
    ) -> Self {
        let (endpoint, clock) = (Endpoint::new(), ManualClock::new(start()));
        let builder = Introspection::new(URL)
            .authenticated_by(ClientAuthentication::basic("orders", SECRET))
            .http_client(endpoint.clone())
            .clock(clock.clone())
            .audience("orders");
        let tokens = change(builder).build().expect("settings");
        Self { endpoint, clock, tokens }
    }

    fn knows(&self, token: &str) {
        self.endpoint.says(token, Says::Json(answer()));
    }

    async fn told(&self, token: &str) -> String {
        told(self.asks(token).await)
    }

    async fn asks(&self, token: &str) -> Outcome {
        asks(&self.tokens, token).await
    }

    /// What is known without asking.
    fn remembered(&self, token: &str) -> Option<String> {
        let peer = PeerIdentity::unknown();
        let evidence = Evidence::new(&peer, CallEvidence::Bearer(token));
        self.tokens.authenticate_now(&evidence).map(told)
    }
}

/// Asks as the gate does.
async fn asks(tokens: &Introspection, token: &str) -> Outcome {
    let peer = PeerIdentity::unknown();
    decide(tokens, &Evidence::new(&peer, CallEvidence::Bearer(token))).await
}

async fn decide(tokens: &Introspection, evidence: &Evidence<'_>) -> Outcome {
    match tokens.authenticate_now(evidence) {
        Some(outcome) => outcome,
        None => tokens.authenticate(evidence).await,
    }
}

fn told(outcome: Outcome) -> String {
    match outcome {
        Ok(Some(caller)) => caller.principal().name().to_owned(),
        Ok(None) => "nothing to read".to_owned(),
        Err(error) => error.reason().to_string(),
    }
}

/// Good for an hour.
fn answer() -> Value {
    json!({
        "active": true, "iss": "https://id.example", "sub": "alice", "aud": "orders",
        "scope": "read write", "client_id": "web", "token_type": "Bearer",
        "exp": 1_800_003_600,
    })
}

fn but(member: &str, value: Value) -> Value {
    let mut answer = answer();
    answer[member] = value;
    answer
}

const ALICE: &str = "https://id.example#alice";

#[tokio::test]
async fn an_active_token_proves_its_subject_and_another_does_not() {
    let world = World::new();
    world.knows(TOKEN);
    let caller = world.asks(TOKEN).await.expect("accepted").expect("a caller");
    assert_eq!(caller.principal().name(), ALICE);
    assert_eq!(caller.principal().authenticator(), Introspection::NAME);
    let claims = caller.principal().token().expect("claims");
    assert_eq!((claims.client(), claims.scopes().len()), (Some("web"), 2));
    assert_eq!(caller.expires_at(), Some(start() + seconds(3_660)));
    assert_eq!(caller.lease().expect("a lease").ends_at(), Some(start() + seconds(60)));
    assert_eq!(world.told("another-token").await, "TOKEN_INVALID");
}

#[tokio::test]
async fn the_endpoint_never_sees_what_is_for_others() {
    const JWT: &str = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl";
    const KEY: &str = "cs_live_4f9a_planted-key";
    let neither = World::with(|builder| builder.except_jwts().except_prefix("cs_"));
    for token in [JWT, KEY] {
        neither.knows(token);
        assert_eq!(neither.remembered(token), Some("nothing to read".to_owned()), "{token}");
        assert_eq!(neither.told(token).await, "nothing to read", "{token}");
    }
    assert_eq!(neither.endpoint.asked(), 0);
    for token in [TOKEN, "two.segments", "f.o.u.r", "live_cs_"] {
        neither.knows(token);
        assert_eq!(neither.told(token).await, ALICE, "{token}");
    }
    assert_eq!(neither.endpoint.asked(), 4);

    let all = World::new();
    for token in [JWT, KEY] {
        all.knows(token);
        assert_eq!(all.told(token).await, ALICE, "{token}");
    }
    assert_eq!(all.endpoint.asked(), 2);
}

#[tokio::test]
async fn the_endpoint_is_asked_as_rfc_7662_has_it() {
    let world = World::new();
    world.told("a+b").await;
    let request = world.endpoint.last_request();
    assert_eq!(request.method(), "POST");
    assert_eq!(request.uri(), URL);
    assert_eq!(request.body(), "token=a%2Bb&token_type_hint=access_token");
    assert_eq!(request.headers()["accept"], "application/json");
    assert!(request.headers()["authorization"].is_sensitive());
}

#[tokio::test]
async fn only_tokens_are_read() {
    let world = World::new();
    let peer = PeerIdentity::unknown();
    let other = CallEvidence::Other { scheme: "Basic", value: "dTpw" };
    for call in [CallEvidence::None, CallEvidence::ApiKey(TOKEN), other] {
        let outcome = world.tokens.authenticate_now(&Evidence::new(&peer, call));
        assert_eq!(outcome.map(told).as_deref(), Some("nothing to read"), "{call:?}");
    }
    let long = "t".repeat(CallEvidence::MAX_BYTES + 1);
    let joined = CallEvidence::Other { scheme: "DPoP", value: "a,b" };
    for call in [CallEvidence::Bearer(&long), joined] {
        let outcome = world.tokens.authenticate_now(&Evidence::new(&peer, call));
        assert_eq!(outcome.map(told).as_deref(), Some("CREDENTIALS_MALFORMED"), "{call:?}");
    }
    assert_eq!(world.endpoint.asked(), 0);
    assert_eq!(world.tokens.challenges(), ["Bearer", "DPoP"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_neither_yes_nor_no_is_unavailable() {
    let json = "application/json";
    let good = answer().to_string();
    let raw = |status, kind, body: &str| Says::Raw(status, kind, body.to_owned());
    for (name, says, told) in [
        ("as it should be", raw(200, json, &good), ALICE),
        ("with a charset", raw(200, "Application/JSON; charset=utf-8", &good), ALICE),
        ("no token", raw(200, json, r#"{"active":false}"#), "TOKEN_INVALID"),
        ("no content type", raw(200, "", &good), "VERIFIER_UNAVAILABLE"),
        ("HTML", raw(200, "text/html", "<html>sign in</html>"), "VERIFIER_UNAVAILABLE"),
        ("JSON as HTML", raw(200, "text/html", &good), "VERIFIER_UNAVAILABLE"),
        (
            "a signed answer",
            raw(200, "application/token-introspection+jwt", "e30.e30.e30"),
            "VERIFIER_UNAVAILABLE",
        ),
        ("not JSON", raw(200, json, "active"), "VERIFIER_UNAVAILABLE"),
        ("not an object", raw(200, json, "[true]"), "VERIFIER_UNAVAILABLE"),
        ("empty", raw(200, json, ""), "VERIFIER_UNAVAILABLE"),
        ("yes and no", raw(200, json, r#"{"active":false,"active":true}"#), "VERIFIER_UNAVAILABLE"),
        ("another 2xx", raw(201, json, &good), "VERIFIER_UNAVAILABLE"),
        ("a redirect", raw(302, json, &good), "VERIFIER_UNAVAILABLE"),
        ("a bad request", raw(400, json, r#"{"error":"invalid_request"}"#), "VERIFIER_UNAVAILABLE"),
        (
            "our client is refused",
            raw(401, json, r#"{"error":"invalid_client"}"#),
            "VERIFIER_UNAVAILABLE",
        ),
        ("forbidden", raw(403, json, &good), "VERIFIER_UNAVAILABLE"),
        ("too many requests", raw(429, json, &good), "VERIFIER_UNAVAILABLE"),
        ("a fault", raw(500, json, &good), "VERIFIER_UNAVAILABLE"),
        ("a proxy's fault", raw(503, json, &good), "VERIFIER_UNAVAILABLE"),
        ("nobody there", Says::Unreachable, "VERIFIER_UNAVAILABLE"),
        ("too large", Says::TooLarge, "VERIFIER_UNAVAILABLE"),
        (
            "larger than it may be",
            raw(200, json, &format!("{good}{}", " ".repeat(65_536))),
            "VERIFIER_UNAVAILABLE",
        ),
        ("no answer in time", Says::Nothing, "VERIFIER_UNAVAILABLE"),
        ("a panic", Says::Panic, "VERIFIER_UNAVAILABLE"),
    ] {
        let world = World::new();
        world.endpoint.says(TOKEN, says);
        assert_eq!(world.told(TOKEN).await, told, "{name}");
    }
}

#[tokio::test]
async fn a_hundred_first_calls_with_one_token_are_one_request() {
    let world = World::new();
    world.knows(TOKEN);
    world.knows("other");
    world.endpoint.hold();
    let call = |token: &'static str| {
        let tokens = world.tokens.clone();
        tokio::spawn(async move { told(asks(&tokens, token).await) })
    };
    let calls: Vec<_> = (0..100).map(|_| call(TOKEN)).collect();
    let other = call("other");
    until("both tokens are asked for", || world.endpoint.asked() == 2).await;
    // Each call has had its turn by now: this runtime has one thread.
    world.endpoint.release();
    for call in calls {
        assert_eq!(call.await.expect("told"), ALICE);
    }
    assert_eq!(other.await.expect("told"), ALICE);
    assert_eq!(world.endpoint.asked(), 2);
    assert_eq!(world.remembered(TOKEN).as_deref(), Some(ALICE));
    assert_eq!(world.endpoint.asked(), 2);
}

#[tokio::test]
async fn a_call_that_ends_does_not_stop_the_question() {
    let world = World::new();
    world.knows(TOKEN);
    world.endpoint.hold();
    let tokens = world.tokens.clone();
    let call = tokio::spawn(async move { told(asks(&tokens, TOKEN).await) });
    until("it is asked", || world.endpoint.asked() == 1).await;
    call.abort();
    assert!(call.await.expect_err("ended").is_cancelled());
    world.endpoint.release();
    until("the answer is known", || world.remembered(TOKEN).is_some()).await;
    assert_eq!(world.remembered(TOKEN).as_deref(), Some(ALICE));
    assert_eq!((world.endpoint.asked(), world.endpoint.dropped()), (1, 0));
}

#[tokio::test]
async fn the_last_handle_dropped_stops_the_question() {
    let World { endpoint, tokens, .. } = World::new();
    endpoint.hold();
    let asking = tokens.clone();
    let call = tokio::spawn(async move { told(asks(&asking, TOKEN).await) });
    until("it is asked", || endpoint.asked() == 1).await;
    call.abort();
    assert!(call.await.expect_err("ended").is_cancelled());
    let last = tokens.clone();
    drop(tokens);
    tokio::task::yield_now().await;
    assert_eq!(endpoint.dropped(), 0, "a handle is left");
    drop(last);
    until("the request is gone", || endpoint.dropped() == 1).await;
}

#[tokio::test(start_paused = true)]
async fn requests_at_once_are_bounded_and_so_is_the_wait() {
    let world = World::with(|builder| builder.max_concurrent_requests(1));
    world.knows("second");
    world.endpoint.says(TOKEN, Says::Nothing);
    let tokens = world.tokens.clone();
    let first = tokio::spawn(async move { asks(&tokens, TOKEN).await });
    until("the first is asked for", || world.endpoint.asked() == 1).await;
    let error = world.asks("second").await.expect_err("no turn");
    assert_eq!(error.reason().to_string(), "VERIFIER_UNAVAILABLE");
    assert!(chain(&error).contains("too many introspections"), "{}", chain(&error));
    assert_eq!(world.endpoint.asked(), 1);
    // Once the first has had its five seconds, there is a turn.
    first.await.expect("told").expect_err("no answer");
    assert_eq!(world.told("second").await, ALICE);
}

#[tokio::test]
async fn a_call_passes_when_its_turn_comes_in_time() {
    let world = World::with(|builder| builder.max_concurrent_requests(1));
    world.knows(TOKEN);
    world.knows("second");
    world.endpoint.hold();
    let call = |token: &'static str| {
        let tokens = world.tokens.clone();
        tokio::spawn(async move { told(asks(&tokens, token).await) })
    };
    let (first, second) = (call(TOKEN), call("second"));
    until("one is asked for", || world.endpoint.asked() == 1).await;
    world.endpoint.release();
    assert_eq!(first.await.expect("told"), ALICE);
    assert_eq!(second.await.expect("told"), ALICE);
    assert_eq!(world.endpoint.asked(), 2);
}

#[tokio::test]
async fn questions_that_nobody_waits_for_any_more_are_bounded() {
    let world = World::with(|builder| builder.max_concurrent_requests(1));
    world.endpoint.hold();
    for number in 0..1024 {
        let tokens = world.tokens.clone();
        let call = tokio::spawn(async move { asks(&tokens, &format!("t{number}")).await });
        tokio::task::yield_now().await;
        call.abort();
    }
    let error = world.asks("one-more").await.expect_err("refused");
    assert!(chain(&error).contains("too many introspections"), "{}", chain(&error));
    assert_eq!(world.endpoint.asked(), 1);
}

#[tokio::test]
async fn tokens_that_are_bad_push_out_none_that_are_good() {
    let world = World::new();
    world.knows(TOKEN);
    assert_eq!(world.told(TOKEN).await, ALICE);
    // More than both kinds together have room for.
    for number in 0..25_000 {
        assert_eq!(world.told(&format!("t{number}")).await, "TOKEN_INVALID");
    }
    assert_eq!(world.remembered(TOKEN).as_deref(), Some(ALICE));
    let remembered = (0..25_000).filter(|number| world.remembered(&format!("t{number}")).is_some());
    assert!((1..=10_000).contains(&remembered.count()), "they push out each other");
}

#[tokio::test]
async fn a_token_that_is_good_no_more_is_not_found_among_the_good() {
    let world = World::new();
    world.knows(TOKEN);
    assert_eq!(world.told(TOKEN).await, ALICE);
    world.endpoint.says(TOKEN, Says::Json(json!({"active": false})));
    assert_eq!(world.told(TOKEN).await, ALICE, "for a minute");
    world.clock.advance(seconds(60));
    assert_eq!(world.told(TOKEN).await, "TOKEN_INVALID");
    // A clock that was set back finds the refusal too young, and not the old yes.
    world.clock.set(start() + seconds(30));
    assert_eq!(world.remembered(TOKEN), None);
    world.knows(TOKEN);
    world.clock.set(start() + seconds(70));
    assert_eq!(world.told(TOKEN).await, ALICE);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_fails_is_left_alone_for_a_while() {
    let logs = Logs::collect();
    let world = World::new();
    world.endpoint.says(TOKEN, Says::Unreachable);
    for _ in 0..3 {
        assert_eq!(world.told(TOKEN).await, "VERIFIER_UNAVAILABLE");
    }
    assert_eq!(world.endpoint.asked(), 3, "trouble is not remembered");
    for _ in 0..10 {
        let error = world.asks(TOKEN).await.expect_err("left alone");
        assert!(chain(&error).contains("left alone"), "{}", chain(&error));
        assert_eq!(error.retry_after(), Some(seconds(1)));
    }
    assert_eq!(world.endpoint.asked(), 3);
    assert_eq!(logs.lines_with("is left alone for a while").len(), 1, "{}", logs.text());
    tokio::time::advance(Duration::from_millis(500)).await;
    world.knows(TOKEN);
    assert_eq!(world.told(TOKEN).await, ALICE);
    assert_eq!(world.endpoint.asked(), 4);
    assert_eq!(logs.lines_with("answers again").len(), 1, "{}", logs.text());
}

#[tokio::test(start_paused = true)]
async fn a_rest_ends_with_one_request() {
    let world = World::new();
    for token in ["a", "b", "c"] {
        world.endpoint.says(token, Says::Unreachable);
        assert_eq!(world.told(token).await, "VERIFIER_UNAVAILABLE");
    }
    tokio::time::advance(Duration::from_millis(500)).await;
    world.endpoint.hold();
    let calls: Vec<_> = ["a", "b", "c"]
        .map(|token| {
            let tokens = world.tokens.clone();
            tokio::spawn(async move { told(asks(&tokens, token).await) })
        })
        .into();
    until("somebody finds out", || world.endpoint.asked() == 4).await;
    world.endpoint.release();
    for call in calls {
        assert_eq!(call.await.expect("told"), "VERIFIER_UNAVAILABLE");
    }
    assert_eq!(world.endpoint.asked(), 4);
}

#[tokio::test(start_paused = true)]
async fn trouble_over_one_token_stops_no_other() {
    let world = World::new();
    world.knows(TOKEN);
    for number in 0..10 {
        let odd = format!("odd{number}");
        world.endpoint.says(&odd, Says::Raw(400, "application/json", String::new()));
        assert_eq!(world.told(&odd).await, "VERIFIER_UNAVAILABLE");
        // Sent again it costs no request for five seconds.
        assert_eq!(world.told(&odd).await, "VERIFIER_UNAVAILABLE");
    }
    assert_eq!(world.endpoint.asked(), 10);
    assert_eq!(world.told(TOKEN).await, ALICE);
    world.clock.advance(seconds(5));
    assert_eq!(world.told("odd0").await, "VERIFIER_UNAVAILABLE");
    assert_eq!(world.endpoint.asked(), 12);
}

#[tokio::test]
async fn a_yes_counts_for_a_minute_and_never_beyond_its_end() {
    for (name, exp, counts) in [
        ("an hour", 1_800_003_600_u64, 60),
        ("twenty seconds", 1_800_000_020, 20),
        ("ended within the leeway", 1_799_999_990, 5),
        ("the leeway ends first", 1_799_999_942, 2),
    ] {
        let world = World::new();
        world.endpoint.says(TOKEN, Says::Json(but("exp", json!(exp))));
        assert_eq!(world.told(TOKEN).await, ALICE, "{name}");
        world.endpoint.says(TOKEN, Says::Json(json!({"active": false})));
        world.clock.advance(seconds(counts) - Duration::from_millis(1));
        assert_eq!(world.told(TOKEN).await, ALICE, "{name}");
        assert_eq!(world.endpoint.asked(), 1, "{name}");
        world.clock.advance(Duration::from_millis(1));
        assert_eq!(world.remembered(TOKEN), None, "{name}");
        assert_eq!(world.told(TOKEN).await, "TOKEN_INVALID", "{name}");
        assert_eq!(world.endpoint.asked(), 2, "{name}");
    }
}

#[tokio::test]
async fn a_no_counts_for_five_seconds() {
    let world = World::new();
    assert_eq!(world.told(TOKEN).await, "TOKEN_INVALID");
    world.knows(TOKEN);
    world.clock.advance(Duration::from_millis(4_999));
    assert_eq!(world.told(TOKEN).await, "TOKEN_INVALID");
    assert_eq!(world.endpoint.asked(), 1);
    world.clock.advance(Duration::from_millis(1));
    assert_eq!(world.told(TOKEN).await, ALICE);
}

#[tokio::test]
async fn a_clock_that_was_set_back_makes_nothing_count_longer() {
    let world = World::new();
    world.knows(TOKEN);
    assert_eq!(world.told(TOKEN).await, ALICE);
    world.clock.set(start() - seconds(600));
    assert_eq!(world.remembered(TOKEN), None);
    assert_eq!(world.told(TOKEN).await, ALICE);
    assert_eq!(world.endpoint.asked(), 2);
}

#[tokio::test]
async fn nothing_is_remembered_when_nothing_may_be() {
    let world = World::with(|builder| builder.remember_for(Duration::ZERO));
    world.knows(TOKEN);
    for asked in 1..=3 {
        let caller = world.asks(TOKEN).await.expect("accepted").expect("a caller");
        assert!(!caller.lease().expect("a lease").holds(start()));
        assert_eq!(world.endpoint.asked(), asked);
    }
}

#[tokio::test]
async fn what_was_forgotten_is_asked_again() {
    let world = World::new();
    world.knows(TOKEN);
    let caller = world.asks(TOKEN).await.expect("accepted").expect("a caller");
    let lease = caller.lease().expect("a lease");
    assert!(lease.holds(start()));
    world.endpoint.says(TOKEN, Says::Json(json!({"active": false})));
    world.tokens.forget();
    assert!(!lease.holds(start()));
    assert_eq!(world.told(TOKEN).await, "TOKEN_INVALID");
}

#[tokio::test]
async fn an_answer_from_before_a_change_counts_for_nothing_after_it() {
    let world = World::new();
    world.knows(TOKEN);
    world.endpoint.hold();
    let tokens = world.tokens.clone();
    let early = tokio::spawn(async move { told(asks(&tokens, TOKEN).await) });
    until("it is asked", || world.endpoint.asked() == 1).await;
    world.tokens.forget();
    let tokens = world.tokens.clone();
    let late = tokio::spawn(async move { told(asks(&tokens, TOKEN).await) });
    until("it is asked again", || world.endpoint.asked() == 2).await;
    world.endpoint.release();
    assert_eq!(early.await.expect("told"), ALICE);
    assert_eq!(late.await.expect("told"), ALICE);
    assert_eq!(world.remembered(TOKEN).as_deref(), Some(ALICE));
}

#[tokio::test]
async fn settings_that_make_no_authenticator_are_refused() {
    let named = |url: &str| Introspection::new(url).audience("orders");
    let client = || ClientAuthentication::basic("orders", SECRET);
    let error = named("https://id.example/").build().expect_err("no client");
    assert!(matches!(error, IntrospectionError::NoClient { .. }), "{error}");
    for url in ["http://id.example/introspect", "id.example", "https://u:p@id.example/"] {
        let error = named(url).authenticated_by(client()).build().expect_err(url);
        assert!(matches!(error, IntrospectionError::Endpoint(_)), "{error}");
    }
    let good = || named("http://127.0.0.1:1/introspect").authenticated_by(client());
    good().build().expect("a loopback address");
    for (name, builder) in [
        ("leeway", good().leeway(seconds(301))),
        ("remember", good().remember_for(seconds(61))),
        ("no time", good().timeout(Duration::ZERO)),
        ("too much time", good().timeout(seconds(31))),
        ("no requests", good().max_concurrent_requests(0)),
        ("too many requests", good().max_concurrent_requests(1025)),
    ] {
        let error = builder.build().expect_err(name);
        assert!(matches!(error, IntrospectionError::Range { .. }), "{name}: {error}");
    }
}

#[tokio::test]
async fn an_audience_is_looked_at_unless_danger_says_otherwise() {
    let base = |endpoint: &Endpoint| {
        Introspection::new(URL)
            .authenticated_by(ClientAuthentication::basic("orders", SECRET))
            .http_client(endpoint.clone())
            .clock(ManualClock::new(start()))
    };
    let required = |endpoint: &Endpoint| base(endpoint).audience("orders").audience("billing");
    let lenient = |endpoint: &Endpoint| danger::introspected_without_audience(required(endpoint));
    let any = |endpoint: &Endpoint| danger::introspected_for_any_audience(base(endpoint));
    let no = "TOKEN_AUDIENCE";
    for (aud, told_by) in [
        (json!("orders"), [ALICE, ALICE, ALICE]),
        (json!(["x", "billing"]), [ALICE, ALICE, ALICE]),
        (json!("Orders"), [no, no, ALICE]),
        (json!(["x"]), [no, no, ALICE]),
        (json!([]), [no, no, ALICE]),
        (Value::Null, [no, ALICE, ALICE]),
    ] {
        let endpoint = Endpoint::new();
        endpoint.says(TOKEN, Says::Json(but("aud", aud.clone())));
        let builders = [required(&endpoint), lenient(&endpoint), any(&endpoint)];
        for (builder, wanted) in builders.into_iter().zip(told_by) {
            let tokens = builder.build().expect("settings");
            assert_eq!(told(asks(&tokens, TOKEN).await), wanted, "{aud}");
        }
    }
}

/// A key, its thumbprint, and proofs that it makes.
struct DpopKey {
    pair: Ed25519KeyPair,
    jwk: Value,
}

impl DpopKey {
    fn new() -> Self {
        let pair = Ed25519KeyPair::generate().expect("a key");
        let x = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
        Self { pair, jwk: json!({"kty": "OKP", "crv": "Ed25519", "x": x}) }
    }

    fn thumbprint(&self) -> String {
        thumbprint(self.jwk.as_object().expect("an object")).expect("a key")
    }

    fn proof(&self, token: &str, id: &str) -> String {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
        let header = json!({"typ": "dpop+jwt", "alg": "EdDSA", "jwk": self.jwk});
        let claims = json!({
            "jti": id, "htm": "POST", "htu": "https://orders.example/pkg.Orders/List",
            "iat": 1_800_000_000, "ath": URL_SAFE_NO_PAD.encode(digest),
        });
        let encoded = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let message = format!("{}.{}", encoded(&header), encoded(&claims));
        let signature = self.pair.sign(message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

#[tokio::test]
async fn a_token_that_is_bound_to_a_key_needs_a_proof_for_each_call() {
    let world = World::new();
    let (key, other) = (DpopKey::new(), DpopKey::new());
    let mut bound = but("cnf", json!({"jkt": key.thumbprint()}));
    bound["token_type"] = json!("DPoP");
    world.endpoint.says("bound", Says::Json(bound));
    world.knows("plain");
    let peer = PeerIdentity::unknown();
    let path = MethodPath::parse("/pkg.Orders/List").expect("a path");
    let call = |scheme: &'static str, token: &'static str, proof: Option<String>| {
        let (tokens, peer) = (world.tokens.clone(), peer.clone());
        async move {
            let call = match scheme {
                "Bearer" => CallEvidence::Bearer(token),
                scheme => CallEvidence::Other { scheme, value: token },
            };
            let proof = proof.as_deref().map_or(Proof::None, Proof::One);
            let evidence = Evidence::new(&peer, call)
                .with_proof(proof)
                .for_call(CallTarget { authority: "orders.example", path });
            // Whoever asks whether it can be told at once may do so again.
            let now = tokens.authenticate_now(&evidence);
            assert!(now.is_none_or(
                |outcome| !matches!(outcome, Ok(Some(known)) if known.lease().is_none())
            ));
            decide(&tokens, &evidence).await
        }
    };
    let known = call("DPoP", "bound", Some(key.proof("bound", "1"))).await;
    let known = known.expect("accepted").expect("a caller");
    assert_eq!(known.principal().name(), ALICE);
    assert!(known.lease().is_none(), "the next call brings its own proof");
    for (name, scheme, token, proof, reason) in [
        ("again", "DPoP", "bound", Some(key.proof("bound", "1")), "PROOF_INVALID"),
        ("another key", "DPoP", "bound", Some(other.proof("bound", "2")), "PROOF_INVALID"),
        ("another token", "dpop", "bound", Some(key.proof("plain", "3")), "PROOF_INVALID"),
        ("no proof", "DPoP", "bound", None, "PROOF_REQUIRED"),
        ("as bearer", "Bearer", "bound", None, "PROOF_REQUIRED"),
        (
            "as bearer with a proof",
            "Bearer",
            "bound",
            Some(key.proof("bound", "4")),
            "PROOF_REQUIRED",
        ),
        ("not bound", "DPoP", "plain", Some(key.proof("plain", "5")), "PROOF_INVALID"),
    ] {
        assert_eq!(told(call(scheme, token, proof).await), reason, "{name}");
    }
    let fresh = call("dpop", "bound", Some(key.proof("bound", "6"))).await;
    assert_eq!(told(fresh), ALICE);
    assert_eq!(told(call("Bearer", "plain", None).await), ALICE);
}

fn chain(error: &AuthenticationError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[tokio::test(start_paused = true)]
async fn neither_token_nor_secret_is_in_any_error_log_or_debug_output() {
    let logs = Logs::collect();
    let echo = format!(r#"{{"error":"{TOKEN}","error_description":"{TOKEN} {SECRET}"}}"#);
    let mut shown = Vec::new();
    for says in [
        Says::Json(json!({"active": false, "echo": TOKEN})),
        Says::Json(but("aud", json!(TOKEN))),
        Says::Json(but("exp", json!(TOKEN))),
        Says::Json(but("cnf", json!({"x5t#S256": TOKEN}))),
        Says::Raw(200, "application/json", format!("{{\"{TOKEN}\":{SECRET}}}")),
        Says::Raw(200, "text/html", TOKEN.to_owned()),
        Says::Raw(400, "application/json", echo.clone()),
        Says::Raw(401, "application/json", echo.clone()),
        Says::Raw(500, "application/json", echo),
        Says::Unreachable,
        Says::Nothing,
    ] {
        let world = World::new();
        world.endpoint.says(TOKEN, says);
        for _ in 0..4 {
            let error = world.asks(TOKEN).await.expect_err("refused");
            shown.push(format!("{} {error:?}", chain(&error)));
            world.clock.advance(seconds(10));
        }
        shown.push(format!("{:?}", world.tokens));
    }
    let builder = Introspection::new(URL)
        .authenticated_by(ClientAuthentication::post("orders", SECRET))
        .audience("orders");
    shown.push(format!("{builder:?}"));
    let tokens: Arc<dyn Authenticator> = Arc::new(builder.build().expect("settings"));
    shown.push(format!("{tokens:?}"));
    shown.push(logs.text());
    let shown = shown.join("\n");
    for planted in [TOKEN, SECRET, "planted"] {
        assert!(!shown.contains(planted), "{planted} in {shown}");
    }
    for told in ["https://id.example/introspect", "client \"orders\"", "is left alone"] {
        assert!(shown.contains(told), "{told} not in {shown}");
    }
}
