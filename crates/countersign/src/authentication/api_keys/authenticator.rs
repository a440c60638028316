use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::builder::ApiKeysBuilder;
use super::cache::{Answer, Known, Records};
use super::counters::KeyCounters;
use super::format::{KeyId, KeyPrefix, PresentedKey};
use super::hash::{CannotTell, KeyHash, Peppers};
use super::maintenance;
use super::record::{KeyRecord, KeyState};
use super::store::{KeyStore, KeyStoreError};
use super::throttle::Throttle;
use super::uses::Uses;
use crate::authentication::{
    AuthenticationError, Authenticator, CallEvidence, Evidence, EvidenceKinds, Lease, Outcome,
    Reason,
};
use crate::clock::Clock;
use crate::identity::{Principal, Source};

/// Proves callers by API keys that a store has the hashes of.
///
/// Takes `x-api-key: KEY`, and `authorization: Bearer KEY` where the token begins as our keys do;
/// other bearer tokens are left to the authenticators beside this one. The principal is the key's
/// owner, and the record is there as claims: `sub` and `tenant`, `scope`, the key's ID as `jti`
/// and `client_id`, `exp`, `nbf`, `iat`, and `rotated_to` once there is a successor.
///
/// | The caller shows | and is told |
/// |---|---|
/// | what is no key, or has another checksum | `CREDENTIALS_MALFORMED` |
/// | a key of another vendor or environment, an unknown ID, a wrong secret | `TOKEN_INVALID` |
/// | a right key from a network, or for a method, that it is not for | `TOKEN_INVALID` |
/// | a right key past its end, before its beginning, taken back | `TOKEN_EXPIRED`, `TOKEN_NOT_YET_VALID`, `CREDENTIALS_REVOKED` |
/// | anything while the store does not answer and nothing is cached | `VERIFIER_UNAVAILABLE` |
/// | more after too many failures | `RATE_LIMITED`, with the time to wait |
///
/// What is wrong with a key is told to nobody who has not its secret. A method that a key is not
/// for is `TOKEN_INVALID`, since an authenticator knows evidence and no policy; the log says
/// which. Where the method cannot be told, a key that is limited by methods is not accepted.
///
/// What the store said is used for 30 s, and that an ID is unknown for 10 s; a revocation takes
/// effect at once where the store pushes changes and [`maintenance`](Self::maintenance) runs.
///
/// ```
/// use countersign::authentication::api_keys::{ApiKeys, KeyIssuer, MemoryKeys, NewKey};
/// use countersign::{Gate, Rules};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MemoryKeys::new();
/// let keys = ApiKeys::from_store(store.clone());
/// let maintenance = tokio::spawn(keys.maintenance());
///
/// let issued = KeyIssuer::new(store).create(NewKey::new("ci").scope("orders:read")).await?;
/// println!("{}", issued.key().expose());
///
/// let gate = Gate::builder()
///     .authenticate(keys)
///     .authorize(Rules::new().authenticated("/orders.v1.Orders/*"))
///     .build()?;
/// # drop((gate, maintenance));
/// # Ok(())
/// # }
/// ```
///
/// Cloning shares everything.
#[derive(Clone)]
pub struct ApiKeys {
    shared: Arc<Shared>,
    ended: CancellationToken,
    _last: Arc<DropGuard>,
}

pub(super) struct Shared {
    pub(super) store: Arc<dyn KeyStore>,
    pub(super) prefix: KeyPrefix,
    pub(super) peppers: Peppers,
    /// Compared with when there is no record.
    pub(super) dummy: KeyHash,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) records: Records,
    pub(super) throttle: Throttle,
    pub(super) uses: Uses,
    pub(super) counters: KeyCounters,
    pub(super) lookups: Arc<Semaphore>,
    pub(super) lookup_timeout: Duration,
}

impl ApiKeys {
    /// What rules call it.
    pub const NAME: &'static str = "api-keys";

    /// The longest that a record is used before the store is asked again.
    pub const KNOWN_FOR: Duration = Duration::from_secs(30);

    /// The longest that an ID stays unknown before the store is asked again.
    pub const UNKNOWN_FOR: Duration = Duration::from_secs(10);

    /// How many questions the store is asked at once; others wait for their turn. A question goes
    /// on when the call is gone that asked it, until it is answered, its time is over or the last
    /// clone of this value is dropped.
    pub const MAX_LOOKUPS: usize = 64;

    /// How often uses are written to the store, while [`maintenance`](Self::maintenance) runs.
    pub const NOTE_USES_EVERY: Duration = Duration::from_secs(30);

