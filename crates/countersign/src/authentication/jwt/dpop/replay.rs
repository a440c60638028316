use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest;

use super::flaw::Flaw;

/// The proofs that passed and could still be shown again.
///
/// A proof stays until its `iat` can no longer be accepted. When the set is full of such proofs,
/// new ones are refused: to forget one would let it pass a second time, and nobody would see it.
/// One key has a share of the set and no more, so that its holder cannot refuse everybody else.
#[derive(Debug)]
pub(super) struct ReplaySet {
    capacity: usize,
    /// The most proofs by one key.
    share: usize,
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    live: HashSet<Half>,
    /// The same, the one that ends first on top.
    ends: BinaryHeap<Reverse<(Seconds, ProofId)>>,
    /// How many of them each key made; a key without any is not in it.
    by_key: HashMap<Half, usize>,
    /// The latest end of what was forgotten. A clock that was ahead has made the set forget
    /// proofs that are good again once it is put right; they can no longer be told from new ones.
    forgotten: Option<Seconds>,
}

/// A proof, and the key that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ProofId {
    proof: Half,
    key: Half,
}

/// Half of a SHA-256 hash. Only the holder of a key can look for two proofs of one ID, and would
/// refuse itself.
type Half = [u8; 16];

/// Since 1970.
type Seconds = u64;

impl ProofId {
    /// `jkt` has a fixed length by now, so the two cannot be cut in another place.
    pub(super) fn new(jkt: &str, jti: &str) -> Self {
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(jkt.as_bytes());
        let key = half(hash.clone());
        hash.update(jti.as_bytes());
        Self { proof: half(hash), key }
    }
}

fn half(hash: digest::Context) -> Half {
    let mut half = [0; 16];
    half.copy_from_slice(&hash.finish().as_ref()[..16]);
    half
}

impl ReplaySet {
    /// One key's share is one part of so many.
    const SHARES: usize = 8;

    pub(super) fn new(capacity: usize) -> Self {
        let share = (capacity / Self::SHARES).max(1);
        Self { capacity, share, entries: Mutex::default() }
    }

    /// Whether the proof would be admitted. Costs less than to look at its signature.
    pub(super) fn would_admit(
        &self,
        id: ProofId,
        end: SystemTime,
        now: SystemTime,
    ) -> Result<(), Flaw> {
        self.judge(&mut self.lock(), id, rounded_up(end), rounded_down(now))
    }

    /// Admits a proof and remembers it until `end`, inclusive; of two at once, one. Only for
    /// proofs that are verified: others would fill the set.
    pub(super) fn admit(&self, id: ProofId, end: SystemTime, now: SystemTime) -> Result<(), Flaw> {
        let end = rounded_up(end);
        let mut entries = self.lock();
        self.judge(&mut entries, id, end, rounded_down(now))?;
        entries.live.insert(id.proof);
        entries.ends.push(Reverse((end, id)));
        *entries.by_key.entry(id.key).or_default() += 1;
        Ok(())
    }

