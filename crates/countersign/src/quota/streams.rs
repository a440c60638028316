use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::keyed::KeyedMap;
use crate::identity::Principal;

/// How many calls each caller has under way. It remembers only those who have any.
#[derive(Debug)]
pub(super) struct Streams {
    most: NonZeroU32,
    hasher: RandomState,
    shards: Box<[Mutex<KeyedMap<u32>>]>,
}

/// A place among a caller's calls under way, given back when it is dropped.
#[derive(Debug)]
pub(super) struct StreamPlace {
    streams: Arc<Streams>,
    key: u64,
}

impl Streams {
    const SHARDS: usize = 16;

    pub(super) fn new(most: NonZeroU32) -> Self {
        let shards = (0..Self::SHARDS).map(|_| Mutex::default()).collect();
        Self { most, hasher: RandomState::new(), shards }
    }

    pub(super) fn most(&self) -> NonZeroU32 {
        self.most
    }

    /// One more; `None` when there are as many as may be.
    pub(super) fn enter(self: &Arc<Self>, caller: &Principal) -> Option<StreamPlace> {
        let key = self.hasher.hash_one(caller);
        let mut shard = self.shard(key);
        let open = shard.entry(key).or_default();
        // Whoever is in the map has at least one, and so had before if this is one too many.
        *open = open.checked_add(1).filter(|open| *open <= self.most.get())?;
        drop(shard);
        Some(StreamPlace { streams: Arc::clone(self), key })
    }

    /// How many more there may be.
    pub(super) fn remaining(&self, caller: &Principal) -> u32 {
        let key = self.hasher.hash_one(caller);
        self.most.get() - self.shard(key).get(&key).copied().unwrap_or_default()
    }

    /// How many callers have calls under way.
    #[cfg(test)]
    pub(super) fn callers(&self) -> usize {
        let count = |shard: &Mutex<KeyedMap<u32>>| shard.lock().map_or(0, |shard| shard.len());
        self.shards.iter().map(count).sum()
    }

    fn shard(&self, key: u64) -> MutexGuard<'_, KeyedMap<u32>> {
        let at = usize::try_from(key % Self::SHARDS as u64).expect("few");
        self.shards[at].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        let mut shard = self.streams.shard(self.key);
        if let Entry::Occupied(mut open) = shard.entry(self.key) {
            *open.get_mut() -= 1;
            if *open.get() == 0 {
                open.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn places_are_a_callers_own_and_are_given_back() {
        let streams = Arc::new(Streams::new(NonZeroU32::new(2).expect("not zero")));
        let [alice, bob] = ["alice", "bob"].map(|name| Principal::new(name, "tokens"));
        let held = [streams.enter(&alice), streams.enter(&alice)];
        assert!(held.iter().all(Option::is_some));
        assert!(streams.enter(&alice).is_none());
        assert_eq!((streams.remaining(&alice), streams.remaining(&bob)), (0, 2));
        let other = streams.enter(&bob);
        assert!(other.is_some());
        let [first, _second] = held;
        drop(first);
        assert!(streams.enter(&alice).is_some());
        drop((_second, other));
        assert_eq!(streams.callers(), 0);
    }

    #[test]
    fn threads_never_have_more_places_than_there_are() {
        let streams = Arc::new(Streams::new(NonZeroU32::new(3).expect("not zero")));
        let (open, refused) = (AtomicU32::new(0), AtomicU32::new(0));
        let alice = Principal::new("alice", "tokens");
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..2_000 {
                        let places: Vec<_> = (0..2).filter_map(|_| streams.enter(&alice)).collect();
                        let mine = u32::try_from(places.len()).expect("two at most");
                        let all = open.fetch_add(mine, Ordering::SeqCst) + mine;
                        assert!(all <= 3, "{all}");
                        refused.fetch_add(2 - mine, Ordering::Relaxed);
                        open.fetch_sub(mine, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(streams.callers(), 0);
    }
}
