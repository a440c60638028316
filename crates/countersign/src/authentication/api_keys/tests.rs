//! The authenticator by itself: what it makes of each key, and what it asks of the store.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;

use super::record::tests::at;
use super::*;
use crate::authentication::{
    Authenticated, Authenticator, CallEvidence, CallTarget, Evidence, Outcome,
};
use crate::clock::Clock;
use crate::identity::{MethodPath, PeerAddress, PeerIdentity, SecurityLevel};
use crate::secret::Secret;

#[derive(Clone, Debug)]
struct TestClock(Arc<Mutex<SystemTime>>);

impl TestClock {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(at(0))))
    }

    fn advance(&self, seconds: u64) {
        *self.0.lock().expect("not poisoned") += Duration::from_secs(seconds);
    }
}

impl Clock for TestClock {
    fn now(&self) -> SystemTime {
        *self.0.lock().expect("not poisoned")
    }
}

/// A store in memory that can be cut off, and that pushes nothing.
#[derive(Clone, Debug, Default)]
struct Cuttable {
    keys: MemoryKeys,
    is_cut: Arc<AtomicBool>,
    hangs: Arc<AtomicBool>,
    /// What becomes of the next change.
    next_change: Arc<Mutex<NextChange>>,
    /// How many questions are open, how many were at most, and how many there were ever.
    open: Arc<(AtomicUsize, AtomicUsize, AtomicUsize)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum NextChange {
    #[default]
    Done,
    /// It is made, and whoever asked for it hears that nobody can tell.
    DoneAndNotTold,
    NotDone,
}

/// A question that is open until this is dropped.
struct Open<'a>(&'a AtomicUsize);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Cuttable {
    fn cut(&self, is_cut: bool) {
        self.is_cut.store(is_cut, Ordering::SeqCst);
    }

    fn reach(&self) -> Result<&MemoryKeys, KeyStoreError> {
        match self.is_cut.load(Ordering::SeqCst) {
            true => Err(KeyStoreError::unavailable("cut off")),
            false => Ok(&self.keys),
        }
    }
}

#[async_trait]
impl KeyStore for Cuttable {
    async fn get(&self, id: &KeyId) -> Result<Option<KeyRecord>, KeyStoreError> {
        let open = self.open.0.fetch_add(1, Ordering::SeqCst) + 1;
        let _open = Open(&self.open.0);
        self.open.2.fetch_add(1, Ordering::SeqCst);
        self.open.1.fetch_max(open, Ordering::SeqCst);
        if self.hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        // An answer takes a moment.
        tokio::task::yield_now().await;
        self.reach()?.get(id).await
    }

    async fn insert(&self, record: KeyRecord) -> Result<(), KeyStoreError> {
        self.reach()?.insert(record).await
    }

    async fn update(&self, record: KeyRecord) -> Result<u64, KeyStoreError> {
        let next = std::mem::take(&mut *self.next_change.lock().expect("not poisoned"));
        if next == NextChange::NotDone {
            return Err(KeyStoreError::unavailable("cut off"));
        }
        let done = self.reach()?.update(record).await?;
        match next {
            NextChange::DoneAndNotTold => Err(KeyStoreError::unavailable("cut off")),
            _ => Ok(done),
        }
    }

    async fn list(
        &self,
        after: Option<KeyId>,
        limit: usize,
    ) -> Result<Vec<KeyRecord>, KeyStoreError> {
        self.reach()?.list(after, limit).await
    }

    async fn note_uses(&self, uses: &[KeyUse]) -> Result<(), KeyStoreError> {
        self.reach()?.note_uses(uses).await
    }
}

struct Bench {
    clock: TestClock,
    store: Cuttable,
    issuer: KeyIssuer,
    keys: ApiKeys,
}

impl Bench {
    fn new() -> Self {
        Self::with(|builder| builder)
    }

    fn with(change: impl FnOnce(ApiKeysBuilder) -> ApiKeysBuilder) -> Self {
        let (clock, store) = (TestClock::new(), Cuttable::default());
        let keys = change(ApiKeys::builder(store.clone()).clock(clock.clone())).build();
        let issuer = KeyIssuer::new(store.clone()).with_clock(clock.clone());
        Self { clock, store, issuer, keys }
    }

