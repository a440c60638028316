use std::fmt;
use std::time::{Duration, SystemTime};

use quick_cache::sync::Cache;

use super::answer::Verdict;
use crate::authentication::{Generation, Lease};
use crate::digest::sha256;

/// SHA-256 of a token. Whoever reads the memory finds no token in it.
pub(super) type Key = [u8; 32];

pub(super) fn key_of(token: &str) -> Key {
    sha256(token.as_bytes())
}

/// What was found out of a token, and until when that counts.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) verdict: Verdict,
    pub(super) lease: Lease,
    /// When it was asked. A clock that is before it was set back, and then nobody can say how
    /// old this is.
    asked_at: SystemTime,
}

impl Entry {
    fn holds(&self, now: SystemTime) -> bool {
        self.asked_at <= now && self.lease.holds(now)
    }
}

/// Answers, by token.
///
/// Those of tokens that are good are kept apart: anybody can think of tokens that are not, as
/// many as they like, and must not push out the others.
pub(super) struct Answers {
    good: Cache<Key, Entry>,
    other: Cache<Key, Entry>,
    generation: Generation,
    /// How long a yes counts, at most.
    remember: Duration,
}

/// A state of knowledge: an answer that was asked for before a change counts for nothing after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    at: SystemTime,
    seen: u64,
}

impl Answers {
    /// The most good tokens that are remembered, and the most others.
    const CAPACITY: usize = 10_000;

    /// How long anything but a yes counts.
    const NEGATIVE: Duration = Duration::from_secs(5);

    pub(super) fn new(remember: Duration) -> Self {
        Self {
            good: Cache::new(Self::CAPACITY),
            other: Cache::new(Self::CAPACITY),
            generation: Generation::new(),
            remember,
        }
    }

    pub(super) fn get(&self, key: &Key, now: SystemTime) -> Option<Entry> {
        let held = |answers: &Cache<Key, Entry>| answers.get(key).filter(|entry| entry.holds(now));
        held(&self.good).or_else(|| held(&self.other))
    }

    /// To be called before the question is sent.
    pub(super) fn asking(&self, now: SystemTime) -> Asked {
        Asked { at: now, seen: self.generation.now() }
    }

    /// Remembers what was found out, for as long as that counts from the time of the question.
    pub(super) fn put(&self, key: Key, asked: Asked, verdict: Verdict) -> Entry {
        let entry = self.entry(asked, verdict);
        // What was asked for before a change must not push out what was asked for after.
        if entry.lease.is_current() {
            let (its, not_its) = match entry.verdict {
                Verdict::Known(_) => (&self.good, &self.other),
                Verdict::Refused { .. } | Verdict::Trouble(_) => (&self.other, &self.good),
            };
            // What was known before is gone first, so that no two answers can be found at once.
            not_its.remove(&key);
            its.insert(key, entry.clone());
        }
        entry
    }

    /// Trouble that says nothing of the token: told to those who wait, and not remembered.
    pub(super) fn passing(&self, asked: Asked, verdict: Verdict) -> Entry {
        let lease = Lease::until(asked.at);
        Entry { verdict, lease, asked_at: asked.at }
    }

    pub(super) fn forget(&self) {
        self.good.clear();
        self.other.clear();
        self.generation.advance();
    }

    fn entry(&self, asked: Asked, verdict: Verdict) -> Entry {
        let after = |wait| asked.at.checked_add(wait).unwrap_or(asked.at);
        let until = match &verdict {
            Verdict::Known(known) => match (known.expires_at, known.ends_at) {
                // Inside the leeway it is as good as ended: asked for again soon.
                (Some(expiry), Some(end)) if expiry <= asked.at => {
                    end.min(after(self.remember.min(Self::NEGATIVE)))
                }
                (Some(expiry), _) => expiry.min(after(self.remember)),
                (None, _) => after(self.remember),
            },
            Verdict::Refused { .. } | Verdict::Trouble(_) => after(Self::NEGATIVE),
        };
        let lease = Lease::until(until).within(&self.generation, asked.seen);
        Entry { verdict, lease, asked_at: asked.at }
    }
}

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answers")
            .field("good", &self.good.len())
            .field("other", &self.other.len())
            .finish_non_exhaustive()
    }
}
