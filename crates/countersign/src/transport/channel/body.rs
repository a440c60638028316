use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep};
use tonic::Status;

use super::answer::transport_error;
use super::connection::Busy;
use super::error::{CallError, CallPhase};

/// Held by whoever waits for the answer. Without it the request's body ends.
pub(super) struct Awaited {
    _held: oneshot::Sender<()>,
    failure: Arc<OnceLock<Status>>,
}

impl Awaited {
    /// What the request's own body failed with, if it did.
    pub(super) fn broke_off(&self) -> Option<Status> {
        self.failure.get().cloned()
    }
}

/// A request's body that ends with the wait for its answer.
///
/// hyper resets a stream whose response is dropped before its head, and not one whose request is
/// still open afterwards: the server would go on, and the request too.
struct RequestBody {
    /// What was read ahead, and goes first.
    ahead: VecDeque<Result<Frame<Bytes>, Status>>,
    inner: tonic::body::Body,
    abandoned: oneshot::Receiver<()>,
    /// Where to say what it failed with: all that HTTP/2 tells of it is that there was a reset.
    failure: Arc<OnceLock<Status>>,
}

/// Ties a request's body to the wait for its answer.
pub(super) fn awaited(body: impl Into<Payload>) -> (tonic::body::Body, Awaited) {
    let Payload { ahead, inner } = body.into();
    let (held, abandoned) = oneshot::channel();
    let failure = Arc::default();
    let awaited = Awaited { _held: held, failure: Arc::clone(&failure) };
    (tonic::body::Body::new(RequestBody { ahead, inner, abandoned, failure }), awaited)
}

/// A request's body, perhaps begun.
pub(super) struct Payload {
    ahead: VecDeque<Result<Frame<Bytes>, Status>>,
    inner: tonic::body::Body,
}

impl From<tonic::body::Body> for Payload {
    fn from(inner: tonic::body::Body) -> Self {
        Self { ahead: VecDeque::new(), inner }
    }
}

/// The whole of a request's body. Cloning is one atomic increment for each piece.
#[derive(Clone)]
pub(super) struct Kept(Vec<Bytes>);

impl From<Kept> for Payload {
    fn from(Kept(pieces): Kept) -> Self {
        let ahead = pieces.into_iter().map(|piece| Ok(Frame::data(piece))).collect();
        Self { ahead, inner: tonic::body::Body::empty() }
    }
}

impl Payload {
    /// The most that is kept of a request, in bytes.
    const MOST_KEPT: usize = 64 * 1024;

    /// Reads what is there without waiting. If that is all of it, it can be sent twice.
    ///
    /// A unary request is always there. A stream that has more to say later is left alone.
    pub(super) async fn read_ahead(mut self) -> (Self, Option<Kept>) {
        let kept = poll_fn(|cx| Poll::Ready(self.poll_ahead(cx))).await;
        (self, kept)
    }

    fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Option<Kept> {
        let mut kept = Vec::new();
        let mut bytes = 0_usize;
        while !self.inner.is_end_stream() {
            match Pin::new(&mut self.inner).poll_frame(cx) {
                Poll::Ready(None) => {
                    self.inner = tonic::body::Body::empty();
                    break;
                }
                Poll::Ready(Some(Ok(frame))) => {
                    let data = frame.data_ref().cloned();
                    self.ahead.push_back(Ok(frame));
                    let data = data?;
                    bytes = bytes.saturating_add(data.len());
                    if bytes > Self::MOST_KEPT {
                        return None;
                    }
                    kept.push(data);
                }
                Poll::Ready(Some(Err(error))) => {
                    self.ahead.push_back(Err(error));
                    return None;
                }
                Poll::Pending => return None,
            }
        }
        Some(Kept(kept))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        // Never sent: ready means dropped. Polled no more after the error.
        if Pin::new(&mut this.abandoned).poll(cx).is_ready() {
            return Poll::Ready(Some(Err(cancelled("nobody waits for the answer"))));
        }
        let frame = match this.ahead.pop_front() {
            Some(frame) => Some(frame),
            None => ready!(Pin::new(&mut this.inner).poll_frame(cx)),
        };
        Poll::Ready(frame.map(|frame| {
            frame.map_err(|status| {
                // Only the first one counts: nothing is polled after it.
                let _ = this.failure.set(status);
                cancelled("the request broke off")
            })
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.ahead.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.ahead.is_empty() {
            true => self.inner.size_hint(),
            // Lengths are gRPC's own affair: each message says its own.
            false => SizeHint::default(),
        }
    }
}

/// Resets the stream as grpc-go does.
fn cancelled(why: &'static str) -> Status {
    let mut status = Status::cancelled(why);
    // What hyper looks for to choose the reset's code.
    status.set_source(Arc::new(h2::Error::from(h2::Reason::CANCEL)));
    status
}

/// A response's body: under the call's deadline, and with trailers that cannot hurt.
///
/// Its error is always a `Status` with a [`CallError`] inside.
#[derive(Debug)]
pub struct ResponseBody {
    state: State,
}

enum State {
    Open {
        incoming: Incoming,
        deadline: Option<Pin<Box<Sleep>>>,
        address: String,
        _busy: Busy,
        awaited: Awaited,
    },
    Done,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Open { .. } => "Open",
            Self::Done => "Done",
        })
    }
}

