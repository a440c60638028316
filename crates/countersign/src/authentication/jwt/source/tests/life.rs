//! What becomes of keys as time passes, and of those who ask.

use std::time::Duration;

use tokio::time::{Instant, advance, sleep};

use super::super::super::keys::Found;
use super::super::super::{Algorithm, KeySet};
use super::super::{KeySource, KeySourceError, Keys, KeysError, Missing, Snapshot};
use super::fake::{Answer, Fake, ISSUER, KEYS, key, set};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

fn has(snapshot: &Snapshot, kid: &str) -> bool {
    let keys = snapshot.keys.as_ref();
    keys.is_some_and(|keys| matches!(keys.find(Some(kid), Algorithm::ES256), Found::Key { .. }))
}

/// What a verifier does about a token with this `kid`: `None` when nobody can tell.
async fn knows(keys: &Keys, kid: &str) -> Option<bool> {
    let seen = keys.snapshot();
    if has(&seen, kid) {
        return Some(true);
    }
    match keys.missing(&seen, Some(kid)) {
        Missing::Final => Some(false),
        Missing::Unavailable { .. } => None,
        Missing::Wait => Some(has(&keys.refetched_for(&seen, Some(kid)).await.ok()?, kid)),
    }
}

#[tokio::test(start_paused = true)]
async fn keys_are_fetched_at_the_first_question_and_not_before() {
    let fake = Fake::with(&[&key("a")]);
    let keys = fake.keys();
    sleep(HOUR).await;
    assert_eq!(fake.asked(), 0);
    assert!(keys.snapshot().keys.is_none(), "it does not wait");
    assert!(!keys.is_ready());
    assert_eq!(knows(&keys, "a").await, Some(true));
    assert_eq!((fake.asked(), keys.is_ready()), (1, true));
    assert_eq!(fake.asked_for(), [KEYS]);
}