    /// Keys in a store, with every setting at its default: the prefix `cs_live`, no pepper.
    pub fn from_store(store: impl KeyStore) -> Self {
        Self::builder(store).build()
    }

    /// Keys in a store.
    pub fn builder(store: impl KeyStore) -> ApiKeysBuilder {
        ApiKeysBuilder::new(store)
    }

    pub(super) fn new(shared: Shared, ended: CancellationToken) -> Self {
        let last = Arc::new(ended.clone().drop_guard());
        Self { shared: Arc::new(shared), ended, _last: last }
    }

    /// Hears of changes in the store, and writes there when keys were used.
    ///
    /// To be spawned once. Without, a revocation takes effect when the cached record ends, and
    /// uses are not written. It ends with the last clone of this value, after writing what is
    /// left; dropped before, it loses the uses since the last writing.
    pub fn maintenance(&self) -> impl Future<Output = ()> + Send + 'static {
        maintenance::run(Arc::clone(&self.shared), self.ended.clone())
    }

    /// What became of the keys that were presented.
    pub fn counters(&self) -> &KeyCounters {
        &self.shared.counters
    }

    /// Asks the store in a task of its own, which has the turn: many a store works on whoever has
    /// left, and to hang up again and again must not ask it for more. Nor does it help against
    /// being counted: an unknown ID is a failure of its source here, and nowhere else.
    ///
    /// The task waits for its turn too. A caller may be one that nobody polls any more, and a turn
    /// that is given to it would be nobody's.
    async fn ask(&self, id: KeyId, source: Option<Source>) -> Result<Asked, AuthenticationError> {
        let (shared, ended) = (Arc::clone(&self.shared), self.ended.clone());
        // Whoever finds one has asked, and may hang up.
        let turn = Arc::clone(&shared.lookups).try_acquire_owned().ok();
        let left = self.ended.child_token();
        let _stays = left.clone().drop_guard();
        let asked = tokio::spawn(async move {
            let limit = shared.lookup_timeout;
            let _turn = match turn {
                Some(turn) => turn,
                None => {
                    let turn = Arc::clone(&shared.lookups).acquire_owned();
                    let turn = tokio::time::timeout(limit, turn);
                    let turn = match left.run_until_cancelled(turn).await? {
                        Ok(turn) => turn.expect("never closed"),
                        Err(late) => return Some(Err(late)),
                    };
                    if left.is_cancelled() {
                        return None;
                    }
                    // Somebody else may have asked while this waited, or failed too often.
                    match shared.recall(source, &id) {
                        Ok(None) => turn,
                        Ok(Some(found)) => return Some(Ok(Ok(Asked { found, counted: false }))),
                        Err(error) => return Some(Ok(Err(error))),
                    }
                }
            };
            let found = tokio::time::timeout(limit, shared.look_up(id));
            let found = ended.run_until_cancelled(found).await?;
            let counted = matches!(&found, Ok(Ok((Answer::Unknown, _))));
            if counted {
                shared.throttle.failed(source, &id, shared.clock.now());
            }
            Some(found.map(|found| Ok(Asked { found: found?, counted })))
        });
        match asked.await {
            Ok(Some(Ok(asked))) => asked,
            Ok(Some(Err(_))) => Err(self.shared.too_late()),
            // A store that panicked, or the end of the runtime or of this.
            Ok(None) | Err(_) => {
                self.shared.counters.store_failures.count();
                Err(AuthenticationError::unavailable("the store of API keys was cut off"))
            }
        }
    }
}

/// What [`ApiKeys::ask`] found out.
struct Asked {
    found: Found,
    /// Whether an unknown ID was counted as a failure of its source.
    counted: bool,
}

/// What the store said, and the generation within which it may be leased; `None` when changes came
/// in faster than answers, and the answer is for this call alone.
type Found = (Answer, Option<u64>);

