//! The gate that tokens are shown to, and what it says of them.

use std::time::{Duration, SystemTime};

use countersign::authentication::jwt::{JwtBuilder, KeySet, KeySource};
use countersign::{Gate, Issuer, Jwt, Rules, ServerCredentials};
use countersign_testkit::clock::ManualClock;
use countersign_testkit::greeter::{GREETER, SAY_HELLO};
use countersign_testkit::issuer::TokenMint;
use http::HeaderMap;
use serde_json::Value;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use tower_layer::Layer;

use crate::support::{
    Answer, RawClient, Reached, Served, challenges_of, greeter, keep_logs_awake, reason_of, serve,
};

pub(crate) const ISSUER: &str = "https://id.example";
pub(crate) const AUDIENCE: &str = "orders";
pub(crate) const SAY_HELLO_STREAM: &str = "/countersign.demo.v1.Greeter/SayHelloStream";
pub(crate) const RESET: &str = "/countersign.demo.v1.Greeter/Reset";

/// What every clock shows at first.
pub(crate) fn noon() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

/// An issuer whose keys are given, so that nobody is asked for them.
pub(crate) fn given(mint: &TokenMint) -> Issuer {
    let keys = KeySet::from_json(&mint.jwks().to_string()).expect("a key set");
    Jwt::issuer(mint.issuer()).keys(KeySource::given(keys)).audience(AUDIENCE)
}

/// Claims of alice that are good for an hour from noon.
pub(crate) fn alice(mint: &TokenMint) -> Value {
    mint.claims_at(noon(), "alice", AUDIENCE)
}

/// The principal of [`alice`]'s tokens.
pub(crate) fn alice_of(issuer: &str) -> String {
    format!("{issuer}#alice")
}

/// At noon.
pub(crate) fn at_noon() -> ManualClock {
    ManualClock::new(noon())
}

pub(crate) fn build(builder: JwtBuilder) -> Jwt {
    builder.build().expect("a verifier of tokens")
}

/// A gate that wants a token for every greeting, a scope for a stream, and lets nobody reset.
pub(crate) fn gate(jwt: Jwt) -> Gate {
    Gate::builder().authenticate(jwt).authorize(rules()).clock(at_noon()).build().expect("a gate")
}

pub(crate) fn rules() -> Rules {
    Rules::new()
        .authenticated(GREETER)
        .with_scopes(SAY_HELLO_STREAM, ["orders:write"])
        .denied(RESET)
}

/// A greeter behind a gate, over plaintext.
pub(crate) async fn behind(gate: Gate) -> (Served, Reached) {
    keep_logs_awake();
    let reached = Reached::default();
    let incoming = ServerCredentials::insecure().bind("127.0.0.1:0").await.expect("bound");
    (serve(incoming, gate.layer(greeter(&reached))), reached)
}

/// What a caller is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) code: Code,
    pub(crate) reason: String,
    pub(crate) challenges: Vec<String>,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) nonce: Option<String>,
}

impl Told {
    pub(crate) fn by(answer: &Answer) -> Self {
        // The nonce comes with the headers, whatever the status.
        Self { nonce: nonce_in(&answer.headers), ..Self::status(&answer.grpc()) }
    }

    pub(crate) fn status(status: &Status) -> Self {
        let retry = status.get_details_retry_info().and_then(|info| info.retry_delay);
        Self {
            code: status.code(),
            reason: reason_of(status),
            challenges: challenges_of(status),
            retry_after: retry,
            nonce: nonce_in(&status.metadata().clone().into_headers()),
        }
    }

    /// Code and reason, as rows name them.
    pub(crate) fn short(&self) -> String {
        match self.code {
            Code::Ok => "passes".to_owned(),
            code => format!("{code:?} {}", self.reason),
        }
    }
}

fn nonce_in(headers: &HeaderMap) -> Option<String> {
    headers.get("dpop-nonce").map(|value| value.to_str().expect("ASCII").to_owned())
}

pub(crate) const PASSES: &str = "passes";
pub(crate) const INVALID: &str = "Unauthenticated TOKEN_INVALID";
pub(crate) const UNAVAILABLE: &str = "Unavailable VERIFIER_UNAVAILABLE";

/// A greeting with this token.
pub(crate) async fn greet(client: &mut RawClient, token: &str) -> Told {
    let value = format!("Bearer {token}");
    Told::by(&client.call(SAY_HELLO, &[("authorization", &value)]).await)
}