#[test]
fn nothing_panics_outside_a_runtime_and_nothing_is_fetched() {
    let fake = Fake::with(&[&key("a")]);
    let keys = fake.keys();
    let seen = keys.snapshot();
    assert!(seen.keys.is_none() && !keys.is_ready());
    assert_eq!(keys.missing(&seen, Some("a")), Missing::Wait);
    let report = keys.report();
    assert_eq!((report.keys, report.started, report.age), (0, 0, None));
    let mut refetched = std::pin::pin!(keys.refetched_for(&seen, Some("a")));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(matches!(refetched.as_mut().poll(&mut context), std::task::Poll::Ready(Err(_))));
    assert_eq!(fake.asked(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_comes_right_after_the_first_fetch_is_found() {
    let fake = Fake::with(&[&key("a")]);
    let keys = fake.keys();
    assert_eq!(knows(&keys, "a").await, Some(true));
    fake.publish(&[&key("a"), &key("b")]);
    assert_eq!(knows(&keys, "b").await, Some(true));
    // That one was asked for among others, so the next has to wait.
    fake.publish(&[&key("c")]);
    assert_eq!(knows(&keys, "c").await, Some(false));
    assert_eq!(fake.asked(), 2);
}

#[test]
fn another_runtime_takes_over_when_the_first_one_ends() {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().start_paused(true).build().expect("a runtime")
    };
    let fake = Fake::with(&[&key("a")]);
    let keys = fake.keys();
    runtime().block_on(async {
        assert_eq!(knows(&keys, "a").await, Some(true));
        assert_eq!(knows(&keys, "b").await, Some(false), "it is not there yet");
    });
    fake.publish(&[&key("b")]);
    let second = runtime();
    second.block_on(async {
        keys.snapshot();
        assert_eq!(knows(&keys, "b").await, Some(false), "the cooldown holds");
        sleep(31 * SECOND).await;
        assert_eq!(knows(&keys, "b").await, Some(true));
    });

    // It ends in the middle of a fetch, or before the task ever ran.
    fake.answer(KEYS, Answer::Hang);
    let keys = fake.keys();
    runtime().block_on(async { drop(keys.snapshot()) });
    runtime().block_on(async {
        keys.snapshot();
        sleep(SECOND).await;
    });
    fake.publish(&[&key("c")]);
    second.block_on(async { assert_eq!(knows(&keys, "c").await, Some(true)) });
}

#[tokio::test(start_paused = true)]
async fn keys_are_fetched_again_every_ten_minutes_without_being_asked() {
    let fake = Fake::with(&[&key("a")]);
    let keys = fake.keys();
    keys.warm_up().await;
    sleep(530 * SECOND).await;
    assert_eq!(fake.asked(), 1);
    sleep(140 * SECOND).await;
    assert_eq!(fake.asked(), 2);
    // A day without a single call: whoever calls then still waits for nothing.
    sleep(24 * HOUR).await;
    assert!((130..=165).contains(&fake.asked()), "{}", fake.asked());
    assert!(has(&keys.snapshot(), "a"));
}

#[tokio::test(start_paused = true)]
async fn the_issuer_says_how_long_its_keys_are_good() {
    for (value, least, most) in [
        ("max-age=300", 270, 330),
        ("max-age=1", 54, 66),
        ("public, max-age=86400", 3240, 3960),
        ("no-store", 540, 660),
    ] {
        let fake = Fake::with(&[&key("a")]);
        fake.cache_control(value);
        let keys = fake.keys();
        keys.warm_up().await;
        sleep((least - 1) * SECOND).await;
        assert_eq!(fake.asked(), 1, "{value}");
        sleep((most - least + 2) * SECOND).await;
        assert_eq!(fake.asked(), 2, "{value}");
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_once_there_are_keys() {
    let fake = Fake::with(&[&key("a")]);
    let keys = fake.keys();
    keys.warm_up().await;
    fake.answer(KEYS, Answer::Hang);
    for _ in 0..10_000 {
        if fake.asked() == 2 {
            break;
        }
        sleep(SECOND).await;
    }
    assert_eq!((fake.asked(), fake.dropped()), (2, 0), "one is under way");
    let begun = Instant::now();
    assert_eq!(knows(&keys, "a").await, Some(true));
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_is_down_at_the_start_is_found_when_it_is_up() {
    let fake = Fake::new();
    fake.answer(KEYS, Answer::Unreachable);
    let keys = fake.keys();
    keys.warm_up().await;
    assert!(!keys.is_ready());
    let seen = keys.snapshot();
    let Missing::Unavailable { retry_after } = keys.missing(&seen, Some("a")) else {
        panic!("nobody can tell");
    };
    assert!(retry_after > Duration::ZERO && retry_after <= 2 * SECOND, "{retry_after:?}");
    let error = keys.refetched_for(&seen, Some("a")).await.expect_err("still down");
    assert!(matches!(error.source.as_deref(), Some(KeysError::Fetch { .. })), "{error:?}");
    assert_eq!(knows(&keys, "a").await, None);

    fake.publish(&[&key("a")]);
    sleep(2 * SECOND).await;
    assert_eq!(knows(&keys, "a").await, Some(true));
    assert_eq!(knows(&keys, "b").await, Some(false));
    assert!(keys.is_ready() && keys.last_error().is_none());
}

#[tokio::test(start_paused = true)]
async fn failures_are_retried_after_one_second_and_at_least_every_minute() {
    let fake = Fake::new();
    fake.answer(KEYS, Answer::Status(500));
    let keys = fake.keys();
    keys.warm_up().await;
    assert!(matches!(*keys.last_error().expect("an error"), KeysError::Status { status: 500, .. }));
    sleep(60 * SECOND).await;
    // After 1, 2, 4, 8, 16 and 32 seconds, a fifth more or less.
    assert!((5..=7).contains(&fake.asked()), "{}", fake.asked());
    let before = fake.asked();
    sleep(HOUR).await;
    assert!((45..=80).contains(&(fake.asked() - before)), "{}", fake.asked() - before);
    let report = keys.report();
    assert_eq!(report.started, report.failed);
    assert_eq!(report.started, fake.asked() as u64);
}

#[tokio::test(start_paused = true)]
async fn the_last_good_keys_last_a_day_and_not_25_hours() {
    let fake = Fake::with(&[&key("a")]);
    let keys = fake.keys();
    keys.warm_up().await;
    let granted = keys.generation().now();
    fake.answer(KEYS, Answer::Unreachable);

    sleep(23 * HOUR).await;
    assert_eq!(knows(&keys, "a").await, Some(true));
    // Whether there is another key now nobody can tell.
    assert_eq!(knows(&keys, "b").await, None);
    assert!(keys.is_ready() && keys.last_error().is_some());
    assert_eq!(keys.generation().now(), granted);
    assert!(keys.report().age.expect("keys") > 23 * HOUR);

    sleep(2 * HOUR).await;
    assert!(!keys.is_ready());
    assert_eq!(knows(&keys, "a").await, None);
    assert!(keys.generation().now() > granted, "what was remembered ends too");

    fake.publish(&[&key("a")]);
    sleep(73 * SECOND).await;
    assert_eq!(knows(&keys, "a").await, Some(true));
}

#[tokio::test(start_paused = true)]
async fn keys_grow_old_even_if_nobody_notices() {
    let fake = Fake::with(&[&key("a")]);
    let keys = fake.keys();
    keys.warm_up().await;
    fake.answer(KEYS, Answer::Hang);
    sleep(23 * HOUR).await;
    assert!(keys.is_ready(), "a fetch hangs for ever");
    advance(HOUR).await;
    assert!(!keys.is_ready());
}

#[tokio::test(start_paused = true)]
async fn rotation_with_overlap_fails_nobody() {
    let (a, b, c) = (key("a"), key("b"), key("c"));
    let fake = Fake::with(&[&a]);
    let keys = fake.keys();
    keys.warm_up().await;
    for (old, new) in [(&a, &b), (&b, &c)] {
        let generation = keys.generation().now();
        fake.publish(&[old, new]);
        assert_eq!(knows(&keys, new.kid().expect("named")).await, Some(true));
        assert_eq!(knows(&keys, old.kid().expect("named")).await, Some(true));
        assert_eq!(keys.generation().now(), generation + 1);
        fake.publish(&[new]);
        sleep(700 * SECOND).await;
        assert_eq!(knows(&keys, new.kid().expect("named")).await, Some(true));
    }
}

#[tokio::test(start_paused = true)]
async fn a_removed_key_is_refused_after_the_next_good_fetch() {
    let (a, b) = (key("a"), key("b"));
    let fake = Fake::with(&[&a, &b]);
    let keys = fake.keys();
    keys.warm_up().await;
    let granted = keys.generation().now();
    assert_eq!(knows(&keys, "a").await, Some(true));
    fake.publish(&[&b]);
    sleep(700 * SECOND).await;
    assert!(!has(&keys.snapshot(), "a") && has(&keys.snapshot(), "b"));
    assert_eq!(keys.generation().now(), granted + 1);
    assert_eq!(knows(&keys, "a").await, Some(false));
    // The same set again is no change.
    sleep(700 * SECOND).await;
    assert_eq!(keys.generation().now(), granted + 1);
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_unknown_kids_cost_one_fetch_per_cooldown() {
    let fake = Fake::with(&[&key("a")]);
    fake.cache_control("max-age=3600");
    let keys = std::sync::Arc::new(fake.keys());
    keys.warm_up().await;
    assert_eq!(fake.asked(), 1);
    for round in 1..=3 {
        let mut callers = tokio::task::JoinSet::new();
        for number in 0..10_000 {
            let keys = std::sync::Arc::clone(&keys);
            callers.spawn(async move { knows(&keys, &format!("{round}-{number}")).await });
        }
        let answers = callers.join_all().await;
        assert!(answers.into_iter().all(|answer| answer == Some(false)));
        assert_eq!(fake.asked(), 1 + round);
        // And those who come one by one get no other.
        for number in 0..28 {
            assert_eq!(knows(&keys, &format!("{number}")).await, Some(false));
            sleep(SECOND).await;
        }
        assert_eq!(fake.asked(), 1 + round);
        sleep(3 * SECOND).await;
    }
    let report = keys.report();
    assert_eq!((report.started, report.failed), (4, 0));
    assert!(report.joined > 20_000, "{}", report.joined);
}

#[tokio::test(start_paused = true)]
async fn unknown_kids_during_an_outage_cost_no_fetch_at_all() {
    let fake = Fake::with(&[&key("a")]);
    let keys = fake.keys();
    keys.warm_up().await;
    fake.answer(KEYS, Answer::Unreachable);
    assert_eq!(knows(&keys, "b").await, None, "one fetch finds out");
    let after = fake.asked();
    for number in 0..1000 {
        assert_eq!(knows(&keys, &number.to_string()).await, None);
    }
    assert_eq!(fake.asked(), after);
    assert_eq!(knows(&keys, "a").await, Some(true));
}

#[tokio::test(start_paused = true)]
async fn a_key_that_came_while_somebody_looked_is_found() {
    let (a, b) = (key("a"), key("b"));
    let fake = Fake::with(&[&a]);
    let keys = fake.keys();
    keys.warm_up().await;
    let seen = keys.snapshot();
    fake.publish(&[&a, &b]);
    assert_eq!(knows(&keys, "b").await, Some(true));
    // In between others had it fetched, and the cooldown runs. It is not refused for that.
    assert_eq!(keys.missing(&seen, Some("b")), Missing::Wait);
    assert!(has(&keys.refetched_for(&seen, Some("b")).await.expect("keys"), "b"));
    assert_eq!(keys.missing(&seen, None), Missing::Wait);
    assert!(keys.refetched_for(&seen, None).await.expect("keys").generation > seen.generation);
    let seen = keys.snapshot();
    assert_eq!(keys.missing(&seen, None), Missing::Final);
    assert_eq!(keys.missing(&seen, Some("c")), Missing::Final);
    assert_eq!(fake.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_began_before_the_question_is_not_the_last_word() {
    let (a, b) = (key("a"), key("b"));
    let fake = Fake::with(&[&a]);
    let keys = fake.keys();
    keys.warm_up().await;
    // The answer is made before the key is, and arrives after the token.
    sleep(539 * SECOND).await;
    while fake.asked() < 2 {
        advance(Duration::from_millis(5)).await;
    }
    fake.publish(&[&a, &b]);
    assert_eq!(knows(&keys, "b").await, Some(true));
}

#[tokio::test(start_paused = true)]
async fn callers_wait_two_seconds_and_the_fetch_goes_on_without_them() {
    let fake = Fake::new();
    fake.answer(KEYS, Answer::Hang);
    let keys = fake.keys();
    let seen = keys.snapshot();
    let begun = Instant::now();
    let error = keys.refetched_for(&seen, Some("a")).await.expect_err("nothing comes");
    assert_eq!(begun.elapsed(), 2 * SECOND);
    assert!(error.source.is_none() && error.retry_after > Duration::ZERO, "{error:?}");
    fake.publish(&[&key("a")]);
    sleep(SECOND).await;
    assert!(has(&keys.snapshot(), "a"));
    assert_eq!((fake.asked(), fake.dropped()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_answers_is_given_up_and_asked_again() {
    let key = key("a");
    for hangs in [false, true] {
        let issuer = Fake::with(&[&key]);
        if hangs {
            issuer.answer(KEYS, Answer::Hang);
        }
        let keys = issuer.keys();
        assert_eq!(knows(&keys, "a").await, (!hangs).then_some(true));
        // Its five seconds, and what is waited before it is asked again.
        tokio::time::sleep(Duration::from_secs(6)).await;
        assert_eq!(issuer.dropped(), usize::from(hangs));
        let error = keys.last_error();
        assert_eq!(error.is_some(), hangs, "{error:?}");
        issuer.publish(&[&key]);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(has(&keys.snapshot(), "a"), "whether it hung: {hangs}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_does_not_end_the_fetch() {
    let fake = Fake::new();
    fake.answer(KEYS, Answer::Hang);
    let keys = std::sync::Arc::new(fake.keys());
    let caller = |kid: &'static str| {
        let keys = std::sync::Arc::clone(&keys);
        tokio::spawn(async move { knows(&keys, kid).await })
    };
    let (first, second) = (caller("a"), caller("a"));
    sleep(SECOND).await;
    assert_eq!(fake.asked(), 1);
    first.abort();
    assert!(first.await.expect_err("aborted").is_cancelled());
    fake.publish(&[&key("a")]);
    assert_eq!(second.await.expect("a task"), Some(true));
    assert_eq!((fake.asked(), fake.dropped()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn the_last_handle_ends_the_fetch_and_all_that_would_follow() {
    let fake = Fake::new();
    fake.answer(KEYS, Answer::Hang);
    let keys = fake.keys();
    keys.snapshot();
    sleep(SECOND).await;
    assert_eq!((fake.asked(), fake.dropped()), (1, 0));
    drop(keys);
    sleep(SECOND).await;
    assert_eq!(fake.dropped(), 1);
    fake.publish(&[&key("a")]);
    sleep(24 * HOUR).await;
    assert_eq!(fake.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn given_keys_are_there_at_once_and_for_ever() {
    let fake = Fake::new();
    let given = KeySet::from_json(&set(&[&key("a")]).to_string()).expect("a key set");
    let keys = Keys::new(KeySource::given(given), ISSUER, fake.settings()).expect("keys");
    keys.warm_up().await;
    assert!(keys.is_ready());
    sleep(100 * 24 * HOUR).await;
    assert_eq!(knows(&keys, "a").await, Some(true));
    assert_eq!(knows(&keys, "b").await, Some(false));
    assert_eq!((fake.asked(), keys.report().keys, keys.report().age), (0, 1, None));
}

#[test]
fn a_source_that_cannot_work_is_found_when_it_is_set_up() {
    let settings = || Fake::new().settings();
    let empty = KeySource::given(KeySet::default());
    assert!(matches!(
        Keys::new(empty, ISSUER, settings()),
        Err(KeySourceError::NoUsableKey { .. })
    ));
    for url in ["http://id.example/keys", "https://me:hunter2@id.example/?hunter2", "/keys"] {
        let error = Keys::new(KeySource::url(url), ISSUER, settings()).expect_err(url);
        assert!(matches!(error, KeySourceError::Url { .. }), "{url}: {error:?}");
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }
    for issuer in ["accounts.example", "http://id.example", "https://id.example?x"] {
        let error = Keys::new(KeySource::discovery(), issuer, settings()).expect_err(issuer);
        assert!(matches!(error, KeySourceError::Issuer { .. }), "{issuer}: {error:?}");
        // An issuer that is no URL can still have keys at one.
        Keys::new(KeySource::url(KEYS), issuer, settings()).expect("keys");
    }
}
