use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use http::{HeaderValue, Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::body::GateBody;
use super::context::AuthContext;
use super::decision::{Call, Decision};
use super::denial;
use super::layer::Inner;
use super::metering::Flow;
use super::watch::Watch;
use crate::audit::AuditEvent;
use crate::authentication::Carried;
use crate::identity::PeerIdentity;
use crate::transport::server::{ConnectionInfo, connection_info};

/// The service of [`Gate`](super::Gate).
#[derive(Clone)]
pub struct GateService<S> {
    gate: Arc<Inner>,
    inner: S,
}

impl<S> GateService<S> {
    pub(super) fn new(gate: Arc<Inner>, inner: S) -> Self {
        Self { gate, inner }
    }
}

impl<S: fmt::Debug> fmt::Debug for GateService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GateService").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for GateService<S>
where
    S: Service<Request<GateBody<ReqBody>>, Response = Response<ResBody>> + Clone + Send + 'static,
    S::Future: Send,
    ReqBody: Send + 'static,
{
    type Response = Response<GateBody<ResBody>>;
    type Error = S::Error;
    type Future = GateFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let unknown;
        let info = connection_info(request.extensions()).cloned();
        let call = Call {
            uri: request.uri(),
            headers: request.headers(),
            peer: match &info {
                Some(info) => info.peer(),
                None => {
                    unknown = PeerIdentity::unknown();
                    &unknown
                }
            },
            memory: info.as_ref().map(ConnectionInfo::memory),
            began: self.gate.began(),
        };
        let decided = self.gate.decide_now(call).map(|it| self.gate.settled_now(call, it));
        let state = match decided {
            Some(Ok((Decision::Pass(context, carried), flow, record))) => {
                let pass = Pass { context, carried, info, flow, record, nonce: None };
                pass.enter(&self.gate, &mut self.inner, request)
            }
            Some(Ok((Decision::Refused(refusal), ..))) => {
                State::refused(self.gate.refuse(call, &refusal))
            }
            Some(Ok((Decision::NotCanonical, ..))) => {
                State::refused(denial::not_canonical(call.headers))
            }
            undecided => {
                // The clone that was polled ready is the one to call.
                let clone = self.inner.clone();
                let inner = std::mem::replace(&mut self.inner, clone);
                let so_far = SoFar {
                    began: call.began,
                    decision: undecided.and_then(|metered| metered.err()),
                };
                let future = Box::pin(wait(Arc::clone(&self.gate), inner, request, so_far));
                State::Deciding { future }
            }
        };
        GateFuture { state }
    }
}

impl Inner {
    /// Counts a decision and puts it on record, in this order: what a quota refuses is on record
    /// as refused. `Err`: a store has to be asked first.
    #[inline]
    fn settled_now(&self, call: Call<'_>, decision: Decision) -> Result<Settled, Decision> {
        self.metered_now(call, decision).map(|metered| self.recorded(call, metered))
    }

    /// The same, and asks the store.
    async fn settled_by_store(&self, call: Call<'_>, decision: Decision) -> Settled {
        self.recorded(call, self.metered_by_store(call, decision).await)
    }

    #[inline]
    fn recorded(&self, call: Call<'_>, (decision, flow): (Decision, Option<Box<Flow>>)) -> Settled {
        let (decision, record) = self.audited(call, decision);
        (decision, flow, record)
    }
}

/// A decision that is counted and on record; the record is of a call that passes.
type Settled = (Decision, Option<Box<Flow>>, Option<Arc<AuditEvent>>);

/// What a call that was let pass takes along.
struct Pass {
    context: AuthContext,
    carried: Carried,
    /// The connection that it came by, where that is known.
    info: Option<ConnectionInfo>,
    flow: Option<Box<Flow>>,
    /// The decision, where it is on record.
    record: Option<Arc<AuditEvent>>,
    nonce: Option<Box<HeaderValue>>,
}

