use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use quick_cache::sync::Cache;

use super::format::KeyId;
use super::record::KeyRecord;
use super::store::KeyChange;
use crate::authentication::Generation;
use crate::authorization::Pattern;
use crate::identity::Principal;

/// What the store said of keys, for a while.
///
/// Keys that are there and IDs that are not have room of their own, so that strangers who try
/// IDs push out nobody's key.
#[derive(Debug)]
pub(super) struct Records {
    known: Cache<KeyId, Arc<Known>>,
    unknown: Cache<KeyId, Period>,
    known_for: Duration,
    unknown_for: Duration,
    /// Advances with every change, after it can be seen here.
    generation: Generation,
    /// Held while an answer is put in and while a change takes one out, so that an answer from
    /// before a change is not put in after it.
    changing: Mutex<()>,
}

/// A record, ready to be used.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) record: KeyRecord,
    pub(super) methods: Vec<Pattern>,
    pub(super) principal: Principal,
    pub(super) period: Period,
    /// The minute in which its use was noted last.
    pub(super) used_minute: AtomicU64,
}

/// From when to when an answer is used.
#[derive(Clone, Copy, Debug)]
pub(super) struct Period {
    from: SystemTime,
    pub(super) until: SystemTime,
}

impl Period {
    fn new(from: SystemTime, length: Duration) -> Self {
        Self { from, until: from + length }
    }

    /// A clock that was put back to before the beginning ends it too: nobody knows how old the
    /// answer is.
    fn holds(&self, now: SystemTime) -> bool {
        self.from <= now && now < self.until
    }
}

/// What is known of an ID.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    Known(Arc<Known>),
    Unknown,
}

impl Records {
    pub(super) fn new(capacity: usize, known_for: Duration, unknown_for: Duration) -> Self {
        Self {
            known: Cache::new(capacity),
            unknown: Cache::new(capacity),
            known_for,
            unknown_for,
            generation: Generation::new(),
            changing: Mutex::new(()),
        }
    }

    /// To be read before anything is looked up that is then leased within it.
    pub(super) fn generation(&self) -> &Generation {
        &self.generation
    }

    pub(super) fn get(&self, id: &KeyId, now: SystemTime) -> Option<Answer> {
        if let Some(known) = self.known.get(id).filter(|known| known.period.holds(now)) {
            return Some(Answer::Known(known));
        }
        let unknown = self.unknown.get(id).is_some_and(|period| period.holds(now));
        unknown.then_some(Answer::Unknown)
    }

    /// How long an answer of now is used.
    pub(super) fn period(&self, is_known: bool, now: SystemTime) -> Period {
        Period::new(now, if is_known { self.known_for } else { self.unknown_for })
    }

    /// Keeps an answer that was asked for when the generation was `seen`. Whether it was kept: it
    /// is not when something changed since.
    pub(super) fn put(&self, id: KeyId, answer: &Answer, now: SystemTime, seen: u64) -> bool {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.generation.now() != seen {
            return false;
        }
        match answer {
            Answer::Known(known) => {
                self.unknown.remove(&id);
                self.known.insert(id, Arc::clone(known));
            }
            Answer::Unknown => {
                self.known.remove(&id);
                self.unknown.insert(id, self.period(false, now));
            }
        }
        true
    }

    /// Forgets what has changed, and ends every lease.
    pub(super) fn changed(&self, change: KeyChange) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        match change {
            KeyChange::Key(id) => {
                self.known.remove(&id);
                self.unknown.remove(&id);
            }
            KeyChange::Any => {
                self.known.clear();
                self.unknown.clear();
            }
        }
        self.generation.advance();
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::{at, record};
    use super::*;

    fn records() -> Records {
        Records::new(8, Duration::from_secs(30), Duration::from_secs(10))
    }

    fn known(records: &Records, now: SystemTime) -> Answer {
        let record = record();
        Answer::Known(Arc::new(Known {
            principal: Principal::with_token("ci", "api-keys", record.claims()),
            methods: Vec::new(),
            period: records.period(true, now),
            used_minute: AtomicU64::new(0),
            record,
        }))
    }

    fn kept(records: &Records, now: SystemTime) -> &'static str {
        match records.get(&record().id, now) {
            Some(Answer::Known(_)) => "known",
            Some(Answer::Unknown) => "unknown",
            None => "nothing",
        }
    }

    #[test]
    fn answers_end_each_in_their_time() {
        let (records, id) = (records(), record().id);
        assert!(records.put(id, &known(&records, at(0)), at(0), 0));
        assert_eq!(kept(&records, at(29)), "known");
        assert_eq!(kept(&records, at(30)), "nothing");
        assert!(records.put(id, &Answer::Unknown, at(30), 0));
        assert_eq!(kept(&records, at(39)), "unknown");
        assert_eq!(kept(&records, at(40)), "nothing");
        assert!(records.put(id, &known(&records, at(100)), at(100), 0));
        assert_eq!(kept(&records, at(99)), "nothing", "the clock was put back");
    }

    #[test]
    fn a_change_takes_out_its_key_and_ends_leases() {
        for change in [KeyChange::Key(record().id), KeyChange::Any] {
            let records = records();
            let before = records.generation().now();
            assert!(records.put(record().id, &known(&records, at(0)), at(0), before));
            records.changed(KeyChange::Key("zzzzzzzzzz".parse().expect("an ID")));
            assert_eq!(kept(&records, at(0)), "known", "another key's change");
            assert_ne!(records.generation().now(), before);
            records.changed(change);
            assert_eq!(kept(&records, at(0)), "nothing");
        }
    }

    #[test]
    fn an_answer_from_before_a_change_is_not_kept_after_it() {
        let records = records();
        let seen = records.generation().now();
        records.changed(KeyChange::Key(record().id));
        assert!(!records.put(record().id, &known(&records, at(0)), at(0), seen));
        assert_eq!(kept(&records, at(0)), "nothing");
    }

    #[test]
    fn strangers_push_out_nobodys_key() {
        let records = records();
        assert!(records.put(record().id, &known(&records, at(0)), at(0), 0));
        for number in 0..1_000 {
            let id = format!("{number:010}").parse().expect("an ID");
            records.put(id, &Answer::Unknown, at(0), 0);
        }
        assert_eq!(kept(&records, at(0)), "known");
        assert!(records.unknown.len() <= 8);
    }
}
