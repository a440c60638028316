//! What becomes of a call whose token a server did not accept.

#[path = "support/reached.rs"]
mod support;

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use countersign::credentials::{CachedToken, FetchedToken, TokenError, TokenRequest, TokenSource};
use countersign::{
    BearerToken, CallCredentials, Channel, ChannelCredentials, ClientRequestExt, ServerCredentials,
    async_trait, connect,
};
use countersign_testkit::greeter::proto::HelloRequest;
use countersign_testkit::greeter::{Greeter, GreeterClient, SAY_HELLO};
use countersign_testkit::pki::CertificateAuthority;
use http_body_util::StreamBody;
use support::{Reached, Served, identity, serve, trusting};
use tonic::body::Body;
use tonic::service::Routes;
use tonic::{Code, Request, Status};
use tonic_types::{ErrorDetails, StatusExt};
use tower_layer::Layer;
use tower_service::Service;

/// A source that counts: `token-1`, `token-2` and so on.
#[derive(Clone, Debug, Default)]
struct Counting(Arc<AtomicUsize>);

impl Counting {
    fn fetches(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl TokenSource for Counting {
    async fn fetch(&self, _: &TokenRequest) -> Result<FetchedToken, TokenError> {
        let number = self.0.fetch_add(1, Ordering::SeqCst) + 1;
        Ok(FetchedToken::bearer(format!("token-{number}")).expires_in(Duration::from_secs(3_600)))
    }

    fn name(&self) -> &'static str {
        "counting"
    }
}

/// Lets in who has the token, and tells everybody else this reason.
#[derive(Clone)]
struct Doorman<S> {
    accepted: &'static str,
    reason: &'static str,
    inner: S,
}

impl<S> Service<http::Request<Body>> for Doorman<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = futures_util::future::BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let shown = request.headers().get("authorization").map(|value| value.as_bytes().to_vec());
        if shown == Some(format!("Bearer {}", self.accepted).into_bytes()) {
            return Box::pin(self.inner.call(request));
        }
        let details = ErrorDetails::with_error_info(self.reason, "countersign", HashMap::new());
        let status = Status::with_error_details(Code::Unauthenticated, "no", details);
        Box::pin(async move { Ok(status.into_http()) })
    }
}

struct Stage {
    server: Served,
    reached: Reached,
    source: Counting,
    channel: Channel,
}

impl Stage {
    async fn new(accepted: &'static str, reason: &'static str) -> Self {
        let ca = CertificateAuthority::new("test CA");
        let reached = Reached::default();
        let incoming = ServerCredentials::tls(identity(&ca.server(&["localhost"])))
            .build()
            .expect("server credentials")
            .bind("127.0.0.1:0")
            .await
            .expect("bound");
        let inner = Routes::new(Greeter.service());
        let server = serve(incoming, reached.layer(Doorman { accepted, reason, inner }));
        let source = Counting::default();
        let credentials = ChannelCredentials::tls(trusting(&ca))
            .with_call_credentials(CachedToken::new(source.clone()));
        let channel = connect(server.https("localhost"), credentials).await.expect("connected");
        Self { server, reached, source, channel }
    }

    async fn greet(&self, name: &str) -> Result<String, Status> {
        self.send(Request::new(HelloRequest { name: name.to_owned() })).await
    }

    async fn send(&self, request: Request<HelloRequest>) -> Result<String, Status> {
        let reply = GreeterClient::new(self.channel.clone()).say_hello(request).await?;
        Ok(reply.into_inner().message)
    }
}

#[tokio::test]
async fn a_unary_call_is_sent_once_more_with_the_next_token() {
    let stage = Stage::new("token-2", "TOKEN_EXPIRED").await;
    assert_eq!(stage.greet("you").await.expect("the second token"), "Hello, you");
    assert_eq!((stage.reached.count(), stage.source.fetches()), (2, 2));
    assert_eq!(stage.reached.last_values("authorization"), ["Bearer token-2"]);
    assert_eq!(stage.reached.last().uri.path(), SAY_HELLO);
    assert_eq!(stage.greet("again").await.expect("the same token"), "Hello, again");
    assert_eq!((stage.reached.count(), stage.source.fetches()), (3, 2));
}

