//! How many connections and handshakes there may be, in all and per address.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;

use crate::credentials::ServerLimits;
use crate::identity::Source;

/// Shared by a listener and all its connections.
#[derive(Debug)]
pub(super) struct Budget {
    limits: ServerLimits,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    open: usize,
    next: u64,
    /// By number, so that the first is the oldest.
    pending: BTreeMap<u64, Pending>,
    /// Connections that were let in and on which no call was let through yet, oldest first.
    strangers: BTreeMap<u64, oneshot::Sender<()>>,
    /// Those on which calls were let through, and all of them of nobody, as a health check is.
    guests: BTreeMap<u64, oneshot::Sender<()>>,
    /// Whether a call was ever let through: something tells strangers from others.
    tells: bool,
    /// Whether a call was ever let through of somebody: something tells guests from others.
    proves: bool,
    addresses: HashMap<Source, PerAddress>,
}

#[derive(Debug)]
struct Pending {
    source: Option<Source>,
    /// Dropped to cut the handshake.
    _cut: oneshot::Sender<()>,
}

#[derive(Debug, Default)]
struct PerAddress {
    open: usize,
    pending: BTreeSet<u64>,
}

/// Which limit keeps a connection out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    Connections,
    ConnectionsOfAddress,
}

/// A place among the open connections; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    budget: Arc<Budget>,
    source: Option<Source>,
    number: u64,
}

/// How a connection that was let in is known here: as a stranger's, until a call of its was let
/// through, and as a guest's until one of somebody was.
#[derive(Debug)]
pub(super) struct Standing {
    budget: Arc<Budget>,
    number: u64,
    rank: AtomicU8,
}

impl Standing {
    const STRANGER: u8 = 0;
    const GUEST: u8 = 1;
    const CALLER: u8 = 2;

    /// A call was let through. One of somebody keeps the connection its place from now on; what
    /// anybody may call buys nobody a place for good.
    #[inline]
    pub(super) fn let_through(&self, is_somebody: impl FnOnce() -> bool) {
        // Every call asks, and only the first ones have to write.
        let rank = self.rank.load(Ordering::Relaxed);
        if rank < Self::CALLER {
            self.rise(rank, if is_somebody() { Self::CALLER } else { Self::GUEST });
        }
    }

    fn rise(&self, known: u8, rank: u8) {
        if known >= rank || self.rank.fetch_max(rank, Ordering::Relaxed) >= rank {
            return;
        }
        let mut state = self.budget.state.lock().expect("never poisoned");
        state.tells = true;
        let place = state.strangers.remove(&self.number);
        if rank == Self::CALLER {
            state.proves = true;
            state.guests.remove(&self.number);
        } else if let Some(cut) = place {
            state.guests.insert(self.number, cut);
        }
    }
}

/// A place among the pending handshakes; given back when dropped.
#[derive(Debug)]
pub(super) struct Turn {
    budget: Arc<Budget>,
    number: u64,
    cut: oneshot::Receiver<()>,
}

impl Budget {
    pub(super) fn new(limits: ServerLimits) -> Arc<Self> {
        Arc::new(Self { limits, state: Mutex::default() })
    }

    pub(super) fn limits(&self) -> &ServerLimits {
        &self.limits
    }