impl ResponseBody {
    pub(super) fn new(
        incoming: Incoming,
        deadline: Option<Instant>,
        address: String,
        busy: Busy,
        awaited: Awaited,
    ) -> Self {
        let deadline = deadline.map(|at| Box::pin(tokio::time::sleep_until(at)));
        let state = State::Open { incoming, deadline, address, _busy: busy, awaited };
        Self { state }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        let State::Open { incoming, deadline, address, awaited, .. } = &mut this.state else {
            return Poll::Ready(None);
        };
        let exceeded =
            || CallError::DeadlineExceeded { during: CallPhase::Response, last: None }.into();
        let frame = match Pin::new(incoming).poll_frame(cx) {
            // A server that sends as fast as it is read never lets it come to waiting.
            Poll::Ready(Some(Ok(frame))) if frame.is_data() && has_passed(deadline.as_deref()) => {
                Some(Err(exceeded()))
            }
            Poll::Ready(Some(Ok(mut frame))) => {
                if let Some(trailers) = frame.trailers_mut() {
                    sanitize(trailers);
                }
                return Poll::Ready(Some(Ok(frame)));
            }
            Poll::Ready(Some(Err(error))) => {
                Some(Err(transport_error(error, address, awaited).into()))
            }
            Poll::Ready(None) => None,
            Poll::Pending => {
                let passed =
                    deadline.as_mut().is_some_and(|deadline| deadline.as_mut().poll(cx).is_ready());
                if !passed {
                    return Poll::Pending;
                }
                Some(Err(exceeded()))
            }
        };
        // Dropping what is left resets the stream, if it is not at its end.
        this.state = State::Done;
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.state {
            State::Open { incoming, .. } => incoming.is_end_stream(),
            State::Done => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.state {
            State::Open { incoming, .. } => incoming.size_hint(),
            State::Done => SizeHint::with_exact(0),
        }
    }
}

fn has_passed(deadline: Option<&Sleep>) -> bool {
    deadline.is_some_and(|deadline| deadline.deadline() <= Instant::now())
}

/// Removes a `grpc-status-details-bin` that is not base64: tonic panics on it.
pub(super) fn sanitize(headers: &mut HeaderMap) {
    use base64::Engine;
    use base64::engine::general_purpose::GeneralPurpose;
    use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};
    use tonic::Status as T;

    const DECODER: GeneralPurpose = GeneralPurpose::new(
        &base64::alphabet::STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    let name = T::GRPC_STATUS_DETAILS;
    let broken =
        headers.get_all(&name).iter().any(|value| DECODER.decode(value.as_bytes()).is_err());
    if broken {
        tracing::debug!("a server sent status details that are not base64; they are dropped");
        headers.remove(&name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sanitized(value: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-status", "7".parse().expect("value"));
        headers.insert("grpc-status-details-bin", value.parse().expect("value"));
        sanitize(&mut headers);
        headers
    }

    #[test]
    fn broken_details_are_dropped_and_the_status_stays() {
        for broken in ["not base64!", "A", "===="] {
            let headers = sanitized(broken);
            assert!(!headers.contains_key("grpc-status-details-bin"), "{broken}");
            assert!(headers.contains_key("grpc-status"));
            assert_eq!(Status::from_header_map(&headers).expect("a status").code() as i32, 7);
        }
    }

    #[test]
    fn good_details_stay_with_and_without_padding() {
        for good in ["CAc=", "CAc"] {
            assert!(sanitized(good).contains_key("grpc-status-details-bin"), "{good}");
        }
    }
}
