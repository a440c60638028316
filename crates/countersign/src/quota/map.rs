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
        let take = |meter: &AtomicMeter| meter.take(&self.pace, now, cost);
        self.with(key, self.pace.at(now), take).unwrap_or_else(|| {
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
    /// while it is held. `None` where there is no place; where `sparing`, also when half of the
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
            true => Refused::Until(Duration::from_nanos(limit.per_ns().div_ceil(limit.rate()))),
            false => Refused::Never,
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

    /// Asks a caller's meter, or the shared one. `None`: there is no place and nothing is shared.
    fn with<T>(&self, key: MeterKey, now: Ticks, ask: impl Fn(&AtomicMeter) -> T) -> Option<T> {
        self.look(key, &ask).or_else(|| self.with_place(key, now, |meter, _| ask(meter)))
    }

    /// Asks the meter of a caller that has a place.
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
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.map.write(self.key).let_go(self.key.0);
    }
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
        let map = map(1, 1, 1_000);
        for caller in 0..1_000 {
            map.take(map.key(caller), SECOND, 1);
        }
        let bytes = map.table_bytes();
        assert!(bytes <= SLOT_BYTES * (1_000 * 8 / 7 + 64), "{bytes}");
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

    #[test]
    fn a_held_meter_is_the_one_that_is_found_and_comes_back_as_it_was() {
        let map = Arc::new(map(1, 3, 8));
        let key = map.key("alice");
        let now = map.pace().at(SECOND);
        assert!(map.take(key, SECOND, 1).allowed);
        let [one, two] = [true, false].map(|sparing| map.hold(key, now, sparing).expect("a place"));
        assert!(std::ptr::eq(one.meter(), two.meter()));
        assert_eq!((map.len(), map.held()), (1, 1));
        one.meter().try_take(map.pace(), now, 1).expect("the second");
        assert_eq!(map.take(key, SECOND, 1).remaining, 0);
        drop(one);
        assert_eq!(map.held(), 1);
        assert!(two.meter().try_take(map.pace(), now, 1).is_err());
        drop(two);
        assert_eq!((map.len(), map.held()), (1, 0));
        assert!(!map.take(key, SECOND, 1).allowed);
    }

    #[test]
    fn whose_meter_is_held_is_not_made_to_leave() {
        let map = Arc::new(map(1, 1, 8));
        let key = map.key("alice");
        let hold = map.hold(key, map.pace().at(SECOND), true).expect("a place");
        // Full again after a second, so that anybody else would have left.
        for other in 0..1_000_u64 {
            map.take(map.key(other), SECOND * 3 + SECOND * u32::try_from(other).expect("few"), 1);
        }
        assert!(map.len() <= 8);
        let late = SECOND * 2_000;
        assert!(map.take(key, late, 1).allowed);
        assert!(hold.meter().try_take(map.pace(), map.pace().at(late), 1).is_err());
    }

    #[test]
    fn no_more_than_half_of_the_places_are_held_for_later() {
        let map = Arc::new(map(1, 1, 8));
        let now = map.pace().at(SECOND);
        let holds: Vec<_> = (0..8).filter_map(|n| map.hold(map.key(n), now, true)).collect();
        assert_eq!(holds.len(), 4);
        assert!((10..14).all(|n| map.take(map.key(n), SECOND, 1).allowed));
        assert!(map.hold(map.key(20), now, false).is_none(), "all owe or are held");
        assert!(!map.take(map.key(20), SECOND, 1).allowed);
        drop(holds);
        assert!(map.take(map.key(20), SECOND, 1).allowed);
    }

    #[test]
    fn two_threads_get_no_more_than_one_while_meters_are_held_and_let_go() {
        let map = Arc::new(map(1, 500, 4));
        let passed = AtomicU64::new(0);
        let now = map.pace().at(SECOND);
        std::thread::scope(|scope| {
            for held in [true, false] {
                let (map, passed) = (&map, &passed);
                scope.spawn(move || {
                    for call in 0..4_000_u64 {
                        let key = map.key(call % 2);
                        let took = match held {
                            true => {
                                let hold = map.hold(key, now, false).expect("a place");
                                hold.meter().try_take(map.pace(), now, 1).is_ok()
                            }
                            false => map.try_take(key, now, 1).is_ok(),
                        };
                        passed.fetch_add(u64::from(took), Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(passed.into_inner(), 1_000);
    }
}
