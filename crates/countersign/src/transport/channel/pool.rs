//! The connections of a channel under one set of credentials.
//!
//! Driven by calls: nothing runs while there are none. A pool owns its resolver and dial tasks,
//! and dropping it ends them; connections that still carry calls finish them first.

use std::collections::HashSet;
use std::io;
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
    /// Something is under way. What went wrong the last time, if anything.
    Wait { last: Option<ConnectError> },
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
    Running { task: AbortOnDropHandle<()>, before: Failures },
    Done { at: Instant },
    Failed { error: ConnectError, until: Instant, failures: u32 },
}

/// What went before another try.
#[derive(Default)]
struct Failures {
    count: u32,
    last: Option<ConnectError>,
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
        before: Failures,
    },
    /// `failures` went before, and are forgotten with the first call on it.
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
                Resolution::Running { before, .. } => Pick::Wait { last: before.last.clone() },
                _ => Pick::Wait { last: None },
            };
        }
        let first = self.next.fetch_add(1, Ordering::Relaxed) % slots.len();
        let mut connecting = false;
        let mut last = None;
        let mut failed: Option<(ConnectError, Instant)> = None;
        for index in 0..slots.len() {
            match slots[(first + index) % slots.len()].poke(self) {
                // The others have their turn, and with it their push, when they are first.
                Pick::Ready(connection) => return Pick::Ready(connection),
                Pick::Wait { last: known } => {
                    connecting = true;
                    last = known.or(last);
                }
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
            failed => Pick::Wait { last: last.or(failed.map(|(error, _)| error)) },
        }
    }

    fn resolve_if_needed(self: &Arc<Self>, state: &mut State) {
        let now = Instant::now();
        let before = match &state.resolution {
            Resolution::Never => Failures::default(),
            Resolution::Running { task, before } => {
                if !task.is_finished() {
                    return;
                }
                // It panicked, or its runtime is gone.
                let failures = before.count.saturating_add(1);
                let until = now + self.dialer.options.backoff.random_delay(failures);
                state.resolution = Resolution::Failed { error: self.broken(), until, failures };
                return;
            }
            Resolution::Failed { error, until, failures } if now >= *until => {
                Failures { count: *failures, last: Some(error.clone()) }
            }
            Resolution::Failed { .. } => return,
            Resolution::Done { at } => {
                let due = now.duration_since(*at) >= RESOLVE_AGAIN_AFTER;
                if !due || !self.signals.stale.load(Ordering::Relaxed) {
                    return;
                }
                Failures::default()
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
            let (resolver, name) = (Arc::clone(&dialer.options.resolver), host.clone());
            // It may be foreign code. In a task of its own, so that a panic is an answer too.
            let asking = tokio::spawn(async move { resolver.resolve(&name, port).await });
            let asking = AbortOnDropHandle::new(asking);
            let found = tokio::time::timeout(limit, asking)
                .await
                .map(|found| found.unwrap_or_else(|panic| Err(io::Error::other(panic))));
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
        state.resolution = Resolution::Running { task: AbortOnDropHandle::new(task), before };
    }

    fn broken(&self) -> ConnectError {
        self.dialer.error(
            ConnectErrorKind::Broken,
            "a task of the channel ended badly",
            "the log has the panic, if there was one; or its runtime is gone",
        )
    }

    fn resolved(&self, outcome: Result<Vec<Address>, ConnectError>) {
        let mut state = self.state.lock().expect("never poisoned");
        let failures = match &state.resolution {
            Resolution::Running { before, .. } => before.count,
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
        let groups: Vec<Vec<Address>> = match self.dialer.options.balancing {
            Balancing::PickFirst => vec![addresses],
            Balancing::RoundRobin => addresses.into_iter().map(|address| vec![address]).collect(),
        };
        let slot = |group: Vec<Address>| {
            let same = known.iter().find(|slot| slot.goes_on_with(&group));
            same.map_or_else(|| Slot::new(group.clone()), Arc::clone)
        };
        groups.into_iter().map(slot).collect()
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

    /// Takes these addresses over if they are its own in whatever order, as name servers give
    /// them, or if its connection goes to one of them.
    fn goes_on_with(&self, addresses: &[Address]) -> bool {
        let state = self.state.lock().expect("never poisoned");
        let is_connected = match &*state {
            SlotState::Ready { connection, .. } if connection.is_usable() => {
                addresses.iter().any(|address| address.to_string() == connection.address)
            }
            _ => false,
        };
        let mut own = self.addresses.lock().expect("never poisoned");
        let is_same = own.len() == addresses.len() && addresses.iter().all(|one| own.contains(one));
        if is_connected || is_same {
            *own = addresses.to_vec();
        }
        is_connected || is_same
    }

    /// What it has; an idle one, and a failed one whose time has come, begins to dial.
    fn poke(self: &Arc<Self>, pool: &Pool) -> Pick {
        let mut state = self.state.lock().expect("never poisoned");
        let before = match &*state {
            SlotState::Ready { connection, .. } if connection.is_usable() => {
                return Pick::Ready(Arc::clone(connection));
            }
            SlotState::Ready { connection, failures } if connection.ended_unused() => {
                // Greeted, and hung up on before there was a call. Once may be chance; but
                // dialling at once could go on like this for ever.
                let error = pool.dialer.closed_at_once().at(&connection.address);
                let failures = failures.saturating_add(1);
                let until = connection.made + pool.dialer.options.backoff.random_delay(failures);
                match Instant::now() < until {
                    true if failures > 1 => {
                        let failed = Pick::Failed { error: error.clone(), until };
                        *state = SlotState::Failed { error, until, failures };
                        return failed;
                    }
                    true => Failures { count: failures, last: Some(error) },
                    false => Failures::default(),
                }
            }
            SlotState::Connecting { task, before } if !task.is_finished() => {
                return Pick::Wait { last: before.last.clone() };
            }
            SlotState::Connecting { before, .. } => {
                // It panicked, or its runtime is gone.
                let (error, failures) = (pool.broken(), before.count.saturating_add(1));
                let until = Instant::now() + pool.dialer.options.backoff.random_delay(failures);
                *state = SlotState::Failed { error: error.clone(), until, failures };
                return Pick::Failed { error, until };
            }
            SlotState::Failed { error, until, .. } if Instant::now() < *until => {
                return Pick::Failed { error: error.clone(), until: *until };
            }
            SlotState::Failed { error, failures, .. } => {
                Failures { count: *failures, last: Some(error.clone()) }
            }
            SlotState::Ready { .. } | SlotState::Idle => Failures::default(),
        };
        let last = before.last.clone();
        let task = tokio::spawn(dial(
            Arc::downgrade(self),
            self.addresses.lock().expect("never poisoned").clone(),
            Arc::clone(&pool.dialer),
            News(Arc::clone(&pool.signals)),
        ));
        *state = SlotState::Connecting { task: AbortOnDropHandle::new(task), before };
        Pick::Wait { last }
    }

    /// How many went before the dial that is under way.
    fn failures(&self) -> u32 {
        match &*self.state.lock().expect("never poisoned") {
            SlotState::Connecting { before, .. } => before.count,
            _ => 0,
        }
    }

    fn dialled(&self, state: SlotState) {
        let mut current = self.state.lock().expect("never poisoned");
        // The task that is dropped here is the one that runs this, at its last step.
        if let SlotState::Connecting { task, .. } = std::mem::replace(&mut *current, state) {
            task.detach();
        }
    }
}

/// Dials for a slot, and then watches over the connection until it takes no new calls. Holds
/// the slot only weakly, so that a dropped pool ends it.
async fn dial(slot: Weak<Slot>, addresses: Vec<Address>, dialer: Arc<Dialer>, news: News) {
    let outcome = dialer.dial_any(&addresses).await;
    let Some(owner) = slot.upgrade() else { return };
    let driver = match outcome {
        Err(error) => {
            let failures = owner.failures().saturating_add(1);
            tracing::debug!(code = error.code(), %error, failures, "a connection was not made");
            let until = Instant::now() + dialer.options.backoff.random_delay(failures);
            news.0.stale.store(true, Ordering::Relaxed);
            owner.dialled(SlotState::Failed { error, until, failures });
            news.0.changed.send_replace(());
            return;
        }
        Ok((connection, driver)) => {
            let connection = Arc::new(connection);
            let watched = Arc::downgrade(&connection);
            owner.dialled(SlotState::Ready { connection, failures: owner.failures() });
            news.0.changed.send_replace(());
            (watched, driver)
        }
    };
    drop(owner);
    drop(dialer);
    let (connection, driver) = driver;
    driver.until_retired().await;
    news.0.stale.store(true, Ordering::Relaxed);
    if let (Some(slot), Some(connection)) = (slot.upgrade(), connection.upgrade()) {
        connection.retire();
        let mut state = slot.state.lock().expect("never poisoned");
        let is_current = |current: &Arc<Connection>| Arc::ptr_eq(current, &connection);
        let is_over =
            matches!(&*state, SlotState::Ready { connection, .. } if is_current(connection));
        if is_over && !connection.ended_unused() {
            *state = SlotState::Idle;
        }
    }
    news.0.changed.send_replace(());
}
