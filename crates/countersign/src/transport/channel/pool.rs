//! The connections of a channel under one set of credentials.
//!
//! Driven by calls: nothing runs while there are none. A pool owns its resolver and dial tasks,
//! and dropping it ends them; connections that still carry calls finish them first.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::connection::Connection;
use super::dial::Dialer;
use super::error::{ConnectError, ConnectErrorKind};
use super::options::Balancing;
use super::target::{Address, Endpoint};

/// What there is for a call.
pub(super) enum Pick {
    /// A connection that is ready.
    Ready(Arc<Connection>),
    /// Something is under way.
    Wait,
    /// Nothing, and nothing is tried before this time.
    Failed { error: ConnectError, until: Instant },
}

pub(super) struct Pool {
    dialer: Arc<Dialer>,
    signals: Arc<Signals>,
    state: Mutex<State>,
    next: AtomicUsize,
}

/// What tasks tell the pool, without keeping it alive.
struct Signals {
    changed: watch::Sender<()>,
    /// A connection was lost or not made: addresses may have changed.
    stale: AtomicBool,
}

struct State {
    resolution: Resolution,
    slots: Vec<Arc<Slot>>,
}

enum Resolution {
    Never,
    Running { task: AbortOnDropHandle<()>, failures: u32 },
    Done { at: Instant },
    Failed { error: ConnectError, until: Instant, failures: u32 },
}

/// One connection, to any of its addresses.
struct Slot {
    addresses: Mutex<Vec<Address>>,
    state: Mutex<SlotState>,
}

enum SlotState {
    Idle,
    Connecting {
        task: AbortOnDropHandle<()>,
        failures: u32,
    },
    /// With the failures before it: they count until the connection has shown to be good.
    Ready {
        connection: Arc<Connection>,
        failures: u32,
    },
    Failed {
        error: ConnectError,
        until: Instant,
        failures: u32,
    },
}

/// Names are not asked for again before this.
const RESOLVE_AGAIN_AFTER: Duration = Duration::from_secs(30);

impl Pool {
    pub(super) fn new(dialer: Arc<Dialer>) -> Arc<Self> {
        let signals =
            Arc::new(Signals { changed: watch::Sender::new(()), stale: AtomicBool::new(false) });
        let state = State { resolution: Resolution::Never, slots: Vec::new() };
        Arc::new(Self { dialer, signals, state: Mutex::new(state), next: AtomicUsize::new(0) })
    }

    pub(super) fn dialer(&self) -> &Arc<Dialer> {
        &self.dialer
    }

