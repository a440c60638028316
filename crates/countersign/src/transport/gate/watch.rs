//! A call that goes on must not outlive what proved its caller, nor the policy that let it in.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use http::uri::Uri;
use http::{HeaderMap, HeaderValue, Request};
use tokio::time::{Instant, Sleep};

use super::audit::{BeganAs, Ongoing};
use super::authorizer::Question;
use super::context::AuthContext;
use super::decision::Refusal;
use super::denial::DecisionId;
use super::layer::Inner;
use super::watching::StreamExpiry;
use crate::audit::{AuditEvent, CallIds};
use crate::authentication::{Authenticated, CallTarget, Carrier, Lease, Presented, Reason};
use crate::authorization::Permit;
use crate::identity::{MethodPath, PeerIdentity};
use crate::transport::server::ConnectionInfo;

/// One call that goes on, as both of its halves know it.
struct Watched {
    gate: Arc<Inner>,
    uri: Uri,
    /// The connection that it came by, where that is known.
    info: Option<ConnectionInfo>,
    context: AuthContext,
    /// As it was sent, where it may have to be looked at again. Gone with the call.
    credential: Option<(Carrier, HeaderValue)>,
    /// Where a policy may have to be asked again.
    headers: Option<Box<HeaderMap>>,
    /// For the record of its end, where there is an audit.
    began_as: Option<BeganAs>,
    is_over: AtomicBool,
    state: Mutex<State>,
}

struct State {
    /// Those of the last look at the credential; before it, those whom the call began with.
    callers: Option<Arc<[Authenticated]>>,
    /// Which of the policies that followed each other let it pass.
    generation: u64,
    /// When the first of them ends; `None` also when nothing happens then.
    ends: Option<SystemTime>,
    warns: bool,
    over: Option<Arc<Over>>,
    /// Since when somebody looks at the credential again. A half that nobody asks any more, such as
    /// the response to a peer that takes nothing, gets no further with it.
    checking: Option<Instant>,
    /// The credential is not looked at again before, whatever an authenticator makes of leases:
    /// most calls are over by then. Counted from the first time that somebody waits.
    not_before: Option<Instant>,
    /// How often in a row nobody could tell.
    doubts: u32,
    /// How many looks at the credential came to count.
    concluded: u32,
    wakers: [Option<Waker>; 2],
}

/// Why a call ended, told to both sides under one name.
pub(super) struct Over {
    pub(super) refusal: Box<Refusal>,
    pub(super) decision: DecisionId,
}

/// Which half of a call.
#[derive(Clone, Copy)]
enum Half {
    Request,
    Response,
}

type Check = Pin<Box<dyn Future<Output = Result<Arc<[Authenticated]>, Box<Refusal>>> + Send>>;

/// A look at the credential, and how many had come to count when it began.
struct Begun {
    after: u32,
    check: Check,
}

/// One half's view of a call that goes on.
///
/// Small, since every call has room for two of them; what few calls need is behind a pointer.
pub(super) struct Watch {
    watched: Arc<Watched>,
    half: Half,
    timer: Option<Pin<Box<Sleep>>>,
    check: Option<Box<Begun>>,
}

/// How a call that begins is to be watched.
pub(super) struct ToWatch {
    context: AuthContext,
    warns: bool,
    /// What it came with, where a policy may have to be asked again.
    headers: Option<Box<HeaderMap>>,
    began_as: Option<BeganAs>,
}

impl Watch {
    /// How often in a row nobody may be able to tell whether a credential still holds.
    const MAX_DOUBT: u32 = 10;

