use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;

use super::format::KeyId;
use super::record::KeyRecord;

/// Where the records of API keys are kept.
///
/// The one who checks keys reads with [`get`](Self::get), under a deadline of its own and a limit
/// on how many at once; the one who makes them uses the rest. Every method may wait and may be
/// dropped while it does: what was asked for has then happened whole or not at all.
///
/// What a store has to hold to is in the test kit (`countersign_testkit::key_store::conforms`).
#[async_trait]
pub trait KeyStore: fmt::Debug + Send + Sync + 'static {
    /// The record of a key; `None` when there is none.
    ///
    /// # Errors
    ///
    /// It cannot be found out now: the caller is told `UNAVAILABLE`, and never that the key is
    /// unknown.
    async fn get(&self, id: &KeyId) -> Result<Option<KeyRecord>, KeyStoreError>;

    /// Adds a record; its version is 1.
    ///
    /// # Errors
    ///
    /// [`KeyStoreErrorKind::AlreadyExists`] when the ID is taken.
    async fn insert(&self, record: KeyRecord) -> Result<(), KeyStoreError>;

    /// Replaces a record. `record.version` is the version that it was read as; the store counts
    /// it up and returns it. `record.last_used_at` is not looked at.
    ///
    /// # Errors
    ///
    /// [`KeyStoreErrorKind::Conflict`] when somebody else was faster: read it again.
    /// [`KeyStoreErrorKind::NotFound`] when it is not there.
    async fn update(&self, record: KeyRecord) -> Result<u64, KeyStoreError>;

    /// Records in the order of their IDs, from the one after `after`, at most `limit`.
    ///
    /// # Errors
    ///
    /// It cannot be found out now.
    async fn list(
        &self,
        after: Option<KeyId>,
        limit: usize,
    ) -> Result<Vec<KeyRecord>, KeyStoreError>;

    /// Notes when keys were used. A time before the one on record, or an ID that is not, changes
    /// nothing. It is no change to a record: no version is counted up, and no watcher told.
    ///
    /// # Errors
    ///
    /// It cannot be written now; the uses are lost.
    async fn note_uses(&self, uses: &[KeyUse]) -> Result<(), KeyStoreError>;

    /// Tells of changes from now on, whoever makes them; `None` where a store cannot, the
    /// default. Then a change is noticed when what is cached ends.
    fn watch(&self) -> Option<Box<dyn KeyChanges>> {
        None
    }
}

#[async_trait]
impl<S: KeyStore + ?Sized> KeyStore for Arc<S> {
    async fn get(&self, id: &KeyId) -> Result<Option<KeyRecord>, KeyStoreError> {
        S::get(self, id).await
    }

    async fn insert(&self, record: KeyRecord) -> Result<(), KeyStoreError> {
        S::insert(self, record).await
    }

    async fn update(&self, record: KeyRecord) -> Result<u64, KeyStoreError> {
        S::update(self, record).await
    }

    async fn list(
        &self,
        after: Option<KeyId>,
        limit: usize,
    ) -> Result<Vec<KeyRecord>, KeyStoreError> {
        S::list(self, after, limit).await
    }

    async fn note_uses(&self, uses: &[KeyUse]) -> Result<(), KeyStoreError> {
        S::note_uses(self, uses).await
    }

    fn watch(&self) -> Option<Box<dyn KeyChanges>> {
        S::watch(self)
    }
}

/// The changes to a store, one after the other.
#[async_trait]
pub trait KeyChanges: Send {
    /// Waits for the next change. It may be dropped while it waits, and no change is lost.
    ///
    /// A store that is out of reach is no end: it goes on trying, and tells
    /// [`KeyChange::Any`] when it is back. `None` when there will be no other change.
    async fn next(&mut self) -> Option<KeyChange>;
}

/// What changed in a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyChange {
    /// One record was added or replaced.
    Key(KeyId),
    /// Nobody knows what: every record may have changed.
    Any,
}

/// That a key was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyUse {
    /// Which one.
    pub id: KeyId,
    /// When.
    pub at: SystemTime,
}

/// Why a store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct KeyStoreError {
    kind: KeyStoreErrorKind,
    what: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// Kinds of [`KeyStoreError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyStoreErrorKind {
    /// It cannot be reached, or what is in it cannot be understood.
    Unavailable,
    /// The ID is taken.
    AlreadyExists,
    /// There is no such key.
    NotFound,
    /// The record is of another version by now.
    Conflict,
    /// It holds as many keys as it can.
    Full,
}

impl KeyStoreError {
    /// It cannot be reached, or what is in it cannot be understood.
    pub fn unavailable(what: impl Into<String>) -> Self {
        Self { kind: KeyStoreErrorKind::Unavailable, what: what.into(), source: None }
    }

    /// The ID is taken.
    pub fn already_exists(id: &KeyId) -> Self {
        let what = format!("there is a key {id} already");
        Self { kind: KeyStoreErrorKind::AlreadyExists, what, source: None }
    }

    /// There is no such key.
    pub fn not_found(id: &KeyId) -> Self {
        let what = format!("there is no key {id}");
        Self { kind: KeyStoreErrorKind::NotFound, what, source: None }
    }

    /// The record is of another version by now.
    pub fn conflict(id: &KeyId) -> Self {
        let what = format!("somebody else changed the key {id} at the same time");
        Self { kind: KeyStoreErrorKind::Conflict, what, source: None }
    }

    /// It holds as many keys as it can.
    pub fn full(most: usize) -> Self {
        let what = format!("the store holds {most} keys, and no more");
        Self { kind: KeyStoreErrorKind::Full, what, source: None }
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What kind it is.
    pub fn kind(&self) -> KeyStoreErrorKind {
        self.kind
    }
}
