//! The cache on a clock that stands still: what is fetched when, and what calls see meanwhile.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use http::HeaderMap;
use tokio::sync::Semaphore;
use tokio::time::{Instant, advance};

use super::*;
use crate::clock::Clock;
use crate::credentials::{
    CallCredentials, CallCredentialsError, CallDetails, CallMetadata, ChannelSecurityInfo,
    Rejection,
};
use crate::identity::SecurityLevel;

mod warm;

const HOUR: Duration = Duration::from_secs(3_600);

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

// --- what the tests have in common ---------------------------------------------------------------

/// Wall-clock time that goes along with the paused runtime, and steps when told.
#[derive(Clone, Debug)]
struct Wall {
    start: Instant,
    off_seconds: Arc<AtomicI64>,
}

impl Wall {
    fn new() -> Self {
        Self { start: Instant::now(), off_seconds: Arc::default() }
    }

    fn step(&self, seconds: i64) {
        self.off_seconds.fetch_add(seconds, Ordering::SeqCst);
    }
}

impl Clock for Wall {
    fn now(&self) -> SystemTime {
        let off = self.off_seconds.load(Ordering::SeqCst);
        let base = SystemTime::UNIX_EPOCH + seconds(1_800_000_000) + self.start.elapsed();
        match off >= 0 {
            true => base + Duration::from_secs(off.unsigned_abs()),
            false => base - Duration::from_secs(off.unsigned_abs()),
        }
    }
}

type Fetched = Result<FetchedToken, TokenError>;

/// A source that gives what it was told, in order, and then tokens that last an hour.
#[derive(Clone, Debug)]
struct Script {
    answers: Arc<Mutex<VecDeque<Fetched>>>,
    fetches: Arc<AtomicUsize>,
    /// Fetches wait for a permit each.
    gate: Arc<Semaphore>,
    /// Alive for as long as a fetch is.
    alive: Arc<()>,
    changed: Arc<AtomicUsize>,
    scope: TokenScope,
}

impl Script {
    fn new(answers: impl IntoIterator<Item = Fetched>) -> Self {
        let script = Self::closed(answers);
        script.gate.add_permits(Semaphore::MAX_PERMITS);
        script
    }

    fn closed(answers: impl IntoIterator<Item = Fetched>) -> Self {
        Self {
            answers: Arc::new(Mutex::new(answers.into_iter().collect())),
            fetches: Arc::default(),
            gate: Arc::new(Semaphore::new(0)),
            alive: Arc::default(),
            changed: Arc::default(),
            scope: TokenScope::Any,
        }
    }

    fn next(&self, answer: Fetched) {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).push_back(answer);
    }

    /// Gives this next, and nothing else that was to come.
    fn only(&self, answer: Fetched) {
        *self.answers.lock().unwrap_or_else(PoisonError::into_inner) = VecDeque::from([answer]);
    }

    fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl TokenSource for Script {
    async fn fetch(&self, request: &TokenRequest) -> Fetched {
        let number = self.fetches.fetch_add(1, Ordering::SeqCst) + 1;
        let _alive = Arc::clone(&self.alive);
        self.gate.acquire().await.expect("never closed").forget();
        let answer = self.answers.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let host = request.host().unwrap_or_default();
        answer.unwrap_or_else(|| Ok(token(&format!("t{number}{host}"), HOUR)))
    }

    fn name(&self) -> &'static str {
        "script"
    }

    fn scope(&self) -> TokenScope {
        self.scope
    }

    fn windows(&self) -> RefreshWindows {
        RefreshWindows { jitter: 0.0, ..RefreshWindows::default() }
    }

    fn has_changed(&self) -> bool {
        self.changed.load(Ordering::SeqCst) > 0
    }
}

fn token(text: &str, lifetime: Duration) -> FetchedToken {
    FetchedToken::bearer(text).expires_in(lifetime)
}

fn down() -> Fetched {
    Err(TokenError::transient("the source is down"))
}

fn refused() -> Fetched {
    Err(TokenError::permanent("the source refuses"))
}