    async fn issue(&self, new: NewKey) -> IssuedKey {
        self.issuer.create(new).await.expect("a key")
    }

    async fn ask(&self, evidence: &Evidence<'_>) -> Outcome {
        self.keys.authenticate(evidence).await
    }

    /// Presents a key as `x-api-key` from somewhere: the owner, or the reason.
    async fn from(&self, ip: &str, key: &str) -> String {
        let peer = peer(ip);
        told(self.ask(&Evidence::new(&peer, CallEvidence::ApiKey(key))).await)
    }

    async fn present(&self, key: &str) -> String {
        self.from("192.0.2.1", key).await
    }

    async fn accepted(&self, key: &str) -> Authenticated {
        let peer = peer("192.0.2.1");
        let outcome = self.ask(&Evidence::new(&peer, CallEvidence::ApiKey(key))).await;
        outcome.expect("accepted").expect("a caller")
    }
}

fn peer(ip: &str) -> PeerIdentity {
    let ip: IpAddr = ip.parse().expect("an address");
    let address = PeerAddress::Tcp(SocketAddr::from((ip, 50_000)));
    PeerIdentity::new(address, None, SecurityLevel::PrivacyAndIntegrity, None, None)
}

fn told(outcome: Outcome) -> String {
    match outcome {
        Ok(Some(caller)) => caller.principal().name().to_owned(),
        Ok(None) => "nothing of ours".to_owned(),
        Err(error) => error.reason().to_string(),
    }
}

fn ci() -> NewKey {
    NewKey::new("ci").scope("orders:read")
}

/// Another key with the same ID: right in form, wrong in secret.
fn wrong_secret(key: &Secret<String>) -> String {
    let key = key.expose();
    let secret = key.rfind('_').expect("a secret") + 1;
    let flipped = if key.as_bytes()[secret] == b'a' { "b" } else { "a" };
    let before = format!("{}{flipped}{}", &key[..secret], &key[secret + 1..key.len() - 6]);
    let checksum = checksum::of(before.as_bytes());
    before + std::str::from_utf8(&checksum).expect("ASCII")
}

fn unknown_key() -> String {
    KeyPrefix::live("cs").expect("a prefix").generate().expect("random").1.expose().clone()
}

#[tokio::test]
async fn a_right_key_proves_its_owner_and_others_do_not() {
    let bench = Bench::new();
    let issued = bench.issue(ci().tenant("acme")).await;
    let key = issued.key().expose();
    let test = KeyPrefix::test("cs").expect("a prefix").generate().expect("random").1;
    let vendor = KeyPrefix::live("other").expect("a prefix").generate().expect("random").1;
    for (name, key, outcome) in [
        ("right", key.clone(), "ci"),
        ("wrong secret", wrong_secret(issued.key()), "TOKEN_INVALID"),
        ("unknown", unknown_key(), "TOKEN_INVALID"),
        ("of the test environment", test.expose().clone(), "TOKEN_INVALID"),
        ("of another vendor", vendor.expose().clone(), "TOKEN_INVALID"),
        ("bad checksum", key[..key.len() - 1].to_owned() + "-", "CREDENTIALS_MALFORMED"),
        ("garbage", "hunter2".to_owned(), "CREDENTIALS_MALFORMED"),
    ] {
        assert_eq!(bench.present(&key).await, outcome, "{name}");
    }
    let caller = bench.accepted(key).await;
    let claims = caller.principal().token().expect("claims");
    assert_eq!(caller.principal().authenticator(), ApiKeys::NAME);
    assert_eq!(claims.subject(), Some("ci"));
    assert_eq!(claims.id(), Some(issued.record().id.as_str()));
    assert_eq!(claims.scopes(), ["orders:read"]);
    assert_eq!(claims.get("tenant"), Some(&"acme".into()));
    assert_eq!(caller.expires_at(), Some(at(0) + NewKey::LIFETIME));
}