    /// Fires whenever [`pick`](Self::pick) may have another answer. Subscribe before picking.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.signals.changed.subscribe()
    }

    /// A connection for a call, and a push for everything that is not connected.
    pub(super) fn pick(self: &Arc<Self>) -> Pick {
        // Asked before anything is locked: what follows spawns.
        if tokio::runtime::Handle::try_current().is_err() {
            let error = self.dialer.error(
                ConnectErrorKind::NoRuntime,
                "there is no tokio runtime to connect in",
                "make the call inside of one",
            );
            return Pick::Failed { error, until: Instant::now() + RESOLVE_AGAIN_AFTER };
        }
        let mut state = self.state.lock().expect("never poisoned");
        self.resolve_if_needed(&mut state);
        let slots = &state.slots;
        if slots.is_empty() {
            return match &state.resolution {
                Resolution::Failed { error, until, .. } => {
                    Pick::Failed { error: error.clone(), until: *until }
                }
                _ => Pick::Wait,
            };
        }
        let first = self.next.fetch_add(1, Ordering::Relaxed) % slots.len();
        let mut connecting = false;
        let mut failed: Option<(ConnectError, Instant)> = None;
        for index in 0..slots.len() {
            match slots[(first + index) % slots.len()].poke(self) {
                // The others have their turn, and with it their push, when they are first.
                Pick::Ready(connection) => return Pick::Ready(connection),
                Pick::Wait => connecting = true,
                Pick::Failed { error, until } => {
                    failed = Some(match failed {
                        None => (error, until),
                        Some((known, soonest)) => {
                            let further = error.stage() > known.stage();
                            (if further { error } else { known }, until.min(soonest))
                        }
                    });
                }
            }
        }
        match failed {
            Some((error, until)) if !connecting => Pick::Failed { error, until },
            _ => Pick::Wait,
        }
    }

    fn resolve_if_needed(self: &Arc<Self>, state: &mut State) {
        let now = Instant::now();
        let failures = match &state.resolution {
            Resolution::Never => 0,
            Resolution::Running { task, failures } => {
                if !task.is_finished() {
                    return;
                }
                // It panicked, or its runtime is gone.
                let failures = failures.saturating_add(1);
                let until = now + self.dialer.options.backoff.random_delay(failures);
                state.resolution = Resolution::Failed { error: self.broken(), until, failures };
                return;
            }
            Resolution::Failed { until, failures, .. } if now >= *until => *failures,
            Resolution::Failed { .. } => return,
            Resolution::Done { at } => {
                let due = now.duration_since(*at) >= RESOLVE_AGAIN_AFTER;
                if !due || !self.signals.stale.load(Ordering::Relaxed) {
                    return;
                }
                0
            }
        };
        let (host, port) = match &self.dialer.target.endpoint {
            Endpoint::Addresses(addresses) => {
                if state.slots.is_empty() {
                    state.slots = self.slots(addresses.clone(), &[]);
                }
                state.resolution = Resolution::Done { at: now };
                return;
            }
            Endpoint::Name { host, port } => (host.clone(), *port),
        };
        self.signals.stale.store(false, Ordering::Relaxed);
        let (pool, dialer) = (Arc::downgrade(self), Arc::clone(&self.dialer));
        let news = News(Arc::clone(&self.signals));
        let task = tokio::spawn(async move {
            let _news = news;
            let limit = dialer.options.connect_timeout;
            let found =
                tokio::time::timeout(limit, dialer.options.resolver.resolve(&host, port)).await;
            let help = "check the name and this machine's resolver";
            let outcome = match found {
                Ok(Ok(addresses)) if addresses.is_empty() => Err(dialer.error(
                    ConnectErrorKind::NoAddresses,
                    format!("the name {host:?} resolves to no address"),
                    help,
                )),
                Ok(Ok(addresses)) => Ok(addresses.into_iter().map(Address::Tcp).collect()),
                Ok(Err(error)) => Err(dialer
                    .error(
                        ConnectErrorKind::ResolveFailed,
                        format!("the name {host:?} cannot be resolved ({error})"),
                        help,
                    )
                    .caused_by(error)),
                Err(_) => Err(dialer.error(
                    ConnectErrorKind::ResolveFailed,
                    format!("the name {host:?} was not resolved within {limit:?}"),
                    help,
                )),
            };
            if let Some(pool) = pool.upgrade() {
                pool.resolved(outcome);
            }
        });
        state.resolution = Resolution::Running { task: AbortOnDropHandle::new(task), failures };
    }

    fn broken(&self) -> ConnectError {
        self.dialer.error(
            ConnectErrorKind::Broken,
            "a task of the channel ended badly",
            "the log has the panic; a custom resolver is the usual place",
        )
    }

    fn resolved(&self, outcome: Result<Vec<Address>, ConnectError>) {
        let mut state = self.state.lock().expect("never poisoned");
        let failures = match &state.resolution {
            Resolution::Running { failures, .. } => *failures,
            _ => 0,
        };
        let finished = match outcome {
            Ok(addresses) => {
                state.slots = self.slots(addresses, &state.slots);
                Resolution::Done { at: Instant::now() }
            }
            Err(error) => {
                let failures = failures.saturating_add(1);
                let until = Instant::now() + self.dialer.options.backoff.random_delay(failures);
                Resolution::Failed { error, until, failures }
            }
        };
        // The task that is dropped here is the one that runs this, at its last step.
        if let Resolution::Running { task, .. } = std::mem::replace(&mut state.resolution, finished)
        {
            task.detach();
        }
        drop(state);
        self.signals.changed.send_replace(());
    }

    /// Slots for these addresses; known ones keep their connections.
    fn slots(&self, mut addresses: Vec<Address>, known: &[Arc<Slot>]) -> Vec<Arc<Slot>> {
        let mut seen = HashSet::new();
        addresses.retain(|address| seen.insert(address.clone()));
        if self.dialer.options.balancing == Balancing::PickFirst {
            // A name server may answer in another order each time, which is no reason to leave
            // a good connection.
            return vec![match known.first().filter(|slot| slot.goes_to_one_of(&addresses)) {
                Some(slot) => {
                    *slot.addresses.lock().expect("never poisoned") = addresses;
                    Arc::clone(slot)
                }
                None => Slot::new(addresses),
            }];
        }
        let one = |address: Address| {
            let goes_there = |slot: &&Arc<Slot>| {
                *slot.addresses.lock().expect("never poisoned") == [address.clone()]
            };
            known
                .iter()
                .find(goes_there)
                .map(Arc::clone)
                .unwrap_or_else(|| Slot::new(vec![address]))
        };
        addresses.into_iter().map(one).collect()
    }
}

/// Tells the pool's callers to look again, however a task ends.
struct News(Arc<Signals>);

impl Drop for News {
    fn drop(&mut self) {
        self.0.changed.send_replace(());
    }
}

impl Slot {
    fn new(addresses: Vec<Address>) -> Arc<Self> {
        Arc::new(Self { addresses: Mutex::new(addresses), state: Mutex::new(SlotState::Idle) })
    }

