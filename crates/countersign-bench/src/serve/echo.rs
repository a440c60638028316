//! The one method that every server has: it answers with what it was sent.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use aws_lc_rs::digest;
use bytes::{Buf as _, BufMut as _, Bytes};
use http::{Request, Response};
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::{BoxFuture, Service};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Response as Reply, Status};

/// Where it is.
pub(crate) const PATH: &str = "/countersign.bench.v1.Echo/Call";
/// The service, for rules.
pub(crate) const SERVICE: &str = "countersign.bench.v1.Echo";

/// The echo as tonic's generated code would serve it, with messages left as bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Echo {
    /// Digests of a KiB that the handler makes first.
    pub(super) work: usize,
}

impl NamedService for Echo {
    const NAME: &'static str = SERVICE;
}

impl Service<Request<Body>> for Echo {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if request.uri().path() != PATH {
            return Box::pin(ready(Ok(Status::unimplemented("").into_http())));
        }
        let work = self.work;
        Box::pin(async move { Ok(Grpc::new(Raw).unary(Answer { work }, request).await) })
    }
}

struct Answer {
    work: usize,
}

impl UnaryService<Bytes> for Answer {
    type Response = Bytes;
    type Future = Ready<Result<Reply<Bytes>, Status>>;

    fn call(&mut self, request: tonic::Request<Bytes>) -> Self::Future {
        for _ in 0..self.work {
            std::hint::black_box(digest::digest(&digest::SHA256, std::hint::black_box(&[0; 1024])));
        }
        ready(Ok(Reply::new(request.into_inner())))
    }
}

/// Messages as they are on the wire: what is compared is not protobuf.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let length = buffer.remaining();
        Ok(Some(buffer.copy_to_bytes(length)))
    }
}