    /// Lets a connection in, or says which limit is reached. A handshake too many cuts the
    /// oldest one, of its own address if that is the limit reached. A connection too many cuts
    /// the oldest on which no call was ever let through, or else the oldest on which none of
    /// somebody was; if there is none, it is kept out.
    pub(super) fn admit(self: &Arc<Self>, source: Option<IpAddr>) -> Result<(Place, Turn), Full> {
        let source = source.map(Source::of_ip);
        let mut guard = self.state.lock().expect("never poisoned");
        let state = &mut *guard;
        let mine = source.and_then(|source| state.addresses.get(&source));
        // First, so that an address at its own limit makes nobody else leave.
        let open = mine.map_or(0, |mine| mine.open);
        if self.limits.max_connections_per_address.is_some_and(|most| open >= most) {
            return Err(Full::ConnectionsOfAddress);
        }
        if state.open >= self.limits.max_connections {
            // Where nothing marks connections all of them look like strangers', and where nobody is
            // ever proven all of them look like guests'.
            let stranger = if state.tells { state.strangers.pop_first() } else { None };
            let guest = || if state.proves { state.guests.pop_first() } else { None };
            let (_, cut) = stranger.or_else(guest).ok_or(Full::Connections)?;
            // It may be at its end already.
            let _ = cut.send(());
        }
        if let Some(source) = source {
            let oldest = state
                .addresses
                .get(&source)
                .filter(|mine| mine.pending.len() >= self.limits.max_pending_handshakes_per_address)
                .and_then(|mine| mine.pending.first().copied());
            if let Some(oldest) = oldest {
                state.forget(oldest);
            }
        }
        let full = state.pending.len() >= self.limits.max_pending_handshakes;
        if let Some(oldest) = state.pending.keys().next().copied().filter(|_| full) {
            state.forget(oldest);
        }
        let number = state.next;
        state.next += 1;
        state.open += 1;
        if let Some(source) = source {
            let mine = state.addresses.entry(source).or_default();
            mine.open += 1;
            mine.pending.insert(number);
        }
        let (cut, is_cut) = oneshot::channel();
        state.pending.insert(number, Pending { source, _cut: cut });
        drop(guard);
        Ok((
            Place { budget: Arc::clone(self), source, number },
            Turn { budget: Arc::clone(self), number, cut: is_cut },
        ))
    }

    #[cfg(test)]
    fn counts(&self) -> (usize, usize, usize) {
        let state = self.state.lock().expect("never poisoned");
        (state.open, state.pending.len(), state.addresses.len())
    }
}

impl State {
    fn forget(&mut self, number: u64) {
        let Some(Pending { source: Some(source), .. }) = self.pending.remove(&number) else {
            return;
        };
        if let Some(mine) = self.addresses.get_mut(&source) {
            mine.pending.remove(&number);
        }
        self.tidy(source);
    }

    fn tidy(&mut self, source: Source) {
        let unused =
            self.addresses.get(&source).is_some_and(|m| m.open == 0 && m.pending.is_empty());
        if unused {
            self.addresses.remove(&source);
        }
    }
}

impl Place {
    /// The handshake is done. The receiver hears when the connection has to make room, and is
    /// dropped on when it keeps its place.
    pub(super) fn let_in(&self) -> (Standing, oneshot::Receiver<()>) {
        let (cut, is_cut) = oneshot::channel();
        let mut state = self.budget.state.lock().expect("never poisoned");
        state.strangers.insert(self.number, cut);
        drop(state);
        let budget = Arc::clone(&self.budget);
        let rank = AtomicU8::new(Standing::STRANGER);
        (Standing { budget, number: self.number, rank }, is_cut)
    }
}