    /// Whether it is connected to one of these, or about to be connected.
    fn goes_to_one_of(&self, addresses: &[Address]) -> bool {
        match &*self.state.lock().expect("never poisoned") {
            SlotState::Ready { connection, .. } => {
                addresses.iter().any(|address| address.to_string() == connection.address)
            }
            SlotState::Idle | SlotState::Connecting { .. } | SlotState::Failed { .. } => true,
        }
    }

    /// What it has; an idle one, and a failed one whose time has come, begins to dial.
    fn poke(self: &Arc<Self>, pool: &Pool) -> Pick {
        let mut state = self.state.lock().expect("never poisoned");
        if let SlotState::Ready { connection, failures } = &*state {
            if connection.is_usable() {
                return Pick::Ready(Arc::clone(connection));
            }
            *state = after_the_end(connection, *failures, &pool.dialer);
        }
        if let SlotState::Connecting { task, failures } = &*state {
            if !task.is_finished() {
                return Pick::Wait;
            }
            // It panicked, or its runtime is gone.
            *state = failed(pool.broken(), failures.saturating_add(1), &pool.dialer);
        }
        let failures = match &*state {
            SlotState::Failed { error, until, .. } if Instant::now() < *until => {
                return Pick::Failed { error: error.clone(), until: *until };
            }
            SlotState::Failed { failures, .. } => *failures,
            _ => 0,
        };
        let task = tokio::spawn(dial(
            Arc::downgrade(self),
            self.addresses.lock().expect("never poisoned").clone(),
            Arc::clone(&pool.dialer),
            News(Arc::clone(&pool.signals)),
        ));
        *state = SlotState::Connecting { task: AbortOnDropHandle::new(task), failures };
        Pick::Wait
    }

    /// Puts what dialling led to in its place; `then` is told the failures before it.
    fn dialled(&self, then: impl FnOnce(u32) -> SlotState) {
        let mut state = self.state.lock().expect("never poisoned");
        let failures = match &*state {
            SlotState::Connecting { failures, .. } => *failures,
            _ => 0,
        };
        // The task that is dropped here is the one that runs this.
        if let SlotState::Connecting { task, .. } = std::mem::replace(&mut *state, then(failures)) {
            task.detach();
        }
    }
}

fn failed(error: ConnectError, failures: u32, dialer: &Dialer) -> SlotState {
    let until = Instant::now() + dialer.options.backoff.random_delay(failures);
    SlotState::Failed { error, until, failures }
}

/// What becomes of a slot when its connection takes no new calls. One that was good is dialled
/// anew when it is needed. One that was not is dialled anew once; then the server is left alone,
/// or each waiting call would open connections as fast as the server closes them.
fn after_the_end(connection: &Connection, failures: u32, dialer: &Dialer) -> SlotState {
    if connection.was_good(dialer.options.backoff.base) {
        return SlotState::Idle;
    }
    let failures = failures.saturating_add(1);
    let error = dialer.error(
        ConnectErrorKind::ClosedAtOnce,
        "the server closed the connection right after it was made",
        "it may be full or stopping, or a proxy in front of it has no server to go to",
    );
    match failures {
        1 => SlotState::Failed { error, until: Instant::now(), failures },
        _ => failed(error, failures, dialer),
    }
}

/// Dials for a slot, and then watches over the connection until it takes no new calls. Holds
/// the slot only weakly, so that a dropped pool ends it.
async fn dial(slot: Weak<Slot>, addresses: Vec<Address>, dialer: Arc<Dialer>, news: News) {
    let outcome = dialer.dial_any(&addresses).await;
    let Some(owner) = slot.upgrade() else { return };
    let (connection, driver) = match outcome {
        Err(error) => {
            tracing::debug!(code = error.code(), %error, "a connection was not made");
            news.0.stale.store(true, Ordering::Relaxed);
            owner.dialled(|failures| failed(error, failures.saturating_add(1), &dialer));
            return;
        }
        Ok((connection, driver)) => {
            let connection = Arc::new(connection);
            let watched = Arc::downgrade(&connection);
            owner.dialled(|failures| SlotState::Ready { connection, failures });
            news.0.changed.send_replace(());
            (watched, driver)
        }
    };
    drop(owner);
    let by_us = driver.until_retired().await;
    news.0.stale.store(true, Ordering::Relaxed);
    if let (Some(slot), Some(connection)) = (slot.upgrade(), connection.upgrade()) {
        connection.retire();
        let mut state = slot.state.lock().expect("never poisoned");
        match &*state {
            SlotState::Ready { connection: current, failures }
                if Arc::ptr_eq(current, &connection) =>
            {
                *state = match by_us {
                    true => SlotState::Idle,
                    false => after_the_end(&connection, *failures, &dialer),
                };
            }
            _ => {}
        }
    }
}
