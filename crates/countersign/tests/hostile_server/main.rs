//! Servers that break the rules, and what a channel makes of them: a typed error, and never a
//! panic, a wait without end, or an answer that is not one.

#[path = "../support/mod.rs"]
mod support;

mod answers;
mod endings;
mod goodbyes;
mod greetings;
mod wire;

use std::net::SocketAddr;

use bytes::Bytes;
use countersign::{CallError, Channel, ChannelCredentials, ConnectError, connect};
use countersign_testkit::greeter::GreeterClient;
use countersign_testkit::greeter::proto::{HelloReply, HelloStreamRequest};
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Code, Status, Streaming};

use support::{call, hello};

/// A listener whose every connection gets the same treatment.
pub(crate) struct Hostile {
    pub(crate) address: SocketAddr,
    _accepting: AbortOnDropHandle<()>,
}

impl Hostile {
    /// Speaks bytes.
    pub(crate) async fn raw<F>(speak: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("an address");
        let accepting = tokio::spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((io, _)) = listener.accept().await {
                io.set_nodelay(true).expect("set");
                open.spawn(speak(io));
            }
        });
        Self { address, _accepting: AbortOnDropHandle::new(accepting) }
    }

    /// Speaks HTTP/2 as it should be spoken, and answers as it likes.
    pub(crate) async fn http2<F>(
        answer: impl Fn(Request<RecvStream>, SendResponse<Bytes>) -> F + Clone + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::raw(move |io| {
            let answer = answer.clone();
            async move {
                let mut answers = JoinSet::new();
                let mut connection = h2::server::handshake(io).await.expect("HTTP/2");
                while let Some(Ok((request, respond))) = connection.accept().await {
                    answers.spawn(answer(request, respond));
                }
            }
        })
        .await
    }

    pub(crate) fn target(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) async fn channel(&self) -> Channel {
        connect(self.target(), ChannelCredentials::insecure()).await.expect("connected")
    }

    pub(crate) async fn connect_error(&self) -> ConnectError {
        let outcome = connect(self.target(), ChannelCredentials::insecure()).await;
        outcome.map(|_| "connected").expect_err("the connection fails")
    }

    /// The status of one unary call over a new channel.
    pub(crate) async fn status(&self) -> Status {
        call(&self.channel().await, hello()).await.expect_err("the call fails")
    }
}

pub(crate) fn head() -> Response<()> {
    let response = Response::builder().header("content-type", "application/grpc");
    response.body(()).expect("a response")
}

pub(crate) fn headers(pairs: &[(&'static str, &[u8])]) -> HeaderMap {
    let value = |bytes: &[u8]| HeaderValue::from_bytes(bytes).expect("a value");
    pairs.iter().map(|(name, bytes)| (HeaderName::from_static(name), value(bytes))).collect()
}

/// An empty message.
pub(crate) const MESSAGE: Bytes = Bytes::from_static(&[0; 5]);

/// The head alone, which is also the end.
pub(crate) fn answer_with_head_alone(mut respond: SendResponse<Bytes>, trailers: &HeaderMap) {
    let mut response = head();
    response.headers_mut().extend(trailers.clone());
    respond.send_response(response, true).expect("sent");
}

/// A head, one empty message and trailers.
pub(crate) fn answer_with_trailers(mut respond: SendResponse<Bytes>, trailers: &HeaderMap) {
    let mut body = respond.send_response(head(), false).expect("sent");
    body.send_data(MESSAGE, false).expect("sent");
    body.send_trailers(trailers.clone()).expect("sent");
}

pub(crate) async fn stream(channel: &Channel) -> Result<Streaming<HelloReply>, Status> {
    let mut client = GreeterClient::new(channel.clone());
    Ok(client.say_hello_stream(HelloStreamRequest::default()).await?.into_inner())
}

pub(crate) fn is_lost(status: &Status) -> bool {
    status.code() == Code::Unavailable
        && matches!(CallError::of(status), Some(CallError::Transport { .. }))
}
