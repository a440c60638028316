use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;

use super::super::StoreSays;
use super::*;
use crate::identity::Principal;
use crate::quota::{Meter, Quota, QuotaCall};

/// A store that does what it is told to.
#[derive(Debug)]
struct Scripted {
    mood: Mutex<Mood>,
    asked: AtomicU64,
    meter: Mutex<Meter>,
}

#[derive(Clone, Copy, Debug)]
enum Mood {
    Well,
    Failing,
    /// It answers after this.
    Slow(Duration),
    Silent,
    Babbling,
}

impl Scripted {
    fn new(mood: Mood) -> Arc<Self> {
        let meter = Mutex::new(Meter::new(limit()));
        Arc::new(Self { mood: Mutex::new(mood), asked: AtomicU64::new(0), meter })
    }

    fn turns(&self, mood: Mood) {
        *self.mood.lock().expect("sound") = mood;
    }

    fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl QuotaStore for Scripted {
    async fn take(&self, buckets: &[Bucket<'_>]) -> Result<Vec<Allowance>, QuotaStoreError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let mood = *self.mood.lock().expect("sound");
        if let Mood::Slow(time) = mood {
            tokio::time::sleep(time).await;
        }
        match mood {
            Mood::Well | Mood::Slow(_) => {
                let mut meter = self.meter.lock().expect("sound");
                Ok(buckets.iter().map(|one| meter.take_at(0, one.taken())).collect())
            }
            Mood::Failing => {
                Err(QuotaStoreError::new(QuotaStoreErrorKind::Unreachable, "nobody is there"))
            }
            Mood::Silent => std::future::pending().await,
            Mood::Babbling => Ok(Vec::new()),
        }
    }
}

fn limit() -> Limit {
    Limit::new(2, Duration::from_secs(10)).expect("a limit")
}

fn alice() -> [Bucket<'static>; 1] {
    [Bucket::new(limit()).entry("caller", "alice")]
}

fn share(gates: u32) -> WhenDown {
    WhenDown::Share { gates: NonZeroU32::new(gates).expect("some") }
}

const WHEN_DOWN: [WhenDown; 2] = [WhenDown::Allow, WhenDown::Refuse];

fn counted(quota: &SharedQuota) -> [u64; 6] {
    let counters = quota.counters();
    [
        counters.asked(),
        counters.refused(),
        counters.refused_locally(),
        counters.failed(),
        counters.in_fallback(),
        counters.refused_in_fallback(),
    ]
}

#[tokio::test(start_paused = true)]
async fn what_the_store_called_empty_is_not_asked_for_until_it_is_not() {
    let store = Scripted::new(Mood::Well);
    let quota = SharedQuota::new(Arc::clone(&store), WhenDown::Allow);
    for _ in 0..2 {
        let verdict = quota.take(&alice()).await;
        assert_eq!((verdict.is_allowed(), verdict.by()), (true, DecidedBy::Store));
    }
    let refused = quota.take(&alice()).await;
    assert_eq!((refused.is_allowed(), refused.by()), (false, DecidedBy::Store));
    assert_eq!(refused.retry_after(), Some(Duration::from_secs(5)));
    tokio::time::advance(Duration::from_secs(4)).await;
    for _ in 0..100 {
        let refused = quota.clone().take(&alice()).await;
        assert_eq!((refused.is_allowed(), refused.by()), (false, DecidedBy::Known));
        assert_eq!(refused.retry_after(), Some(Duration::from_secs(1)));
    }
    let bob = [Bucket::new(limit()).entry("caller", "bob")];
    assert_eq!(quota.take_now(&bob), None, "somebody else has to be asked for");
    assert_eq!(store.asked(), 3);
    tokio::time::advance(Duration::from_secs(1)).await;
    quota.take(&alice()).await;
    assert_eq!(store.asked(), 4);
    assert_eq!(counted(&quota), [4, 2, 100, 0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn one_known_refusal_is_enough_and_says_nothing_of_other_buckets() {
    let store = Scripted::new(Mood::Well);
    let quota = SharedQuota::new(Arc::clone(&store), WhenDown::Allow);
    let [first] = alice();
    let other = Bucket::new(limit()).entry("tenant", "shop");
    quota.take(&[first.clone().cost(2)]).await;
    quota.take(std::slice::from_ref(&first)).await;
    let verdict = quota.take(&[other.clone(), first]).await;
    assert_eq!((verdict.is_allowed(), verdict.by()), (false, DecidedBy::Known));
    assert!(verdict.allowances()[0].allowed && !verdict.allowances()[1].allowed);
    assert_eq!(quota.take_now(&[other]), None);
    assert!(quota.take(&[]).await.is_allowed(), "nothing is taken from");
    assert_eq!(store.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_down_is_left_alone_and_the_choice_decides() {
    for when_down in WHEN_DOWN {
        let store = Scripted::new(Mood::Failing);
        let quota = SharedQuota::new(Arc::clone(&store), when_down);
        let allowed = when_down == WhenDown::Allow;
        for _ in 0..50 {
            let verdict = quota.take(&alice()).await;
            assert_eq!((verdict.is_allowed(), verdict.by()), (allowed, DecidedBy::WhenDown));
        }
        assert!(quota.is_down());
        let refused = if allowed { 0 } else { 50 };
        assert_eq!(counted(&quota), [1, 0, 0, 1, 50, refused], "{when_down:?}");

        store.turns(Mood::Well);
        tokio::time::advance(Breaker::FIRST_REST).await;
        let verdict = quota.take(&alice()).await;
        assert_eq!((verdict.is_allowed(), verdict.by()), (true, DecidedBy::Store));
        assert!(!quota.is_down());
    }
}

#[tokio::test(start_paused = true)]
async fn a_gate_alone_lets_pass_its_part() {
    let store = Scripted::new(Mood::Failing);
    let quota = SharedQuota::new(store, share(2));
    let mut passed = 0;
    for _ in 0..10 {
        passed += u32::from(quota.take(&alice()).await.is_allowed());
    }
    assert_eq!(passed, 1, "half of a burst of two");
    // Two in ten seconds are one for each of two gates.
    tokio::time::advance(Duration::from_millis(9_999)).await;
    assert!(!quota.take(&alice()).await.is_allowed());
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(quota.take(&alice()).await.is_allowed());
}

#[tokio::test(start_paused = true)]
async fn a_silent_store_costs_a_deadline_and_then_nothing() {
    let store = Scripted::new(Mood::Silent);
    let deadline = Duration::from_millis(30);
    let quota = SharedQuota::new(Arc::clone(&store), WhenDown::Refuse).deadline(deadline);
    let begin = tokio::time::Instant::now();
    let verdict = quota.take(&alice()).await;
    assert_eq!((verdict.is_allowed(), begin.elapsed()), (false, deadline));
    let wait = verdict.retry_after().expect("it may come back");
    assert!(wait > Duration::ZERO && wait <= Breaker::FIRST_REST, "{wait:?}");
    for _ in 0..20 {
        quota.take(&alice()).await;
    }
    assert_eq!(begin.elapsed(), deadline);
    tokio::time::advance(Breaker::FIRST_REST).await;
    // One finds out, and the others do not wait for that.
    let alice = alice();
    let probe = quota.take(&alice);
    let others = async {
        for _ in 0..20 {
            assert_eq!(quota.take(&alice).await.by(), DecidedBy::WhenDown);
        }
        begin.elapsed()
    };
    let (_, others) = tokio::join!(biased; probe, others);
    assert_eq!(others, deadline + Breaker::FIRST_REST);
    assert_eq!(store.asked(), 2);
}

/// Callers who wait for 1 ms each, one after the other. They take nothing, so that nothing runs out.
async fn hang_up_for(quota: &SharedQuota, time: Duration) {
    let begin = tokio::time::Instant::now();
    let nothing = alice().map(|bucket| bucket.cost(0));
    while begin.elapsed() < time {
        let brief = timeout(Duration::from_millis(1), quota.take(&nothing)).await;
        assert!(brief.is_err() || quota.is_down(), "the caller goes away");
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_is_left_alone_though_no_caller_waits_for_the_deadline() {
    let store = Scripted::new(Mood::Silent);
    let quota = SharedQuota::new(Arc::clone(&store), WhenDown::Refuse);
    hang_up_for(&quota, SharedQuota::DEADLINE).await;
    assert!(!quota.is_down(), "the second question has 1 ms left");
    hang_up_for(&quota, Duration::from_millis(2)).await;
    assert!(quota.is_down());
    assert_eq!(quota.counters().failed(), 1);
    let asked = store.asked();
    let verdict = timeout(Duration::from_millis(1), quota.take(&alice())).await.expect("at once");
    assert_eq!((verdict.is_allowed(), verdict.by()), (false, DecidedBy::WhenDown));
    assert_eq!(store.asked(), asked);
}

#[tokio::test(start_paused = true)]
async fn who_hangs_up_does_not_make_a_store_ill_that_answers_in_time() {
    let nearly = SharedQuota::DEADLINE - Duration::from_millis(1);
    let store = Scripted::new(Mood::Slow(nearly));
    let quota = SharedQuota::new(store, WhenDown::Allow);
    hang_up_for(&quota, 5 * SharedQuota::DEADLINE).await;
    assert!(!quota.is_down());
    assert_eq!((quota.counters().failed(), quota.counters().in_fallback()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_question_that_is_asked_to_its_end_ends_with_the_last_handle() {
    for is_last in [true, false] {
        let store = Scripted::new(Mood::Silent);
        let quota = SharedQuota::new(Arc::clone(&store), WhenDown::Refuse)
            .deadline(SharedQuota::MAX_DEADLINE);
        let other = (!is_last).then(|| quota.clone());
        hang_up_for(&quota, Duration::from_millis(3)).await;
        drop(quota);
        // What was aborted goes the next time that the runtime comes by.
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(Arc::strong_count(&store) == 1, is_last);
        drop(other);
    }
}

#[tokio::test(start_paused = true)]
async fn a_question_that_is_asked_to_its_end_tells_a_caller_who_stays() {
    let quota = SharedQuota::new(Scripted::new(Mood::Well), WhenDown::Refuse);
    let mut early = quota.inner.breaker.admit().expect("well");
    assert!(!early.begin());
    drop(early);
    for left in [1, 0] {
        let verdict = quota.take(&alice()).await;
        assert_eq!((verdict.is_allowed(), verdict.by()), (true, DecidedBy::Store));
        assert_eq!(verdict.allowances()[0].remaining, left);
    }
    assert!(!quota.take(&alice()).await.is_allowed());
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_something_else_is_none() {
    for when_down in WHEN_DOWN {
        let quota = SharedQuota::new(Scripted::new(Mood::Babbling), when_down);
        let verdict = quota.take(&alice()).await;
        assert_eq!(verdict.is_allowed(), when_down == WhenDown::Allow);
        assert_eq!((verdict.by(), quota.counters().failed()), (DecidedBy::WhenDown, 1));
    }
}

#[test]
fn a_deadline_has_an_end() {
    let quota = SharedQuota::new(Scripted::new(Mood::Well), WhenDown::Allow);
    assert_eq!(quota.clone().deadline(Duration::MAX).deadline, SharedQuota::MAX_DEADLINE);
    assert_eq!(quota.deadline, SharedQuota::DEADLINE);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_has_no_place_takes_nothing_from_this_gates_share() {
    let quota = Quota::new().concurrent_streams_per_caller(1).expect("a quota");
    let quota = quota.per_caller(limit().with_burst(3)).expect("a quota");
    let shared = SharedQuota::new(Scripted::new(Mood::Failing), share(1));
    let quota = quota.shared(shared).expect("a quota");
    let alice = Principal::new("alice", "tokens");
    let call = QuotaCall::by(&alice);
    let held = quota.store_says(call).await;
    assert!(matches!(held, StoreSays::Passes(..)), "{held:?}");
    for _ in 0..5 {
        let says = quota.store_says_now(call);
        assert!(matches!(&says, Some(StoreSays::Exceeded(it)) if it.limit() == "streams"));
    }
    drop(held);
    for _ in 0..2 {
        let says = quota.store_says_now(call);
        assert!(matches!(says, Some(StoreSays::Passes(..))), "{says:?}");
    }
    let says = quota.store_says_now(call);
    assert!(matches!(&says, Some(StoreSays::Exceeded(it)) if it.limit() == "caller"), "{says:?}");
}
