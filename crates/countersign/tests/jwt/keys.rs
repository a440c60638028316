//! Where the issuer's keys come from while calls go on: start-up, rotation, outages, floods.
//!
//! The time stands still unless a test moves it, so whatever is fetched was asked for.

use std::time::Duration;

use countersign::Jwt;
use countersign::authentication::Readiness;
use countersign::authentication::jwt::{Issuer, KeySource};
use countersign_testkit::issuer::{Algorithm, Behaviour, SigningKey, TestIssuer};
use countersign_testkit::wait::until;
use serde_json::{Value, json};

use crate::stage::{
    AUDIENCE, INVALID, PASSES, Told, UNAVAILABLE, at_noon, behind, build, gate, greet, noon,
};
use crate::support::{RawClient, Served};
use crate::time::StoppedTime;

/// For how long after a fetch for the sake of an unknown key there is no other.
const COOLDOWN: Duration = Duration::from_secs(30);

/// A moment longer, as timers know no less than a millisecond.
const A_COOLDOWN: Duration = Duration::from_millis(30_001);

/// By the issuer's own metadata, or by the URL of its keys.
fn both_ways(issuer: &TestIssuer) -> [(&'static str, Issuer); 2] {
    let by_url = KeySource::url(issuer.jwks_url());
    [
        ("discovery", Jwt::issuer(issuer.url()).audience(AUDIENCE)),
        ("URL", Jwt::issuer(issuer.url()).keys(by_url).audience(AUDIENCE)),
    ]
}

fn discovered(issuer: &TestIssuer) -> Jwt {
    verifier(Jwt::issuer(issuer.url()).audience(AUDIENCE))
}

fn verifier(issuer: Issuer) -> Jwt {
    build(Jwt::builder().issuer(issuer).clock(at_noon()))
}

/// Good for two days, so that it outlives every outage here.
fn claims(issuer: &TestIssuer) -> Value {
    let mut claims = issuer.token_mint().claims_at(noon(), "alice", AUDIENCE);
    claims["exp"] = json!(1_800_000_000 + 2 * 86_400);
    claims
}

/// Another token for each name.
fn token(issuer: &TestIssuer, name: &str) -> String {
    let mut claims = claims(issuer);
    claims["jti"] = json!(name);
    issuer.mint(&claims)
}

/// A token whose key nobody has.
fn lost(issuer: &TestIssuer, kid: &str) -> String {
    issuer.token(&claims(issuer)).header("kid", kid).sign()
}

fn fetches(issuer: &TestIssuer) -> usize {
    issuer.requests(&issuer.jwks_path())
}

async fn served(jwt: &Jwt) -> (Served, RawClient) {
    let (server, _) = behind(gate(jwt.clone())).await;
    let client = RawClient::connect(&server).await;
    (server, client)
}

/// A call of its own connection, as other callers make them.
async fn call(server: &Served, token: &str) -> Told {
    greet(&mut RawClient::connect(server).await, token).await
}

fn is_soon(told: &Told) {
    let after = told.retry_after.expect("a time to come back");
    assert!((Duration::from_secs(1)..=Duration::from_secs(5)).contains(&after), "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn the_first_call_fetches_the_keys_and_the_next_do_not() {
    let _time = StoppedTime::hold();
    let issuer = TestIssuer::start_at("/realms/one").await;
    for (name, trusted) in both_ways(&issuer) {
        let before = fetches(&issuer);
        let jwt = verifier(trusted);
        let (_server, mut client) = served(&jwt).await;
        assert_eq!(fetches(&issuer), before, "{name}: nobody has asked yet");
        for call in ["first", "second", "third"] {
            let told = greet(&mut client, &token(&issuer, call)).await;
            assert_eq!(told.short(), PASSES, "{name}: {call}");
        }
        assert_eq!(fetches(&issuer) - before, 1, "{name}");
        assert!(jwt.is_ready(), "{name}");
        let other = SigningKey::generate(Algorithm::ES256, "key-1");
        let forged = issuer.token(&claims(&issuer)).signed_by(&other).sign();
        assert_eq!(greet(&mut client, &forged).await.short(), INVALID, "{name}: forged");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_starts_without_its_issuer_and_takes_calls_when_that_is_there() {
    let time = StoppedTime::hold();
    let mut issuer = TestIssuer::start().await;
    for (name, trusted) in both_ways(&issuer) {
        issuer.stop().await;
        let jwt = verifier(trusted);
        let (_server, mut client) = served(&jwt).await;
        let good = token(&issuer, name);
        assert!(!jwt.is_ready(), "{name}");
        let told = greet(&mut client, &good).await;
        assert_eq!(told.short(), UNAVAILABLE, "{name}");
        assert_eq!(told.challenges, [""; 0], "{name}: the token may be good");
        is_soon(&told);
        assert!(!jwt.is_ready(), "{name}");

        issuer.restart();
        // The next try is a second later, or up to a fifth more.
        time.advance(Duration::from_millis(1_201)).await;
        assert_eq!(greet(&mut client, &good).await.short(), PASSES, "{name}");
        assert!(jwt.is_ready(), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_gate_is_ready_while_every_issuer_that_is_needed_has_keys() {
    let _time = StoppedTime::hold();
    let mut issuer = TestIssuer::start().await;
    issuer.stop().await;
    let trusted = || Jwt::issuer(issuer.url()).audience(AUDIENCE);
    let (needed, optional) = (gate(verifier(trusted())), gate(verifier(trusted().optional())));
    assert!(optional.readiness().is_ready());
    match needed.readiness() {
        Readiness::NotReady { why } => assert!(why.contains(&issuer.url()), "{why}"),
        Readiness::Ready => panic!("an issuer without keys"),
    }
    let jwt = discovered(&issuer);
    let waits = gate(jwt.clone());
    assert!(!waits.readiness().is_ready());
    issuer.restart();
    jwt.warm_up().await;
    assert!(waits.readiness().is_ready());
}

/// As long as there is no answer, callers wait no longer than two seconds.
#[tokio::test(start_paused = true)]
async fn an_issuer_that_says_nothing_keeps_no_caller_for_long() {
    let time = StoppedTime::hold();
    let issuer = TestIssuer::start().await;
    issuer.misbehave(Behaviour::Hang);
    let jwt = discovered(&issuer);
    let (_server, mut client) = served(&jwt).await;
    let good = token(&issuer, "good");
    let call = tokio::spawn(async move {
        let told = greet(&mut client, &good).await;
        (client, good, told)
    });
    until("the issuer is asked", || issuer.all_requests() == 1).await;
    time.advance(Duration::from_millis(1_990)).await;
    assert!(!call.is_finished());
    time.advance(Duration::from_millis(20)).await;
    let (mut client, good, told) = call.await.expect("an answer");
    assert_eq!(told.short(), UNAVAILABLE);
    is_soon(&told);

    issuer.recover();
    until("the fetch is done", || jwt.is_ready()).await;
    assert_eq!(greet(&mut client, &good).await.short(), PASSES);
    assert_eq!(fetches(&issuer), 1, "the fetch outlived the call that had asked for it");
}

#[tokio::test(start_paused = true)]
async fn a_rotation_with_overlap_costs_no_call_and_one_fetch() {
    let time = StoppedTime::hold();
    let issuer = TestIssuer::start().await;
    for (name, trusted) in both_ways(&issuer) {
        let jwt = verifier(trusted);
        jwt.warm_up().await;
        let (server, _) = served(&jwt).await;
        let mut before = fetches(&issuer);
        for rotation in 0..3 {
            let old = issuer.token_mint();
            issuer.rotate();
            let calls = (0..40).map(|number| {
                let mut claims = claims(&issuer);
                claims["jti"] = json!(format!("{rotation} {number}"));
                let token = match number % 2 {
                    0 => old.mint(&claims),
                    _ => issuer.mint(&claims),
                };
                let server = &server;
                async move { call(server, &token).await.short() }
            });
            let told = futures_util::future::join_all(calls).await;
            assert_eq!(told, [PASSES; 40], "{name}");
            assert_eq!(fetches(&issuer) - before, 1, "{name}");
            before = fetches(&issuer);
            time.advance(A_COOLDOWN).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_removed_key_is_refused_as_soon_as_the_keys_are_fetched_again() {
    let _time = StoppedTime::hold();
    let issuer = TestIssuer::start().await;
    for (name, trusted) in both_ways(&issuer) {
        let jwt = verifier(trusted);
        let (_server, mut client) = served(&jwt).await;
        let old = token(&issuer, "old");
        assert_eq!(greet(&mut client, &old).await.short(), PASSES, "{name}");
        issuer.rotate();
        issuer.drop_old();
        assert_eq!(greet(&mut client, &old).await.short(), PASSES, "{name}: nobody knows yet");
        // The fetch that the first call caused is no reason not to look for a new key.
        let new = token(&issuer, "new");
        assert_eq!(greet(&mut client, &new).await.short(), PASSES, "{name}");
        // On the connection where it passed, and although it was remembered.
        assert_eq!(greet(&mut client, &old).await.short(), INVALID, "{name}");
        assert_eq!(greet(&mut client, &new).await.short(), PASSES, "{name}");
    }
}

/// Nobody has to call for it: keys are read again every ten minutes, or a tenth more.
#[tokio::test(start_paused = true)]
async fn a_removed_key_is_refused_without_any_new_one_after_eleven_minutes() {
    let time = StoppedTime::hold();
    let issuer = TestIssuer::start().await;
    let jwt = discovered(&issuer);
    jwt.warm_up().await;
    let (server, _) = served(&jwt).await;
    let old = token(&issuer, "old");
    assert_eq!(call(&server, &old).await.short(), PASSES);
    issuer.rotate();
    issuer.drop_old();
    time.advance(Duration::from_secs(661)).await;
    until("the keys are read again", || fetches(&issuer) == 2).await;
    until("they are in use", || jwt.keys()[0].started == 2 && jwt.keys()[0].age < Some(COOLDOWN))
        .await;
    assert_eq!(call(&server, &old).await.short(), INVALID);
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_goes_down_stops_no_call_for_a_day() {
    let time = StoppedTime::hold();
    let mut issuer = TestIssuer::start().await;
    for (name, trusted) in both_ways(&issuer) {
        issuer.restart();
        let jwt = verifier(trusted);
        jwt.warm_up().await;
        let (server, _) = served(&jwt).await;
        let seen = token(&issuer, "seen");
        assert_eq!(call(&server, &seen).await.short(), PASSES, "{name}");
        issuer.stop().await;
        let failures = || jwt.keys()[0].failed;

        time.advance(Duration::from_secs(23 * 3600)).await;
        until("the issuer is missed", || failures() > 0).await;
        for (which, good) in [("known", &seen), ("new", &token(&issuer, "new"))] {
            assert_eq!(call(&server, good).await.short(), PASSES, "{name}: {which}");
        }
        assert!(jwt.is_ready(), "{name}");
        // Nobody can tell whether there is such a key by now.
        let told = call(&server, &lost(&issuer, "lost")).await;
        assert_eq!(told.short(), UNAVAILABLE, "{name}");
        is_soon(&told);

        let before = failures();
        time.advance(Duration::from_secs(3600)).await;
        until("the keys are too old", || failures() > before && !jwt.is_ready()).await;
        for (which, good) in [("known", &seen), ("new", &token(&issuer, "newer"))] {
            let told = call(&server, good).await;
            assert_eq!(told.short(), UNAVAILABLE, "{name}: {which}");
            is_soon(&told);
        }

        issuer.restart();
        time.advance(Duration::from_secs(73)).await;
        until("the issuer is back", || jwt.is_ready()).await;
        assert_eq!(call(&server, &seen).await.short(), PASSES, "{name}");
    }
}

/// Wrong answers are no answers: good keys stay, and nobody new is judged by bad ones.
#[tokio::test(start_paused = true)]
async fn an_issuer_that_answers_badly_is_as_one_that_is_down() {
    let time = StoppedTime::hold();
    let issuer = TestIssuer::start().await;
    for (name, behaviour) in [
        ("an error", Behaviour::Status(500)),
        ("gone", Behaviour::Status(404)),
        ("hangs up", Behaviour::HangUp),
        ("no keys", Behaviour::Text(r#"{"keys":[]}"#.to_owned())),
        ("no JSON", Behaviour::Text("<html>".to_owned())),
        ("too much", Behaviour::Oversized),
        ("elsewhere", Behaviour::Redirect(issuer.jwks_url())),
    ] {
        issuer.recover();
        let jwt = discovered(&issuer);
        jwt.warm_up().await;
        let (server, _) = served(&jwt).await;
        issuer.misbehave_at(&issuer.jwks_path(), behaviour);
        let told = call(&server, &lost(&issuer, "lost")).await;
        assert_eq!(told.short(), UNAVAILABLE, "{name}");
        is_soon(&told);
        assert_eq!(call(&server, &token(&issuer, name)).await.short(), PASSES, "{name}");
        assert_eq!(jwt.keys()[0].failed, 1, "{name}");
        issuer.recover();
        time.advance(Duration::from_millis(1_201)).await;
        let told = call(&server, &lost(&issuer, "lost")).await;
        assert_eq!(told.short(), INVALID, "{name}: now it is known");
    }
}

/// Ten thousand keys that nobody has, from strangers who send nothing else.
#[tokio::test(start_paused = true)]
async fn random_key_names_cost_the_issuer_one_fetch_a_cooldown_and_other_callers_nothing() {
    const STRANGERS: usize = 8;
    const EACH: usize = 1_250;
    let time = StoppedTime::hold();
    let issuer = TestIssuer::start().await;
    let jwt = discovered(&issuer);
    jwt.warm_up().await;
    let (server, mut alice) = served(&jwt).await;
    assert_eq!(fetches(&issuer), 1);
    // It is never looked at as far as that.
    let claims = claims(&issuer);
    let unsigned = issuer.token(&claims).signature([7; 64]);
    let flood = |round: usize| {
        let strangers = (0..STRANGERS).map(|stranger| {
            let (server, unsigned) = (&server, &unsigned);
            async move {
                let mut client = RawClient::connect(server).await;
                for number in 0..EACH {
                    let kid = format!("{round} {stranger} {number}");
                    let token = unsigned.clone().header("kid", kid).sign();
                    assert_eq!(greet(&mut client, &token).await.short(), INVALID);
                }
            }
        });
        futures_util::future::join_all(strangers.collect::<Vec<_>>())
    };
    let alices = async {
        for number in 0..200 {
            let told = greet(&mut alice, &token(&issuer, &number.to_string())).await;
            assert_eq!(told.short(), PASSES, "call {number}");
        }
    };
    tokio::join!(flood(0), alices);
    assert_eq!(fetches(&issuer), 2, "one for all of them");

    // A moment before the end of the cooldown there is none, and after it one more.
    time.advance(COOLDOWN - Duration::from_millis(100)).await;
    assert_eq!(call(&server, &lost(&issuer, "early")).await.short(), INVALID);
    assert_eq!(fetches(&issuer), 2);
    time.advance(Duration::from_millis(101)).await;
    let late = ["late", "later"].map(|kid| lost(&issuer, kid));
    for token in &late {
        assert_eq!(call(&server, token).await.short(), INVALID);
    }
    assert_eq!(fetches(&issuer), 3);
    assert_eq!(jwt.keys()[0].failed, 0);
}

#[tokio::test(start_paused = true)]
async fn nothing_that_a_stranger_writes_into_a_token_is_ever_asked() {
    let _time = StoppedTime::hold();
    let (issuer, evil) = (TestIssuer::start().await, TestIssuer::start().await);
    let jwt = discovered(&issuer);
    let (_server, mut client) = served(&jwt).await;
    let evil_key = evil.token_mint().current().clone();
    let foreign = evil.mint(&claims(&evil));
    assert_eq!(greet(&mut client, &foreign).await.short(), INVALID, "an unknown issuer");
    assert_eq!(issuer.all_requests(), 0, "nobody of ours was meant");

    jwt.warm_up().await;
    let before = issuer.all_requests();
    let claims = claims(&issuer);
    for name in ["jku", "x5u"] {
        let forged = issuer.token(&claims).signed_by(&evil_key).header(name, evil.jwks_url());
        assert_eq!(greet(&mut client, &forged.sign()).await.short(), INVALID, "{name}");
    }
    // What is not ours to judge, whoever's key is named.
    for (name, value) in [("aud", json!("billing")), ("exp", json!(1))] {
        let mut other = claims.clone();
        other[name] = value;
        let told = greet(&mut client, &issuer.token(&other).header("kid", "lost").sign()).await;
        assert!(told.short().starts_with("Unauthenticated TOKEN_"), "{name}: {told:?}");
    }
    assert_eq!(issuer.all_requests(), before);
    assert_eq!(evil.all_requests(), 0);
    // The twin: a good token that names a key of the issuer is worth a question.
    assert_eq!(greet(&mut client, &lost(&issuer, "lost")).await.short(), INVALID);
    assert_eq!(issuer.all_requests() - before, 1);
}

/// A provider may say in its metadata that it is another one (RFC 8414 §3.3).
#[tokio::test(start_paused = true)]
async fn metadata_of_another_issuer_gives_no_keys() {
    let time = StoppedTime::hold();
    let issuer = TestIssuer::start().await;
    let name = issuer.url();
    issuer.claim_to_be("http://127.0.0.1:1");
    let jwt = discovered(&issuer);
    let (_server, mut client) = served(&jwt).await;
    let good = token(&issuer, "good");
    assert_eq!(greet(&mut client, &good).await.short(), UNAVAILABLE);
    assert_eq!(fetches(&issuer), 0);
    issuer.claim_to_be(name);
    time.advance(Duration::from_millis(1_201)).await;
    assert_eq!(greet(&mut client, &good).await.short(), PASSES);
}