impl Shared {
    /// The key among the evidence. `None` when there is none of ours.
    fn presented<'a>(
        &self,
        evidence: &Evidence<'a>,
    ) -> Result<Option<PresentedKey<'a>>, AuthenticationError> {
        let text = match evidence.call() {
            CallEvidence::ApiKey(text) => text,
            CallEvidence::Bearer(text) if self.prefix.claims(text) => text,
            _ => return Ok(None),
        };
        let refuse = |reason, detail: String| {
            self.counters.refused.count();
            Err(AuthenticationError::new(reason, detail))
        };
        match PresentedKey::parse(text) {
            Ok(key) if key.has_prefix(&self.prefix) => Ok(Some(key)),
            Ok(key) => refuse(
                Reason::TokenInvalid,
                format!("the key {} does not begin with {}_", key.id, self.prefix),
            ),
            Err(_) => refuse(
                Reason::CredentialsMalformed,
                "it has not the form of an API key, or another checksum".to_owned(),
            ),
        }
    }

    /// Before anything is looked up or hashed.
    fn hold_up(
        &self,
        source: Option<Source>,
        id: &KeyId,
        now: SystemTime,
    ) -> Result<(), AuthenticationError> {
        let Some(wait) = self.throttle.wait(source, id, now) else { return Ok(()) };
        self.counters.throttled.count();
        let detail = format!("too many failures from here, or with the key {id}");
        Err(AuthenticationError::new(Reason::RateLimited, detail).with_retry_after(wait))
    }

    /// What is known without asking the store, of a source that need not wait.
    fn recall(
        &self,
        source: Option<Source>,
        id: &KeyId,
    ) -> Result<Option<Found>, AuthenticationError> {
        let now = self.clock.now();
        self.hold_up(source, id, now)?;
        // Before the record is read: a change in between then ends the lease.
        let seen = self.records.generation().now();
        Ok(self.records.get(id, now).map(|answer| (answer, Some(seen))))
    }

    fn too_late(&self) -> AuthenticationError {
        self.counters.store_failures.count();
        let timeout = self.lookup_timeout;
        AuthenticationError::unavailable(format!(
            "the store of API keys did not answer within {timeout:?}"
        ))
    }

    /// Asks the store, and keeps what it says.
    async fn look_up(&self, id: KeyId) -> Result<Found, AuthenticationError> {
        let unavailable = |error: KeyStoreError| {
            self.counters.store_failures.count();
            AuthenticationError::unavailable("the store of API keys does not answer")
                .with_source(error)
        };
        let mut tries = 3;
        loop {
            // Before it is asked: the answer is as old as the question.
            let (now, seen) = (self.clock.now(), self.records.generation().now());
            self.counters.looked_up.count();
            let found = self.store.get(&id).await.map_err(unavailable)?;
            let answer = match found {
                Some(record) => Answer::Known(self.known(id, record, now).map_err(unavailable)?),
                None => Answer::Unknown,
            };
            tries -= 1;
            if self.records.put(id, &answer, now, seen) {
                return Ok((answer, Some(seen)));
            } else if tries == 0 {
                return Ok((answer, None));
            }
        }
    }

    fn known(
        &self,
        id: KeyId,
        record: KeyRecord,
        now: SystemTime,
    ) -> Result<Arc<Known>, KeyStoreError> {
        let unusable = || KeyStoreError::unavailable(format!("what it has of {id} is no record"));
        if record.id != id {
            return Err(unusable());
        }
        record.check().map_err(|error| unusable().with_source(error))?;
        Ok(Arc::new(Known {
            methods: record.patterns().map_err(|error| unusable().with_source(error))?,
            principal: Principal::with_token(&*record.owner, ApiKeys::NAME, record.claims()),
            period: self.records.period(true, now),
            used_minute: AtomicU64::new(0),
            record,
        }))
    }

    /// Decides. One hash is computed and compared, whether there is a record or not. `counted`: the
    /// failure that it may be was one already.
    fn decide(
        &self,
        key: &PresentedKey<'_>,
        answer: &Answer,
        evidence: &Evidence<'_>,
        (source, counted): (Option<Source>, bool),
        seen: Option<u64>,
    ) -> Outcome {
        let now = self.clock.now();
        let (known, hash) = match answer {
            Answer::Known(known) => (Some(known), &known.record.hash),
            Answer::Unknown => (None, &self.dummy),
        };
        self.counters.compared.count();
        let is_right = match self.peppers.matches(hash, key.whole) {
            Ok(is_right) => is_right,
            Err(error @ CannotTell::UnknownPepper(_)) => {
                return Err(
                    AuthenticationError::unavailable(format!("key {}", key.id)).with_source(error)
                );
            }
            // Not what we were told to accept: as good as wrong.
            Err(error) => {
                self.counters.refused.count();
                return Err(AuthenticationError::new(
                    Reason::TokenInvalid,
                    format!("key {}", key.id),
                )
                .with_source(error));
            }
        };
        let known = match known {
            Some(known) if is_right => known,
            known => {
                if !counted {
                    self.throttle.failed(source, &key.id, now);
                }
                self.counters.refused.count();
                let what =
                    if known.is_some() { "the secret is not that of" } else { "there is no" };
                let detail = format!("{what} key {}", key.id);
                return Err(AuthenticationError::new(Reason::TokenInvalid, detail));
            }
        };
        self.throttle.succeeded(source, &key.id, now);
        if let Err((reason, what)) = permits(known, evidence, now) {
            self.counters.refused.count();
            if reason == Reason::CredentialsRevoked {
                self.counters.used_after_revocation.count();
            }
            let owner = &known.record.owner;
            let detail = format!("the key {} of {owner:?} {what}", key.id);
            return Err(AuthenticationError::new(reason, detail));
        }
        self.counters.accepted.count();
        if known.record.rotated_to.is_some() {
            self.counters.rotated.count();
        }
        if !self.uses.note(known, now) {
            self.counters.lost_uses.count();
        }
        Ok(Some(self.accept(known, evidence, seen)))
    }

    fn accept(
        &self,
        known: &Known,
        evidence: &Evidence<'_>,
        seen: Option<u64>,
    ) -> crate::authentication::Authenticated {
        let mut caller = evidence.accept(known.principal.clone());
        let end = known.record.expires_at;
        if let Some(end) = end {
            caller = caller.expiring_at(end);
        }
        let until = end.map_or(known.period.until, |end| end.min(known.period.until));
        match seen {
            Some(seen) => {
                let lease = Lease::until(until).within(self.records.generation(), seen);
                // A key that is limited by methods is looked at for each call.
                match known.methods.is_empty() {
                    true => caller.leased(lease),
                    false => caller.leased_while_open(lease),
                }
            }
            // Something changed meanwhile, and that is over before it began.
            None => caller.leased_while_open(Lease::until(SystemTime::UNIX_EPOCH)),
        }
    }
}

