use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::format::{KeyId, KeyPrefix, PresentedKey};
use super::hash::Peppers;
use super::network::Network;
use super::random::NoRandomness;
use super::record::{InvalidRecord, KeyRecord, KeyState, Revocation, whole_seconds};
use super::store::{KeyStore, KeyStoreError, KeyStoreErrorKind};
use crate::clock::{Clock, SystemClock};
use crate::secret::Secret;

/// Makes keys, replaces them, takes them back.
///
/// A key is shown by what made it and never again; the store has its hash.
#[derive(Clone, Debug)]
pub struct KeyIssuer {
    store: Arc<dyn KeyStore>,
    prefix: KeyPrefix,
    peppers: Peppers,
    clock: Arc<dyn Clock>,
}

/// What a key is to be.
#[derive(Clone, Debug)]
#[must_use = "it is not a key yet"]
pub struct NewKey {
    owner: String,
    tenant: Option<String>,
    scopes: Vec<String>,
    methods: Vec<String>,
    networks: Vec<Network>,
    description: String,
    created_by: String,
    not_before: Option<SystemTime>,
    lifetime: Option<Duration>,
}

impl NewKey {
    /// How long a key is valid when nothing is said: 90 days.
    pub const LIFETIME: Duration = Duration::from_secs(90 * 24 * 60 * 60);

    /// A key in the name of a principal. It needs a [`scope`](Self::scope).
    pub fn new(owner: impl Into<String>) -> Self {
        Self {
            owner: owner.into(),
            tenant: None,
            scopes: Vec::new(),
            methods: Vec::new(),
            networks: Vec::new(),
            description: String::new(),
            created_by: String::new(),
            not_before: None,
            lifetime: Some(Self::LIFETIME),
        }
    }

    /// The tenant that the owner belongs to.
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    /// Another thing that it may be used for. Never more than its owner may do.
    pub fn scope(mut self, scope: impl Into<String>) -> Self {
        self.scopes.push(scope.into());
        self
    }

    /// Another method that it may call, as rules write them. Without one, any.
    pub fn method(mut self, pattern: impl Into<String>) -> Self {
        self.methods.push(pattern.into());
        self
    }

    /// Another network that it may be used from. Without one, any.
    pub fn network(mut self, network: Network) -> Self {
        self.networks.push(network);
        self
    }

    /// Words for people.
    pub fn description(mut self, text: impl Into<String>) -> Self {
        self.description = text.into();
        self
    }

    /// Who asked for it.
    pub fn created_by(mut self, name: impl Into<String>) -> Self {
        self.created_by = name.into();
        self
    }

    /// From when on it is valid. Default: at once.
    pub fn not_before(mut self, begin: SystemTime) -> Self {
        self.not_before = Some(begin);
        self
    }

    /// How long it is valid from its beginning. Default: [`LIFETIME`](Self::LIFETIME).
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = Some(lifetime);
        self
    }

    /// It is valid until somebody takes it back, which somebody has to think of.
    pub fn never_expires(mut self) -> Self {
        self.lifetime = None;
        self
    }
}

/// A key that was just made. `Debug` does not show it.
#[derive(Clone, Debug)]
pub struct IssuedKey {
    key: Secret<String>,
    record: KeyRecord,
}

impl IssuedKey {
    /// The key. To be shown once.
    pub fn key(&self) -> &Secret<String> {
        &self.key
    }

    /// What is on record.
    pub fn record(&self) -> &KeyRecord {
        &self.record
    }
}

