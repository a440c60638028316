//! JWT access tokens (RFC 9068): the provider's keys tell what they are worth.

use countersign::Jwt;
use countersign::authentication::jwt::{KeySet, KeySource, Profile};

use crate::dpop;
use crate::provider::TokenRequest;
use crate::world::{Failure, Outcome, Scenario, Shown, World, expect, scenarios};

pub(crate) fn scenarios() -> Vec<Scenario> {
    scenarios! {
        "jwt/accepted" => accepted,
        "jwt/another-audience" => another_audience,
        "jwt/another-issuer" => another_issuer,
        "jwt/another-key" => another_key,
        "jwt/opaque" => opaque,
        "jwt/bound-to-a-certificate" => bound_to_a_certificate,
        "jwt/bound-to-a-key" => bound_to_a_key,
    }
}

const INVALID: &str = "Unauthenticated TOKEN_INVALID";

/// Strictly as RFC 9068 has it, with the keys that the provider has now.
async fn tokens(world: &World) -> Result<Jwt, Failure> {
    trusting(&world.provider.issuer, &world.provider.keys().await?)
}

fn trusting(issuer: &str, keys: &str) -> Result<Jwt, Failure> {
    let keys = KeySource::given(KeySet::from_json(keys)?);
    Ok(Jwt::issuer(issuer).audience("orders").keys(keys).profile(Profile::Rfc9068).build()?)
}

/// The name of a client that has a token for itself (RFC 9068 §2.2).
fn job(world: &World, client: &str) -> String {
    format!("{}#{client}", world.provider.issuer)
}

async fn accepted(world: World) -> Outcome {
    let server = world.serve(tokens(&world).await?).await?;
    let token = world.provider.token(TokenRequest::new(TokenRequest::JWT)).await?;
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
    let token = world.provider.token(TokenRequest::new(TokenRequest::JWT)).await?;
    expect("the token", world.bearer(&server, &token).await?, INVALID)
}

async fn another_key(world: World) -> Outcome {
    let server = world.serve(tokens(&world).await?).await?;
    for path in ["/keys/add", "/keys/use"] {
        world.provider.steer(http::Method::POST, path).await?;
    }
    let token = world.provider.token(TokenRequest::new(TokenRequest::JWT)).await?;
    expect("the token", world.bearer(&server, &token).await?, INVALID)
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