#[tokio::test]
async fn a_call_is_sent_once_more_and_not_twice() {
    let stage = Stage::new("token-9", "TOKEN_EXPIRED").await;
    let status = stage.greet("you").await.expect_err("never accepted");
    assert_eq!((status.code(), status.message()), (Code::Unauthenticated, "no"));
    assert_eq!((stage.reached.count(), stage.source.fetches()), (2, 2));
    // Half a minute has not passed: the source is left alone, and so is the server.
    stage.greet("you").await.expect_err("never accepted");
    assert_eq!((stage.reached.count(), stage.source.fetches()), (3, 2));
}

#[tokio::test]
async fn a_final_reason_is_believed() {
    for reason in ["TOKEN_AUDIENCE", "CREDENTIALS_REVOKED", "PROOF_INVALID"] {
        let stage = Stage::new("token-2", reason).await;
        stage.greet("you").await.expect_err(reason);
        assert_eq!((stage.reached.count(), stage.source.fetches()), (1, 1), "{reason}");
    }
}

#[tokio::test]
async fn a_message_of_64_kib_is_sent_once_more_and_a_longer_one_is_not() {
    // Five bytes of gRPC's frame, four of protobuf's.
    let most = "x".repeat(64 * 1024 - 9);
    let stage = Stage::new("token-2", "TOKEN_EXPIRED").await;
    let reply = stage.greet(&most).await.expect("the second token");
    assert_eq!((reply.len(), stage.reached.count()), (most.len() + 7, 2));

    let stage = Stage::new("token-2", "TOKEN_EXPIRED").await;
    stage.greet(&format!("{most}x")).await.expect_err("not kept");
    assert_eq!(stage.reached.count(), 1);
    assert_eq!(stage.greet("you").await.expect("the token was replaced"), "Hello, you");
    assert_eq!((stage.reached.count(), stage.source.fetches()), (2, 2));
}

#[tokio::test]
async fn a_stream_that_may_go_on_is_reported_and_not_sent_again() {
    let mut stage = Stage::new("token-2", "TOKEN_EXPIRED").await;
    let (messages, receiver) = tokio::sync::mpsc::channel(1);
    let first = http_body::Frame::data(Bytes::from_static(&[0; 5]));
    messages.send(Ok::<_, Status>(first)).await.expect("room");
    let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let request = http::Request::post(SAY_HELLO)
        .header("content-type", "application/grpc")
        .body(Body::new(StreamBody::new(stream)))
        .expect("a request");
    let answer = stage.channel.call(request).await.expect("an answer");
    assert_eq!(answer.headers()["grpc-status"], "16");
    assert_eq!(stage.reached.count(), 1);
    drop(messages);
    assert_eq!(stage.greet("you").await.expect("the token was replaced"), "Hello, you");
    assert_eq!((stage.reached.count(), stage.source.fetches()), (2, 2));
}

#[tokio::test]
async fn credentials_that_have_no_other_token_are_not_asked_twice() {
    let stage = Stage::new("token-2", "TOKEN_EXPIRED").await;
    let fixed = BearerToken::new("token-1").expect("a token");
    assert!(!fixed.can_replace());
    let request = Request::new(HelloRequest { name: "you".to_owned() });
    stage.send(request.call_credentials(fixed)).await.expect_err("no other");
    assert_eq!(stage.reached.count(), 1);
}

#[tokio::test]
async fn a_hundred_calls_with_the_same_rejected_token_cause_one_fetch() {
    let stage = Stage::new("token-2", "TOKEN_EXPIRED").await;
    let calls = (0..100).map(|_| stage.greet("you"));
    for reply in futures_util::future::join_all(calls).await {
        assert_eq!(reply.expect("the second token"), "Hello, you");
    }
    assert_eq!(stage.source.fetches(), 2);
    assert!(stage.reached.count() <= 200, "{}", stage.server.address());
}