/// Why a key was not made, replaced, taken back or found good.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyIssuerError {
    /// What was asked for cannot be on record.
    #[error(transparent)]
    Invalid(#[from] InvalidRecord),
    /// There is no randomness to make a key from.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    /// The store did not do what it was asked.
    #[error(transparent)]
    Store(#[from] KeyStoreError),
    /// The key is revoked or expired, and has no successor.
    #[error("the key {id} is {state:?} and cannot be rotated")]
    NotActive {
        /// Which.
        id: KeyId,
        /// What it is.
        state: KeyState,
    },
    /// The key has a successor already.
    #[error("the key {id} was rotated already, to {successor}")]
    AlreadyRotated {
        /// Which.
        id: KeyId,
        /// Its successor.
        successor: KeyId,
    },
    /// The hash cannot be judged with the peppers that there are.
    #[error("the key {id} cannot be judged: {problem}")]
    CannotTell {
        /// Which.
        id: KeyId,
        /// What is missing.
        problem: String,
    },
}

/// What a key turned out to be.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Judgement {
    /// It has not the form of a key, or another checksum.
    Malformed,
    /// It begins otherwise than the keys of this issuer.
    OtherPrefix,
    /// There is no such ID, or the secret is wrong. Which, is nobody's business.
    Unknown,
    /// It is the key of a record, which may be revoked or expired.
    Known(Box<KeyRecord>, KeyState),
}

impl KeyIssuer {
    /// How long a rotated key goes on when nothing is said.
    pub const OVERLAP: Duration = Duration::from_secs(24 * 60 * 60);

    /// Makes keys that begin with `cs_live`, without a pepper.
    pub fn new(store: impl KeyStore) -> Self {
        Self {
            store: Arc::new(store),
            prefix: KeyPrefix::live("cs").expect("two letters"),
            peppers: Peppers::none(),
            clock: Arc::new(SystemClock),
        }
    }

    /// What keys begin with.
    #[must_use]
    pub fn with_prefix(mut self, prefix: KeyPrefix) -> Self {
        self.prefix = prefix;
        self
    }

    /// What hashes are made with.
    #[must_use]
    pub fn with_peppers(mut self, peppers: Peppers) -> Self {
        self.peppers = peppers;
        self
    }

    /// The clock that times are taken from.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Makes a key.
    ///
    /// # Errors
    ///
    /// It cannot be what it is to be, or the store does not take it. There is no key then.
    pub async fn create(&self, new: NewKey) -> Result<IssuedKey, KeyIssuerError> {
        let now = whole_seconds(self.clock.now());
        let mut issued = self.generate(new.owner, now)?;
        let record = &mut issued.record;
        record.tenant = new.tenant;
        record.scopes = new.scopes;
        record.methods = new.methods;
        record.networks = new.networks;
        record.description = new.description;
        record.created_by = new.created_by;
        record.not_before = new.not_before.map(whole_seconds);
        let begin = record.not_before.unwrap_or(now);
        record.expires_at = new.lifetime.and_then(|lifetime| begin.checked_add(lifetime));
        self.insert(issued).await
    }

    /// Makes a key that replaces another: with its owner, scopes and limits, and as long a life.
    /// The old one goes on for `overlap`, zero for none, and ends by itself.
    ///
    /// # Errors
    ///
    /// The old key is not active, or has a successor; or the store does not take it. The old key
    /// then goes on as it was. Only where the store falls silent in between, and does not even say
    /// afterwards what it has done, may the old key have ended: look at its record then.
    pub async fn rotate(&self, id: &KeyId, overlap: Duration) -> Result<IssuedKey, KeyIssuerError> {
        let now = whole_seconds(self.clock.now());
        let old = self.read(id).await?;
        ensure_rotatable(&old, now)?;
        let mut issued = self.generate(old.owner.clone(), now)?;
        let record = &mut issued.record;
        record.rotated_from = Some(old.id);
        record.tenant.clone_from(&old.tenant);
        record.scopes.clone_from(&old.scopes);
        record.methods.clone_from(&old.methods);
        record.networks.clone_from(&old.networks);
        record.description.clone_from(&old.description);
        record.created_by.clone_from(&old.created_by);
        let begin = old.not_before.unwrap_or(old.created_at);
        let lifetime = old.expires_at.and_then(|end| end.duration_since(begin).ok());
        record.expires_at = lifetime.and_then(|lifetime| now.checked_add(lifetime));
        let issued = self.insert(issued).await?;
        let successor = issued.record.id;
        let ended = self
            .change(id, |old| {
                ensure_rotatable(old, now)?;
                old.rotated_to = Some(successor);
                let end = now.checked_add(overlap);
                old.expires_at = [old.expires_at, end].into_iter().flatten().min();
                Ok(())
            })
            .await;
        match ended {
            Ok(_) => Ok(issued),
            // It may have happened all the same, and only the answer was lost: to take the new key
            // back then would leave nobody a key.
            Err(_) if self.is_replaced(id, successor).await => Ok(issued),
            Err(error) => {
                // Nobody has seen the new key, and nobody will. If even this fails it stays
                // unseen.
                let _ = self.revoke(&successor, "its predecessor could not be ended").await;
                Err(error)
            }
        }
    }

