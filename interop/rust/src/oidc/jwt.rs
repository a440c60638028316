//! JWT access tokens (RFC 9068): the provider's keys tell what they are worth.

use std::cell::Cell;
use std::time::{Duration, Instant};

use countersign::Jwt;
use countersign::authentication::jwt::{KeySet, KeySource, Profile};
use countersign_testkit::greeter::TestServer;
use countersign_testkit::wait::until;
use http::Method;

use crate::dpop;
use crate::provider::TokenRequest;
use crate::world::{Failure, Outcome, PATIENCE, Scenario, Shown, World, expect, scenarios};

pub(crate) fn scenarios() -> Vec<Scenario> {
    scenarios! {
        "jwt/accepted" => accepted,
        "jwt/another-audience" => another_audience,
        "jwt/another-issuer" => another_issuer,
        "jwt/given-keys" => given_keys,
        "jwt/rotation-with-overlap" => rotation_with_overlap,
        "jwt/withdrawn-key" => withdrawn_key,
        "jwt/out-of-order" => out_of_order,
        "jwt/opaque" => opaque,
        "jwt/bound-to-a-certificate" => bound_to_a_certificate,
        "jwt/bound-to-a-key" => bound_to_a_key,
    }
}

const INVALID: &str = "Unauthenticated TOKEN_INVALID";
const UNAVAILABLE: &str = "Unavailable VERIFIER_UNAVAILABLE";

/// How long the gate lets a call wait for keys.
const WAIT: Duration = Duration::from_secs(2);

/// Strictly as RFC 9068 has it. The keys are found by discovery, before the first call.
async fn tokens(world: &World) -> Result<Jwt, Failure> {
    let issuer = Jwt::issuer(&world.provider.issuer).audience("orders").profile(Profile::Rfc9068);
    let tokens = Jwt::builder().issuer(issuer).http_client(world.provider.http()).build()?;
    tokens.warm_up().await;
    Ok(tokens)
}

/// The same with keys that are handed over and stay.
fn trusting(issuer: &str, keys: &str) -> Result<Jwt, Failure> {
    let keys = KeySource::given(KeySet::from_json(keys)?);
    Ok(Jwt::issuer(issuer).audience("orders").keys(keys).profile(Profile::Rfc9068).build()?)
}

async fn token(world: &World) -> Result<String, Failure> {
    world.provider.token(TokenRequest::new(TokenRequest::JWT)).await
}

/// One call, and again where the gate waited in vain for a provider that is slow.
async fn judged(world: &World, server: &TestServer, token: &str) -> Result<String, Failure> {
    let began = Instant::now();
    loop {
        let asked = Instant::now();
        let told = world.bearer(server, token).await?;
        if told != UNAVAILABLE || asked.elapsed() < WAIT || began.elapsed() > PATIENCE {
            return Ok(told);
        }
    }
}

/// Goes through the stages of a rotation.
async fn rotate(world: &World, stages: &[&str]) -> Outcome {
    for stage in stages {
        world.provider.steer(Method::POST, &format!("/keys/{stage}")).await?;
    }
    Ok(())
}

async fn key_sets_asked(world: &World) -> Result<String, Failure> {
    Ok(world.provider.asked("/jwks").await?.to_string())
}

/// The name of a client that has a token for itself (RFC 9068 §2.2).
fn job(world: &World, client: &str) -> String {
    format!("{}#{client}", world.provider.issuer)
}

async fn accepted(world: World) -> Outcome {
    let server = world.serve(tokens(&world).await?).await?;
    let token = token(&world).await?;
    expect("the token", world.bearer(&server, &token).await?, job(&world, "job"))
}

async fn another_audience(world: World) -> Outcome {
    let server = world.serve(tokens(&world).await?).await?;
    let token = world.provider.token(TokenRequest::new(TokenRequest::JWT_FOR_ANOTHER)).await?;
    expect("the token", world.bearer(&server, &token).await?, "Unauthenticated TOKEN_AUDIENCE")
}

async fn another_issuer(world: World) -> Outcome {
    let keys = world.provider.keys().await?;
    let server = world.serve(trusting("https://localhost:1", &keys)?).await?;
    let token = token(&world).await?;
    expect("the token", world.bearer(&server, &token).await?, INVALID)
}