#[tokio::test]
async fn garbage_costs_neither_a_question_nor_a_hash() {
    let bench = Bench::new();
    let good = unknown_key();
    for key in ["", "hunter2", "cs_live_", &good[1..], &good[..good.len() - 1]] {
        assert_eq!(bench.present(key).await, "CREDENTIALS_MALFORMED", "{key}");
    }
    let counters = bench.keys.counters();
    assert_eq!((counters.looked_up(), counters.compared(), counters.refused()), (0, 0, 5));
    assert_eq!(bench.present(&good).await, "TOKEN_INVALID");
    assert_eq!((counters.looked_up(), counters.compared()), (1, 1));
}

#[tokio::test]
async fn an_unknown_id_costs_what_a_wrong_secret_costs() {
    for cached in [false, true] {
        let mut costs = Vec::new();
        for is_known in [true, false] {
            let bench = Bench::new();
            let issued = bench.issue(ci()).await;
            let key = if is_known { wrong_secret(issued.key()) } else { unknown_key() };
            if cached {
                bench.present(&key).await;
            }
            let counters = bench.keys.counters();
            let before = (counters.looked_up(), counters.compared());
            assert_eq!(bench.present(&key).await, "TOKEN_INVALID");
            let after = (counters.looked_up(), counters.compared());
            costs.push((after.0 - before.0, after.1 - before.1));
        }
        assert_eq!(costs, [(u64::from(!cached), 1); 2], "cached: {cached}");
    }
}

#[tokio::test]
async fn a_bearer_token_is_ours_only_when_it_begins_as_our_keys_do() {
    let bench = Bench::new();
    let issued = bench.issue(ci()).await;
    let peer = peer("192.0.2.1");
    for (token, outcome) in [
        (issued.key().expose().as_str(), "ci"),
        ("eyJhbGciOiJFUzI1NiJ9.e30.c2ln", "nothing of ours"),
        ("cs_live_garbage", "CREDENTIALS_MALFORMED"),
        ("other_live_garbage", "nothing of ours"),
    ] {
        let evidence = Evidence::new(&peer, CallEvidence::Bearer(token));
        assert_eq!(told(bench.ask(&evidence).await), outcome, "{token}");
    }
    let basic = CallEvidence::Other { scheme: "Basic", value: "dTpw" };
    for call in [CallEvidence::None, basic] {
        assert_eq!(told(bench.ask(&Evidence::new(&peer, call)).await), "nothing of ours");
    }
}

#[tokio::test]
async fn a_key_is_good_from_its_beginning_to_its_end() {
    let bench = Bench::new();
    let new = ci().not_before(at(100)).lifetime(Duration::from_secs(50));
    let issued = bench.issue(new).await;
    for (advance, outcome) in
        [(0, "TOKEN_NOT_YET_VALID"), (99, "TOKEN_NOT_YET_VALID"), (1, "ci"), (49, "ci")]
    {
        bench.clock.advance(advance);
        assert_eq!(bench.present(issued.key().expose()).await, outcome);
    }
    bench.clock.advance(1);
    assert_eq!(bench.present(issued.key().expose()).await, "TOKEN_EXPIRED");
    let wrong = wrong_secret(issued.key());
    assert_eq!(bench.present(&wrong).await, "TOKEN_INVALID", "its state is told to its owner");
}

#[tokio::test]
async fn a_lease_ends_with_the_answer_and_with_the_key() {
    let bench = Bench::new();
    let ends =
        |caller: &Authenticated| caller.lease().and_then(crate::authentication::Lease::ends_at);
    let long = bench.issue(ci()).await;
    let caller = bench.accepted(long.key().expose()).await;
    assert_eq!(ends(&caller), Some(at(30)));
    bench.clock.advance(10);
    let caller = bench.accepted(long.key().expose()).await;
    assert_eq!(ends(&caller), Some(at(30)), "the same answer");
    let short = bench.issue(ci().lifetime(Duration::from_secs(5))).await;
    let caller = bench.accepted(short.key().expose()).await;
    assert_eq!(ends(&caller), Some(at(15)));
}

