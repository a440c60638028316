//! What is tried, one after the other, and what must come of it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use countersign::{
    ApiKey, BearerToken, CallCredentials, Channel, ChannelCredentials, ClientRequestExt, ClientTls,
    ConnectError, Secret, connect,
};
use countersign_testkit::greeter::GreeterClient;
use countersign_testkit::greeter::proto::{
    HelloReply, HelloRequest, HelloStreamRequest, ResetRequest,
};
use serde_json::{Value, json};
use tonic::{Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt;

use super::stage::{self, Stage};
use super::tokens;
use crate::output::Failure;

/// One call, what must come of it, and what did.
pub(super) struct Attempt {
    pub(super) what: &'static str,
    pub(super) expected: String,
    pub(super) seen: String,
    pub(super) why: String,
}

impl Attempt {
    pub(super) fn is_as_it_must(&self) -> bool {
        self.expected == self.seen
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "attempt": self.what,
            "expected": self.expected,
            "seen": self.seen,
            "why": self.why,
            "as_expected": self.is_as_it_must(),
        })
    }
}

/// What came back, in the words of the table.
struct Outcome {
    seen: String,
    why: String,
}

/// Makes every attempt.
pub(super) async fn make(stage: &Stage) -> Result<Vec<Attempt>, Failure> {
    let https = stage.greeter.target("https", "localhost");
    let trusting = || stage.trusting();
    let mut attempts = Vec::new();
    let mut row = |what, expected: &str, outcome: Outcome| {
        let Outcome { seen, why } = outcome;
        attempts.push(Attempt { what, expected: expected.to_owned(), seen, why });
    };

    row(
        "plaintext to the TLS port",
        "UNAVAILABLE HTTP2_SERVER_SPEAKS_TLS",
        connecting(
            connect(stage.greeter.target("http", "localhost"), ChannelCredentials::insecure())
                .await,
        )
        .await,
    );
    row(
        "a client that trusts another CA",
        "UNAVAILABLE TLS_UNKNOWN_ISSUER",
        tls(&https, stage.trusting_others()).await,
    );
    row(
        "a server of another name",
        "UNAVAILABLE TLS_NAME_MISMATCH",
        tls(&https, trusting().verified_name("orders.example")).await,
    );
    row(
        "a server with an expired certificate",
        "UNAVAILABLE TLS_CERTIFICATE_EXPIRED",
        tls(&stage.expired.target("https", "localhost"), trusting()).await,
    );
    row("no credential", "UNAUTHENTICATED CREDENTIALS_MISSING", tls(&https, trusting()).await);
    row(
        "a wrong token",
        "UNAUTHENTICATED TOKEN_INVALID",
        with_token(&https, trusting(), "not-the-token").await,
    );
    row(
        "the right token",
        &format!("OK as {}", stage::TOKEN_PRINCIPAL),
        with_token(&https, trusting(), stage::TOKEN).await,
    );
    row(
        "the right token over plaintext",
        "UNAUTHENTICATED before anything left",
        over_plaintext(stage).await,
    );
    let tokens = &stage.tokens;
    let signed = format!("OK as {}", tokens::PRINCIPAL);
    for (what, expected, token) in [
        ("a token that an issuer signed", signed.as_str(), tokens.right()?),
        ("an expired token", "UNAUTHENTICATED TOKEN_EXPIRED", tokens.expired()?),
        (
            "a token for somebody else",
            "UNAUTHENTICATED TOKEN_AUDIENCE",
            tokens.for_somebody_else()?,
        ),
        ("a token of another issuer", "UNAUTHENTICATED TOKEN_INVALID", tokens.of_another_issuer()?),
        ("a token without a signature", "UNAUTHENTICATED TOKEN_INVALID", tokens.unsigned()?),
        (
            "a token of a key that is gone",
            "UNAUTHENTICATED TOKEN_INVALID",
            tokens.of_a_removed_key()?,
        ),
    ] {
        row(what, expected, with_token(&https, trusting(), &token).await);
    }
    let bound = stage.token_bound_to_bob()?;
    row(
        "a bound token without its certificate",
        "UNAUTHENTICATED PROOF_REQUIRED",
        with_token(&https, trusting(), &bound).await,
    );
    row(
        "a bound token with its certificate",
        &signed,
        with_token(&https, trusting().identity(stage.bob()), &bound).await,
    );
    row(
        "an API key",
        &format!("OK as {}", stage::KEY_OWNER),
        with_api_key(&https, trusting(), &stage.api_key).await,
    );
    row(
        "a revoked API key",
        "UNAUTHENTICATED CREDENTIALS_REVOKED",
        with_api_key(&https, trusting(), &stage.revoked_api_key).await,
    );
    row(
        "a client certificate",
        &format!("OK as {}", stage::CLIENT),
        tls(&https, trusting().identity(stage.bob())).await,
    );
    row(
        "a client certificate of another CA",
        "UNAVAILABLE TLS_CLIENT_CERTIFICATE_UNKNOWN_ISSUER",
        tls(&https, trusting().identity(stage.mallory())).await,
    );
    row("a health check without credentials", "OK SERVING", health(&https, trusting()).await);
    row(
        "a method that nobody is allowed",
        "PERMISSION_DENIED POLICY_DENIED",
        reset(&https, trusting(), stage::TOKEN).await,
    );
    row(
        "a token without the scope that a method wants",
        "PERMISSION_DENIED INSUFFICIENT_SCOPE",
        stream(&https, trusting(), &tokens.right()?).await,
    );
    row(
        "a token with that scope",
        &signed,
        stream(&https, trusting(), &tokens.with_scope(stage::STREAM_SCOPE)?).await,
    );
    row(
        "a caller whose quota is used up",
        "RESOURCE_EXHAUSTED RATE_LIMITED",
        too_often(&https, trusting(), stage::BUSY_TOKEN).await,
    );
    row(
        "a stranger at a method that is not there",
        "UNAUTHENTICATED CREDENTIALS_MISSING",
        missing_method(&https, trusting()).await,
    );
    Ok(attempts)
}