impl Turn {
    /// Waits until the handshake has to make room for another.
    pub(super) async fn cut(&mut self) {
        // Nothing is ever sent: the other end is dropped.
        let _ = (&mut self.cut).await;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.budget.state.lock().expect("never poisoned").forget(self.number);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.budget.state.lock().expect("never poisoned");
        state.open -= 1;
        state.strangers.remove(&self.number);
        state.guests.remove(&self.number);
        if let Some(source) = self.source {
            if let Some(mine) = state.addresses.get_mut(&source) {
                mine.open -= 1;
            }
            state.tidy(source);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    fn ip(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, last]))
    }

    fn is_cut(turn: &mut Turn) -> bool {
        pin!(turn.cut()).as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn the_oldest_handshake_makes_room_for_the_newest() {
        let budget = Budget::new(ServerLimits::default().max_pending_handshakes(2));
        let (_p1, mut oldest) = budget.admit(ip(1)).expect("room");
        let (_p2, mut second) = budget.admit(ip(2)).expect("room");
        assert!(!is_cut(&mut oldest));
        let (_p3, mut third) = budget.admit(ip(3)).expect("room is made");
        assert!(is_cut(&mut oldest) && !is_cut(&mut second) && !is_cut(&mut third));
    }

    #[test]
    fn an_address_at_its_limit_cuts_its_own_oldest_and_nobody_elses() {
        let budget = Budget::new(ServerLimits::default().max_pending_handshakes_per_address(1));
        let (_p1, mut others) = budget.admit(ip(1)).expect("room");
        let (_p2, mut first) = budget.admit(ip(2)).expect("room");
        let (_p3, mut second) = budget.admit(ip(2)).expect("room is made");
        assert!(is_cut(&mut first));
        assert!(!is_cut(&mut others) && !is_cut(&mut second));
    }

    #[test]
    fn a_connection_too_many_is_kept_out_and_the_last_one_allowed_is_not() {
        let budget = Budget::new(ServerLimits::default().max_connections(2));
        let first = budget.admit(ip(1)).expect("the first");
        let _second = budget.admit(ip(2)).expect("the second");
        assert_eq!(budget.admit(ip(3)).err(), Some(Full::Connections));
        drop(first);
        budget.admit(ip(3)).expect("room again");
    }

    #[test]
    fn a_stranger_makes_room_and_a_known_connection_does_not() {
        let budget = Budget::new(ServerLimits::default().max_connections(2));
        let (known, _) = budget.admit(ip(1)).expect("the first");
        let (stranger, _) = budget.admit(ip(2)).expect("the second");
        let (standing, mut cut_known) = known.let_in();
        let (_standing, mut cut_stranger) = stranger.let_in();
        assert!(budget.admit(ip(3)).is_err(), "nothing tells strangers from others yet");
        standing.let_through(|| true);
        let _third = budget.admit(ip(3)).expect("the stranger made room");
        assert!(cut_stranger.try_recv().is_ok() && cut_known.try_recv().is_err());
        assert_eq!(budget.admit(ip(4)).err(), Some(Full::Connections), "only known ones are left");
    }

    #[test]
    fn a_guest_makes_room_after_the_strangers_and_only_once_somebody_was_proven() {
        let budget = Budget::new(ServerLimits::default().max_connections(3));
        let places: Vec<_> = (1..4).map(|n| budget.admit(ip(n)).expect("room").0).collect();
        let [(guest, mut cut_guest), (other, mut cut_other), (_stranger, mut cut_stranger)] =
            [0, 1, 2].map(|at| places[at].let_in());
        guest.let_through(|| false);
        other.let_through(|| false);
        let _fourth = budget.admit(ip(4)).expect("the stranger made room");
        assert!(cut_stranger.try_recv().is_ok() && cut_guest.try_recv().is_err());
        assert!(budget.admit(ip(5)).is_err(), "nothing tells guests from others yet");
        // Who was a guest and is somebody keeps its place.
        guest.let_through(|| true);
        guest.let_through(|| false);
        let _fifth = budget.admit(ip(5)).expect("the other guest made room");
        assert!(cut_other.try_recv().is_ok() && cut_guest.try_recv().is_err());
        assert_eq!(budget.admit(ip(6)).err(), Some(Full::Connections));
    }

    #[test]
    fn an_address_at_its_own_limit_makes_no_stranger_leave() {
        let limits = ServerLimits::default().max_connections(3).max_connections_per_address(1);
        let budget = Budget::new(limits);
        let (known, _) = budget.admit(ip(1)).expect("the first");
        let (stranger, _) = budget.admit(ip(2)).expect("the second");
        let (greedy, _) = budget.admit(ip(3)).expect("the third");
        known.let_in().0.let_through(|| true);
        let (_standing, mut cut_stranger) = stranger.let_in();
        assert_eq!(budget.admit(ip(3)).err(), Some(Full::ConnectionsOfAddress));
        assert!(cut_stranger.try_recv().is_err());
        drop(greedy);
    }

    #[test]
    fn an_address_too_often_is_kept_out_and_another_is_not() {
        let budget = Budget::new(ServerLimits::default().max_connections_per_address(1));
        let _first = budget.admit(ip(1)).expect("the first");
        assert_eq!(budget.admit(ip(1)).err(), Some(Full::ConnectionsOfAddress));
        budget.admit(ip(2)).expect("another address");
    }

    #[test]
    fn one_ipv6_network_is_one_address() {
        let budget = Budget::new(ServerLimits::default().max_connections_per_address(1));
        let _first = budget.admit("2001:db8::1".parse().ok()).expect("the first");
        assert!(budget.admit("2001:db8::ffff".parse().ok()).is_err());
        budget.admit("2001:db8:0:1::1".parse().ok()).expect("another network");
    }

    #[test]
    fn everything_is_given_back() {
        let budget = Budget::new(ServerLimits::default());
        let admitted: Vec<_> = (0..10).map(|n| budget.admit(ip(n % 3)).expect("room")).collect();
        assert_eq!(budget.counts(), (10, 10, 3));
        drop(admitted);
        assert_eq!(budget.counts(), (0, 0, 0));
    }
}