impl Pass {
    /// Hands the call on to whom it is for.
    #[inline]
    fn enter<S, ReqBody>(
        self,
        gate: &Arc<Inner>,
        inner: &mut S,
        mut request: Request<ReqBody>,
    ) -> State<S::Future>
    where
        S: Service<Request<GateBody<ReqBody>>>,
    {
        let watching = Watch::of(gate, &request, &self.context, self.record);
        // A credential that somebody reads never reaches a handler.
        let credential = self.carried.take(request.headers_mut());
        gate.admit(request.extensions_mut(), self.info.as_ref(), self.context);
        let watch = watching.map(|it| it.start(gate, request.uri(), self.info, credential));
        let (from_caller, to_caller) = watch.unzip();
        let of_request = self.flow.as_ref().and_then(|flow| flow.of_request());
        let future =
            inner.call(request.map(|body| GateBody::request(body, from_caller, of_request)));
        State::Inner { future, watch: to_caller, flow: self.flow, nonce: self.nonce }
    }
}

/// What is known of a call that has to wait.
struct SoFar {
    began: Option<Instant>,
    /// `None`: an authenticator has to wait. Else a store of quotas has to be asked.
    decision: Option<Decision>,
}

/// Decides where an authenticator has to wait, or a store of quotas has to be asked.
async fn wait<S, ReqBody>(
    gate: Arc<Inner>,
    mut inner: S,
    request: Request<ReqBody>,
    so_far: SoFar,
) -> State<S::Future>
where
    S: Service<Request<GateBody<ReqBody>>>,
{
    // Parts and not the request: a body need not be shared between threads.
    let (parts, body) = request.into_parts();
    let info = connection_info(&parts.extensions).cloned();
    let peer = info.as_ref().map_or_else(PeerIdentity::unknown, |info| info.peer().clone());
    let call = Call {
        uri: &parts.uri,
        headers: &parts.headers,
        peer: &peer,
        memory: info.as_ref().map(ConnectionInfo::memory),
        began: so_far.began,
    };
    let decision = match so_far.decision {
        Some(decision) => decision,
        None => gate.decide(call).await,
    };
    match gate.settled_by_store(call, decision).await {
        (Decision::Pass(context, carried), flow, record) => {
            // A proof counts once, so it is never judged without a wait.
            let nonce = context.next_nonce().and_then(|nonce| nonce.parse().ok()).map(Box::new);
            let pass = Pass { context, carried, info, flow, record, nonce };
            pass.enter(&gate, &mut inner, Request::from_parts(parts, body))
        }
        (Decision::Refused(refusal), ..) => State::refused(gate.refuse(call, &refusal)),
        (Decision::NotCanonical, ..) => State::refused(denial::not_canonical(call.headers)),
    }
}

pin_project! {
    /// The future of [`GateService`].
    pub struct GateFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<F> {
        Inner {
            #[pin]
            future: F,
            watch: Option<Watch>,
            flow: Option<Box<Flow>>,
            nonce: Option<Box<HeaderValue>>,
        },
        Deciding { future: Pin<Box<dyn Future<Output = State<F>> + Send>> },
        Refused { response: Option<Box<Response<()>>> },
    }
}

impl<F> State<F> {
    fn refused(response: Response<()>) -> Self {
        Self::Refused { response: Some(Box::new(response)) }
    }
}

impl<F, B, E> Future for GateFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<GateBody<B>>, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let mut this = self.as_mut().project();
            let next = match this.state.as_mut().project() {
                StateProjection::Inner { future, watch, flow, nonce } => {
                    if let Poll::Ready(outcome) = future.poll(cx) {
                        let (watch, mut flow, nonce) = (watch.take(), flow.take(), nonce.take());
                        return Poll::Ready(outcome.map(|mut response| {
                            if let Some(flow) = &mut flow {
                                flow.announce(response.headers_mut());
                            }
                            if let Some(nonce) = nonce {
                                response.headers_mut().insert(denial::DPOP_NONCE, *nonce);
                            }
                            response.map(|body| GateBody::response(body, watch, flow))
                        }));
                    }
                    // A handler that reads and reads, and has not answered yet.
                    let Some(watch) = watch else { return Poll::Pending };
                    let over = std::task::ready!(watch.poll(cx, true));
                    let denials = &watch.gate().denials;
                    State::refused(denials.late_response(&over.refusal, over.decision))
                }
                StateProjection::Refused { response } => {
                    let response = response.take().expect("polled once after it was ready");
                    return Poll::Ready(Ok(response.map(|()| GateBody::empty())));
                }
                StateProjection::Deciding { future } => std::task::ready!(future.as_mut().poll(cx)),
            };
            this.state.set(next);
        }
    }
}

impl<F> fmt::Debug for GateFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GateFuture")
    }
}
