use std::sync::Arc;

use super::atomic::{AtomicMeter, Ticks};
use super::keyed::KeyedMap;

/// A table with open addressing; what is not where it belongs is in the places after.
#[derive(Debug)]
pub(super) struct Shard {
    slots: Box<[Slot]>,
    used: usize,
    most: usize,
    /// Where the search for someone who may leave goes on.
    hand: usize,
    /// Those whose meter somebody has at hand. They have a place in here and none in the table.
    held: KeyedMap<Held>,
}

#[derive(Debug, Default)]
struct Slot {
    key: u64,
    meter: AtomicMeter,
}

#[derive(Debug)]
struct Held {
    meter: Arc<AtomicMeter>,
    holders: usize,
}

/// Bytes of a place in the table.
pub(super) const SLOT_BYTES: usize = size_of::<Slot>();

impl Shard {
    /// How many places are looked at for someone who may leave.
    const LOOKED_AT: usize = 64;

    pub(super) fn new(most: usize) -> Self {
        Self { slots: Box::default(), used: 0, most, hand: 0, held: KeyedMap::default() }
    }

    /// How many callers have a place.
    pub(super) fn len(&self) -> usize {
        self.used + self.held.len()
    }

    /// Places in the table, taken and free, and callers whose meters are held.
    pub(super) fn extent(&self) -> (usize, usize) {
        (self.slots.len(), self.held.len())
    }

    #[inline]
    pub(super) fn find(&self, key: u64) -> Option<&AtomicMeter> {
        if let Some(held) = self.held.get(&key) {
            return Some(&held.meter);
        }
        let at = self.locate(key).ok()?;
        Some(&self.slots[at].meter)
    }

    /// The slot of the key, or else the free one that it would get.
    #[inline]
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

    pub(super) fn find_or_insert(&mut self, key: u64, now: Ticks) -> Option<&AtomicMeter> {
        if self.find(key).is_none() {
            if !self.make_room(now) {
                return None;
            }
            self.insert(key, AtomicMeter::new());
        }
        self.find(key)
    }

    /// Takes a caller's meter out of the table, for as long as somebody holds it. `None` where
    /// there is no place for one more; where `sparing`, also when the last thirty-second part of
    /// the places would be held, which is for those whom nobody remembers.
    pub(super) fn hold(&mut self, key: u64, now: Ticks, sparing: bool) -> Option<Arc<AtomicMeter>> {
        if let Some(held) = self.held.get_mut(&key) {
            held.holders += 1;
            return Some(Arc::clone(&held.meter));
        }
        if sparing && self.held.len() >= self.most - self.most.div_ceil(32) {
            return None;
        }
        let meter = match self.locate(key) {
            Ok(at) => {
                let meter = std::mem::take(&mut self.slots[at].meter);
                self.remove(at);
                meter
            }
            Err(_) if self.make_room(now) => AtomicMeter::new(),
            Err(_) => return None,
        };
        let meter = Arc::new(meter);
        self.held.insert(key, Held { meter: Arc::clone(&meter), holders: 1 });
        Some(meter)
    }

    /// One holder more of a meter that somebody holds.
    pub(super) fn hold_again(&mut self, key: u64) {
        if let Some(held) = self.held.get_mut(&key) {
            held.holders += 1;
        }
    }

    /// One holder less. After the last one the meter is in the table again: the place that it
    /// had is still its own.
    pub(super) fn let_go(&mut self, key: u64) {
        let Some(held) = self.held.get_mut(&key) else { return };
        held.holders -= 1;
        if held.holders == 0
            && let Some(held) = self.held.remove(&key)
        {
            // Whoever takes does so under the lock, or has it at hand and is a holder.
            self.insert(key, held.meter.copied());
        }
    }

    /// Whether there is a place for one more, after somebody left if need be.
    fn make_room(&mut self, now: Ticks) -> bool {
        self.len() < self.most || self.evict(now)
    }

    /// Puts in whom there is a place for.
    fn insert(&mut self, key: u64, meter: AtomicMeter) {
        if self.used >= room(self.slots.len()) {
            self.grow();
        }
        if let Err(free) = self.locate(key) {
            self.slots[free] = Slot { key, meter };
            self.used += 1;
        }
    }

    /// Lets someone leave whose bucket is full.
    fn evict(&mut self, now: Ticks) -> bool {
        for _ in 0..Self::LOOKED_AT.min(self.slots.len()) {
            let at = self.hand;
            self.hand = next(at, self.slots.len());
            let slot = &self.slots[at];
            if slot.key != 0 && slot.meter.full_by(now) {
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

    #[test]
    fn a_place_takes_sixteen_bytes() {
        assert_eq!(SLOT_BYTES, 16);
    }
}