/// Keys that were handed over know nothing of later ones.
async fn given_keys(world: World) -> Outcome {
    let keys = world.provider.keys().await?;
    let server = world.serve(trusting(&world.provider.issuer, &keys)?).await?;
    let old = token(&world).await?;
    expect("its key", world.bearer(&server, &old).await?, job(&world, "job"))?;
    rotate(&world, &["add", "use"]).await?;
    let new = token(&world).await?;
    expect("another key", world.bearer(&server, &new).await?, INVALID)
}

/// Calls go on with new tokens, one after the other, until `done`.
async fn calls(world: &World, server: &TestServer, made: &Cell<u32>, done: &Cell<bool>) -> Outcome {
    while !done.get() {
        let token = token(world).await?;
        expect("a call", judged(world, server, &token).await?, job(world, "job"))?;
        made.set(made.get() + 1);
    }
    Ok(())
}

async fn rotation_with_overlap(world: World) -> Outcome {
    let server = world.serve(tokens(&world).await?).await?;
    let (made, done) = (Cell::new(0), Cell::new(false));
    let going = || calls(&world, &server, &made, &done);
    let rotating = async {
        for stage in ["add", "use", "drop"] {
            let enough = made.get() + 10;
            until("calls go on", || made.get() >= enough).await;
            rotate(&world, &[stage]).await?;
        }
        let enough = made.get() + 10;
        until("calls go on", || made.get() >= enough).await;
        done.set(true);
        Ok::<_, Failure>(())
    };
    // One failed call ends it all.
    tokio::try_join!(rotating, going(), going(), going(), going())?;
    // One at the start, and one for the key that was new.
    expect("key sets asked for", key_sets_asked(&world).await?, "2")
}

async fn withdrawn_key(world: World) -> Outcome {
    let server = world.serve(tokens(&world).await?).await?;
    let old = token(&world).await?;
    expect("before", world.bearer(&server, &old).await?, job(&world, "job"))?;
    rotate(&world, &["add", "use", "drop"]).await?;
    let new = token(&world).await?;
    expect("the new key", judged(&world, &server, &new).await?, job(&world, "job"))?;
    // It was accepted before, and is remembered no longer.
    expect("the withdrawn key", world.bearer(&server, &old).await?, INVALID)?;
    expect("key sets asked for", key_sets_asked(&world).await?, "2")
}

async fn out_of_order(world: World) -> Outcome {
    let server = world.serve(tokens(&world).await?).await?;
    let old = token(&world).await?;
    expect("before", world.bearer(&server, &old).await?, job(&world, "job"))?;
    let same_key = token(&world).await?;
    rotate(&world, &["add", "use"]).await?;
    let new_key = token(&world).await?;
    world.provider.steer(Method::POST, "/break").await?;
    // What is known is known without the provider.
    expect("a known key", world.bearer(&server, &same_key).await?, job(&world, "job"))?;
    let told = world.bearer(&server, &new_key).await?;
    expect("an unknown key", told, UNAVAILABLE)
}

async fn opaque(world: World) -> Outcome {
    let server = world.serve(tokens(&world).await?).await?;
    let token = world.provider.token(TokenRequest::new(TokenRequest::OPAQUE)).await?;
    let told = world.bearer(&server, &token).await?;
    match told.starts_with("Unauthenticated ") {
        true => Ok(()),
        false => Err(format!("an opaque token is no JWT, and yet `{told}`").into()),
    }
}

async fn bound_to_a_certificate(world: World) -> Outcome {
    let server = world.serve(tokens(&world).await?).await?;
    let asked = TokenRequest::new(TokenRequest::JWT).bound_to(world.identity("client"));
    let token = world.provider.token(asked).await?;
    for (name, identity, wanted) in [
        ("its certificate", Some("client"), &*job(&world, "job-bound")),
        ("another certificate", Some("other-client"), "Unauthenticated PROOF_INVALID"),
        ("no certificate", None, "Unauthenticated PROOF_REQUIRED"),
    ] {
        let identity = identity.map(|name| world.identity(name));
        let told = world.call(&server, identity, Shown::Bearer(&token)).await?;
        expect(name, told, wanted)?;
    }
    Ok(())
}

async fn bound_to_a_key(world: World) -> Outcome {
    let server = world.serve(tokens(&world).await?).await?;
    dpop::bound(&world, &server, TokenRequest::JWT, &job(&world, "job")).await
}
