use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::HeaderValue;
use tokio::time::Instant;

use super::engine::Core;
use super::flight::{Flight, Landing, Outcome};
use super::held::{Began, Held, Standing};
use super::source::{FetchedToken, TokenRequest};
use super::telemetry::count;
use super::warm::Next;
use super::windows::Phase;
use super::{TokenError, TokenSource, backoff};
use crate::causes::chain;

/// A token is not given up for a server's word more often than this.
const BETWEEN_REJECTIONS: Duration = Duration::from_secs(30);

/// How often an input is looked at while a permanent failure is remembered.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// The token of one key, and what is being done about it.
#[derive(Debug, Default)]
pub(super) struct Slot {
    held: ArcSwapOption<Held>,
    control: Mutex<Control>,
}

/// What a caller is to do.
pub(super) enum Answer {
    Send(Arc<Held>),
    Wait(Landing),
    Fail(TokenError),
}

#[derive(Debug, Default)]
struct Control {
    flight: Option<Flight>,
    /// What the last fetch failed with, until one succeeds.
    failure: Option<TokenError>,
    /// Failures, or fetches that changed nothing, in a row.
    in_vain: u32,
    not_before: Option<Instant>,
    /// The one try inside the mandatory window that no back-off holds up was made.
    last_try_made: bool,
    looked_at: Option<Instant>,
    rejected_at: Option<Instant>,
}

impl Slot {
    /// The token, if nothing at all has to be done about it. Takes no lock, allocates nothing.
    pub(super) fn fresh<S: TokenSource + ?Sized>(&self, core: &Core<S>) -> Option<HeaderValue> {
        let held = self.held.load();
        let held = held.as_ref()?;
        (held.phase(&*core.clock) == Phase::Fresh).then(|| held.value().clone())
    }

    /// What a call has to do now; sets off a fetch if one is due.
    pub(super) fn ask<S: TokenSource + ?Sized>(
        self: &Arc<Self>,
        core: &Arc<Core<S>>,
        request: &TokenRequest,
    ) -> Answer {
        let mut control = self.control();
        let held = self.held.load_full();
        let phase = held.as_ref().map_or(Phase::Expired, |held| held.phase(&*core.clock));
        let wait = match (phase, &held) {
            (Phase::Fresh, Some(held)) => return Answer::Send(Arc::clone(held)),
            (Phase::Advisory, Some(_)) => false,
            _ => true,
        };
        if let Some(flight) = &control.flight {
            match (flight.landing(), held) {
                (Some(landing), _) if wait => return Answer::Wait(landing),
                (Some(_), Some(held)) => return Answer::Send(held),
                // Lost with its runtime, or in a panic.
                _ => self.lost(&mut control, core),
            }
        }
        let held = self.held.load_full();
        let last_try = phase == Phase::Mandatory && !control.last_try_made;
        if last_try || control.may_try(&core.source) {
            control.last_try_made |= phase == Phase::Mandatory;
            control.flight = Flight::launch(self, core, request);
            match (&control.flight, &held) {
                (Some(flight), _) if wait => {
                    if let Some(landing) = flight.landing() {
                        return Answer::Wait(landing);
                    }
                }
                (None, None) => {
                    return Answer::Fail(TokenError::transient(format!(
                        "{} cannot be asked outside of a tokio runtime",
                        core.name
                    )));
                }
                _ => {}
            }
        }
        match (held, phase) {
            (Some(held), Phase::Fresh | Phase::Advisory | Phase::Mandatory) => Answer::Send(held),
            _ => Answer::Fail(control.failure.clone().unwrap_or_else(|| cut_off(core.name))),
        }
    }