    /// How a call is to be watched, which still has its whole metadata; `None` where nothing can
    /// end it.
    #[inline]
    pub(super) fn of<B>(
        gate: &Inner,
        call: &Request<B>,
        context: &AuthContext,
        record: Option<Arc<AuditEvent>>,
    ) -> Option<ToWatch> {
        if !context.may_end() && gate.authorizer.generation().is_none() {
            return None;
        }
        let mode = gate.watching.mode(call.uri().path());
        let warns = mode == StreamExpiry::Warn;
        (mode != StreamExpiry::Ignore).then(|| ToWatch {
            context: context.clone(),
            warns,
            headers: gate.authorizer.keep(call.headers()),
            began_as: gate.audit.as_ref().map(|_| match record {
                Some(event) => BeganAs::OnRecord(event),
                None => BeganAs::Unrecorded(Box::new(CallIds::of(call.headers()))),
            }),
        })
    }

    pub(super) fn gate(&self) -> &Inner {
        &self.watched.gate
    }

    /// Looks whether the call is over. Where `idle`, arranges to be woken when it may be.
    #[inline]
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, idle: bool) -> Poll<Arc<Over>> {
        if !idle && self.check.is_none() && self.watched.is_as_it_began() {
            return Poll::Pending;
        }
        self.look(cx, idle)
    }

    /// The same, and takes the lock.
    #[inline(never)]
    fn look(&mut self, cx: &mut Context<'_>, idle: bool) -> Poll<Arc<Over>> {
        loop {
            let begin = match self.watched.look() {
                Look::Over(over) => return Poll::Ready(over),
                Look::Holds => false,
                Look::Doubtful => self.check.is_none(),
            };
            if begin && let Some(after) = self.watched.claim() {
                let check = Box::pin(check(Arc::clone(&self.watched)));
                self.check = Some(Box::new(Begun { after, check }));
            }
            if let Some(begun) = &mut self.check
                && let Poll::Ready(verdict) = begun.check.as_mut().poll(cx)
            {
                let after = begun.after;
                self.check = None;
                self.watched.conclude(after, verdict);
                continue;
            }
            if !idle {
                return Poll::Pending;
            }
            let wait = self.watched.wait(self.half, cx);
            let timer = match &mut self.timer {
                Some(timer) => timer,
                None => self.timer.insert(Box::pin(tokio::time::sleep(wait))),
            };
            std::task::ready!(timer.as_mut().poll(cx));
            // The wall clock decides, and it may have been set back.
            let wait = self.watched.wait(self.half, cx).max(Duration::from_millis(1));
            timer.as_mut().reset(Instant::now() + wait);
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if self.check.is_some() {
            // The other half looks for itself.
            let mut state = self.watched.lock();
            state.checking = None;
            state.wake();
        }
    }
}

impl ToWatch {
    /// Both halves' views of a call. The credential is what was taken out of its metadata.
    pub(super) fn start(
        self,
        gate: &Arc<Inner>,
        uri: &Uri,
        info: Option<ConnectionInfo>,
        credential: Option<(Carrier, HeaderValue)>,
    ) -> (Watch, Watch) {
        let context = self.context;
        let state = State {
            ends: context.ends(),
            callers: None,
            generation: context.generation(),
            warns: self.warns,
            over: None,
            checking: None,
            not_before: None,
            doubts: 0,
            concluded: 0,
            wakers: [None, None],
        };
        let watched = Arc::new(Watched {
            gate: Arc::clone(gate),
            uri: uri.clone(),
            info,
            credential: credential.filter(|_| may_end(context.callers())),
            context,
            headers: self.headers,
            began_as: self.began_as,
            is_over: AtomicBool::new(false),
            state: Mutex::new(state),
        });
        let half = |watched, half| Watch { watched, half, timer: None, check: None };
        let request = half(Arc::clone(&watched), Half::Request);
        (request, half(watched, Half::Response))
    }
}

enum Look {
    Holds,
    Over(Arc<Over>),
    /// What proved the caller has to be looked at again.
    Doubtful,
}

impl Watched {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nothing has happened since the call began. Every frame asks, so without the lock.
    #[inline]
    fn is_as_it_began(&self) -> bool {
        let generation = self.gate.authorizer.generation();
        !self.is_over.load(Ordering::Acquire)
            && generation.is_none_or(|now| now == self.context.generation())
            && self.context.holds(|| self.gate.clock.now())
    }