struct Stage {
    script: Script,
    wall: Wall,
    credentials: CachedToken<Script>,
}

impl Stage {
    fn new(answers: impl IntoIterator<Item = Fetched>) -> Self {
        Self::of(Script::new(answers))
    }

    fn of(script: Script) -> Self {
        let wall = Wall::new();
        let credentials = CachedToken::builder(script.clone()).with_clock(wall.clone()).build();
        Self { script, wall, credentials }
    }

    async fn call(&self) -> Result<String, CallCredentialsError> {
        call(&self.credentials, "orders.example").await
    }

    /// The value that is there without waiting; `None` where a call would have to wait.
    fn now(&self) -> Result<Option<String>, CallCredentialsError> {
        let mut metadata = CallMetadata::default();
        let (call, security) = details("orders.example");
        let given = self.credentials.get_metadata_now(&call, &security, &mut metadata)?;
        assert_eq!(given, !metadata.is_empty());
        Ok(given.then(|| sent(&metadata)))
    }

    async fn settle(&self) {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    fn reject(&self, token: &str, reason: Option<&str>) -> bool {
        let mut metadata = CallMetadata::default();
        metadata.insert("authorization", &format!("Bearer {token}")).expect("valid");
        let (call, _) = details("orders.example");
        let answer = HeaderMap::new();
        self.credentials.rejected(&Rejection::new(&call, &metadata, reason, &answer))
    }
}

fn details(host: &str) -> (CallDetails, ChannelSecurityInfo) {
    let security = ChannelSecurityInfo::new("tls", SecurityLevel::PrivacyAndIntegrity);
    (CallDetails::new(host, "/orders.v1.Orders/Get"), security)
}

fn sent(metadata: &CallMetadata) -> String {
    let value = metadata.get("authorization").expect("an authorization value");
    let text = std::str::from_utf8(value).expect("text");
    text.strip_prefix("Bearer ").expect("a bearer token").to_owned()
}

async fn call(
    credentials: &CachedToken<Script>,
    host: &str,
) -> Result<String, CallCredentialsError> {
    let mut metadata = CallMetadata::default();
    let (call, security) = details(host);
    if !credentials.get_metadata_now(&call, &security, &mut metadata)? {
        credentials.get_metadata(&call, &security, &mut metadata).await?;
    }
    Ok(sent(&metadata))
}

// --- fetching ------------------------------------------------------------------------------------

#[test]
fn credentials_are_made_and_dropped_outside_of_a_runtime() {
    let script = Script::new([]);
    let credentials = CachedToken::new(script.clone());
    let (call, security) = details("orders.example");
    let error = credentials
        .get_metadata_now(&call, &security, &mut CallMetadata::default())
        .expect_err("nobody can fetch");
    assert_eq!(error.to_string(), "script cannot be asked outside of a tokio runtime");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let sent = runtime.expect("a runtime").block_on(super::tests::call(&credentials, "h"));
    assert_eq!(sent.expect("asked again, at once"), "t1");
}

#[tokio::test(start_paused = true)]
async fn the_first_call_fetches_and_the_next_ones_do_not() {
    let stage = Stage::new([]);
    assert_eq!(stage.script.fetches(), 0, "nothing before the first call");
    for _ in 0..100 {
        assert_eq!(stage.call().await.expect("a token"), "t1");
    }
    assert_eq!(stage.now().expect("fresh").as_deref(), Some("t1"));
    assert_eq!(stage.script.fetches(), 1);
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_first_callers_cause_one_fetch_and_share_its_result() {
    for answer in [Ok(token("shared", HOUR)), down()] {
        let expected = answer.is_ok();
        let stage = Stage::of(Script::closed([answer]));
        let calls: Vec<_> = (0..10_000)
            .map(|_| {
                let credentials = stage.credentials.clone();
                tokio::spawn(async move { call(&credentials, "orders.example").await })
            })
            .collect();
        stage.settle().await;
        stage.script.gate.add_permits(10_000);
        for one in calls {
            match one.await.expect("no panic") {
                Ok(token) => assert_eq!((token.as_str(), expected), ("shared", true)),
                Err(error) => {
                    assert_eq!(
                        (error.to_string().as_str(), expected),
                        ("the source is down", false)
                    );
                }
            }
        }
        assert_eq!(stage.script.fetches(), 1, "(ID-05)");
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_gives_up_does_not_stop_the_fetch() {
    let stage = Stage::of(Script::closed([]));
    tokio::time::timeout(seconds(1), stage.call()).await.expect_err("still fetching");
    assert_eq!(Arc::strong_count(&stage.script.alive), 3, "script, credential, fetch");
    stage.script.gate.add_permits(1);
    stage.settle().await;
    assert_eq!(stage.now().expect("landed").as_deref(), Some("t1"));
}

#[tokio::test(start_paused = true)]
async fn the_last_handle_aborts_the_fetch_and_no_handle_before_it() {
    let stage = Stage::of(Script::closed([]));
    let other = stage.credentials.clone();
    assert_eq!(stage.now().expect("no error"), None);
    stage.settle().await;
    let Stage { script, credentials, .. } = stage;
    drop(credentials);
    settle(&script, 3).await;
    drop(other);
    settle(&script, 1).await;
}

/// Waits until this many hold on to the script.
async fn settle(script: &Script, holders: usize) {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(Arc::strong_count(&script.alive), holders);
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_hangs_is_given_up_after_ten_seconds() {
    let stage = Stage::of(Script::closed([]));
    let began = Instant::now();
    let error = stage.call().await.expect_err("no token");
    assert_eq!(began.elapsed(), seconds(10));
    assert!(error.is_transient());
    assert_eq!(error.to_string(), "script gave no token within 10 s");
}

#[test]
fn a_fetch_that_goes_down_with_its_runtime_fails_and_is_made_again() {
    let credentials = CachedToken::new(Script::closed([]));
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().start_paused(true).build().expect("a runtime")
    };
    let first = runtime();
    first.block_on(async {
        let waiting = call(&credentials, "orders.example");
        tokio::time::timeout(seconds(1), waiting).await.expect_err("still fetching");
    });
    drop(first);
    runtime().block_on(async {
        let error = call(&credentials, "orders.example").await.expect_err("it is gone");
        assert_eq!(error.to_string(), "the last fetch from script was cut off");
        credentials.cache().source().gate.add_permits(1);
        advance(seconds(2)).await;
        assert_eq!(call(&credentials, "orders.example").await.expect("again"), "t2");
    });
}

// --- windows -------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn in_the_advisory_window_one_fetch_runs_and_no_call_waits() {
    let stage = Stage::of(Script::closed([]));
    stage.script.gate.add_permits(1);
    assert_eq!(stage.call().await.expect("a token"), "t1");
    advance(HOUR - seconds(301)).await;
    stage.now().expect("fresh");
    stage.settle().await;
    assert_eq!(stage.script.fetches(), 1);
    advance(seconds(1)).await;
    for _ in 0..1_000 {
        assert_eq!(stage.now().expect("no error").as_deref(), Some("t1"), "(ID-06)");
        tokio::task::yield_now().await;
    }
    assert_eq!(stage.script.fetches(), 2);
    stage.script.gate.add_permits(1);
    stage.settle().await;
    assert_eq!(stage.now().expect("no error").as_deref(), Some("t2"));
    assert_eq!(stage.script.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_fetched_while_there_are_no_calls() {
    let stage = Stage::new([]);
    stage.call().await.expect("a token");
    advance(HOUR * 100).await;
    stage.settle().await;
    assert_eq!(stage.script.fetches(), 1);
    assert_eq!(stage.call().await.expect("a token"), "t2", "never the one that has ended");
}

#[tokio::test(start_paused = true)]
async fn in_the_mandatory_window_calls_wait_and_keep_the_token_if_the_fetch_fails() {
    let stage = Stage::of(Script::closed([Ok(token("old", HOUR)), down()]));
    stage.script.gate.add_permits(1);
    stage.call().await.expect("a token");
    advance(HOUR - seconds(30)).await;
    assert_eq!(stage.now().expect("no error"), None, "it has to wait");
    stage.script.gate.add_permits(1);
    assert_eq!(stage.call().await.expect("the last one"), "old");
    // During the back-off nobody waits for anything.
    assert_eq!(stage.now().expect("the last one").as_deref(), Some("old"));
    assert_eq!(stage.script.fetches(), 2);
    advance(seconds(30)).await;
    stage.script.gate.add_permits(1);
    assert_eq!(stage.call().await.expect("a token"), "t3");
}

#[tokio::test(start_paused = true)]
async fn there_is_one_more_try_before_the_end_whatever_the_back_off() {
    let stage = Stage::new([Ok(token("old", HOUR))]);
    stage.call().await.expect("a token");
    // Ten or eleven failures, as the jitter has it: the next try is at least 55 s away. One more
    // is for the try that is made all the same.
    advance(HOUR - seconds(300)).await;
    for _ in 0..12 {
        stage.script.next(Err(TokenError::transient("down").with_retry_after(seconds(20))));
    }
    let mut passed = 0;
    while passed < 269 {
        assert_eq!(stage.call().await.expect("still good"), "old");
        stage.settle().await;
        advance(seconds(1)).await;
        passed += 1;
    }
    stage.script.next(Err(TokenError::transient("down").with_retry_after(seconds(120))));
    let before = stage.script.fetches();
    advance(seconds(2)).await;
    assert_eq!(stage.call().await.expect("still good"), "old");
    assert_eq!(stage.script.fetches(), before + 1, "the one more try");
    assert_eq!(stage.call().await.expect("still good"), "old");
    assert_eq!(stage.script.fetches(), before + 1, "and no other");
}

#[tokio::test(start_paused = true)]
async fn a_source_that_has_nothing_newer_is_left_alone() {
    let same = || Ok(token("same", seconds(1)));
    let stage = Stage::new([Ok(token("same", seconds(100)))]);
    stage.call().await.expect("a token");
    for _ in 0..100 {
        stage.script.next(same());
    }
    advance(seconds(85)).await;
    for _ in 0..140 {
        assert_eq!(stage.call().await.expect("still good"), "same");
        stage.settle().await;
        advance(Duration::from_millis(100)).await;
    }
    let telemetry = stage.credentials.telemetry();
    assert_eq!(telemetry.refreshed, 1);
    assert!((3..=8).contains(&telemetry.unchanged), "{telemetry:?}");
}

#[tokio::test(start_paused = true)]
async fn a_source_with_nothing_newer_is_asked_again_when_its_token_has_ended() {
    let stage = Stage::new([]);
    let end = stage.wall.now() + HOUR;
    let same = || Ok(FetchedToken::bearer("same").expires_at(end));
    stage.script.next(same());
    stage.call().await.expect("a token");
    advance(HOUR - seconds(300)).await;
    for _ in 0..300 {
        stage.script.only(same());
        assert_eq!(stage.call().await.expect("still good"), "same");
        stage.settle().await;
        advance(seconds(1)).await;
    }
    let unchanged = stage.credentials.telemetry().unchanged;
    assert!((5..=15).contains(&unchanged), "asked {unchanged} times in five minutes");
    // By now there is another for whoever asks.
    stage.script.only(Ok(token("new", HOUR)));
    assert_eq!(stage.call().await.expect("a new one"), "new");
}

#[tokio::test(start_paused = true)]
async fn the_back_off_after_a_failure_does_not_count_answers_that_changed_nothing() {
    let same = || Ok(token("same", seconds(1)));
    let stage = Stage::new([Ok(token("same", seconds(100)))]);
    stage.call().await.expect("a token");
    advance(seconds(80)).await;
    for _ in 0..20 {
        stage.script.only(same());
        stage.call().await.expect("still good");
        stage.settle().await;
        advance(seconds(1)).await;
    }
    stage.script.only(down());
    let error = stage.call().await.expect_err("it has ended, and the source is down");
    let rest = error.retry_after().expect("a back-off");
    assert!(rest <= Duration::from_millis(1_200), "the first failure: {rest:?}");
    advance(rest).await;
    stage.call().await.expect("back again");
}

// --- failures ------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn a_transient_failure_is_remembered_for_its_back_off_and_no_longer() {
    let stage = Stage::new([down(), down()]);
    let error = stage.call().await.expect_err("down");
    assert!(error.is_transient(), "UNAVAILABLE");
    let rest = error.retry_after().expect("whoever waits knows how long");
    assert!((800..=1_200).contains(&rest.as_millis()), "{rest:?}");
    for _ in 0..100 {
        let error = stage.now().expect_err("remembered, without waiting");
        assert_eq!(error.to_string(), "the source is down");
    }
    assert_eq!(stage.script.fetches(), 1, "(ID-03)");
    advance(Duration::from_millis(799)).await;
    stage.now().expect_err("1 s less a fifth at least");
    advance(Duration::from_millis(402)).await;
    stage.call().await.expect_err("asked again, down again");
    assert_eq!(stage.script.fetches(), 2);
    advance(Duration::from_millis(1_279)).await;
    stage.now().expect_err("1.6 s less a fifth at least");
    advance(Duration::from_millis(642)).await;
    assert_eq!(stage.call().await.expect("back again"), "t3", "(ID-04)");
}

#[tokio::test(start_paused = true)]
async fn a_permanent_failure_is_remembered_for_thirty_seconds_and_is_never_final() {
    let stage = Stage::new([refused(), refused()]);
    for passed in 0..30 {
        let error = stage.call().await.expect_err("refused");
        assert!(!error.is_transient(), "UNAUTHENTICATED");
        assert_eq!(error.retry_after(), None, "not worth a wait");
        assert_eq!(stage.script.fetches(), 1, "after {passed} s");
        advance(seconds(1)).await;
    }
    stage.call().await.expect_err("asked again");
    assert_eq!(stage.script.fetches(), 2);
    advance(seconds(30)).await;
    assert_eq!(stage.call().await.expect("somebody did something"), "t3");
}

#[tokio::test(start_paused = true)]
async fn a_permanent_failure_is_over_when_the_input_changes() {
    let stage = Stage::new([refused()]);
    stage.call().await.expect_err("refused");
    stage.script.changed.store(1, Ordering::SeqCst);
    stage.now().expect_err("looked at once a second at most");
    advance(seconds(1)).await;
    assert_eq!(stage.call().await.expect("looked again"), "t2");
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_down_for_a_minute_is_asked_as_the_back_off_allows() {
    let stage = Stage::new([Ok(token("old", HOUR))]);
    stage.call().await.expect("a token");
    advance(HOUR - seconds(300)).await;
    for _ in 0..1_000 {
        stage.script.next(down());
    }
    for _ in 0..6_000 {
        assert_eq!(stage.now().expect("nobody notices").as_deref(), Some("old"));
        tokio::task::yield_now().await;
        advance(Duration::from_millis(10)).await;
    }
    // 1 + 1.6 + 2.56 + 4.1 + 6.6 + 10.5 + 16.8 + 26.8 s, each ±20 %.
    let asked = stage.script.fetches() - 1;
    assert!((7..=10).contains(&asked), "asked {asked} times in a minute (JW-14)");
}

#[tokio::test(start_paused = true)]
async fn a_source_that_asks_for_rest_gets_two_minutes_at_most() {
    let stage = Stage::new([Err(TokenError::transient("429").with_retry_after(HOUR))]);
    stage.call().await.expect_err("not now");
    advance(seconds(119)).await;
    stage.call().await.expect_err("not yet");
    advance(seconds(1)).await;
    assert_eq!(stage.call().await.expect("rested"), "t2");
}

#[tokio::test(start_paused = true)]
async fn bad_answers_are_errors_with_a_back_off() {
    let past = SystemTime::UNIX_EPOCH + seconds(1_700_000_000);
    let long = "x".repeat(16 * 1024 + 1);
    for (name, answer, transient) in [
        ("empty", token("", HOUR), false),
        ("too long", token(&long, HOUR), false),
        ("a line break", token("a\nb", HOUR), false),
        ("no lifetime", token("a", Duration::ZERO), true),
        ("ended", FetchedToken::bearer("a").expires_at(past), false),
        ("ended, by one of two", token("a", HOUR).expires_at(past), false),
        ("a JWT that ended", FetchedToken::bearer(jwt("{\"exp\":1700000000}")), false),
    ] {
        let stage = Stage::new([Ok(answer)]);
        let error = stage.call().await.expect_err(name);
        assert_eq!(error.is_transient(), transient, "{name}: {error}");
        stage.now().expect_err("remembered");
        assert_eq!(stage.script.fetches(), 1, "{name}");
    }
}

// --- expiry --------------------------------------------------------------------------------------

fn jwt(claims: &str) -> String {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    format!("{}.{}.sig", URL_SAFE_NO_PAD.encode("{}"), URL_SAFE_NO_PAD.encode(claims))
}

async fn lasts(answer: FetchedToken) -> Duration {
    let stage = Stage::new([Ok(answer)]);
    stage.call().await.expect("a token");
    stage.credentials.telemetry().time_to_expiry.expect("an end")
}

#[tokio::test(start_paused = true)]
async fn the_end_is_the_sources_word_else_exp_else_five_minutes() {
    let at = |after: u64| SystemTime::UNIX_EPOCH + seconds(1_800_000_000 + after);
    let with_exp = |exp: &str| FetchedToken::bearer(jwt(&format!("{{\"exp\":{exp}}}")));
    for (name, answer, expected) in [
        ("expires_in", token("a", seconds(60)), seconds(60)),
        ("expires_at", FetchedToken::bearer("a").expires_at(at(70)), seconds(70)),
        ("the earlier of both", token("a", seconds(60)).expires_at(at(50)), seconds(50)),
        ("exp", with_exp("1800000080"), seconds(80)),
        ("a fraction", with_exp("1800000080.5"), Duration::from_millis(80_500)),
        ("a JWT without exp", FetchedToken::bearer(jwt("{}")), seconds(300)),
        ("exp that is no number", with_exp("\"soon\""), seconds(300)),
        ("nothing", FetchedToken::bearer("opaque"), seconds(300)),
        ("for ever", token("a", Duration::MAX), seconds(365 * 24 * 3_600)),
    ] {
        assert_eq!(lasts(answer).await, expected, "{name} (ST-10)");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lifetime_counts_from_before_the_request() {
    let stage = Stage::of(Script::closed([Ok(token("slow", seconds(60)))]));
    assert_eq!(stage.now().expect("no error"), None);
    stage.settle().await;
    advance(seconds(9)).await;
    stage.script.gate.add_permits(1);
    stage.call().await.expect("a token");
    assert_eq!(stage.credentials.telemetry().time_to_expiry, Some(seconds(51)));
    assert_eq!(stage.credentials.telemetry().last_latency, seconds(9));
}

#[tokio::test(start_paused = true)]
async fn the_earlier_of_both_clocks_ends_a_token() {
    // The machine slept: the monotonic clock stood still.
    let stage = Stage::new([]);
    stage.call().await.expect("a token");
    stage.wall.step(3_600);
    assert_eq!(stage.call().await.expect("a token"), "t2");
    // The wall clock was put back: the token ends all the same.
    let stage = Stage::new([]);
    stage.call().await.expect("a token");
    stage.wall.step(-86_400);
    assert_eq!(stage.call().await.expect("a token"), "t1");
    advance(HOUR).await;
    assert_eq!(stage.call().await.expect("a token"), "t2");
}

#[tokio::test(start_paused = true)]
async fn a_token_without_an_end_is_asked_for_again_and_kept_when_that_fails() {
    let open = |text| Ok(FetchedToken::bearer(text).recheck_after(seconds(60)));
    let stage = Stage::new([open("first"), open("first"), down(), open("second")]);
    stage.call().await.expect("a token");
    advance(seconds(59)).await;
    stage.now().expect("fresh");
    stage.settle().await;
    assert_eq!(stage.script.fetches(), 1);
    advance(seconds(1)).await;
    assert_eq!(stage.now().expect("no wait").as_deref(), Some("first"));
    stage.settle().await;
    assert_eq!(stage.script.fetches(), 2);
    // Nobody called for an hour: now it is worth a wait, and still worth more than nothing.
    advance(HOUR).await;
    assert_eq!(stage.now().expect("waits"), None);
    assert_eq!(stage.call().await.expect("kept"), "first");
    advance(seconds(2)).await;
    stage.now().expect("kept");
    stage.settle().await;
    assert_eq!(stage.now().expect("replaced").as_deref(), Some("second"));
}

// --- rejections ----------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn a_rejected_token_is_replaced_if_it_is_the_one_that_was_sent() {
    let stage = Stage::new([]);
    assert_eq!(stage.call().await.expect("a token"), "t1");
    assert!(stage.reject("t0", None), "an older one: the next is another already");
    assert_eq!(stage.call().await.expect("a token"), "t1");
    assert!(stage.reject("t1", None));
    assert!(stage.reject("t1", None), "another call with the same token");
    assert_eq!(stage.call().await.expect("a token"), "t2");
    assert_eq!(stage.script.fetches(), 2);
    assert_eq!(stage.credentials.telemetry().rejected, 1);
}

#[tokio::test(start_paused = true)]
async fn a_token_is_replaced_for_a_servers_word_once_in_thirty_seconds() {
    let stage = Stage::new([]);
    stage.call().await.expect("a token");
    assert!(stage.reject("t1", None));
    stage.call().await.expect("a token");
    advance(seconds(29)).await;
    assert!(!stage.reject("t2", None));
    assert_eq!(stage.call().await.expect("a token"), "t2");
    advance(seconds(1)).await;
    assert!(stage.reject("t2", None));
    assert_eq!(stage.call().await.expect("a token"), "t3");
}

#[tokio::test(start_paused = true)]
async fn final_reasons_replace_nothing() {
    let stage = Stage::new([]);
    stage.call().await.expect("a token");
    for reason in ["TOKEN_AUDIENCE", "CREDENTIALS_REVOKED", "PROOF_INVALID"] {
        assert!(!stage.reject("t1", Some(reason)), "{reason}");
    }
    assert_eq!(stage.call().await.expect("a token"), "t1");
    assert!(stage.reject("t1", Some("TOKEN_EXPIRED")));
    assert_eq!(stage.call().await.expect("a token"), "t2");
}

#[tokio::test(start_paused = true)]
async fn what_the_log_was_not_told_is_counted_in_the_next_line() {
    let logs = countersign_testkit::logs::Logs::collect();
    let script = Script { scope: TokenScope::Host, ..Script::new([]) };
    let stage = Stage::of(script);
    let reject = async |host: &str| {
        let token = call(&stage.credentials, host).await.expect("a token");
        let mut metadata = CallMetadata::default();
        metadata.insert("authorization", &format!("Bearer {token}")).expect("valid");
        let (call, answer) = (details(host).0, HeaderMap::new());
        stage.credentials.rejected(&Rejection::new(&call, &metadata, None, &answer))
    };
    for number in 0..13 {
        assert!(reject(&format!("h{number}.example")).await);
    }
    let told = || logs.lines_with("a server rejected the token");
    assert_eq!(told().len(), 10, "{}", logs.text());
    advance(seconds(1)).await;
    reject("last.example").await;
    assert!(told()[10].contains("withheld=3"), "{}", logs.text());
    // Of this failure the log has nothing, and says so where it ends.
    stage.script.next(down());
    call(&stage.credentials, "down.example").await.expect_err("down");
    advance(seconds(2)).await;
    call(&stage.credentials, "down.example").await.expect("up");
    let again = logs.lines_with("tokens are to be had again");
    assert!(again.len() == 1 && again[0].contains("withheld=1"), "{}", logs.text());
}

#[tokio::test(start_paused = true)]
async fn a_rejected_token_is_better_than_none() {
    let stage = Stage::new([Ok(token("only", HOUR)), down()]);
    stage.call().await.expect("a token");
    assert!(stage.reject("only", None));
    assert_eq!(stage.call().await.expect("one server's word"), "only");
    assert_eq!(stage.now().expect("no wait").as_deref(), Some("only"));
    assert!(!stage.reject("only", None), "nothing better is on its way");
    assert_eq!(stage.script.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn one_servers_word_holds_up_no_call_while_the_source_hangs() {
    let stage = Stage::of(Script::closed([]));
    stage.script.gate.add_permits(1);
    assert_eq!(stage.call().await.expect("a token"), "t1");
    // From here on the source never answers.
    assert!(stage.reject("t1", None));
    let began = Instant::now();
    assert_eq!(stage.call().await.expect("whoever was rejected waits"), "t1");
    assert_eq!(began.elapsed(), seconds(10));
    for _ in 0..100 {
        let began = Instant::now();
        assert_eq!(stage.call().await.expect("the others do not"), "t1");
        assert_eq!(began.elapsed(), Duration::ZERO);
        advance(seconds(1)).await;
    }
}

// --- keys and telemetry --------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn a_token_for_one_host_never_goes_to_another() {
    let mut script = Script::new([]);
    script.scope = TokenScope::Host;
    let credentials = CachedToken::new(script.clone());
    assert_eq!(call(&credentials, "a.example:443").await.expect("a token"), "t1a.example");
    assert_eq!(call(&credentials, "b.example").await.expect("a token"), "t2b.example");
    assert_eq!(call(&credentials, "a.example").await.expect("a token"), "t1a.example");
    assert_eq!(script.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn hosts_are_kept_up_to_a_bound() {
    let mut script = Script::new([]);
    script.scope = TokenScope::Host;
    let credentials = CachedToken::builder(script.clone()).with_max_entries(10).build();
    for host in 0..1_000 {
        call(&credentials, &format!("h{host}.example")).await.expect("a token");
    }
    assert_eq!(Arc::strong_count(&script.alive), 2);
    assert!(credentials.cache().entries() <= 10, "{}", credentials.cache().entries());
}

#[tokio::test(start_paused = true)]
async fn telemetry_counts_what_happened() {
    let stage = Stage::new([down(), refused(), Ok(token("good", HOUR))]);
    stage.call().await.expect_err("down");
    advance(seconds(2)).await;
    stage.call().await.expect_err("refused");
    assert_eq!(stage.credentials.telemetry().time_to_expiry, None);
    advance(seconds(30)).await;
    stage.call().await.expect("a token");
    advance(seconds(600)).await;
    let telemetry = stage.credentials.telemetry();
    assert_eq!(
        (telemetry.source, telemetry.refreshed, telemetry.failed_transiently),
        ("script", 1, 1)
    );
    assert_eq!(telemetry.failed_permanently, 1);
    assert_eq!(telemetry.time_to_expiry, Some(seconds(3_000)));
}

#[tokio::test(start_paused = true)]
async fn nothing_that_prints_shows_a_token() {
    let secret = "hunter2-hunter2";
    let stage = Stage::new([Ok(token(secret, HOUR))]);
    stage.call().await.expect("a token");
    let held = stage.credentials.cache().get(None, TokenRequest::any).await.expect("a token");
    assert!(held.value().is_sensitive());
    let shown = format!(
        "{:?} {:?} {:?} {:?}",
        stage.credentials,
        held,
        token(secret, HOUR),
        stage.credentials.telemetry()
    );
    assert!(!shown.contains("hunter2"), "{shown}");
    // SHA-256 of the token, the first eight digits: what the log calls it.
    assert!(shown.contains("Held(Bearer "), "{shown}");
}
