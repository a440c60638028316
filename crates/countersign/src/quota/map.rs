use std::hash::{BuildHasher, Hash, RandomState};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use super::atomic::{AtomicMeter, Pace, Refused, Taken, Ticks};
use super::meter::Allowance;
use super::shard::{SLOT_BYTES, Shard};

/// Many callers' meters within a bound, 16 bytes each and some room to find them.
///
/// A caller leaves only when its bucket is full, so that coming back gives it nothing: who used
/// up its share keeps being refused, however many others come by. When every place is held by
/// callers like that, [`WhenFull`] decides what a new one gets.
///
/// Callers are told apart by 64 bits of a keyed hash of the process, and not by their names. With
/// a million of them, the chance that any two share a bucket is one in 37 million, and nobody
/// outside can choose who does.
#[derive(Debug)]
pub struct MeterMap {
    pace: Pace,
    when_full: WhenFull,
    hasher: RandomState,
    shards: Box<[RwLock<Shard>]>,
    /// What callers without a place share.
    shared: AtomicMeter,
    without_place: AtomicU64,
}

/// What a new caller gets when every place is held by a caller that still owes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// Nothing, until a place is free (the default). A flood of made-up callers can keep new
    /// ones out, and can make the service do no more than the bound allows.
    #[default]
    Refuse,
    /// Its part of one bucket that all callers without a place share.
    Share,
}

/// A caller, as a [`MeterMap`] knows it. Worth keeping where the caller is remembered: it saves
/// hashing the name for each call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeterKey(u64);

impl MeterMap {
    /// Room for at most `callers`, all of them under one limit. Memory is taken as they come.
    pub fn new(pace: Pace, callers: NonZeroUsize) -> Self {
        // Few enough that each is well filled, and enough that threads seldom meet in one.
        let shards = (callers.get() / 1_024).clamp(1, 64).next_power_of_two().min(64);
        let places = callers.get() / shards;
        let more = callers.get() % shards;
        let shard = |at| RwLock::new(Shard::new(places + usize::from(at < more)));
        Self {
            pace,
            when_full: WhenFull::default(),
            hasher: RandomState::new(),
            shards: (0..shards).map(shard).collect(),
            shared: AtomicMeter::new(),
            without_place: AtomicU64::new(0),
        }
    }

    /// Chooses what a caller gets for whom there is no place.
    #[must_use]
    pub fn when_full(mut self, when_full: WhenFull) -> Self {
        self.when_full = when_full;
        self
    }

    /// The limit, as meters know it.
    pub fn pace(&self) -> &Pace {
        &self.pace
    }

    /// The key of a caller: its issuer and subject, its address, whatever tells it from others.
    pub fn key(&self, caller: impl Hash) -> MeterKey {
        // Zero marks a free place.
        MeterKey(self.hasher.hash_one(caller).max(1))
    }

    /// Takes `cost` from a caller's bucket, or refuses and takes nothing.
    ///
    /// `now` counts from a beginning that is the same for the map's whole life. Takes a shared
    /// lock, and an exclusive one for a caller that is not known yet; the work is bounded but
    /// when the map doubles.
    pub fn take(&self, key: MeterKey, now: Duration, cost: u64) -> Allowance {
        let now = self.pace.at(now);
        let take = |meter: &AtomicMeter| meter.take_at(&self.pace, now, cost);
        match self.look(key, take) {
            Some(told) => told,
            None => self.take_with_place(key, now, cost),
        }
    }

    #[cold]
    fn take_with_place(&self, key: MeterKey, now: Ticks, cost: u64) -> Allowance {
        let told = self.with_place(key, now, |meter, _| meter.take_at(&self.pace, now, cost));
        told.unwrap_or_else(|| {
            let retry = self.full(cost).retry_after().map(|wait| wait.as_nanos());
            Allowance { allowed: false, remaining: 0, retry_after_ns: retry }
        })
    }

    /// The same, to be given back if need be.
    pub(super) fn try_take(
        &self,
        key: MeterKey,
        now: Ticks,
        cost: u64,
    ) -> Result<(Taken, Place), Refused> {
        if let Some(outcome) = self.look(key, |meter| meter.try_take(&self.pace, now, cost)) {
            return outcome.map(|taken| (taken, Place::Own));
        }
        let mut place = Place::Own;
        let outcome = self.with_place(key, now, |meter, found| {
            place = found;
            meter.try_take(&self.pace, now, cost)
        });
        outcome.unwrap_or_else(|| Err(self.full(cost))).map(|taken| (taken, place))
    }

    /// Whether a cost would pass. Takes nothing, and gives nobody a place.
    pub(super) fn would_take(&self, key: MeterKey, now: Ticks, cost: u64) -> Result<(), Refused> {
        let known = self.look(key, |meter| meter.would_take(&self.pace, now, cost));
        // A bucket that is full or shared is told of when something is taken.
        known.unwrap_or_else(|| AtomicMeter::new().would_take(&self.pace, now, cost))
    }