    fn peer(&self) -> PeerIdentity {
        self.info.as_ref().map_or_else(PeerIdentity::unknown, |info| info.peer().clone())
    }

    fn look(&self) -> Look {
        let mut state = self.lock();
        if let Some(over) = &state.over {
            return Look::Over(Arc::clone(over));
        }
        if let Some(refusal) = self.denied_by_now(&mut state) {
            return Look::Over(self.end(&mut state, refusal));
        }
        let now = self.gate.clock.now();
        if state.ends.is_some_and(|end| now >= end) {
            if !state.warns {
                let detail = "the credential of a call that goes on has ended";
                let refusal = Refusal::new(Reason::TokenExpired, detail);
                return Look::Over(self.end(&mut state, Box::new(refusal)));
            }
            state.ends = None;
            self.warn();
        }
        let holds = |one: &Authenticated| one.lease_of_call().is_none_or(|lease| lease.holds(now));
        let every = self.gate.watching.every;
        let not_before = *state.not_before.get_or_insert_with(|| Instant::now() + every);
        match self.callers(&state).iter().all(holds) || Instant::now() < not_before {
            true => Look::Holds,
            false => Look::Doubtful,
        }
    }

    /// What another policy says, if there is one since.
    fn denied_by_now(&self, state: &mut State) -> Option<Box<Refusal>> {
        let generation = self.gate.authorizer.generation()?;
        if std::mem::replace(&mut state.generation, generation) == generation {
            return None;
        }
        self.permit(self.callers(state))?.err()
    }

    fn callers<'a>(&'a self, state: &'a State) -> &'a [Authenticated] {
        state.callers.as_deref().unwrap_or(self.context.callers())
    }

    /// Whether the call might come now, with these callers; `None` without a rule.
    fn permit(&self, callers: &[Authenticated]) -> Option<Result<Permit, Box<Refusal>>> {
        let none = HeaderMap::new();
        let path = MethodPath::parse(self.uri.path()).ok()?;
        let headers = self.headers.as_deref().unwrap_or(&none);
        let question = Question { path, headers, peer: &self.peer() };
        self.gate.permit_again(question, self.headers.is_some(), callers)
    }

    /// Whether it is the caller's turn to look at the credential again: nobody does, or the other
    /// half has not come to an end with it in the time in which there is a look. If so, how many
    /// looks have come to count.
    fn claim(&self) -> Option<u32> {
        let now = Instant::now();
        let mut state = self.lock();
        let is_taken = state.checking.is_some_and(|since| now - since < self.gate.watching.every);
        if is_taken {
            return None;
        }
        state.checking = Some(now);
        Some(state.concluded)
    }

    /// What a look found that began after so many had come to count. It does too if none has since:
    /// two that go on at once are one doubt, and an older answer never takes the place of a newer.
    fn conclude(&self, after: u32, verdict: Result<Arc<[Authenticated]>, Box<Refusal>>) {
        let mut state = self.lock();
        if state.over.is_some() || state.concluded != after {
            // The other half was faster.
            return;
        }
        state.checking = None;
        state.concluded = state.concluded.wrapping_add(1);
        state.not_before = Some(Instant::now() + self.gate.watching.every);
        match verdict {
            Ok(callers) => {
                if state.ends.is_some() || !state.warns {
                    state.ends = end_of(&callers);
                }
                state.callers = Some(callers);
                state.doubts = 0;
            }
            Err(refusal) => {
                state.doubts += 1;
                let unknown = refusal.reason == Reason::VerifierUnavailable;
                if !unknown || state.doubts > Watch::MAX_DOUBT {
                    self.end(&mut state, refusal);
                }
            }
        }
        state.wake();
    }