#[tokio::test]
async fn a_key_for_some_networks_is_good_from_there_alone() {
    let bench = Bench::new();
    let networks = ci()
        .network("10.0.0.0/8".parse().expect("a network"))
        .network("2001:db8::/32".parse().expect("a network"));
    let key = bench.issue(networks).await;
    for (ip, outcome) in [
        ("10.1.2.3", "ci"),
        ("::ffff:10.1.2.3", "ci"),
        ("2001:db8::1", "ci"),
        ("192.0.2.1", "TOKEN_INVALID"),
        ("2001:db9::1", "TOKEN_INVALID"),
    ] {
        assert_eq!(bench.from(ip, key.key().expose()).await, outcome, "{ip}");
    }
    let nowhere = PeerIdentity::unknown();
    let evidence = Evidence::new(&nowhere, CallEvidence::ApiKey(key.key().expose()));
    assert_eq!(told(bench.ask(&evidence).await), "TOKEN_INVALID");
}

#[tokio::test]
async fn a_key_for_some_methods_is_good_for_those_alone_and_never_leased() {
    let bench = Bench::new();
    let key = bench.issue(ci().method("/orders.v1.Orders/Get*").method("/a.B/C")).await;
    let peer = peer("192.0.2.1");
    let evidence = Evidence::new(&peer, CallEvidence::ApiKey(key.key().expose()));
    for (path, outcome) in [
        ("/orders.v1.Orders/GetOne", "ci"),
        ("/a.B/C", "ci"),
        ("/orders.v1.Orders/Delete", "TOKEN_INVALID"),
        ("/a.B/D", "TOKEN_INVALID"),
    ] {
        let path = MethodPath::parse(path).expect("canonical");
        let call = evidence.for_call(CallTarget { authority: "localhost", path });
        let judged = bench.ask(&call).await;
        if let Ok(Some(caller)) = &judged {
            assert!(caller.lease().is_none());
        }
        assert_eq!(told(judged), outcome, "{path}");
    }
    assert_eq!(told(bench.ask(&evidence).await), "TOKEN_INVALID", "a method that nobody knows");
}

#[tokio::test]
async fn a_revocation_nobody_pushes_is_seen_when_the_answer_ends() {
    let bench = Bench::new();
    let issued = bench.issue(ci()).await;
    let (id, key) = (issued.record().id, issued.key().expose());
    assert_eq!(bench.present(key).await, "ci");
    bench.issuer.revoke(&id, "lost").await.expect("revoked");
    bench.clock.advance(29);
    assert_eq!(bench.present(key).await, "ci");
    bench.clock.advance(1);
    assert_eq!(bench.present(key).await, "CREDENTIALS_REVOKED");
    assert_eq!(bench.keys.counters().used_after_revocation(), 1);
    assert_eq!(bench.present(&wrong_secret(issued.key())).await, "TOKEN_INVALID");
    assert_eq!(bench.keys.counters().used_after_revocation(), 1);
}

#[tokio::test]
async fn an_unknown_id_is_asked_for_again_after_ten_seconds() {
    let bench = Bench::new();
    let prefix = KeyPrefix::live("cs").expect("a prefix");
    let (_, prepared) = prefix.generate().expect("random");
    let parsed = format::PresentedKey::parse(prepared.expose()).expect("a key");
    assert_eq!(bench.present(prepared.expose()).await, "TOKEN_INVALID");
    let hash = Peppers::none().hash(prepared.expose());
    let mut record = KeyRecord::new(parsed.id, hash, "ci".to_owned(), at(0));
    record.scopes = vec!["orders:read".to_owned()];
    bench.store.insert(record).await.expect("inserted");
    bench.clock.advance(9);
    assert_eq!(bench.present(prepared.expose()).await, "TOKEN_INVALID");
    bench.clock.advance(1);
    assert_eq!(bench.present(prepared.expose()).await, "ci");
}

