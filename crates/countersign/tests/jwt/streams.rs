//! Streams that are open when their caller's token ends.

use std::pin::Pin;
use std::time::Duration;

use countersign::authentication::jwt::Revocations;
use countersign::{Gate, Jwt, Rules, ServerCredentials};
use countersign_testkit::clock::ManualClock;
use countersign_testkit::greeter::GREETER;
use countersign_testkit::greeter::proto::greeter_server::{Greeter, GreeterServer};
use countersign_testkit::greeter::proto::{
    HelloReply, HelloRequest, HelloStreamRequest, ResetReply, ResetRequest,
};
use countersign_testkit::issuer::{TestIssuer, TokenMint};
use futures_util::FutureExt;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio_stream::StreamExt;
use tonic::service::Routes;
use tonic::{Request, Response, Status};
use tower_layer::Layer;

use crate::stage::{
    AUDIENCE, INVALID, ISSUER, SAY_HELLO_STREAM, Told, alice, at_noon, build, given, noon,
};
use crate::support::{RawClient, Served, empty_message, grpc_request, keep_logs_awake, serve};
use crate::time::{StoppedTime, kernel_has_its_turn};

/// Greets once and keeps the stream open.
struct Endless;

#[tonic::async_trait]
impl Greeter for Endless {
    async fn say_hello(&self, _: Request<HelloRequest>) -> Result<Response<HelloReply>, Status> {
        Ok(Response::new(HelloReply::default()))
    }

    type SayHelloStreamStream =
        Pin<Box<dyn tokio_stream::Stream<Item = Result<HelloReply, Status>> + Send>>;

    async fn say_hello_stream(
        &self,
        _: Request<HelloStreamRequest>,
    ) -> Result<Response<Self::SayHelloStreamStream>, Status> {
        let once = tokio_stream::once(Ok(HelloReply::default()));
        Ok(Response::new(Box::pin(once.chain(tokio_stream::pending()))))
    }

    async fn reset(&self, _: Request<ResetRequest>) -> Result<Response<ResetReply>, Status> {
        Ok(Response::new(ResetReply {}))
    }
}

async fn behind(jwt: Jwt, clock: ManualClock) -> Served {
    keep_logs_awake();
    let rules = Rules::new().authenticated(GREETER);
    let gate = Gate::builder().authenticate(jwt).authorize(rules).clock(clock);
    let gate = gate.build().expect("a gate");
    let incoming = ServerCredentials::insecure().bind("127.0.0.1:0").await.expect("bound");
    serve(incoming, gate.layer(Routes::new(GreeterServer::new(Endless))))
}

/// A stream that has greeted.
struct Open {
    body: hyper::body::Incoming,
    _client: RawClient,
}

impl Open {
    async fn with(server: &Served, token: &str) -> Self {
        let mut client = RawClient::connect(server).await;
        let request =
            grpc_request(SAY_HELLO_STREAM).header("authorization", format!("Bearer {token}"));
        let response = client.begin(request.body(empty_message()).expect("a request")).await;
        let mut body = response.into_body();
        let frame = body.frame().await.expect("a frame").expect("no error");
        assert!(frame.is_data(), "{frame:?}");
        Self { body, _client: client }
    }

    async fn goes_on(&mut self) {
        kernel_has_its_turn().await;
        assert!(self.body.frame().now_or_never().is_none(), "it goes on and says nothing");
    }

    /// What it ends with.
    async fn ends(mut self) -> Told {
        let frame = self.body.frame().await.expect("a frame").expect("no error");
        let trailers = frame.into_trailers().expect("trailers");
        Told::status(&Status::from_header_map(&trailers).expect("a status"))
    }
}

fn with(mint: &TokenMint, name: &str, value: Value) -> String {
    let mut claims = alice(mint);
    claims[name] = value;
    mint.mint(&claims)
}

const CHALLENGES: [&str; 2] = [
    "Bearer realm=\"grpc\", error=\"invalid_token\"",
    "DPoP realm=\"grpc\", error=\"invalid_token\"",
];

#[tokio::test(start_paused = true)]
async fn a_stream_ends_with_its_token_and_one_with_a_longer_token_goes_on() {
    let time = StoppedTime::hold();
    let (clock, mint) = (at_noon(), TokenMint::new(ISSUER));
    let jwt = build(Jwt::builder().issuer(given(&mint)).clock(clock.clone()));
    let server = behind(jwt, clock.clone()).await;
    let mut short = Open::with(&server, &with(&mint, "exp", json!(1_800_000_030))).await;
    let mut long = Open::with(&server, &with(&mint, "exp", json!(1_800_000_300))).await;
    // The leeway of a minute counts for streams as for calls.
    let to_89 = Duration::from_secs(89);
    clock.advance(to_89);
    time.advance(to_89).await;
    short.goes_on().await;
    clock.advance(Duration::from_secs(1));
    time.advance(Duration::from_millis(1_001)).await;
    let told = short.ends().await;
    assert_eq!(told.short(), "Unauthenticated TOKEN_EXPIRED");
    assert_eq!(told.challenges, CHALLENGES);
    long.goes_on().await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_soon_after_its_token_is_taken_back() {
    let time = StoppedTime::hold();
    let (clock, mint, revocations) = (at_noon(), TokenMint::new(ISSUER), Revocations::new());
    let jwt = Jwt::builder().issuer(given(&mint)).clock(clock.clone());
    let server = behind(build(jwt.revocations(revocations.clone())), clock).await;
    let stolen = Open::with(&server, &with(&mint, "jti", json!("stolen"))).await;
    let mut kept = Open::with(&server, &with(&mint, "jti", json!("kept"))).await;
    let until = noon() + Duration::from_secs(7200);
    revocations.revoke_token(ISSUER, "stolen", until).expect("room");
    time.advance(Duration::from_secs(31)).await;
    let told = stolen.ends().await;
    assert_eq!(told.short(), "Unauthenticated CREDENTIALS_REVOKED");
    assert_eq!(told.challenges, CHALLENGES);
    kept.goes_on().await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_soon_after_the_issuer_is_known_to_have_removed_the_key() {
    let time = StoppedTime::hold();
    let (clock, issuer) = (at_noon(), TestIssuer::start().await);
    let trusted = Jwt::issuer(issuer.url()).audience(AUDIENCE);
    let jwt = build(Jwt::builder().issuer(trusted).clock(clock.clone()));
    let server = behind(jwt, clock).await;
    let mut old = Open::with(&server, &issuer.mint(&alice(&issuer.token_mint()))).await;
    issuer.rotate();
    issuer.drop_old();
    time.advance(Duration::from_secs(31)).await;
    old.goes_on().await;
    // Somebody's new token makes the new keys known.
    let mut new = Open::with(&server, &issuer.mint(&alice(&issuer.token_mint()))).await;
    time.advance(Duration::from_secs(31)).await;
    assert_eq!(old.ends().await.short(), INVALID);
    new.goes_on().await;
}