async fn tls(target: &str, tls: ClientTls) -> Outcome {
    connecting(connect(target, ChannelCredentials::tls(tls)).await).await
}

async fn with_token(target: &str, tls: ClientTls, token: &str) -> Outcome {
    match channel_with_token(target, tls, token).await {
        Ok(channel) => greet(channel, |request| request).await,
        Err(outcome) => outcome,
    }
}

async fn channel_with_token(target: &str, tls: ClientTls, token: &str) -> Result<Channel, Outcome> {
    let credentials = ChannelCredentials::tls(tls).with_call_credentials(bearer(token)?);
    connect(target, credentials).await.map_err(|error| connect_error(&error))
}

async fn with_api_key(target: &str, tls: ClientTls, key: &Secret<String>) -> Outcome {
    match ApiKey::new(key.clone()) {
        Ok(key) => {
            let credentials = ChannelCredentials::tls(tls).with_call_credentials(key);
            connecting(connect(target, credentials).await).await
        }
        Err(error) => Outcome { seen: "no key".to_owned(), why: error.to_string() },
    }
}

/// Greets over the connection, if there is one.
async fn connecting(connected: Result<Channel, ConnectError>) -> Outcome {
    match connected {
        Ok(channel) => greet(channel, |request| request).await,
        Err(error) => connect_error(&error),
    }
}

async fn greet(
    channel: Channel,
    prepare: impl FnOnce(Request<HelloRequest>) -> Request<HelloRequest>,
) -> Outcome {
    let request = prepare(timed(HelloRequest { name: "world".to_owned() }));
    match GreeterClient::new(channel).say_hello(request).await {
        Ok(reply) => greeted(reply.into_inner()),
        Err(status) => refused(&status),
    }
}

fn greeted(reply: HelloReply) -> Outcome {
    let seen = match reply.principal.as_str() {
        "" => "OK".to_owned(),
        principal => format!("OK as {principal}"),
    };
    Outcome { seen, why: reply.message }
}

/// What does not compile for a channel is tried for one call: the connection decides.
async fn over_plaintext(stage: &Stage) -> Outcome {
    let token = match bearer(stage::TOKEN) {
        Ok(token) => token,
        Err(outcome) => return outcome,
    };
    let target = stage.plaintext.target("http", "localhost");
    let channel = match connect(target, ChannelCredentials::insecure()).await {
        Ok(channel) => channel,
        Err(error) => return connect_error(&error),
    };
    let before = stage.plaintext_requests.load(Ordering::Relaxed);
    let with = greet(channel.clone(), |request| request.call_credentials(token)).await;
    let after = stage.plaintext_requests.load(Ordering::Relaxed);
    // The same call without the token arrives, so the counter counts.
    let without = greet(channel, |request| request).await;
    let last = stage.plaintext_requests.load(Ordering::Relaxed);
    let code = with.seen.split(' ').next().unwrap_or_default();
    let seen = match (after - before, last - after) {
        (0, 1) => format!("{code} before anything left"),
        (left, control) => {
            format!("{} with {left} requests sent ({control}, {})", with.seen, without.seen)
        }
    };
    Outcome { seen, why: with.why }
}

