use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};
use tonic::Status;

use super::call::transport_error;
use super::connection::Busy;
use super::error::{CallError, CallPhase};

/// A response's body: under the call's deadline, and with trailers that cannot hurt.
///
/// Its error is always a `Status` with a [`CallError`] inside.
#[derive(Debug)]
pub struct ResponseBody {
    state: State,
}

enum State {
    Open { incoming: Incoming, deadline: Option<Pin<Box<Sleep>>>, address: String, _busy: Busy },
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
    ) -> Self {
        let deadline = deadline.map(|at| Box::pin(tokio::time::sleep_until(at)));
        Self { state: State::Open { incoming, deadline, address, _busy: busy } }
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
        let State::Open { incoming, deadline, address, .. } = &mut this.state else {
            return Poll::Ready(None);
        };
        // First, so that a server that always has more to say does not outlast it.
        if deadline.as_mut().is_some_and(|deadline| deadline.as_mut().poll(cx).is_ready()) {
            this.state = State::Done;
            let during = CallPhase::Response;
            return Poll::Ready(Some(Err(
                CallError::DeadlineExceeded { during, last: None }.into()
            )));
        }
        let frame = match Pin::new(incoming).poll_frame(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Some(Ok(mut frame))) => {
                if let Some(trailers) = frame.trailers_mut() {
                    sanitize(trailers);
                }
                return Poll::Ready(Some(Ok(frame)));
            }
            Poll::Ready(Some(Err(error))) => Some(Err(transport_error(error, address).into())),
            Poll::Ready(None) => None,
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
