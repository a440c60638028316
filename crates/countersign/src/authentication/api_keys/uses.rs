use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::cache::Known;
use super::format::KeyId;
use super::record::seconds;
use super::store::KeyUse;

/// Which keys were used, to the minute, until they are written.
#[derive(Debug, Default)]
pub(super) struct Uses {
    pending: Mutex<HashMap<KeyId, SystemTime>>,
}

impl Uses {
    /// The most keys that wait to be written; uses of others are lost.
    pub(super) const MAX_PENDING: usize = 16 * 1024;

    /// Notes a use, once a minute. Whether there was room for it.
    pub(super) fn note(&self, known: &Known, now: SystemTime) -> bool {
        let minute = seconds(now) / 60;
        if known.used_minute.swap(minute, Ordering::Relaxed) == minute {
            return true;
        }
        let at = UNIX_EPOCH + Duration::from_secs(minute * 60);
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let id = known.record.id;
        if pending.len() >= Self::MAX_PENDING && !pending.contains_key(&id) {
            return false;
        }
        pending.insert(id, at);
        true
    }

    /// Takes everything that waits.
    pub(super) fn take(&self) -> Vec<KeyUse> {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.drain().map(|(id, at)| KeyUse { id, at }).collect()
    }
}
