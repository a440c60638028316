use std::hash::{BuildHasher, Hash, RandomState};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use super::atomic::{AtomicMeter, Pace};
use super::meter::Allowance;

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
        let shard = &self.shards[shard_of(key.0, self.shards.len())];
        {
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(meter) = shard.find(key.0) {
                return meter.take(&self.pace, now, cost);
            }
        }
        let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(meter) = shard.find_or_insert(key.0, &self.pace, now) {
            return meter.take(&self.pace, now, cost);
        }
        drop(shard);
        self.without_place.fetch_add(1, Ordering::Relaxed);
        match self.when_full {
            WhenFull::Share => self.shared.take(&self.pace, now, cost),
            WhenFull::Refuse => {
                let limit = self.pace.limit();
                // Nobody knows when a place is free; what one call earns is a decent guess.
                let retry = u128::from(limit.per_ns()).div_ceil(limit.rate().into());
                let ever = (cost <= limit.burst()).then_some(retry);
                Allowance { allowed: false, remaining: 0, retry_after_ns: ever }
            }
        }
    }

    /// How long until a cost of 1 would pass; zero where it would now. Takes nothing, and gives
    /// nobody a place.
    pub fn wait(&self, key: MeterKey, now: Duration) -> Duration {
        let shard = &self.shards[shard_of(key.0, self.shards.len())];
        let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
        shard.find(key.0).map_or(Duration::ZERO, |meter| meter.wait(&self.pace, now))
    }

    /// How many callers have a place.
    pub fn len(&self) -> usize {
        let used =
            |shard: &RwLock<Shard>| shard.read().unwrap_or_else(PoisonError::into_inner).used;
        self.shards.iter().map(used).sum()
    }

    /// Whether no caller has a place.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many calls there were for whose callers there was no place.
    pub fn without_place(&self) -> u64 {
        self.without_place.load(Ordering::Relaxed)
    }
}

fn shard_of(key: u64, shards: usize) -> usize {
    // A power of two; the place within the shard is chosen by the high bits.
    usize::try_from(key & (shards as u64 - 1)).expect("less than the number of shards")
}

/// A table with open addressing; what is not where it belongs is in the places after.
#[derive(Debug)]
struct Shard {
    slots: Box<[Slot]>,
    used: usize,
    most: usize,
    /// Where the search for someone who may leave goes on.
    hand: usize,
}

#[derive(Debug, Default)]
struct Slot {
    key: u64,
    meter: AtomicMeter,
}

impl Shard {
    /// How many places are looked at for someone who may leave.
    const LOOKED_AT: usize = 64;

    fn new(most: usize) -> Self {
        Self { slots: Box::default(), used: 0, most, hand: 0 }
    }

    fn find(&self, key: u64) -> Option<&AtomicMeter> {
        let at = self.locate(key).ok()?;
        Some(&self.slots[at].meter)
    }

    /// The slot of the key, or else the free one that it would get.
    fn locate(&self, key: u64) -> Result<usize, usize> {
        if self.slots.is_empty() {
            return Err(0);
        }
        let mut at = home(key, self.slots.len());
        // There is always a free slot.
        loop {
            match self.slots[at].key {
                found if found == key => return Ok(at),
                0 => return Err(at),
                _ => at = next(at, self.slots.len()),
            }
        }
    }

    fn find_or_insert(&mut self, key: u64, pace: &Pace, now: Duration) -> Option<&AtomicMeter> {
        if self.locate(key).is_err() {
            if self.used == self.most && !self.evict(pace, now) {
                return None;
            }
            if self.used >= room(self.slots.len()) {
                self.grow();
            }
            let Err(free) = self.locate(key) else { return None };
            self.slots[free] = Slot { key, meter: AtomicMeter::new() };
            self.used += 1;
        }
        self.find(key)
    }

    /// Lets someone leave whose bucket is full.
    fn evict(&mut self, pace: &Pace, now: Duration) -> bool {
        for _ in 0..Self::LOOKED_AT.min(self.slots.len()) {
            let at = self.hand;
            self.hand = next(at, self.slots.len());
            let slot = &self.slots[at];
            if slot.key != 0 && slot.meter.is_full(pace, now) {
                self.remove(at);
                return true;
            }
        }
        false
    }

    /// Frees a slot, and moves those back that stood after it only because it was taken.
    fn remove(&mut self, mut free: usize) {
        let slots = self.slots.len();
        let mut at = free;
        loop {
            at = next(at, slots);
            let key = self.slots[at].key;
            if key == 0 {
                break;
            }
            // How far it stands from where it belongs, and how far the free slot is from there.
            let apart = |to: usize, from: usize| (to + slots - from) % slots;
            let home = home(key, slots);
            if apart(free, home) < apart(at, home) {
                self.slots[free] = std::mem::take(&mut self.slots[at]);
                free = at;
            }
        }
        self.slots[free] = Slot::default();
        self.used -= 1;
    }

