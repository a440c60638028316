//! Opaque tokens: the provider is asked what they are worth (RFC 7662).

use std::time::Duration;

use countersign::Introspection;
use countersign::credentials::oauth::{ClientAuthentication, PemSigner};
use countersign::fetch::HttpClient;
use http::Method;

use crate::dpop;
use crate::provider::TokenRequest;
use crate::world::{Failure, Outcome, Scenario, Shown, World, expect, greet, scenarios};

pub(crate) fn scenarios() -> Vec<Scenario> {
    scenarios! {
        "introspection/accepted-and-remembered" => accepted_and_remembered,
        "introspection/unknown-token" => unknown_token,
        "introspection/another-audience" => another_audience,
        "introspection/revoked" => revoked,
        "introspection/each-client-authentication" => each_client_authentication,
        "introspection/wrong-secret" => wrong_secret,
        "introspection/out-of-order" => out_of_order,
        "introspection/bound-to-a-certificate" => bound_to_a_certificate,
        "introspection/bound-to-a-key" => bound_to_a_key,
    }
}

const UNAVAILABLE: &str = "Unavailable VERIFIER_UNAVAILABLE";
const INVALID: &str = "Unauthenticated TOKEN_INVALID";

/// Asks as this client, over this connection.
fn asking_as(
    world: &World,
    client: ClientAuthentication,
    http: impl HttpClient,
) -> Result<Introspection, Failure> {
    let tokens = Introspection::new(&world.provider.introspection_endpoint())
        .authenticated_by(client)
        .issuer(&world.provider.issuer)
        .http_client(http)
        .timeout(Duration::from_secs(30))
        .audience("orders")
        .build()?;
    Ok(tokens)
}

fn tokens(world: &World) -> Result<Introspection, Failure> {
    // Id and secret have characters that are encoded before they are joined.
    let client = ClientAuthentication::basic("orders:basic", "p%1 +:/=&");
    asking_as(world, client, world.provider.http())
}

/// The provider gives clients no `sub`.
fn job(world: &World, client: &str) -> String {
    format!("{}#client:{client}", world.provider.issuer)
}

async fn accepted_and_remembered(world: World) -> Outcome {
    let server = world.serve(tokens(&world)?).await?;
    let token = world.provider.token(TokenRequest::new(TokenRequest::OPAQUE)).await?;
    for _ in 0..3 {
        expect("the token", world.bearer(&server, &token).await?, job(&world, "job"))?;
    }
    let asked = world.provider.asked("/token/introspection").await?;
    expect("requests for three calls", asked.to_string(), "1")
}

async fn unknown_token(world: World) -> Outcome {
    let server = world.serve(tokens(&world)?).await?;
    expect("a made-up token", world.bearer(&server, "made-up").await?, INVALID)
}

async fn another_audience(world: World) -> Outcome {
    let server = world.serve(tokens(&world)?).await?;
    let token = world.provider.token(TokenRequest::new(TokenRequest::OPAQUE_FOR_ANOTHER)).await?;
    expect("the token", world.bearer(&server, &token).await?, "Unauthenticated TOKEN_AUDIENCE")
}

async fn revoked(world: World) -> Outcome {
    let tokens = tokens(&world)?;
    let server = world.serve(tokens.clone()).await?;
    let token = world.provider.token(TokenRequest::new(TokenRequest::OPAQUE)).await?;
    // The connection remembers what it proved.
    let channel = world.connect(&server, None).await?;
    let told = || greet(&channel, Shown::Bearer(&token));
    expect("before", told().await?, job(&world, "job"))?;
    world.provider.revoke(&token).await?;
    expect("remembered", told().await?, job(&world, "job"))?;
    tokens.forget();
    expect("forgotten", told().await?, INVALID)
}

async fn each_client_authentication(world: World) -> Outcome {
    let token = world.provider.token(TokenRequest::new(TokenRequest::OPAQUE)).await?;
    let signer = || -> Result<PemSigner, Failure> {
        let pem = std::fs::read(world.file("client.key"))?;
        Ok(PemSigner::from_pem(pem)?.with_key_id("orders-1"))
    };
    let by_key =
        || Ok::<_, Failure>(ClientAuthentication::private_key_jwt("orders-key", signer()?));
    let http = || world.provider.http();
    let http_as = |name: &str| world.provider.http_as(world.identity(name));
    let by_certificate = || ClientAuthentication::mutual_tls("orders-mtls");
    let post = ClientAuthentication::post("orders-post", "orders-post-secret");
    let job = job(&world, "job");
    for (name, client, http, wanted) in [
        ("client_secret_post", post, http(), &*job),
        ("private_key_jwt", by_key()?.assertion_audience(&world.provider.issuer), http(), &*job),
        (
            "private_key_jwt for another server",
            by_key()?.assertion_audience("https://other.test"),
            http(),
            UNAVAILABLE,
        ),
        ("tls_client_auth", by_certificate(), http_as("client"), &*job),
        ("tls_client_auth by another", by_certificate(), http_as("other-client"), UNAVAILABLE),
        ("tls_client_auth by nobody", by_certificate(), http(), UNAVAILABLE),
        ("none", ClientAuthentication::none("orders-post"), http(), UNAVAILABLE),
    ] {
        let server = world.serve(asking_as(&world, client, http)?).await?;
        expect(name, world.bearer(&server, &token).await?, wanted)?;
    }
    Ok(())
}

async fn wrong_secret(world: World) -> Outcome {
    let client = ClientAuthentication::basic("orders:basic", "wrong");
    let server = world.serve(asking_as(&world, client, world.provider.http())?).await?;
    let token = world.provider.token(TokenRequest::new(TokenRequest::OPAQUE)).await?;
    expect("the token", world.bearer(&server, &token).await?, UNAVAILABLE)
}

async fn out_of_order(world: World) -> Outcome {
    let server = world.serve(tokens(&world)?).await?;
    let known = world.provider.token(TokenRequest::new(TokenRequest::OPAQUE)).await?;
    let new = world.provider.token(TokenRequest::new(TokenRequest::OPAQUE)).await?;
    expect("before", world.bearer(&server, &known).await?, job(&world, "job"))?;
    world.provider.steer(Method::POST, "/break").await?;
    expect("a known token", world.bearer(&server, &known).await?, job(&world, "job"))?;
    expect("a new token", world.bearer(&server, &new).await?, UNAVAILABLE)?;
    world.provider.steer(Method::POST, "/mend").await?;
    expect("after", world.bearer(&server, &new).await?, job(&world, "job"))
}

async fn bound_to_a_certificate(world: World) -> Outcome {
    let server = world.serve(tokens(&world)?).await?;
    let asked = TokenRequest::new(TokenRequest::OPAQUE).bound_to(world.identity("client"));
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
    let server = world.serve(tokens(&world)?).await?;
    dpop::bound(&world, &server, TokenRequest::OPAQUE, &job(&world, "job")).await
}