    /// Sets off a fetch if one is due, and says when to look again.
    pub(super) fn look<S: TokenSource + ?Sized>(
        self: &Arc<Self>,
        core: &Arc<Core<S>>,
        request: &TokenRequest,
    ) -> Next {
        if let Answer::Wait(landing) = self.ask(core, request) {
            return Next::Landing(landing);
        }
        let control = self.control();
        if let Some(landing) = control.flight.as_ref().and_then(Flight::landing) {
            return Next::Landing(landing);
        }
        let phase = self.held.load().as_ref().map(|held| held.phase_lasts(&*core.clock));
        let phase = phase.filter(|phase| !phase.is_zero());
        let next = match (phase, control.rest()) {
            (Some(phase), Some(rest)) => phase.min(rest),
            (one, other) => one.or(other).unwrap_or_default(),
        };
        Next::after(next)
    }

    /// How long the source is left alone for now.
    pub(super) fn rest(&self) -> Option<Duration> {
        self.control().rest()
    }

    /// The token, while it lasts: what a call falls back on when a fetch failed.
    pub(super) fn lasting<S: TokenSource + ?Sized>(&self, core: &Core<S>) -> Option<Arc<Held>> {
        self.held.load_full().filter(|held| held.phase(&*core.clock) != Phase::Expired)
    }

    /// Takes in what a fetch came to.
    pub(super) fn land<S: TokenSource + ?Sized>(
        &self,
        core: &Core<S>,
        began: Began,
        answer: Result<FetchedToken, TokenError>,
    ) -> Outcome {
        let now = Began::now(&*core.clock);
        core.counters.took(now.at.duration_since(began.at));
        let judged = answer
            .and_then(|fetched| Held::judge(&fetched, began, now, &core.windows).map(Arc::new));
        let mut control = self.control();
        control.flight = None;
        let lasting = self.lasting(core);
        match judged {
            Ok(held) => match lasting.filter(|old| held.is_no_newer_than(old)) {
                Some(old) => {
                    count(&core.counters.unchanged);
                    control.failure = None;
                    let delay = backoff::delay(control.in_vain.saturating_add(1));
                    // Not beyond its end: the source is there, and may have another by then.
                    let left = old.left(&*core.clock).unwrap_or(delay);
                    control.hold_off(delay.min(left), now.at);
                    // It is all that there is to be had, whatever a server said.
                    old.set_standing(Standing::Good);
                    tracing::debug!(
                        source = core.name, token = %old.name(), "the source has no newer token"
                    );
                    Ok(old)
                }
                None => {
                    count(&core.counters.refreshed);
                    let ended = control.failure.is_some();
                    if let Some(withheld) = ended.then(|| core.warnings.allow()).flatten() {
                        tracing::info!(source = core.name, withheld, "tokens are to be had again");
                    }
                    tracing::debug!(source = core.name, token = %held.name(), "a new token");
                    control.arrived();
                    self.held.store(Some(Arc::clone(&held)));
                    Ok(held)
                }
            },
            Err(error) => {
                self.failed(&mut control, core, &error, lasting.as_deref(), now.at);
                Err(error)
            }
        }
    }

    /// A fetch whose task is gone.
    fn lost<S: TokenSource + ?Sized>(&self, control: &mut Control, core: &Core<S>) {
        control.flight = None;
        let lasting = self.lasting(core);
        self.failed(control, core, &cut_off(core.name), lasting.as_deref(), Instant::now());
    }

    /// Notes a fetch whose task is gone, for somebody who waited for it.
    pub(super) fn note_loss<S: TokenSource + ?Sized>(&self, core: &Core<S>) -> TokenError {
        let mut control = self.control();
        if control.flight.as_ref().is_some_and(|flight| flight.landing().is_none()) {
            self.lost(&mut control, core);
        }
        control.failure.clone().unwrap_or_else(|| cut_off(core.name))
    }