    /// Takes a key back. One that is revoked stays as it was.
    ///
    /// # Errors
    ///
    /// There is no such key, or the store does not take the change.
    pub async fn revoke(&self, id: &KeyId, reason: &str) -> Result<KeyRecord, KeyIssuerError> {
        let at = whole_seconds(self.clock.now());
        self.change(id, |record| {
            let revocation = || Revocation { at, reason: reason.to_owned() };
            record.revoked.get_or_insert_with(revocation);
            Ok(())
        })
        .await
    }

    /// What a key is: the same steps as for a caller, without cache, limits and networks.
    ///
    /// # Errors
    ///
    /// It cannot be found out now.
    pub async fn verify(&self, key: &Secret<String>) -> Result<Judgement, KeyIssuerError> {
        let Ok(presented) = PresentedKey::parse(key.expose()) else {
            return Ok(Judgement::Malformed);
        };
        if !presented.has_prefix(&self.prefix) {
            return Ok(Judgement::OtherPrefix);
        }
        let id = presented.id;
        let record = self.store.get(&id).await?;
        let hash = record.as_ref().map_or_else(|| self.peppers.dummy(), |known| known.hash.clone());
        let is_right = self
            .peppers
            .matches(&hash, presented.whole)
            .map_err(|error| KeyIssuerError::CannotTell { id, problem: error.to_string() })?;
        Ok(match record {
            Some(record) if is_right => {
                let state = record.state(self.clock.now());
                Judgement::Known(Box::new(record), state)
            }
            _ => Judgement::Unknown,
        })
    }

    fn generate(&self, owner: String, now: SystemTime) -> Result<IssuedKey, KeyIssuerError> {
        let (id, key) = self.prefix.generate()?;
        let hash = self.peppers.hash(key.expose());
        Ok(IssuedKey { record: KeyRecord::new(id, hash, owner, now), key })
    }

    async fn insert(&self, issued: IssuedKey) -> Result<IssuedKey, KeyIssuerError> {
        issued.record.check()?;
        self.store.insert(issued.record.clone()).await?;
        Ok(issued)
    }

    /// Whether a key is known to have this successor.
    async fn is_replaced(&self, id: &KeyId, successor: KeyId) -> bool {
        self.read(id).await.is_ok_and(|record| record.rotated_to == Some(successor))
    }

    async fn read(&self, id: &KeyId) -> Result<KeyRecord, KeyIssuerError> {
        let record = self.store.get(id).await?;
        Ok(record.ok_or_else(|| KeyStoreError::not_found(id))?)
    }

    /// Reads, changes and writes, again when somebody else was faster.
    async fn change(
        &self,
        id: &KeyId,
        change: impl Fn(&mut KeyRecord) -> Result<(), KeyIssuerError>,
    ) -> Result<KeyRecord, KeyIssuerError> {
        let mut tries = 10;
        loop {
            let before = self.read(id).await?;
            let mut record = before.clone();
            change(&mut record)?;
            if record == before {
                return Ok(record);
            }
            record.check()?;
            tries -= 1;
            match self.store.update(record.clone()).await {
                Ok(version) => return Ok(KeyRecord { version, ..record }),
                Err(error) if error.kind() == KeyStoreErrorKind::Conflict && tries > 0 => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn ensure_rotatable(record: &KeyRecord, now: SystemTime) -> Result<(), KeyIssuerError> {
    let id = record.id;
    match (record.rotated_to, record.state(now)) {
        (Some(successor), _) => Err(KeyIssuerError::AlreadyRotated { id, successor }),
        (None, KeyState::Active | KeyState::NotYetValid) => Ok(()),
        (None, state) => Err(KeyIssuerError::NotActive { id, state }),
    }
}
