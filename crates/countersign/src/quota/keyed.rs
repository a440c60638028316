//! Tables of callers that are known by 64 bits of a keyed hash.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A table by keys that are hashes already, each with a random key of its process, so that nobody
/// outside can choose where one lies. Hashing them once more would tell nobody less.
pub(super) type KeyedMap<V> = HashMap<u64, V, BuildHasherDefault<Already>>;

/// Takes a hash for what it is.
#[derive(Debug, Default)]
pub(super) struct Already(u64);

impl Hasher for Already {
    #[inline]
    fn write_u64(&mut self, key: u64) {
        // The lowest bits have chosen the part of a map, so that all keys of one part have the
        // same. Its table chooses by the lowest bits too.
        self.0 = key.rotate_left(32);
    }

    /// Keys come by [`write_u64`](Self::write_u64). Anything else is told apart badly, and found.
    #[cold]
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hash::{BuildHasher, RandomState};

    use super::*;

    #[test]
    fn keys_of_one_part_are_spread_over_its_table() {
        let keyed = RandomState::new();
        let part = (0..64_000_u64).map(|n| keyed.hash_one(n)).filter(|key| key % 64 == 5);
        let hash = |key: u64| BuildHasherDefault::<Already>::default().hash_one(key);
        let lowest: HashSet<u64> = part.map(|key| hash(key) % 64).collect();
        assert!(lowest.len() > 60, "{}", lowest.len());
    }

    #[test]
    fn a_key_is_found_and_no_other_is() {
        let mut table = KeyedMap::default();
        for key in [0, 1, 1 << 32, u64::MAX] {
            assert_eq!(table.insert(key, key), None);
        }
        assert_eq!(table.get(&(1 << 32)), Some(&(1 << 32)));
        assert_eq!(table.get(&(1 << 33)), None);
    }
}
