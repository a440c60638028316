//! Handlers behind a gate whose streams stay open: one that a test speaks for, and a silent one.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::convert::Infallible;
use std::future::{Future, Ready, pending, ready};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use countersign::GateBody;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::StreamBody;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::body::Body;
use tower_service::Service;

/// What a handler's response may still say; closed once nobody listens.
pub(crate) type Frames = mpsc::UnboundedSender<Result<Frame<Bytes>, Infallible>>;
pub(crate) type Reply = StreamBody<UnboundedReceiverStream<Result<Frame<Bytes>, Infallible>>>;

/// A call, as its handler has it.
pub(crate) type Taken = (GateBody<Body>, Frames);

/// Gives the test what a handler has: the request's body, and a way to say something.
#[derive(Clone, Default)]
pub(crate) struct Handler {
    calls: Arc<Mutex<Vec<Taken>>>,
    is_silent: bool,
}

impl Handler {
    /// One that does not even begin to answer.
    pub(crate) fn silent() -> Self {
        Self { is_silent: true, ..Self::default() }
    }

    /// The last call that was let in and not yet taken.
    pub(crate) fn take(&self) -> Taken {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.pop().expect("a call was let in")
    }
}

impl Service<Request<GateBody<Body>>> for Handler {
    type Response = Response<Reply>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Reply>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<GateBody<Body>>) -> Self::Future {
        let (sender, frames) = mpsc::unbounded_channel();
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.push((request.into_body(), sender));
        let response = Response::new(StreamBody::new(UnboundedReceiverStream::new(frames)));
        match self.is_silent {
            true => Box::pin(pending()),
            false => Box::pin(ready(Ok(response))),
        }
    }
}

/// Lets go of the request, and answers with a stream that never says anything.
#[derive(Clone)]
pub(crate) struct Endless;

impl Service<Request<GateBody<Body>>> for Endless {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: Request<GateBody<Body>>) -> Self::Future {
        ready(Ok(Response::new(endless())))
    }
}

/// A body that never says anything and never ends.
pub(crate) fn endless() -> Body {
    Body::new(StreamBody::new(tokio_stream::pending::<Result<Frame<Bytes>, Infallible>>()))
}
