use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest;

use super::flaw::Flaw;

/// The proofs that passed and could still be shown again.
///
/// A proof stays until its `iat` can no longer be accepted. When the set is full of such proofs,
/// new ones are refused: to forget one would let it pass a second time, and nobody would see it.
#[derive(Debug)]
pub(super) struct ReplaySet {
    capacity: usize,
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    live: HashSet<ProofId>,
    /// The same, the one that ends first on top.
    ends: BinaryHeap<Reverse<(Seconds, ProofId)>>,
    /// The latest end of what was forgotten. A clock that was ahead has made the set forget
    /// proofs that are good again once it is put right; they can no longer be told from new ones.
    forgotten: Option<Seconds>,
}

/// Half of a SHA-256 hash. Only the holder of a key can look for two proofs of one ID, and would
/// refuse itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct ProofId([u8; 16]);

/// Since 1970.
type Seconds = u64;

impl ProofId {
    /// `jkt` has a fixed length by now, so the two cannot be cut in another place.
    pub(super) fn new(jkt: &str, jti: &str) -> Self {
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(jkt.as_bytes());
        hash.update(jti.as_bytes());
        let mut id = [0; 16];
        id.copy_from_slice(&hash.finish().as_ref()[..16]);
        Self(id)
    }
}

impl ReplaySet {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, entries: Mutex::default() }
    }

    /// Whether the proof would be admitted. Costs less than to look at its signature.
    pub(super) fn would_admit(
        &self,
        id: ProofId,
        end: SystemTime,
        now: SystemTime,
    ) -> Result<(), Flaw> {
        self.lock().judge(self.capacity, id, rounded_up(end), rounded_down(now))
    }

    /// Admits a proof and remembers it until `end`, inclusive; of two at once, one. Only for
    /// proofs that are verified: others would fill the set.
    pub(super) fn admit(&self, id: ProofId, end: SystemTime, now: SystemTime) -> Result<(), Flaw> {
        let end = rounded_up(end);
        let mut entries = self.lock();
        entries.judge(self.capacity, id, end, rounded_down(now))?;
        entries.live.insert(id);
        entries.ends.push(Reverse((end, id)));
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    fn judge(
        &mut self,
        capacity: usize,
        id: ProofId,
        end: Seconds,
        now: Seconds,
    ) -> Result<(), Flaw> {
        while let Some(Reverse((end, id))) = self.ends.peek().copied().filter(|e| e.0.0 < now) {
            self.ends.pop();
            self.live.remove(&id);
            self.forgotten = self.forgotten.max(Some(end));
        }
        if self.live.contains(&id) || self.forgotten >= Some(end) {
            return Err(Flaw::Replayed);
        }
        match self.live.len() < capacity {
            true => Ok(()),
            false => Err(Flaw::NoRoom),
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

    #[test]
    fn a_proof_passes_once() {
        let set = ReplaySet::new(10);
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
        assert_eq!(set.would_admit(id("a"), at(160), at(100)), Ok(()));
        assert_eq!(set.admit(id("a"), at(160), at(100)), Ok(()));
        assert_eq!(set.would_admit(id("a"), at(160), at(100)), Err(Flaw::Replayed));
        assert_eq!(set.would_admit(id("b"), at(160), at(100)), Err(Flaw::NoRoom));
    }

    #[test]
    fn a_full_set_refuses_until_one_has_ended() {
        let set = ReplaySet::new(2);
        for (name, end) in [("a", 160), ("b", 150)] {
            assert_eq!(set.admit(id(name), at(end), at(100)), Ok(()), "{name}");
        }
        // The last second of `b` is still its own.
        assert_eq!(set.admit(id("c"), at(210), at(150)), Err(Flaw::NoRoom));
        assert_eq!(set.admit(id("c"), at(211), at(151)), Ok(()));
        assert_eq!(set.admit(id("a"), at(160), at(151)), Err(Flaw::Replayed));
        assert_eq!(set.admit(id("d"), at(211), at(151)), Err(Flaw::NoRoom));
    }

    #[test]
    fn a_clock_that_was_ahead_makes_no_old_proof_new() {
        let set = ReplaySet::new(10);
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
}
