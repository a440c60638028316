use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Buf;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::metering::Flow;
use super::watch::Watch;

type BoxError = Box<dyn Error + Send + Sync>;

pin_project! {
    /// A request's or a response's body behind a [`Gate`](super::Gate).
    ///
    /// It is the body that it was, and ends when what proved the caller does
    /// ([`StreamExpiry`](super::StreamExpiry)): a request with an error that is a
    /// [`tonic::Status`], a response with that status in its trailers. Where nothing ends, it
    /// costs one comparison for each frame, and no allocation anywhere.
    pub struct GateBody<B> {
        // None: nothing is left, or there never was anything.
        #[pin]
        body: Option<B>,
        watch: Option<Watch>,
        // Given back with the last frame, and with the body where that never comes.
        flow: Option<Box<Flow>>,
        is_response: bool,
    }
}

impl<B> GateBody<B> {
    pub(super) fn request(body: B, watch: Option<Watch>, flow: Option<Box<Flow>>) -> Self {
        Self { body: Some(body), watch, flow, is_response: false }
    }

    pub(super) fn response(body: B, watch: Option<Watch>, flow: Option<Box<Flow>>) -> Self {
        Self { body: Some(body), watch, flow, is_response: true }
    }

    /// A refusal's.
    pub(super) fn empty() -> Self {
        Self { body: None, watch: None, flow: None, is_response: true }
    }
}

impl<B> Body for GateBody<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        let mut this = self.project();
        let Some(body) = this.body.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        let Some(watch) = this.watch else {
            let frame = body.poll_frame(cx).map_err(Into::into);
            count(this.flow, &frame);
            return frame;
        };
        // Before the body: one that always has something to say ends too.
        let mut over = watch.poll(cx, false);
        if over.is_pending() {
            match body.poll_frame(cx) {
                Poll::Pending => over = watch.poll(cx, true),
                Poll::Ready(frame) => {
                    if !frame.as_ref().is_some_and(|it| it.as_ref().is_ok_and(Frame::is_data)) {
                        *this.watch = None;
                    }
                    let frame = Poll::Ready(frame).map_err(Into::into);
                    count(this.flow, &frame);
                    return frame;
                }
            }
        }
        let over = std::task::ready!(over);
        let denials = &watch.gate().denials;
        let end = match this.is_response {
            true => Ok(Frame::trailers(denials.trailers(&over.refusal, over.decision))),
            false => Err(denials.status(&over.refusal, over.decision).into()),
        };
        // What the handler would still have said or read is dropped, and so noticed by it.
        this.body.set(None);
        *this.watch = None;
        *this.flow = None;
        Poll::Ready(Some(end))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            // It may end early.
            Some(_) if self.watch.is_some() => SizeHint::default(),
            Some(body) => body.size_hint(),
            None => SizeHint::with_exact(0),
        }
    }
}

/// Counts what flows by. After the last frame there is nothing to count.
fn count<D: Buf, E>(flow: &mut Option<Box<Flow>>, frame: &Poll<Option<Result<Frame<D>, E>>>) {
    let Some(it) = flow else { return };
    match frame {
        Poll::Pending => {}
        Poll::Ready(Some(Ok(frame))) if frame.is_data() => {
            it.charge(frame.data_ref().map_or(0, Buf::remaining));
        }
        Poll::Ready(_) => *flow = None,
    }
}

impl<B> Default for GateBody<B> {
    fn default() -> Self {
        Self::empty()
    }
}

impl<B> fmt::Debug for GateBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GateBody")
    }
}