    /// Ends the call for both halves, and tells the operator once.
    fn end(&self, state: &mut State, mut refusal: Box<Refusal>) -> Arc<Over> {
        // The one that ends it, or else the one that let it pass; and never a rule of the one
        // policy with the name of the other.
        if refusal.policy.is_none() && refusal.reason != Reason::PolicyDenied {
            refusal.rule.get_or_insert_with(|| Arc::clone(self.context.shared_rule()));
            refusal.policy = self.context.policy().cloned();
        }
        refusal.caller = self.context.caller().map(|caller| caller.principal().clone());
        let decision = self.gate.decisions.next();
        let (uri, peer) = (&self.uri, &self.peer());
        self.gate.tell_ended(uri, peer, &refusal, decision);
        if let Some(began_as) = &self.began_as {
            self.gate.record_end(&Ongoing { uri, peer, began_as }, &refusal, decision);
        }
        let over = Arc::new(Over { refusal, decision });
        state.over = Some(Arc::clone(&over));
        self.is_over.store(true, Ordering::Release);
        state.wake();
        over
    }

    fn warn(&self) {
        let caller = self.context.caller().map(|caller| caller.principal());
        tracing::warn!(
            method = %super::denial::shortened(self.uri.path()),
            peer = %self.peer().address(),
            caller = caller.map(|caller| super::denial::shortened(caller.name())),
            "a stream goes on after its credential has ended"
        );
    }

    /// How long until there may be something to see.
    fn wait(&self, half: Half, cx: &mut Context<'_>) -> Duration {
        let mut state = self.lock();
        let waker = &mut state.wakers[half as usize];
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        if state.over.is_some() {
            // The other half ended it before this one could be woken.
            cx.waker().wake_by_ref();
        }
        let every = self.gate.watching.every;
        let left = state.ends.map(|end| end.duration_since(self.gate.clock.now()));
        // A timer has milliseconds: rounded up, or it would wake too early.
        left.map_or(every, |left| left.unwrap_or_default() + Duration::from_millis(1)).min(every)
    }
}

impl State {
    fn wake(&mut self) {
        self.wakers.iter_mut().filter_map(Option::take).for_each(Waker::wake);
    }
}

fn may_end(callers: &[Authenticated]) -> bool {
    callers.iter().any(|caller| caller.lease_of_call().is_some_and(Lease::may_end))
}

fn end_of(callers: &[Authenticated]) -> Option<SystemTime> {
    callers.iter().filter_map(Authenticated::expires_at).min()
}

/// Looks at the credential again, as if the call came now.
async fn check(watched: Arc<Watched>) -> Result<Arc<[Authenticated]>, Box<Refusal>> {
    let gate = &watched.gate;
    let credential = watched.credential.as_ref().map(|(carrier, value)| (*carrier, value));
    let peer = watched.peer();
    let evidence = Presented::again(credential).evidence(&peer);
    let mut evidence = evidence.map_err(Refusal::malformed)?.looked_at_again();
    let path = MethodPath::parse(watched.uri.path()).ok();
    if let Some(path) = path {
        // Proofs alone ask for the authority, and theirs was looked at.
        let authority = watched.uri.authority().map_or("", http::uri::Authority::as_str);
        evidence = evidence.for_call(CallTarget { authority, path });
    }
    let callers = gate.judge(&evidence).await.callers();
    let callers: Arc<[_]> = callers.map_err(|error| Refusal::evidence(&error))?.into();
    let gone = |detail| Box::new(Refusal::new(Reason::CredentialsRevoked, detail));
    let permit = watched.permit(&callers).and_then(Result::ok);
    let permit = permit.ok_or_else(|| gone("the credential proves too little by now"))?;
    let principal = |caller: Option<&Authenticated>| caller.map(|it| it.principal().clone());
    match principal(permit.caller()) == principal(watched.context.caller()) {
        true => Ok(callers),
        false => Err(gone("the credential proves somebody else by now")),
    }
}
