//! Gates whose quota a store counts: what they ask it, and what callers are told.

#[path = "support/reached.rs"]
mod support;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use countersign::quota::store::{
    Bucket, QuotaStore, QuotaStoreError, QuotaStoreErrorKind, SharedQuota, WhenDown,
};
use countersign::quota::{Allowance, Limit, Meter, Quota, QuotaError};
use countersign::{Gate, Rules, ServerCredentials, StaticTokens};
use countersign_testkit::greeter::SAY_HELLO;
use countersign_testkit::wait::until;
use support::{Answer, RawClient, Reached, Served, greeter, keep_logs_awake, reason_of, serve};
use tokio::sync::Semaphore;
use tonic_types::StatusExt;
use tower_layer::Layer;

const OPEN: &str = "/countersign.demo.v1.Greeter/Open";
const RESET: &str = "/countersign.demo.v1.Greeter/Reset";
const ALICE: (&str, &str) = ("authorization", "Bearer alice-has-a-long-token");
const BOB: (&str, &str) = ("authorization", "Bearer bob-has-a-long-token-too");

const PASSES: &str = "Ok ";
const LIMITED: &str = "ResourceExhausted RATE_LIMITED";
const UNAVAILABLE: &str = "Unavailable QUOTA_UNAVAILABLE";

/// A store in this process, whose time stands still.
#[derive(Debug)]
struct Shelf {
    meters: Mutex<HashMap<String, Meter>>,
    asked: Mutex<Vec<Vec<String>>>,
    waiting: AtomicUsize,
    /// Each answer takes one of these and gives it back.
    answers: Semaphore,
    down: Mutex<bool>,
}

impl Shelf {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            meters: Mutex::default(),
            asked: Mutex::default(),
            waiting: AtomicUsize::new(0),
            answers: Semaphore::new(1_000),
            down: Mutex::new(false),
        })
    }

    fn asked(&self) -> Vec<Vec<String>> {
        std::mem::take(&mut *self.asked.lock().expect("sound"))
    }
}

