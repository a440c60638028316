use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::broadcast;

use super::format::KeyId;
use super::record::KeyRecord;
use super::store::{KeyChange, KeyChanges, KeyStore, KeyStoreError, KeyUse};

/// Keys in this process, for tests and for what ends with it. Cloning shares them.
#[derive(Clone)]
pub struct MemoryKeys {
    shared: Arc<Shared>,
}

struct Shared {
    records: Mutex<BTreeMap<KeyId, KeyRecord>>,
    changes: broadcast::Sender<KeyChange>,
}

impl MemoryKeys {
    /// The most keys.
    pub const MAX_KEYS: usize = 100_000;

    /// No keys yet.
    pub fn new() -> Self {
        let (changes, _) = broadcast::channel(1024);
        Self { shared: Arc::new(Shared { records: Mutex::default(), changes }) }
    }

    fn records(&self) -> MutexGuard<'_, BTreeMap<KeyId, KeyRecord>> {
        self.shared.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self, id: KeyId) {
        // Nobody may be watching.
        let _ = self.shared.changes.send(KeyChange::Key(id));
    }
}

impl Default for MemoryKeys {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl KeyStore for MemoryKeys {
    async fn get(&self, id: &KeyId) -> Result<Option<KeyRecord>, KeyStoreError> {
        Ok(self.records().get(id).cloned())
    }

    async fn insert(&self, record: KeyRecord) -> Result<(), KeyStoreError> {
        let id = record.id;
        insert(&mut self.records(), record, Self::MAX_KEYS)?;
        self.changed(id);
        Ok(())
    }

    async fn update(&self, record: KeyRecord) -> Result<u64, KeyStoreError> {
        let id = record.id;
        let version = update(&mut self.records(), record)?;
        self.changed(id);
        Ok(version)
    }

    async fn list(
        &self,
        after: Option<KeyId>,
        limit: usize,
    ) -> Result<Vec<KeyRecord>, KeyStoreError> {
        Ok(list(&self.records(), after, limit))
    }

    async fn note_uses(&self, uses: &[KeyUse]) -> Result<(), KeyStoreError> {
        let mut records = self.records();
        for KeyUse { id, at } in uses {
            if let Some(record) = records.get_mut(id) {
                record.last_used_at = record.last_used_at.max(Some(*at));
            }
        }
        Ok(())
    }

    fn watch(&self) -> Option<Box<dyn KeyChanges>> {
        Some(Box::new(Watch(self.shared.changes.subscribe())))
    }
}

impl fmt::Debug for MemoryKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryKeys({} keys)", self.records().len())
    }
}

struct Watch(broadcast::Receiver<KeyChange>);

#[async_trait]
impl KeyChanges for Watch {
    async fn next(&mut self) -> Option<KeyChange> {
        match self.0.recv().await {
            Ok(change) => Some(change),
            Err(broadcast::error::RecvError::Lagged(_)) => Some(KeyChange::Any),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

pub(super) fn insert(
    records: &mut BTreeMap<KeyId, KeyRecord>,
    record: KeyRecord,
    most: usize,
) -> Result<(), KeyStoreError> {
    if records.contains_key(&record.id) {
        return Err(KeyStoreError::already_exists(&record.id));
    }
    if records.len() >= most {
        return Err(KeyStoreError::full(most));
    }
    records.insert(record.id, KeyRecord { version: 1, ..record });
    Ok(())
}

pub(super) fn update(
    records: &mut BTreeMap<KeyId, KeyRecord>,
    record: KeyRecord,
) -> Result<u64, KeyStoreError> {
    let known = records.get_mut(&record.id).ok_or_else(|| KeyStoreError::not_found(&record.id))?;
    if known.version != record.version {
        return Err(KeyStoreError::conflict(&record.id));
    }
    let version = record.version + 1;
    *known = KeyRecord { version, last_used_at: known.last_used_at, ..record };
    Ok(version)
}

pub(super) fn list(
    records: &BTreeMap<KeyId, KeyRecord>,
    after: Option<KeyId>,
    limit: usize,
) -> Vec<KeyRecord> {
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    records.range((from, Bound::Unbounded)).take(limit).map(|(_, record)| record.clone()).collect()
}