async fn health(target: &str, tls: ClientTls) -> Outcome {
    let channel = match connect(target, ChannelCredentials::tls(tls)).await {
        Ok(channel) => channel,
        Err(error) => return connect_error(&error),
    };
    let request = timed(HealthCheckRequest { service: String::new() });
    match HealthClient::new(channel).check(request).await {
        Ok(reply) => Outcome {
            seen: format!("OK {}", reply.get_ref().status().as_str_name()),
            why: "health checks are public by rule".to_owned(),
        },
        Err(status) => refused(&status),
    }
}

async fn reset(target: &str, tls: ClientTls, token: &str) -> Outcome {
    let channel = match channel_with_token(target, tls, token).await {
        Ok(channel) => channel,
        Err(outcome) => return outcome,
    };
    match GreeterClient::new(channel).reset(timed(ResetRequest {})).await {
        Ok(_) => Outcome { seen: "OK".to_owned(), why: "it was reset".to_owned() },
        Err(status) => refused(&status),
    }
}

/// The first of a stream of greetings.
async fn stream(target: &str, tls: ClientTls, token: &str) -> Outcome {
    let channel = match channel_with_token(target, tls, token).await {
        Ok(channel) => channel,
        Err(outcome) => return outcome,
    };
    let request = timed(HelloStreamRequest { name: "world".to_owned(), count: 1 });
    let first = match GreeterClient::new(channel).say_hello_stream(request).await {
        Ok(replies) => replies.into_inner().message().await,
        Err(status) => Err(status),
    };
    match first {
        Ok(reply) => greeted(reply.unwrap_or_default()),
        Err(status) => refused(&status),
    }
}

/// Calls until it is refused. Some of the quota comes back meanwhile, on a slow machine.
async fn too_often(target: &str, tls: ClientTls, token: &str) -> Outcome {
    let channel = match channel_with_token(target, tls, token).await {
        Ok(channel) => channel,
        Err(outcome) => return outcome,
    };
    for _ in 0..10 * stage::QUOTA {
        let outcome = greet(channel.clone(), |request| request).await;
        if !outcome.seen.starts_with("OK") {
            return outcome;
        }
    }
    greet(channel, |request| request).await
}

async fn missing_method(target: &str, tls: ClientTls) -> Outcome {
    let channel = match connect(target, ChannelCredentials::tls(tls)).await {
        Ok(channel) => channel,
        Err(error) => return connect_error(&error),
    };
    let mut grpc = tonic::client::Grpc::new(channel);
    if let Err(status) = grpc.ready().await {
        return refused(&status);
    }
    let path = http::uri::PathAndQuery::from_static("/countersign.demo.v1.Greeter/NoSuchMethod");
    let codec = tonic_prost::ProstCodec::<ResetRequest, ResetRequest>::default();
    match grpc.unary(timed(ResetRequest {}), path, codec).await {
        Ok(_) => Outcome { seen: "OK".to_owned(), why: "it answered".to_owned() },
        Err(status) => refused(&status),
    }
}

fn bearer(token: &str) -> Result<impl CallCredentials + use<>, Outcome> {
    BearerToken::new(token)
        .map_err(|error| Outcome { seen: "no token".to_owned(), why: error.to_string() })
}

fn timed<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(Duration::from_secs(10));
    request
}

fn connect_error(error: &ConnectError) -> Outcome {
    let why = format!("{}; {}", error.sentence(), error.help());
    Outcome { seen: format!("UNAVAILABLE {}", error.code()), why }
}

/// A status as the table says it: the code, and the reason of whoever said no.
fn refused(status: &Status) -> Outcome {
    if let Some(error) = ConnectError::of(status) {
        return connect_error(error);
    }
    let code = code_name(status);
    let seen = match status.get_details_error_info() {
        Some(info) => format!("{code} {}", info.reason),
        None => code,
    };
    Outcome { seen, why: status.message().to_owned() }
}

/// The code's name as gRPC spells it.
fn code_name(status: &Status) -> String {
    let mut name = String::new();
    for c in format!("{:?}", status.code()).chars() {
        if c.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(c.to_ascii_uppercase());
    }
    name
}