    fn judge(
        &self,
        entries: &mut Entries,
        id: ProofId,
        end: Seconds,
        now: Seconds,
    ) -> Result<(), Flaw> {
        entries.forget_before(now);
        if entries.live.contains(&id.proof) || entries.forgotten >= Some(end) {
            return Err(Flaw::Replayed);
        }
        if entries.live.len() >= self.capacity {
            return Err(Flaw::NoRoom);
        }
        match entries.by_key.get(&id.key) {
            Some(&made) if made >= self.share => Err(Flaw::NoRoomForKey),
            _ => Ok(()),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    fn forget_before(&mut self, now: Seconds) {
        while let Some(Reverse((end, id))) = self.ends.peek().copied().filter(|e| e.0.0 < now) {
            self.ends.pop();
            self.live.remove(&id.proof);
            if let Entry::Occupied(mut made) = self.by_key.entry(id.key) {
                *made.get_mut() -= 1;
                if *made.get() == 0 {
                    made.remove();
                }
            }
            self.forgotten = self.forgotten.max(Some(end));
        }
    }
}

fn rounded_down(time: SystemTime) -> Seconds {
    since_epoch(time).as_secs()
}

fn rounded_up(time: SystemTime) -> Seconds {
    let since = since_epoch(time);
    since.as_secs().saturating_add(u64::from(since.subsec_nanos() > 0))
}

fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn id(name: &str) -> ProofId {
        ProofId::new("key", name)
    }

    /// A proof by a key that makes no other.
    fn alone(name: &str) -> ProofId {
        ProofId::new(name, name)
    }

    #[test]
    fn a_proof_passes_once() {
        let set = ReplaySet::new(80);
        assert_eq!(set.admit(id("a"), at(160), at(100)), Ok(()));
        assert_eq!(set.admit(id("a"), at(160), at(100)), Err(Flaw::Replayed));
        // Another `iat` makes no other proof of the same `jti`.
        assert_eq!(set.admit(id("a"), at(161), at(101)), Err(Flaw::Replayed));
        assert_eq!(set.admit(id("b"), at(160), at(100)), Ok(()));
        assert_eq!(set.admit(ProofId::new("yek", "a"), at(160), at(100)), Ok(()));
    }

    #[test]
    fn to_ask_is_not_to_enter() {
        let set = ReplaySet::new(1);
        assert_eq!(set.would_admit(alone("a"), at(160), at(100)), Ok(()));
        assert_eq!(set.admit(alone("a"), at(160), at(100)), Ok(()));
        assert_eq!(set.would_admit(alone("a"), at(160), at(100)), Err(Flaw::Replayed));
        assert_eq!(set.would_admit(alone("b"), at(160), at(100)), Err(Flaw::NoRoom));
    }

    #[test]
    fn a_full_set_refuses_until_one_has_ended() {
        let set = ReplaySet::new(2);
        for (name, end) in [("a", 160), ("b", 150)] {
            assert_eq!(set.admit(alone(name), at(end), at(100)), Ok(()), "{name}");
        }
        // The last second of `b` is still its own.
        assert_eq!(set.admit(alone("c"), at(210), at(150)), Err(Flaw::NoRoom));
        assert_eq!(set.admit(alone("c"), at(211), at(151)), Ok(()));
        assert_eq!(set.admit(alone("a"), at(160), at(151)), Err(Flaw::Replayed));
        assert_eq!(set.admit(alone("d"), at(211), at(151)), Err(Flaw::NoRoom));
    }

    #[test]
    fn a_clock_that_was_ahead_makes_no_old_proof_new() {
        let set = ReplaySet::new(80);
        assert_eq!(set.admit(id("a"), at(160), at(100)), Ok(()));
        assert_eq!(set.admit(id("b"), at(9_060), at(9_000)), Ok(()));
        assert_eq!(set.admit(id("a"), at(160), at(100)), Err(Flaw::Replayed));
        assert_eq!(set.admit(id("c"), at(161), at(101)), Ok(()), "made after what was forgotten");
    }

    #[test]
    fn a_part_of_a_second_is_the_proofs() {
        let set = ReplaySet::new(1);
        let half = Duration::from_millis(500);
        assert_eq!(set.admit(id("a"), at(160) + half, at(100)), Ok(()));
        assert_eq!(set.admit(id("a"), at(160) + half, at(160) + half), Err(Flaw::Replayed));
    }

    #[test]
    fn a_key_above_its_share_refuses_itself_alone() {
        let set = ReplaySet::new(16);
        for (name, end) in [("a", 150), ("b", 160)] {
            assert_eq!(set.admit(id(name), at(end), at(100)), Ok(()), "{name}");
        }
        assert_eq!(set.would_admit(id("c"), at(160), at(100)), Err(Flaw::NoRoomForKey));
        assert_eq!(set.admit(id("c"), at(160), at(100)), Err(Flaw::NoRoomForKey));
        assert_eq!(set.admit(id("a"), at(150), at(100)), Err(Flaw::Replayed), "it is remembered");
        assert_eq!(set.admit(alone("c"), at(160), at(100)), Ok(()), "another key's");
        assert_eq!(set.admit(id("c"), at(211), at(151)), Ok(()), "one of the share has ended");
        assert_eq!(set.admit(id("d"), at(211), at(151)), Err(Flaw::NoRoomForKey));
    }

    #[test]
    fn eight_keys_fill_the_set_and_seven_do_not() {
        let set = ReplaySet::new(16);
        for key in ["1", "2", "3", "4", "5", "6", "7"] {
            let made = (0..100).map(|jti| ProofId::new(key, &jti.to_string()));
            let passed = made.filter(|id| set.admit(*id, at(160), at(100)).is_ok());
            assert_eq!(passed.count(), 2, "{key}");
        }
        assert_eq!(set.admit(id("a"), at(160), at(100)), Ok(()));
        assert_eq!(set.admit(id("b"), at(160), at(100)), Ok(()));
        assert_eq!(set.admit(alone("c"), at(160), at(100)), Err(Flaw::NoRoom));
    }

    #[test]
    fn a_key_whose_proofs_have_ended_leaves_nothing() {
        let set = ReplaySet::new(16);
        for second in 100..10_000 {
            let id = alone(&second.to_string());
            assert_eq!(set.admit(id, at(second + 1), at(second)), Ok(()), "{second}");
        }
        let entries = set.lock();
        let sizes = (entries.by_key.len(), entries.live.len(), entries.ends.len());
        assert_eq!(sizes, (2, 2, 2));
    }
}
