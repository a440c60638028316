use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use quick_cache::sync::Cache;

use super::format::KeyId;
use crate::identity::Source;

/// How many failures are looked at before the rest is refused unseen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailureLimit {
    /// How many.
    pub failures: u32,
    /// In how much time. It begins with the first failure.
    pub window: Duration,
}

/// Counts failures for each source and each key, in bounded memory.
///
/// A source that has proved a key lately is not held up for that key: neither strangers who know
/// its ID nor those behind the same proxy can lock its owner out. For a source that is not told,
/// which may be everybody, nothing is counted.
#[derive(Debug)]
pub(super) struct Throttle {
    per_source: Option<Counted<Source>>,
    per_id: Option<Counted<KeyId>>,
    proved: Cache<(KeyId, Source), SystemTime>,
}

/// How many sources, and how many keys, failures are remembered for.
const REMEMBERED: usize = 16 * 1024;

/// How long a source counts as one that has proved a key.
const PROVED_FOR: Duration = Duration::from_secs(60 * 60);

impl Throttle {
    pub(super) fn new(per_source: Option<FailureLimit>, per_id: Option<FailureLimit>) -> Self {
        Self {
            per_source: per_source.map(Counted::new),
            per_id: per_id.map(Counted::new),
            proved: Cache::new(REMEMBERED),
        }
    }

    /// How long to wait before a key is looked at again; `None`: it may be looked at now.
    pub(super) fn wait(
        &self,
        source: Option<Source>,
        id: &KeyId,
        now: SystemTime,
    ) -> Option<Duration> {
        let of_source = self.counted(source).and_then(|(all, source)| all.wait(&source, now));
        let of_id = self.per_id.as_ref().and_then(|all| all.wait(id, now));
        let longest = of_source.max(of_id)?;
        let proved = source.and_then(|source| self.proved.get(&(*id, source)));
        let lately = |at: SystemTime| now.duration_since(at).is_ok_and(|ago| ago < PROVED_FOR);
        if proved.is_some_and(lately) { None } else { Some(longest) }
    }

    pub(super) fn failed(&self, source: Option<Source>, id: &KeyId, now: SystemTime) {
        if let Some((all, source)) = self.counted(source) {
            all.count(&source, now);
        }
        if let Some(all) = &self.per_id {
            all.count(id, now);
        }
    }

    pub(super) fn succeeded(&self, source: Option<Source>, id: &KeyId, now: SystemTime) {
        if let Some(source) = source {
            self.proved.insert((*id, source), now);
        }
    }

    fn counted(&self, source: Option<Source>) -> Option<(&Counted<Source>, Source)> {
        self.per_source.as_ref().zip(source)
    }
}

#[derive(Debug)]
struct Counted<K> {
    limit: FailureLimit,
    failures: Cache<K, Arc<Mutex<Window>>>,
}

#[derive(Debug)]
struct Window {
    begin: SystemTime,
    failures: u32,
}

impl<K: Copy + Eq + std::hash::Hash> Counted<K> {
    fn new(limit: FailureLimit) -> Self {
        Self { limit, failures: Cache::new(REMEMBERED) }
    }

    fn wait(&self, key: &K, now: SystemTime) -> Option<Duration> {
        let window = self.failures.get(key)?;
        let window = window.lock().unwrap_or_else(PoisonError::into_inner);
        let left = self.left(&window, now)?;
        (window.failures >= self.limit.failures).then_some(left)
    }

    fn count(&self, key: &K, now: SystemTime) {
        let fresh = || Ok::<_, ()>(Arc::new(Mutex::new(Window { begin: now, failures: 0 })));
        let Ok(window) = self.failures.get_or_insert_with(key, fresh) else { return };
        let mut window = window.lock().unwrap_or_else(PoisonError::into_inner);
        if self.left(&window, now).is_none() {
            *window = Window { begin: now, failures: 0 };
        }
        window.failures = window.failures.saturating_add(1);
    }