    fn failed<S: TokenSource + ?Sized>(
        &self,
        control: &mut Control,
        core: &Core<S>,
        error: &TokenError,
        lasting: Option<&Held>,
        now: Instant,
    ) {
        if control.failure.is_none() {
            // Until now the source answered, if only with what was known already.
            control.in_vain = 0;
        }
        if let Some(held) = lasting.filter(|held| held.standing() == Standing::Rejected) {
            held.set_standing(Standing::RejectedInVain);
            // That try was for the server's word. The one before the end is still to come.
            control.last_try_made = false;
        }
        let in_vain = control.in_vain.saturating_add(1);
        let delay = match error.is_transient() {
            true => {
                count(&core.counters.failed_transiently);
                let asked = error.retry_after().unwrap_or_default().min(backoff::MOST);
                backoff::delay(in_vain).max(asked)
            }
            false => {
                count(&core.counters.failed_permanently);
                backoff::PERMANENT
            }
        };
        let first = control.failure.replace(error.clone()).is_none();
        control.hold_off(delay, now);
        let (source, error, delay) = (core.name, chain(error), delay.as_millis());
        match (first, first.then(|| core.warnings.allow()).flatten(), lasting.is_some()) {
            (true, Some(withheld), true) => tracing::warn!(
                source,
                error,
                delay,
                withheld,
                "no new token; the last one still holds"
            ),
            (true, Some(withheld), false) => {
                tracing::warn!(source, error, delay, withheld, "no token");
            }
            (true, None, _) => tracing::debug!(source, error, delay, "no token"),
            (false, _, _) => tracing::debug!(source, error, delay, "again no token"),
        }
    }

    /// A server did not accept this value. Says whether another one is worth waiting for.
    pub(super) fn reject<S: TokenSource + ?Sized>(
        &self,
        core: &Core<S>,
        sent: &HeaderValue,
    ) -> bool {
        let mut control = self.control();
        let Some(held) = self.held.load_full() else { return true };
        if held.value() != sent {
            // It was replaced while the call was under way: the next one is another already.
            return true;
        }
        match held.standing() {
            Standing::Good => {}
            // Somebody was here before; a new one is on its way, or about to be asked for.
            Standing::Rejected => return control.flight.is_some() || !control.last_try_made,
            Standing::RejectedInVain => return false,
        }
        let now = Instant::now();
        if control.rejected_at.is_some_and(|at| now < at + BETWEEN_REJECTIONS) {
            return false;
        }
        control.rejected_at = Some(now);
        // This one try is not held up; those after it are, as ever.
        control.last_try_made = false;
        held.set_standing(Standing::Rejected);
        count(&core.counters.rejected);
        if let Some(withheld) = core.warnings.allow() {
            tracing::info!(
                source = core.name, token = %held.name(), withheld, "a server rejected the token"
            );
        }
        true
    }

    pub(super) fn time_to_expiry<S: TokenSource + ?Sized>(
        &self,
        core: &Core<S>,
    ) -> Option<Duration> {
        self.held.load().as_ref()?.left(&*core.clock)
    }

    fn control(&self) -> MutexGuard<'_, Control> {
        // Nothing in there is left half done by a panic.
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Control {
    fn may_try<S: TokenSource + ?Sized>(&mut self, source: &S) -> bool {
        let now = Instant::now();
        if self.not_before.is_none_or(|at| now >= at) {
            return true;
        }
        let permanent = self.failure.as_ref().is_some_and(|failure| !failure.is_transient());
        if !permanent || self.looked_at.is_some_and(|at| now < at + BETWEEN_LOOKS) {
            return false;
        }
        self.looked_at = Some(now);
        source.has_changed()
    }

    /// What is left of the back-off.
    fn rest(&self) -> Option<Duration> {
        let left = self.not_before?.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    fn hold_off(&mut self, delay: Duration, now: Instant) {
        self.in_vain = self.in_vain.saturating_add(1);
        self.not_before = Some(now + delay);
        self.looked_at = Some(now);
    }

    fn arrived(&mut self) {
        let rejected_at = self.rejected_at;
        *self = Self { rejected_at, ..Self::default() };
    }
}

fn cut_off(name: &str) -> TokenError {
    TokenError::transient(format!("the last fetch from {name} was cut off"))
}