    /// Gives back what was taken.
    pub(super) fn give_back(&self, key: MeterKey, taken: Taken, place: Place, now: Ticks) {
        match place {
            Place::Shared => self.shared.give_back(taken, now),
            // Who is not there any more left with a full bucket.
            Place::Own => drop(self.look(key, |meter| meter.give_back(taken, now))),
        }
    }

    /// A caller's meter, at hand until it is dropped: its bucket without a look-up.
    ///
    /// However many hold it, it is one, and the same that is found by the key. It keeps its place
    /// while it is held. `None` where there is no place; where `sparing`, also when nearly all
    /// places are held.
    pub(super) fn hold(self: &Arc<Self>, key: MeterKey, now: Ticks, sparing: bool) -> Option<Hold> {
        let meter = self.write(key).hold(key.0, now, sparing)?;
        Some(Hold { map: Arc::clone(self), key, meter })
    }

    /// What callers without a place share, if they do; this is one of them.
    pub(super) fn shared(&self) -> Option<&AtomicMeter> {
        self.without_place.fetch_add(1, Ordering::Relaxed);
        (self.when_full == WhenFull::Share).then_some(&self.shared)
    }

    /// The same where it is known that they do.
    pub(super) fn shared_meter(&self) -> &AtomicMeter {
        &self.shared
    }

    /// What a caller is told for whom there is no place.
    pub(super) fn full(&self, cost: u64) -> Refused {
        let limit = self.pace.limit();
        match cost <= limit.burst() {
            // Nobody knows when a place is free; what one call earns is a decent guess.
            true => Refused::until(limit.time_of(1)),
            false => Refused::NEVER,
        }
    }

    /// How long until a cost of 1 would pass; zero where it would now. Takes nothing, and gives
    /// nobody a place.
    pub fn wait(&self, key: MeterKey, now: Duration) -> Duration {
        self.look(key, |meter| meter.wait(&self.pace, now)).unwrap_or_default()
    }

    /// How many calls of cost 1 a caller has left.
    pub(super) fn remaining(&self, key: MeterKey, now: Ticks) -> u64 {
        let known = self.look(key, |meter| meter.remaining(&self.pace, now));
        known.unwrap_or_else(|| self.pace.limit().burst())
    }

    /// How many callers have a place.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| read(shard).len()).sum()
    }

    /// Whether no caller has a place.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many calls there were for whose callers there was no place.
    pub fn without_place(&self) -> u64 {
        self.without_place.load(Ordering::Relaxed)
    }

    /// How many bytes the places take, free ones too: 16 for each, of which an eighth or more is
    /// free. Those of callers whose meters are at hand for a connection are not in it; they are
    /// about 100 bytes each, in the connection's account.
    pub fn table_bytes(&self) -> usize {
        self.shards.iter().map(|shard| read(shard).extent().0 * SLOT_BYTES).sum()
    }

    /// How many callers' meters are at hand.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.shards.iter().map(|shard| read(shard).extent().1).sum()
    }

    /// Asks the meter of a caller that has a place.
    #[inline]
    fn look<T>(&self, key: MeterKey, ask: impl FnOnce(&AtomicMeter) -> T) -> Option<T> {
        read(self.shard(key)).find(key.0).map(ask)
    }

    /// Asks after finding a place.
    fn with_place<T>(
        &self,
        key: MeterKey,
        now: Ticks,
        ask: impl FnOnce(&AtomicMeter, Place) -> T,
    ) -> Option<T> {
        let mut shard = self.write(key);
        if let Some(meter) = shard.find_or_insert(key.0, now) {
            return Some(ask(meter, Place::Own));
        }
        drop(shard);
        self.shared().map(|meter| ask(meter, Place::Shared))
    }

    fn shard(&self, key: MeterKey) -> &RwLock<Shard> {
        // A power of two; the place within the shard is chosen by the high bits.
        let at = key.0 & (self.shards.len() as u64 - 1);
        &self.shards[usize::try_from(at).expect("less than the number of shards")]
    }

    fn write(&self, key: MeterKey) -> RwLockWriteGuard<'_, Shard> {
        self.shard(key).write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(shard: &RwLock<Shard>) -> RwLockReadGuard<'_, Shard> {
    shard.read().unwrap_or_else(PoisonError::into_inner)
}

/// From which bucket something was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Own,
    Shared,
}

/// A caller's meter, at hand.
#[derive(Debug)]
pub(super) struct Hold {
    map: Arc<MeterMap>,
    key: MeterKey,
    meter: Arc<AtomicMeter>,
}

impl Hold {
    #[inline]
    pub(super) fn meter(&self) -> &AtomicMeter {
        &self.meter
    }

    /// Holds it once more.
    pub(super) fn again(&self) -> Self {
        self.map.write(self.key).hold_again(self.key.0);
        let (map, meter) = (Arc::clone(&self.map), Arc::clone(&self.meter));
        Self { map, key: self.key, meter }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.map.write(self.key).let_go(self.key.0);
    }
}

#[cfg(test)]
mod tests;
