//! Refresh tokens that rotate: each is good once, and what comes next is in the store before
//! anybody profits from it.

use countersign::credentials::oauth::{ClientAuthentication, RefreshToken, RefreshTokenFile};
use countersign::credentials::{CachedToken, TokenRequest};
use countersign::{Jwt, Secret};

use super::source::{cached, consented, endpoint};
use crate::world::{Failure, Outcome, Shown, World, expect};

const JWT: &str = "https://orders.test/jwt";

/// A client that has just been started: it knows what is in its store and nothing else.
fn started(world: &World, store: &std::path::Path) -> Result<CachedToken<RefreshToken>, Failure> {
    let client = ClientAuthentication::basic("web", "web-secret");
    let endpoint = endpoint(world, client, world.provider.http())?;
    let source = RefreshToken::new(endpoint, RefreshTokenFile::new(store)).resource(JWT);
    Ok(cached(source))
}

async fn token(credentials: &CachedToken<RefreshToken>) -> Result<Secret<String>, Failure> {
    Ok(credentials.token(&TokenRequest::any()).await?)
}

pub(super) async fn across_restarts(world: World) -> Outcome {
    let store = consented(&world, "web").await?;
    let issuer = Jwt::issuer(&world.provider.issuer).audience("orders");
    let jwt = Jwt::builder().issuer(issuer).http_client(world.provider.http()).build()?;
    jwt.warm_up().await;
    let server = world.serve(jwt).await?;
    let alice = format!("{}#alice", world.provider.issuer);
    let mut stored = vec![std::fs::read_to_string(&store)?];
    for start in 1..=5 {
        let credentials = started(&world, &store)?;
        let token = token(&credentials).await?;
        let told = world.call(&server, None, Shown::Bearer(token.expose())).await?;
        expect(&format!("start {start}"), told, &alice)?;
        let now = std::fs::read_to_string(&store)?;
        if stored.contains(&now) {
            return Err(format!("start {start} left an old refresh token in the store").into());
        }
        stored.push(now);
    }
    let asked = world.provider.asked("/token").await?;
    expect("grants", asked.to_string(), "5")
}

/// What a thief or a copied store leads to: the provider ends all that came of the consent, and
/// nobody goes on trying.
pub(super) async fn used_twice(world: World) -> Outcome {
    let store = consented(&world, "web").await?;
    let copy = world.file("copied-refresh-token");
    std::fs::copy(&store, &copy)?;
    token(&started(&world, &store)?).await?;
    for (name, store) in [("the copy", &copy), ("the owner", &store)] {
        let credentials = started(&world, store)?;
        for _ in 0..3 {
            let refused = match credentials.token(&TokenRequest::any()).await {
                Ok(_) => return Err(format!("{name} got a token").into()),
                Err(error) => error,
            };
            expect(name, format!("transient: {}", refused.is_transient()), "transient: false")?;
            let words = refused.to_string();
            if !words.contains("400 invalid_grant") {
                return Err(format!("{name}: {words}").into());
            }
        }
    }
    // One that was good, and one refusal for each: the failure is remembered.
    let asked = world.provider.asked("/token").await?;
    expect("grants", asked.to_string(), "3")
}