/// Whether a right key is good now, here and for this; if not, the class and what the key is.
fn permits(
    known: &Known,
    evidence: &Evidence<'_>,
    now: SystemTime,
) -> Result<(), (Reason, &'static str)> {
    let record = &known.record;
    match record.state(now) {
        KeyState::Active => {}
        KeyState::Revoked => return Err((Reason::CredentialsRevoked, "was revoked")),
        KeyState::Expired => return Err((Reason::TokenExpired, "is expired")),
        KeyState::NotYetValid => return Err((Reason::TokenNotYetValid, "is not valid yet")),
    }
    if !record.networks.is_empty() {
        let address = evidence.peer().address().ip();
        let inside = |ip| record.networks.iter().any(|network| network.contains(ip));
        if !address.is_some_and(inside) {
            return Err((Reason::TokenInvalid, "is not for where the caller is"));
        }
    }
    if !known.methods.is_empty() {
        let inside = |path| known.methods.iter().any(|method| method.matches(&path));
        if !evidence.target().is_some_and(|target| inside(target.path)) {
            return Err((Reason::TokenInvalid, "is not for this method"));
        }
    }
    Ok(())
}

#[async_trait]
impl Authenticator for ApiKeys {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn reads(&self) -> EvidenceKinds {
        EvidenceKinds { authorization: true, api_key: true, ..EvidenceKinds::default() }
    }

    /// What depends on the method is not leased.
    fn is_repeatable(&self) -> bool {
        true
    }

    fn challenges(&self) -> &[&'static str] {
        &["Bearer"]
    }

    fn authenticate_now(&self, evidence: &Evidence<'_>) -> Option<Outcome> {
        let shared = &self.shared;
        let key = match shared.presented(evidence) {
            Ok(Some(key)) => key,
            Ok(None) => return Some(Ok(None)),
            Err(error) => return Some(Err(error)),
        };
        let source = Source::of(evidence.peer().address());
        let (answer, seen) = match shared.recall(source, &key.id) {
            Ok(found) => found?,
            Err(error) => return Some(Err(error)),
        };
        Some(shared.decide(&key, &answer, evidence, (source, false), seen))
    }

    async fn authenticate(&self, evidence: &Evidence<'_>) -> Outcome {
        if let Some(outcome) = self.authenticate_now(evidence) {
            return outcome;
        }
        let shared = &self.shared;
        let Some(key) = shared.presented(evidence)? else { return Ok(None) };
        let source = Source::of(evidence.peer().address());
        let asked = tokio::time::timeout(shared.lookup_timeout, self.ask(key.id, source)).await;
        let Asked { found: (answer, seen), counted } =
            asked.unwrap_or_else(|_| Err(shared.too_late()))?;
        shared.decide(&key, &answer, evidence, (source, counted), seen)
    }
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKeys")
            .field("prefix", &format_args!("{}", self.shared.prefix))
            .field("peppers", &self.shared.peppers)
            .field("store", &self.shared.store)
            .finish_non_exhaustive()
    }
}