    fn grow(&mut self) {
        let most = self.most + self.most / 7 + 1;
        let slots = (self.slots.len() * 2).clamp(16.min(most), most);
        let new = (0..slots).map(|_| Slot::default()).collect();
        for slot in std::mem::replace(&mut self.slots, new) {
            if slot.key != 0
                && let Err(free) = self.locate(slot.key)
            {
                self.slots[free] = slot;
            }
        }
        self.hand = 0;
    }
}

/// How many slots of a table may be taken: seven of eight, and never all.
fn room(slots: usize) -> usize {
    slots - slots.div_ceil(8)
}

fn home(key: u64, slots: usize) -> usize {
    let at = (u128::from(key) * slots as u128) >> 64;
    usize::try_from(at).expect("less than the number of slots")
}

fn next(at: usize, slots: usize) -> usize {
    if at + 1 == slots { 0 } else { at + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::{Limit, Meter};
    use std::collections::HashMap;

    const SECOND: Duration = Duration::from_secs(1);

    fn map(rate: u64, burst: u64, callers: usize) -> MeterMap {
        let limit = Limit::new(rate, SECOND).expect("a limit").with_burst(burst);
        let callers = NonZeroUsize::new(callers).expect("not none");
        MeterMap::new(Pace::new(limit).expect("in range"), callers)
    }

    #[test]
    fn each_caller_has_its_own_bucket() {
        let map = map(1, 2, 100);
        for caller in ["a", "b"] {
            let key = map.key(caller);
            assert_eq!(key, map.key(caller));
            assert_eq!(map.take(key, SECOND, 1).remaining, 1);
            assert!(map.take(key, SECOND, 1).allowed);
            assert!(!map.take(key, SECOND, 1).allowed);
        }
        assert_eq!(map.len(), 2);
    }

    #[test]
    fn who_owes_is_never_made_to_leave() {
        let map = map(1, 1, 64);
        let abuser = map.key("abuser");
        assert!(map.take(abuser, SECOND, 1).allowed);
        // Others come by for half a second, a thousand times as many as there are places.
        for other in 0..64_000_u64 {
            let now = SECOND + Duration::from_nanos(other * 7_800);
            map.take(map.key(other), now, 1);
            assert!(map.len() <= 64);
        }
        assert!(!map.take(abuser, SECOND + SECOND / 2, 1).allowed);
        assert!(map.without_place() > 60_000);
        assert!(map.take(abuser, SECOND * 2, 1).allowed);
    }

    #[test]
    fn a_full_map_refuses_or_shares_and_frees_places_in_time() {
        for (when_full, passed) in [(WhenFull::Refuse, 0), (WhenFull::Share, 1)] {
            let map = map(1, 1, 8).when_full(when_full);
            for caller in 0..8 {
                assert!(map.take(map.key(caller), SECOND, 1).allowed);
            }
            let new = (8..20).filter(|caller| map.take(map.key(caller), SECOND, 1).allowed);
            assert_eq!(new.count(), passed, "{when_full:?}");
            assert_eq!(map.len(), 8);
            assert_eq!(map.without_place(), 12);
            let later = (20..28).filter(|caller| map.take(map.key(caller), SECOND * 3, 1).allowed);
            assert_eq!(later.count(), 8, "{when_full:?}");
        }
    }

    /// With room for all, the map says what a meter for each caller says.
    #[test]
    fn nothing_is_lost_while_callers_come_and_leave() {
        let map = map(10, 3, 600);
        let mut exact: HashMap<u64, Meter> = HashMap::new();
        let mut state = 1_u64;
        for step in 0..60_000_u64 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // Far more callers than places, of whom few owe at any time.
            let caller = (state >> 33) % 5_000;
            let now = SECOND + Duration::from_micros(step * 500);
            let told = map.take(map.key(caller), now, 1);
            let meter = exact.entry(caller).or_insert_with(|| Meter::new(map.pace().limit()));
            assert_eq!(told, meter.take(now, 1), "{step}");
        }
        assert_eq!(map.without_place(), 0);
        assert!(map.len() <= 600);
    }

    #[test]
    fn a_place_takes_sixteen_bytes() {
        assert_eq!(size_of::<Slot>(), 16);
        let map = map(1, 1, 1_000);
        for caller in 0..1_000 {
            map.take(map.key(caller), SECOND, 1);
        }
        let slots: usize = map.shards.iter().map(|s| s.read().expect("sound").slots.len()).sum();
        assert!(slots <= 1_000 * 8 / 7 + 64, "{slots}");
    }

    #[test]
    fn two_threads_get_no_more_than_one() {
        let map = map(1, 100, 10);
        let passed = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for call in 0..3_000_u64 {
                        if map.take(map.key(call % 10), SECOND, 1).allowed {
                            passed.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(passed.into_inner(), 1_000);
    }
}
