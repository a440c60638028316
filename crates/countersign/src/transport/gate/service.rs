use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::decision::{Call, Decision};
use super::denial;
use super::layer::Inner;
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
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
    S::Future: Send,
    ReqBody: Send + 'static,
    ResBody: Default + 'static,
{
    type Response = Response<ResBody>;
    type Error = S::Error;
    type Future = GateFuture<S::Future, ResBody, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let unknown;
        let info = connection_info(request.extensions());
        let call = Call {
            uri: request.uri(),
            headers: request.headers(),
            peer: match info {
                Some(info) => info.peer(),
                None => {
                    unknown = PeerIdentity::unknown();
                    &unknown
                }
            },
            memory: info.map(ConnectionInfo::memory),
        };
        match self.gate.decide_now(call) {
            Some(Decision::Pass(context)) => {
                self.gate.admit(&mut request, context);
                GateFuture { state: State::Inner { future: self.inner.call(request) } }
            }
            Some(Decision::Refused(refusal)) => {
                GateFuture::refused(self.gate.refuse(call, &refusal))
            }
            Some(Decision::NotCanonical) => {
                GateFuture::refused(denial::not_canonical(call.headers))
            }
            None => {
                // The clone that was polled ready is the one to call.
                let clone = self.inner.clone();
                let inner = std::mem::replace(&mut self.inner, clone);
                let future = Box::pin(wait(Arc::clone(&self.gate), inner, request));
                GateFuture { state: State::Deciding { future } }
            }
        }
    }
}

/// Decides where an authenticator has to wait.
async fn wait<S, ReqBody, ResBody>(
    gate: Arc<Inner>,
    mut inner: S,
    request: Request<ReqBody>,
) -> Result<S::Future, Response<ResBody>>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Default,
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
    };
    match gate.decide(call).await {
        Decision::Pass(context) => {
            let mut request = Request::from_parts(parts, body);
            gate.admit(&mut request, context);
            Ok(inner.call(request))
        }
        Decision::Refused(refusal) => Err(gate.refuse(call, &refusal)),
        Decision::NotCanonical => Err(denial::not_canonical(call.headers)),
    }
}

pin_project! {
    /// The future of [`GateService`].
    pub struct GateFuture<F, B, E> {
        #[pin]
        state: State<F, B, E>,
    }
}

type Deciding<F, B> = Pin<Box<dyn Future<Output = Result<F, Response<B>>> + Send>>;

pin_project! {
    #[project = StateProjection]
    enum State<F, B, E> {
        Inner { #[pin] future: F },
        Deciding { future: Deciding<F, B> },
        Refused { response: Option<Response<B>>, error: std::marker::PhantomData<fn() -> E> },
    }
}

impl<F, B, E> GateFuture<F, B, E> {
    fn refused(response: Response<B>) -> Self {
        let error = std::marker::PhantomData;
        Self { state: State::Refused { response: Some(response), error } }
    }
}

impl<F, B, E> Future for GateFuture<F, B, E>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<B>, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let mut this = self.as_mut().project();
            let next = match this.state.as_mut().project() {
                StateProjection::Inner { future } => return future.poll(cx),
                StateProjection::Refused { response, .. } => {
                    let response = response.take().expect("polled once after it was ready");
                    return Poll::Ready(Ok(response));
                }
                StateProjection::Deciding { future } => {
                    match std::task::ready!(future.as_mut().poll(cx)) {
                        Ok(future) => State::Inner { future },
                        Err(response) => return Poll::Ready(Ok(response)),
                    }
                }
            };
            this.state.set(next);
        }
    }
}

impl<F, B, E> fmt::Debug for GateFuture<F, B, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GateFuture")
    }
}
