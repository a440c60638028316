//! Who gets past the gate, what the others are told, and what a handler then sees.

mod bodies;
mod building;
mod certificates;
mod endless;
mod handlers;
mod paths;
mod refusals;
mod rules;
mod scripted;
#[path = "../support/reached.rs"]
mod support;
mod tokens;
mod waiting;

use countersign::{Channel, Gate, MutualTls, Rules, ServerCredentials, StaticTokens};
use countersign_testkit::greeter::proto::HelloRequest;
use countersign_testkit::greeter::{Greeter, GreeterClient};
use support::{Answer, Reached, Served, keep_logs_awake, reason_of, serve};
use tonic::service::Routes;
use tonic::{Code, Status};
use tower_layer::Layer;

const SAY_HELLO_STREAM: &str = "/countersign.demo.v1.Greeter/SayHelloStream";
const RESET: &str = "/countersign.demo.v1.Greeter/Reset";
const HEALTH: &str = "/grpc.health.v1.Health/Check";

/// What `ci` is known by.
const TOKEN: &str = "correct-horse-battery-staple";
const BEARER: (&str, &str) = ("authorization", "Bearer correct-horse-battery-staple");
const API_KEY: (&str, &str) = ("x-api-key", "correct-horse-battery-staple");
const BAD_BEARER: (&str, &str) = ("authorization", "Bearer correct-horse-battery-stable");
const BAD_API_KEY: (&str, &str) = ("x-api-key", "correct-horse-battery-stable");

fn tokens() -> StaticTokens {
    StaticTokens::new().with_token("ci", TOKEN)
}

/// A gate that knows tokens and certificates.
fn gate(rules: Rules) -> Gate {
    keep_logs_awake();
    let builder = Gate::builder().authenticate(tokens()).authenticate(MutualTls::new());
    builder.authorize(rules).build().expect("a gate")
}

/// A greeter and health checks behind a gate, over plaintext.
async fn behind(gate: Gate) -> (Served, Reached) {
    let reached = Reached::default();
    let incoming = ServerCredentials::insecure().bind("127.0.0.1:0").await.expect("bound");
    let (_, health) = tonic_health::server::health_reporter();
    let routes = Routes::new(Greeter.service()).add_service(health);
    (serve(incoming, gate.layer(reached.layer(routes))), reached)
}

/// A call with this metadata: as whom the handler knows the caller, or the status.
async fn greet(channel: &Channel, metadata: &[(&'static str, &str)]) -> Result<String, Status> {
    let mut request = tonic::Request::new(HelloRequest { name: "you".to_owned() });
    for (key, value) in metadata {
        request.metadata_mut().append(*key, value.parse().expect("ASCII"));
    }
    let reply = GreeterClient::new(channel.clone()).say_hello(request).await?;
    Ok(reply.into_inner().principal)
}

/// The principal, or the code and the reason, in a form that tables can hold.
fn told(outcome: &Result<String, Status>) -> String {
    match outcome {
        Ok(principal) => format!("passes as {principal:?}"),
        Err(status) => refused(status.code(), &reason_of(status)),
    }
}

fn refused(code: Code, reason: &str) -> String {
    format!("{code:?} {reason}")
}

fn missing() -> String {
    refused(Code::Unauthenticated, "CREDENTIALS_MISSING")
}

fn malformed() -> String {
    refused(Code::Unauthenticated, "CREDENTIALS_MALFORMED")
}

fn invalid() -> String {
    refused(Code::Unauthenticated, "TOKEN_INVALID")
}

fn forbidden() -> String {
    refused(Code::PermissionDenied, "POLICY_DENIED")
}

fn told_raw(answer: &Answer) -> String {
    let status = answer.grpc();
    refused(status.code(), &reason_of(&status))
}