#[tokio::test]
async fn while_the_store_is_down_what_is_cached_serves_to_its_end() {
    let bench = Bench::new();
    let (used, unused) = (bench.issue(ci()).await, bench.issue(ci()).await);
    assert_eq!(bench.present(used.key().expose()).await, "ci");
    bench.store.cut(true);
    bench.clock.advance(29);
    assert_eq!(bench.present(used.key().expose()).await, "ci");
    assert_eq!(bench.present(unused.key().expose()).await, "VERIFIER_UNAVAILABLE");
    assert_eq!(bench.present(&unknown_key()).await, "VERIFIER_UNAVAILABLE");
    bench.clock.advance(1);
    assert_eq!(bench.present(used.key().expose()).await, "VERIFIER_UNAVAILABLE");
    bench.store.cut(false);
    assert_eq!(bench.present(used.key().expose()).await, "ci");
    assert_eq!(bench.present(unused.key().expose()).await, "ci");
    assert_eq!(bench.keys.counters().store_failures(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_is_asked_so_much_at_once_and_waited_for_so_long() {
    let bench = Bench::new();
    let issued = bench.issue(ci()).await;
    bench.store.hangs.store(true, Ordering::SeqCst);
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let (keys, key) = (bench.keys.clone(), issued.key().clone());
        waiting.spawn(async move {
            let peer = peer("192.0.2.1");
            told(keys.authenticate(&Evidence::new(&peer, CallEvidence::ApiKey(key.expose()))).await)
        });
    }
    let begun = tokio::time::Instant::now();
    for outcome in waiting.join_all().await {
        assert_eq!(outcome, "VERIFIER_UNAVAILABLE");
    }
    assert_eq!(begun.elapsed().as_secs(), 5, "those who wait for their turn wait no longer");
    assert_eq!(bench.store.open.1.load(Ordering::SeqCst), ApiKeys::MAX_LOOKUPS);
    bench.store.hangs.store(false, Ordering::SeqCst);
    assert_eq!(bench.present(issued.key().expose()).await, "ci");
}

#[tokio::test]
async fn failures_are_refused_unseen_after_a_while() {
    let bench = Bench::new();
    let issued = bench.issue(ci()).await;
    let wrong = wrong_secret(issued.key());
    for _ in 0..20 {
        assert_eq!(bench.from("192.0.2.66", &wrong).await, "TOKEN_INVALID");
    }
    let counters = bench.keys.counters();
    let before = (counters.compared(), counters.looked_up());
    for key in [&wrong, issued.key().expose(), &unknown_key()] {
        assert_eq!(bench.from("192.0.2.66", key).await, "RATE_LIMITED");
    }
    assert_eq!((counters.compared(), counters.looked_up()), before, "nothing was looked at");
    assert_eq!(counters.throttled(), 3);
    let peer = peer("192.0.2.66");
    let refused = bench.ask(&Evidence::new(&peer, CallEvidence::ApiKey(&wrong))).await;
    let wait = refused.expect_err("held up").retry_after();
    assert_eq!(wait, Some(Duration::from_secs(60)));
    assert_eq!(bench.from("192.0.2.1", issued.key().expose()).await, "ci", "from elsewhere");
    bench.clock.advance(60);
    assert_eq!(bench.from("192.0.2.66", issued.key().expose()).await, "ci", "later");
}

/// A store in a file or a database works on, whoever hangs up: what it is asked at once is bounded by
/// what it was asked, and not by who still waits.
#[tokio::test(start_paused = true)]
async fn who_hangs_up_cannot_ask_the_store_for_more_at_once() {
    let bench = Bench::new();
    let issued = bench.issue(ci()).await;
    bench.store.hangs.store(true, Ordering::SeqCst);
    let address = peer("192.0.2.1");
    for _ in 0..500 {
        let key = unknown_key();
        let evidence = Evidence::new(&address, CallEvidence::ApiKey(&key));
        let asked = bench.keys.authenticate(&evidence);
        tokio::time::timeout(Duration::from_millis(1), asked).await.expect_err("it hangs");
    }
    assert_eq!(bench.store.open.2.load(Ordering::SeqCst), ApiKeys::MAX_LOOKUPS);
    // What was asked for is over in its time, and then others have their turn.
    bench.store.hangs.store(false, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(bench.store.open.0.load(Ordering::SeqCst), 0);
    let asked = bench.store.open.2.load(Ordering::SeqCst);
    assert_eq!(asked, ApiKeys::MAX_LOOKUPS, "who left before its turn has none");
    assert_eq!(bench.present(issued.key().expose()).await, "ci");
}

/// A call's half that nobody polls any more is not there to take its turn, nor to pass it on.
#[tokio::test(start_paused = true)]
async fn who_waits_for_a_turn_and_is_not_polled_keeps_it_from_nobody() {
    let bench = Bench::new();
    let (waited_for, fresh) = (bench.issue(ci()).await, bench.issue(ci()).await);
    bench.store.hangs.store(true, Ordering::SeqCst);
    let (address, key) = (peer("192.0.2.1"), unknown_key());
    let open = Evidence::new(&address, CallEvidence::ApiKey(&key));
    let queued = Evidence::new(&address, CallEvidence::ApiKey(waited_for.key().expose()));
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let mut parked = Vec::new();
    for evidence in [&open, &queued] {
        for _ in 0..ApiKeys::MAX_LOOKUPS {
            let mut asked = bench.keys.authenticate(evidence);
            assert!(asked.as_mut().poll(&mut cx).is_pending());
            parked.push(asked);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(bench.store.open.2.load(Ordering::SeqCst), ApiKeys::MAX_LOOKUPS);
    // What is open is over in its time, and the others have their turn.
    bench.store.hangs.store(false, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(bench.present(fresh.key().expose()).await, "ci");
    assert_eq!(told(parked.pop().expect("one who waited").await), "ci");
    assert_eq!(told(parked.swap_remove(0).await), "VERIFIER_UNAVAILABLE", "one that hung");
}

#[tokio::test]
async fn who_hangs_up_has_failed_all_the_same() {
    let bench = Bench::new();
    let issued = bench.issue(ci()).await;
    let (near, far) = ("192.0.2.1", "198.51.100.1");
    let address = peer(near);
    for number in 0..20 {
        let key = unknown_key();
        if number == 19 {
            assert_eq!(bench.from(near, &key).await, "TOKEN_INVALID", "nineteen are not twenty");
            break;
        }
        let evidence = Evidence::new(&address, CallEvidence::ApiKey(&key));
        let mut asked = Box::pin(bench.keys.authenticate(&evidence));
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(asked.as_mut().poll(&mut cx).is_pending());
        drop(asked);
        while bench.store.open.2.load(Ordering::SeqCst) <= number
            || bench.store.open.0.load(Ordering::SeqCst) > 0
        {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(bench.from(near, &unknown_key()).await, "RATE_LIMITED");
    assert_eq!(bench.from(far, &unknown_key()).await, "TOKEN_INVALID");
    assert_eq!(bench.from(far, issued.key().expose()).await, "ci");
}

#[tokio::test(start_paused = true)]
async fn the_last_handle_ends_what_the_store_was_asked() {
    let bench = Bench::new();
    bench.store.hangs.store(true, Ordering::SeqCst);
    let (address, key) = (peer("192.0.2.1"), unknown_key());
    let evidence = Evidence::new(&address, CallEvidence::ApiKey(&key));
    let asked = bench.keys.authenticate(&evidence);
    tokio::time::timeout(Duration::from_millis(1), asked).await.expect_err("it hangs");
    let Bench { keys, store, .. } = bench;
    let open = || store.open.0.load(Ordering::SeqCst);
    let other = keys.clone();
    drop(keys);
    tokio::task::yield_now().await;
    assert_eq!(open(), 1, "there is another handle");
    drop(other);
    tokio::task::yield_now().await;
    assert_eq!(open(), 0);
}

#[tokio::test]
async fn strangers_cannot_lock_an_owner_out() {
    let bench = Bench::new();
    let issued = bench.issue(ci()).await;
    let (key, wrong) = (issued.key().expose(), wrong_secret(issued.key()));
    assert_eq!(bench.from("192.0.2.1", key).await, "ci");
    for host in 0..100 {
        assert_eq!(bench.from(&format!("198.51.100.{host}"), &wrong).await, "TOKEN_INVALID");
    }
    assert_eq!(bench.from("198.51.100.200", &wrong).await, "RATE_LIMITED");
    assert_eq!(bench.from("192.0.2.1", key).await, "ci");
}

#[tokio::test]
async fn a_rotated_key_goes_on_for_its_overlap_and_says_so() {
    let bench = Bench::new();
    let old = bench.issue(ci()).await;
    let overlap = Duration::from_secs(3_600);
    let new = bench.issuer.rotate(&old.record().id, overlap).await.expect("rotated");
    assert_eq!(new.record().rotated_from, Some(old.record().id));
    assert_eq!(new.record().scopes, old.record().scopes);
    assert_ne!(new.key().expose(), old.key().expose());
    assert_eq!(bench.present(new.key().expose()).await, "ci");
    let caller = bench.accepted(old.key().expose()).await;
    let claims = caller.principal().token().expect("claims");
    assert_eq!(claims.get("rotated_to"), Some(&new.record().id.as_str().into()));
    assert_eq!(bench.keys.counters().rotated(), 1);
    bench.clock.advance(3_600);
    assert_eq!(bench.present(old.key().expose()).await, "TOKEN_EXPIRED");
    assert_eq!(bench.present(new.key().expose()).await, "ci");
}

#[tokio::test]
async fn without_an_overlap_a_rotated_key_ends_at_once() {
    let bench = Bench::new();
    let old = bench.issue(ci()).await;
    let new = bench.issuer.rotate(&old.record().id, Duration::ZERO).await.expect("rotated");
    assert_eq!(bench.present(old.key().expose()).await, "TOKEN_EXPIRED");
    assert_eq!(bench.present(new.key().expose()).await, "ci");
}

#[tokio::test]
async fn only_a_key_that_is_good_can_be_rotated_and_only_once() {
    let bench = Bench::new();
    let (old, lost) = (bench.issue(ci()).await, bench.issue(ci()).await);
    bench.issuer.revoke(&lost.record().id, "lost").await.expect("revoked");
    let error = bench.issuer.rotate(&lost.record().id, Duration::ZERO).await.expect_err("revoked");
    assert!(matches!(error, KeyIssuerError::NotActive { state: KeyState::Revoked, .. }));
    bench.issuer.rotate(&old.record().id, KeyIssuer::OVERLAP).await.expect("rotated");
    let error = bench.issuer.rotate(&old.record().id, KeyIssuer::OVERLAP).await.expect_err("again");
    assert!(matches!(error, KeyIssuerError::AlreadyRotated { .. }));
    let nobody = "zzzzzzzzzz".parse().expect("an ID");
    bench.issuer.rotate(&nobody, KeyIssuer::OVERLAP).await.expect_err("not there");
    assert_eq!(bench.store.list(None, 10).await.expect("listed").len(), 3);
}

#[tokio::test]
async fn a_rotation_whose_answer_is_lost_leaves_a_good_key_whichever_it_was() {
    for overlap in [Duration::ZERO, KeyIssuer::OVERLAP] {
        for next in [NextChange::DoneAndNotTold, NextChange::NotDone] {
            let bench = Bench::new();
            let old = bench.issue(ci()).await;
            *bench.store.next_change.lock().expect("not poisoned") = next;
            let rotated = bench.issuer.rotate(&old.record().id, overlap).await;
            // Of two days, since the overlap is one.
            bench.clock.advance(2 * 86_400);
            let ends = bench.present(old.key().expose()).await;
            match next {
                NextChange::DoneAndNotTold => {
                    let new = rotated.expect("it was rotated");
                    assert_eq!(ends, "TOKEN_EXPIRED");
                    assert_eq!(bench.present(new.key().expose()).await, "ci");
                }
                _ => {
                    rotated.expect_err("it was not rotated");
                    assert_eq!(ends, "ci");
                    let all = bench.store.list(None, 10).await.expect("listed");
                    let unseen = all.iter().find(|one| one.id != old.record().id);
                    let unseen = unseen.expect("the key that nobody has seen");
                    assert_eq!(unseen.state(at(0)), KeyState::Revoked);
                }
            }
        }
    }
}

#[tokio::test]
async fn peppers_decide_what_is_right_and_what_nobody_can_tell() {
    let pepper = |byte| Secret::new(vec![byte; 32]);
    let one = || Peppers::new("p1", pepper(1)).expect("a pepper");
    let two = || Peppers::new("p2", pepper(2)).expect("a pepper");
    let bench = Bench::with(|builder| builder.peppers(one()));
    let issuer = |peppers| bench.issuer.clone().with_peppers(peppers);
    let right = issuer(one()).create(ci()).await.expect("a key");
    let later = issuer(two()).create(ci()).await.expect("a key");
    let plain = issuer(Peppers::none()).create(ci()).await.expect("a key");
    assert_eq!(bench.present(right.key().expose()).await, "ci");
    assert_eq!(bench.present(&wrong_secret(right.key())).await, "TOKEN_INVALID");
    assert_eq!(bench.present(later.key().expose()).await, "VERIFIER_UNAVAILABLE");
    assert_eq!(bench.present(plain.key().expose()).await, "TOKEN_INVALID");
}

#[tokio::test]
async fn what_a_store_says_is_not_believed_blindly() {
    let bench = Bench::new();
    let issued = bench.issue(ci()).await;
    let mut powerless = bench.issue(ci()).await.record().clone();
    powerless.scopes.clear();
    bench.store.update(powerless.clone()).await.expect("the store takes what it gets");
    let (_, key) = KeyPrefix::live("cs").expect("a prefix").generate().expect("random");
    let whole = key.expose().replacen(&key.expose()[8..18], powerless.id.as_str(), 1);
    let before = &whole[..whole.len() - 6];
    let checksum = checksum::of(before.as_bytes());
    let whole = format!("{before}{}", std::str::from_utf8(&checksum).expect("ASCII"));
    assert_eq!(bench.present(&whole).await, "VERIFIER_UNAVAILABLE", "a record without scopes");
    assert_eq!(bench.present(issued.key().expose()).await, "ci");
}

#[tokio::test]
async fn keys_are_verified_for_people_as_they_are_for_calls() {
    let bench = Bench::new();
    let issued = bench.issue(ci()).await;
    let judged = |key: &str| {
        let (issuer, key) = (bench.issuer.clone(), Secret::from(key));
        async move {
            match issuer.verify(&key).await.expect("judged") {
                Judgement::Malformed => "malformed".to_owned(),
                Judgement::OtherPrefix => "other prefix".to_owned(),
                Judgement::Unknown => "unknown".to_owned(),
                Judgement::Known(record, state) => format!("{state:?} {}", record.owner),
            }
        }
    };
    assert_eq!(judged(issued.key().expose()).await, "Active ci");
    assert_eq!(judged(&wrong_secret(issued.key())).await, "unknown");
    assert_eq!(judged(&unknown_key()).await, "unknown");
    assert_eq!(judged("hunter2").await, "malformed");
    bench.issuer.revoke(&issued.record().id, "lost").await.expect("revoked");
    assert_eq!(judged(issued.key().expose()).await, "Revoked ci");
}

#[tokio::test]
async fn keys_and_peppers_stay_hidden_in_debug_output() {
    let peppers = Peppers::new("p1", Secret::new(b"hunter2-hunter2-hunter2-hunter2-".to_vec()));
    let bench = Bench::with(|builder| builder.peppers(peppers.expect("a pepper")));
    let issued = bench.issue(ci()).await;
    let secret = &issued.key().expose()[19..];
    let shown = format!("{:?} {:?} {:?} {:?}", issued, bench.keys, bench.issuer, ci());
    assert!(!shown.contains("hunter2") && !shown.contains(secret), "{shown}");
}