    /// What is left of a window. One that begins in the future was begun before the clock was
    /// put back: it is over.
    fn left(&self, window: &Window, now: SystemTime) -> Option<Duration> {
        let gone = now.duration_since(window.begin).ok()?;
        self.limit.window.checked_sub(gone).filter(|left| !left.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::at;
    use super::*;

    const LIMIT: FailureLimit = FailureLimit { failures: 3, window: Duration::from_secs(60) };

    fn source(ip: &str) -> Option<Source> {
        Some(Source::of_ip(ip.parse().expect("an address")))
    }

    fn id(text: &str) -> KeyId {
        text.parse().expect("an ID")
    }

    #[test]
    fn a_source_that_failed_often_waits_for_the_end_of_its_window() {
        let throttle = Throttle::new(Some(LIMIT), None);
        let (bad, good) = (source("192.0.2.1"), source("192.0.2.2"));
        for _ in 0..3 {
            assert_eq!(throttle.wait(bad, &id("aaaaaaaaaa"), at(0)), None);
            throttle.failed(bad, &id("aaaaaaaaaa"), at(0));
        }
        let left = Some(Duration::from_secs(50));
        assert_eq!(throttle.wait(bad, &id("bbbbbbbbbb"), at(10)), left, "whichever the key");
        assert_eq!(throttle.wait(good, &id("aaaaaaaaaa"), at(10)), None);
        assert_eq!(throttle.wait(bad, &id("aaaaaaaaaa"), at(60)), None);
        throttle.failed(bad, &id("aaaaaaaaaa"), at(60));
        assert_eq!(throttle.wait(bad, &id("aaaaaaaaaa"), at(61)), None, "a window of its own");
    }

    #[test]
    fn a_key_that_many_failed_on_waits_except_for_whom_it_let_in() {
        let throttle = Throttle::new(None, Some(LIMIT));
        let (owner, stranger) = (source("192.0.2.1"), source("192.0.2.2"));
        throttle.succeeded(owner, &id("aaaaaaaaaa"), at(0));
        for _ in 0..3 {
            throttle.failed(stranger, &id("aaaaaaaaaa"), at(0));
        }
        assert!(throttle.wait(stranger, &id("aaaaaaaaaa"), at(1)).is_some());
        assert_eq!(throttle.wait(owner, &id("aaaaaaaaaa"), at(1)), None);
        assert_eq!(throttle.wait(stranger, &id("bbbbbbbbbb"), at(1)), None);
    }

    #[test]
    fn who_proved_a_key_is_held_up_for_others_all_the_same() {
        let throttle = Throttle::new(Some(LIMIT), None);
        let one = source("192.0.2.1");
        throttle.succeeded(one, &id("aaaaaaaaaa"), at(0));
        for _ in 0..3 {
            throttle.failed(one, &id("bbbbbbbbbb"), at(0));
        }
        assert_eq!(throttle.wait(one, &id("aaaaaaaaaa"), at(1)), None);
        assert!(throttle.wait(one, &id("bbbbbbbbbb"), at(1)).is_some());
        let much_later = at(0) + PROVED_FOR;
        for _ in 0..3 {
            throttle.failed(one, &id("bbbbbbbbbb"), much_later);
        }
        assert!(throttle.wait(one, &id("aaaaaaaaaa"), much_later).is_some());
    }

    #[test]
    fn nothing_is_counted_for_a_source_that_may_be_everybody() {
        let throttle = Throttle::new(Some(LIMIT), None);
        for _ in 0..10 {
            throttle.failed(None, &id("aaaaaaaaaa"), at(0));
        }
        assert_eq!(throttle.wait(None, &id("aaaaaaaaaa"), at(0)), None);
    }

    #[test]
    fn a_clock_that_is_put_back_ends_windows() {
        let throttle = Throttle::new(Some(LIMIT), None);
        let one = source("192.0.2.1");
        for _ in 0..3 {
            throttle.failed(one, &id("aaaaaaaaaa"), at(100));
        }
        assert!(throttle.wait(one, &id("aaaaaaaaaa"), at(100)).is_some());
        assert_eq!(throttle.wait(one, &id("aaaaaaaaaa"), at(50)), None);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let throttle = Throttle::new(Some(LIMIT), Some(LIMIT));
        for number in 0..100_000_u32 {
            let source = Some(Source::Ip(std::net::Ipv4Addr::from_bits(number).into()));
            let id = id(&format!("{number:010}"));
            throttle.failed(source, &id, at(0));
            throttle.succeeded(source, &id, at(0));
        }
        let sizes = [
            throttle.per_source.as_ref().map(|all| all.failures.len()),
            throttle.per_id.as_ref().map(|all| all.failures.len()),
            Some(throttle.proved.len()),
        ];
        assert!(sizes.iter().all(|size| size.is_some_and(|size| size <= REMEMBERED)), "{sizes:?}");
    }
}
