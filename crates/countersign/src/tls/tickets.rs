use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::ProducesTickets;

use crate::clock::Clock;

/// Tickets that hold the session (RFC 5077 §4, by rustls), with keys that change.
///
/// rustls alone changes its keys with the next ticket, so a server that nobody calls would open
/// tickets of any age. Here a key makes tickets for [`Self::CHANGES`] and opens them for twice as
/// long, by the server's own clock.
#[derive(Debug)]
pub(super) struct Tickets {
    clock: Arc<dyn Clock>,
    keys: Mutex<Keys>,
}

#[derive(Clone, Debug)]
struct Keys {
    current: Key,
    previous: Option<Key>,
}

#[derive(Clone, Debug)]
struct Key {
    tickets: Arc<dyn ProducesTickets>,
    since: SystemTime,
}

impl Tickets {
    const CHANGES: Duration = Duration::from_secs(6 * 60 * 60);

    /// # Errors
    ///
    /// The system gives no random numbers.
    pub(super) fn new(clock: Arc<dyn Clock>) -> Result<Self, rustls::Error> {
        let current = Key { tickets: Ticketer::new()?, since: clock.now() };
        Ok(Self { clock, keys: Mutex::new(Keys { current, previous: None }) })
    }

    /// The keys of now. `None`: there should be a new one, and no random numbers are to be had.
    fn keys(&self) -> Option<Keys> {
        let now = self.clock.now();
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if !keys.current.is_younger(Self::CHANGES, now) {
            let new = Key { tickets: Ticketer::new().ok()?, since: now };
            keys.previous = Some(std::mem::replace(&mut keys.current, new));
        }
        keys.previous = keys.previous.take().filter(|key| key.is_younger(2 * Self::CHANGES, now));
        Some(keys.clone())
    }
}

impl Key {
    /// Of a clock that went back nobody knows how old a key is.
    fn is_younger(&self, age: Duration, now: SystemTime) -> bool {
        now.duration_since(self.since).is_ok_and(|found| found < age)
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    /// A hint to clients, in seconds.
    fn lifetime(&self) -> u32 {
        2 * Self::CHANGES.as_secs() as u32
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.keys()?.current.tickets.encrypt(plain)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let keys = self.keys()?;
        let previous = || keys.previous?.tickets.decrypt(ticket);
        keys.current.tickets.decrypt(ticket).or_else(previous)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// Seconds since some day.
    #[derive(Debug)]
    struct Hand(AtomicU64);

    impl Clock for Hand {
        fn now(&self) -> SystemTime {
            let seconds = 1_800_000_000 + self.0.load(Ordering::Relaxed);
            SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
        }
    }

    #[test]
    fn a_key_makes_tickets_for_six_hours_and_opens_them_for_at_most_twelve() {
        const HOUR: u64 = 60 * 60;
        let opens = |made: u64, visited: &[u64], opened: u64| {
            let clock = Arc::new(Hand(AtomicU64::new(0)));
            let tickets = Tickets::new(clock.clone()).expect("a key");
            clock.0.store(made, Ordering::Relaxed);
            let ticket = tickets.encrypt(b"a session").expect("a ticket");
            for visit in visited {
                clock.0.store(*visit, Ordering::Relaxed);
                assert!(tickets.encrypt(b"another").is_some());
            }
            clock.0.store(opened, Ordering::Relaxed);
            let found = tickets.decrypt(&ticket);
            assert!(found.as_ref().is_none_or(|found| found == b"a session"));
            found.is_some()
        };
        for (made, visited, opened, expected) in [
            (0, &[][..], 6 * HOUR - 1, true),
            (0, &[], 12 * HOUR - 1, true),
            (0, &[], 12 * HOUR, false),
            (6 * HOUR - 1, &[], 12 * HOUR - 1, true),
            (6 * HOUR - 1, &[], 12 * HOUR, false),
            (0, &[6 * HOUR], 12 * HOUR - 1, true),
            (0, &[6 * HOUR], 12 * HOUR, false),
            (0, &[11 * HOUR], 12 * HOUR - 1, true),
            (0, &[11 * HOUR], 12 * HOUR, false),
            (6 * HOUR, &[], 18 * HOUR - 1, true),
            (6 * HOUR, &[], 18 * HOUR, false),
            // A clock that went back behind the key's beginning.
            (7 * HOUR, &[], 6 * HOUR, false),
        ] {
            let name = format!("made at {made}, others at {visited:?}, opened at {opened}");
            assert_eq!(opens(made, visited, opened), expected, "{name}");
        }
    }

    #[test]
    fn nobody_elses_ticket_is_opened() {
        let tickets = || Tickets::new(Arc::new(Hand(AtomicU64::new(0)))).expect("a key");
        let (ours, theirs) = (tickets(), tickets());
        let mut ticket = ours.encrypt(b"a session").expect("a ticket");
        assert!(ours.decrypt(&ticket).is_some() && theirs.decrypt(&ticket).is_none());
        *ticket.last_mut().expect("bytes") ^= 1;
        assert!(ours.decrypt(&ticket).is_none());
    }
}
