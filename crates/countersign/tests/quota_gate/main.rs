//! Who calls too often or too much, and what that costs whom.

mod calls;
mod fields;
#[path = "../support/handlers.rs"]
mod handlers;
mod limits;
mod streams;
#[path = "../support/reached.rs"]
mod support;
mod throttle;

use std::time::Duration;

use countersign::quota::Limit;
use countersign::{Gate, GateBuilder, Rules, ServerCredentials, StaticTokens};
use countersign_testkit::greeter::SAY_HELLO;
use support::{Answer, Reached, Served, greeter, keep_logs_awake, reason_of, serve};
use tonic_types::StatusExt;
use tower_layer::Layer;

const RESET: &str = "/countersign.demo.v1.Greeter/Reset";
const OPEN: &str = "/countersign.demo.v1.Greeter/Open";
const ALICE: (&str, &str) = ("authorization", "Bearer alice-has-a-long-token");
/// Another token of the same subject.
const ALICE_AGAIN: (&str, &str) = ("authorization", "Bearer alice-has-a-fresh-token");
const BOB: (&str, &str) = ("authorization", "Bearer bob-has-a-long-token-too");
const BAD: (&str, &str) = ("authorization", "Bearer nobody-has-this-long-token");

fn tokens() -> StaticTokens {
    StaticTokens::new()
        .with_token("alice", "alice-has-a-long-token".to_owned())
        .with_token("alice", "alice-has-a-fresh-token".to_owned())
        .with_token("bob", "bob-has-a-long-token-too".to_owned())
}

fn builder() -> GateBuilder {
    keep_logs_awake();
    let rules = Rules::new().authenticated(SAY_HELLO).public(OPEN);
    Gate::builder().authenticate(tokens()).authorize(rules)
}

/// So many now, and hardly one more while a test runs.
fn an_hour(times: u64) -> Limit {
    Limit::new(times, Duration::from_secs(3600)).expect("a limit")
}

async fn behind(gate: GateBuilder) -> (Served, Reached) {
    let reached = Reached::default();
    let incoming = ServerCredentials::insecure().bind("127.0.0.1:0").await.expect("bound");
    (serve(incoming, gate.build().expect("a gate").layer(greeter(&reached))), reached)
}

fn told(answer: &Answer) -> String {
    let status = answer.grpc();
    format!("{:?} {}", status.code(), reason_of(&status))
}

/// The subject and the description of the one violation that a refusal tells.
fn violation(answer: &Answer) -> (String, String) {
    let failure = answer.grpc().get_details_quota_failure().expect("QuotaFailure");
    let [violation] = &failure.violations[..] else { panic!("{failure:?}") };
    (violation.subject.clone(), violation.description.clone())
}

fn field(answer: &Answer, name: &str) -> Option<String> {
    answer.headers.get(name).map(|value| value.to_str().expect("ASCII").to_owned())
}

const PASSES: &str = "Ok ";
const LIMITED: &str = "ResourceExhausted RATE_LIMITED";
const DENIED: &str = "PermissionDenied POLICY_DENIED";
const INVALID: &str = "Unauthenticated TOKEN_INVALID";
const MISSING: &str = "Unauthenticated CREDENTIALS_MISSING";