#[async_trait]
impl QuotaStore for Shelf {
    async fn take(&self, buckets: &[Bucket<'_>]) -> Result<Vec<Allowance>, QuotaStoreError> {
        let names: Vec<String> = buckets.iter().map(Bucket::name).collect();
        self.asked.lock().expect("sound").push(names.clone());
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let _answer = self.answers.acquire().await.expect("never closed");
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        if *self.down.lock().expect("sound") {
            return Err(QuotaStoreError::new(QuotaStoreErrorKind::Unreachable, "it is down"));
        }
        let mut meters = self.meters.lock().expect("sound");
        let mut next = meters.clone();
        let pairs = buckets.iter().zip(names);
        let said: Vec<Allowance> = pairs
            .map(|(bucket, name)| {
                let meter = next.entry(name).or_insert_with(|| Meter::new(bucket.limit()));
                meter.take_at(0, bucket.taken())
            })
            .collect();
        if said.iter().all(|one| one.allowed) {
            *meters = next;
        }
        Ok(said)
    }

    fn accepts(&self, limit: Limit) -> Result<(), QuotaStoreError> {
        match limit.burst() {
            1_000_000.. => Err(QuotaStoreError::limit(limit)),
            _ => Ok(()),
        }
    }
}

fn an_hour(times: u64) -> Limit {
    Limit::new(times, Duration::from_secs(3600)).expect("a limit")
}

/// A gate before a greeter, and the greeter.
async fn behind(quota: Quota) -> (Served, Reached) {
    keep_logs_awake();
    let tokens = StaticTokens::new()
        .with_token("alice", "alice-has-a-long-token".to_owned())
        .with_token("bob", "bob-has-a-long-token-too".to_owned());
    let rules = Rules::new().authenticated(SAY_HELLO).public(OPEN);
    let gate = Gate::builder().authenticate(tokens).authorize(rules).quota(quota);
    let reached = Reached::default();
    let incoming = ServerCredentials::insecure().bind("127.0.0.1:0").await.expect("bound");
    (serve(incoming, gate.build().expect("a gate").layer(greeter(&reached))), reached)
}

fn patient(store: &Arc<Shelf>, when_down: WhenDown) -> SharedQuota {
    SharedQuota::new(Arc::clone(store), when_down).deadline(Duration::from_secs(10))
}

fn told(answer: &Answer) -> String {
    let status = answer.grpc();
    format!("{:?} {}", status.code(), reason_of(&status))
}

fn built(quota: Result<Quota, QuotaError>) -> Quota {
    quota.expect("a quota")
}

#[tokio::test]
async fn two_gates_with_one_store_allow_what_one_does() {
    let store = Shelf::new();
    let quota = || {
        let quota = built(Quota::new().per_caller(an_hour(3)));
        built(quota.shared(patient(&store, WhenDown::Refuse)))
    };
    let (one, reached) = behind(quota()).await;
    let (two, reached_too) = behind(quota()).await;
    let mut clients = [RawClient::connect(&one).await, RawClient::connect(&two).await];
    for (at, caller, expected) in [
        (0, ALICE, PASSES),
        (1, ALICE, PASSES),
        (0, BOB, PASSES),
        (1, ALICE, PASSES),
        (0, ALICE, LIMITED),
        (1, ALICE, LIMITED),
        (1, BOB, PASSES),
    ] {
        let answer = clients[at].call(SAY_HELLO, &[caller]).await;
        assert_eq!(told(&answer), expected, "{at} {caller:?}");
        let retry = answer.grpc().get_details_retry_info().and_then(|info| info.retry_delay);
        assert_eq!(retry.map(|wait| wait.as_secs()), (expected == LIMITED).then_some(1_200));
    }
    assert_eq!((reached.count(), reached_too.count()), (2, 3));
    let own = built(Quota::new().per_caller(an_hour(3)));
    let (alone, _) = behind(own).await;
    let mut client = RawClient::connect(&alone).await;
    assert_eq!(told(&client.call(SAY_HELLO, &[ALICE]).await), PASSES, "not the store's");
}

#[tokio::test]
async fn a_call_asks_once_for_all_its_limits_by_their_names() {
    let store = Shelf::new();
    let quota = built(Quota::new().per_caller(an_hour(9)));
    let quota = built(quota.per_caller(an_hour(90)));
    let quota = built(quota.per_method(SAY_HELLO, an_hour(99)));
    let quota = built(quota.per_address(an_hour(1)));
    let quota = built(quota.shared(patient(&store, WhenDown::Refuse)));
    let quota = built(quota.cost(RESET, 0));
    let (server, _) = behind(quota).await;
    let mut client = RawClient::connect(&server).await;
    client.call(SAY_HELLO, &[ALICE]).await;
    let caller = "authenticator=static-tokens,caller=alice";
    let expected = vec![
        format!("limit=caller,{caller}"),
        format!("limit=caller%232,{caller}"),
        "limit=method%20/countersign.demo.v1.Greeter/SayHello".to_owned(),
    ];
    assert_eq!(store.asked(), [expected]);
    // Nobody is proven: their address is.
    client.call(OPEN, &[]).await;
    assert_eq!(store.asked(), [vec!["limit=address,address=127.0.0.1".to_owned()]]);
    assert_eq!(told(&client.call(OPEN, &[]).await), LIMITED);
    assert_eq!(store.asked().len(), 1);
    assert_eq!(told(&client.call(OPEN, &[]).await), LIMITED);
    assert_eq!(store.asked().len(), 0, "that is known by now");
    client.call(RESET, &[ALICE]).await;
    assert_eq!(store.asked().len(), 0, "what costs nothing asks nobody");
}

#[tokio::test]
async fn while_the_store_is_down_the_choice_is_what_callers_see() {
    let gates = std::num::NonZeroU32::new(2).expect("some");
    for (when_down, expected) in [
        (WhenDown::Allow, [PASSES; 4]),
        (WhenDown::Refuse, [UNAVAILABLE; 4]),
        (WhenDown::Share { gates }, [PASSES, PASSES, LIMITED, LIMITED]),
    ] {
        let store = Shelf::new();
        *store.down.lock().expect("sound") = true;
        let quota = built(Quota::new().per_caller(an_hour(4)));
        let (server, reached) = behind(built(quota.shared(patient(&store, when_down)))).await;
        let mut client = RawClient::connect(&server).await;
        for expected in expected {
            let answer = client.call(SAY_HELLO, &[ALICE]).await;
            assert_eq!(told(&answer), expected, "{when_down:?}");
            let retry = answer.grpc().get_details_retry_info().is_some();
            assert_eq!(retry, expected != PASSES, "{when_down:?}");
        }
        let passed = expected.iter().filter(|told| **told == PASSES).count();
        assert_eq!(reached.count(), passed, "{when_down:?}");
    }
}

#[tokio::test]
async fn a_call_that_waits_for_the_store_has_its_place_and_gives_it_back() {
    let store = Shelf::new();
    let quota = built(Quota::new().concurrent_streams_per_caller(1));
    let quota = built(quota.per_caller(an_hour(2)));
    let (server, reached) = behind(built(quota.shared(patient(&store, WhenDown::Refuse)))).await;
    let held = store.answers.acquire_many(1_000).await.expect("never closed");
    let mut waiting = RawClient::connect(&server).await;
    let first = tokio::spawn(async move { waiting.call(SAY_HELLO, &[ALICE]).await });
    until("the store is asked", || store.waiting.load(Ordering::SeqCst) == 1).await;
    let mut client = RawClient::connect(&server).await;
    assert_eq!(told(&client.call(SAY_HELLO, &[ALICE]).await), LIMITED, "one is under way");
    assert_eq!((store.asked().len(), reached.count()), (1, 0));
    drop(held);
    assert_eq!(told(&first.await.expect("an answer")), PASSES);
    assert_eq!(told(&client.call(SAY_HELLO, &[ALICE]).await), PASSES);
    // Refused by the store, it leaves its place too.
    assert_eq!(told(&client.call(SAY_HELLO, &[ALICE]).await), LIMITED);
    assert_eq!(told(&client.call(SAY_HELLO, &[BOB]).await), PASSES);
}

#[tokio::test]
async fn a_caller_who_goes_away_while_the_store_is_asked_reaches_nobody() {
    let store = Shelf::new();
    let quota = built(Quota::new().concurrent_streams_per_caller(1));
    let quota = built(quota.per_caller(an_hour(9)));
    let shared = patient(&store, WhenDown::Refuse);
    let (server, reached) = behind(built(quota.shared(shared.clone()))).await;
    let held = store.answers.acquire_many(1_000).await.expect("never closed");
    let mut leaving = RawClient::connect(&server).await;
    let call = tokio::spawn(async move { leaving.call(SAY_HELLO, &[ALICE]).await });
    until("the store is asked", || store.waiting.load(Ordering::SeqCst) == 1).await;
    call.abort();
    let mut client = RawClient::connect(&server).await;
    drop(held);
    // The place is free as soon as the server has noticed.
    for _ in 0..10_000 {
        if told(&client.call(SAY_HELLO, &[ALICE]).await) == PASSES {
            break;
        }
    }
    assert!(reached.count() >= 1);
    assert!(!shared.is_down(), "who goes away does not make the store ill");
}

#[tokio::test]
async fn what_is_left_is_what_the_store_says() {
    let store = Shelf::new();
    let quota = built(Quota::new().with_rate_limit_fields().per_caller(an_hour(5)));
    let quota = built(quota.per_method(SAY_HELLO, an_hour(50)));
    let (server, _) = behind(built(quota.shared(patient(&store, WhenDown::Allow)))).await;
    let mut client = RawClient::connect(&server).await;
    let field = |answer: &Answer| {
        answer.headers.get("ratelimit").map(|it| it.to_str().expect("text").to_owned())
    };
    for left in [4, 3] {
        let fields = field(&client.call(SAY_HELLO, &[ALICE]).await).expect("a field");
        assert!(fields.starts_with(&format!("\"caller\";r={left};")), "{fields}");
        assert!(!fields.contains("method"), "{fields}");
    }
    *store.down.lock().expect("sound") = true;
    let answer = client.call(SAY_HELLO, &[ALICE]).await;
    assert_eq!((told(&answer).as_str(), field(&answer)), (PASSES, None), "nobody knows");
}

#[test]
fn a_limit_that_the_store_cannot_keep_is_refused_in_either_order() {
    let store = || SharedQuota::new(Shelf::new(), WhenDown::Refuse);
    let too_much = an_hour(1_000_000);
    let before = built(Quota::new().per_caller(too_much)).shared(store());
    let after = built(Quota::new().shared(store())).per_caller(too_much);
    for outcome in [before, after] {
        let error = outcome.expect_err("too much");
        assert!(matches!(&error, QuotaError::Store { limit, .. } if limit == "caller"), "{error}");
    }
    // Bytes are counted here.
    let _ = built(built(Quota::new().bytes_per_caller(too_much)).shared(store()));
}
