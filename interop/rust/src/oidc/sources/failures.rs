//! What a source makes of the provider's refusals.

use std::time::Instant;

use countersign::async_trait;
use countersign::authentication::jwt::Algorithm;
use countersign::credentials::oauth::{
    ClientAuthentication, ClientCredentials, JwtBearer, SignError, Signer, TokenEndpoint,
};
use countersign::credentials::{CachedToken, DpopKey, TokenRequest, TokenSource};
use http::Method;

use super::source::{cached, endpoint, signer};
use crate::world::{Failure, Outcome, World, expect};

const JWT: &str = "https://orders.test/jwt";

fn grant(endpoint: TokenEndpoint) -> ClientCredentials {
    ClientCredentials::new(endpoint).scope("read").resource(JWT)
}

/// `a token`, or whether it may work later and what the provider said.
async fn outcome(credentials: &CachedToken<impl TokenSource>) -> String {
    match credentials.token(&TokenRequest::any()).await {
        Ok(_) => "a token".to_owned(),
        Err(error) => {
            let words = error.to_string();
            let (_, said) = words.rsplit_once(" answered ").unwrap_or(("", words.as_str()));
            let said = said.split(" (").next().unwrap_or_default();
            format!("{} {said}", if error.is_transient() { "later" } else { "never" })
        }
    }
}

pub(super) async fn wrong_clients(world: World) -> Outcome {
    let plain = || world.provider.http();
    let with = |name: &str| world.provider.http_as(world.identity(name));
    let by_key = |id: &str| -> Result<_, Failure> {
        Ok(ClientAuthentication::private_key_jwt(id, signer(&world)?))
    };
    let (basic, post) = (ClientAuthentication::basic, ClientAuthentication::post);
    let mtls = ClientAuthentication::mutual_tls;
    let refused = "never 401 invalid_client";
    for (name, client, http, wanted) in [
        ("the right secret", basic("job", "job-secret"), plain(), "a token"),
        ("a wrong secret", basic("job", "wrong"), plain(), refused),
        ("a wrong secret in the form", post("job-post", "wrong"), plain(), refused),
        ("an unknown client", basic("nobody", "job-secret"), plain(), refused),
        ("no secret", ClientAuthentication::none("job"), plain(), refused),
        ("the right key", by_key("job-key")?, plain(), "a token"),
        ("a key of another client", by_key("job")?, plain(), refused),
        (
            "an assertion for another server",
            by_key("job-key")?.assertion_audience("https://other.test"),
            plain(),
            refused,
        ),
        ("the right certificate", mtls("job-mtls"), with("client"), "a token"),
        ("another certificate", mtls("job-mtls"), with("other-client"), refused),
        ("a name that nobody vouches for", mtls("job-mtls"), with("self-signed"), refused),
        ("no certificate", mtls("job-mtls"), plain(), refused),
        ("the certificate itself", mtls("job-alone"), with("self-signed"), "a token"),
        ("another one than that itself", mtls("job-alone"), with("client"), refused),
        (
            "a client without this grant",
            basic("web", "web-secret"),
            plain(),
            "never 400 invalid_request",
        ),
    ] {
        let credentials = cached(grant(endpoint(&world, client, http)?));
        expect(name, outcome(&credentials).await, wanted)?;
    }
    let client = basic("job", "job-secret");
    let source = ClientCredentials::new(endpoint(&world, client, plain())?);
    let credentials = cached(source.resource("https://nobody.test/jwt"));
    expect("an unknown resource", outcome(&credentials).await, "never 400 invalid_target")
}

/// Has none of the keys that the provider knows.
#[derive(Debug)]
struct Stranger;

#[async_trait]
impl Signer for Stranger {
    fn algorithm(&self) -> Algorithm {
        Algorithm::ES256
    }

    fn key_id(&self) -> Option<&str> {
        Some("orders-1")
    }

    async fn sign(&self, _message: &[u8]) -> Result<Vec<u8>, SignError> {
        Ok(vec![1; 64])
    }
}

/// Each assertion is made for one request, since the provider takes none twice. One that the key
/// did not sign gets nothing.
pub(super) async fn strange_assertion(world: World) -> Outcome {
    let robot = || -> Result<_, Failure> {
        let client = ClientAuthentication::private_key_jwt("robot", signer(&world)?);
        endpoint(&world, client, world.provider.http())
    };
    for wanted in ["a token", "a token"] {
        let source = JwtBearer::new(robot()?, "robot", signer(&world)?).subject("carol");
        let credentials = cached(source.scope("read").resource(JWT));
        expect("the key's own", outcome(&credentials).await, wanted)?;
    }
    let source = JwtBearer::new(robot()?, "robot", Stranger).subject("carol");
    let credentials = cached(source.scope("read").resource(JWT));
    expect("a stranger's", outcome(&credentials).await, "never 400 invalid_grant")?;
    let client = ClientAuthentication::private_key_jwt("job-key", Stranger);
    let credentials = cached(grant(endpoint(&world, client, world.provider.http())?));
    expect("as a client", outcome(&credentials).await, "never 401 invalid_client")
}

pub(super) async fn out_of_order(world: World) -> Outcome {
    let client = ClientAuthentication::basic("job", "job-secret");
    let http = world.provider.http();
    let source = || Ok::<_, Failure>(grant(endpoint(&world, client.clone(), http.clone())?));
    let known = cached(source()?);
    expect("before", outcome(&known).await, "a token")?;
    world.provider.steer(Method::POST, "/break").await?;
    let new = cached(source()?);
    let before = world.provider.asked("/token").await?;
    let began = Instant::now();
    for _ in 0..100 {
        expect("the token that lasts", outcome(&known).await, "a token")?;
        expect("none yet", outcome(&new).await, "later 503")?;
    }
    // Each back-off lasts 800 ms at least, however long this took.
    let most = 1 + began.elapsed().as_millis() / 800;
    let asked = u128::from(world.provider.asked("/token").await? - before);
    if !(1..=most).contains(&asked) {
        return Err(format!("{asked} requests in the back-off, and not up to {most}").into());
    }
    world.provider.steer(Method::POST, "/mend").await?;
    let after = cached(source()?);
    expect("after", outcome(&after).await, "a token")
}

/// RFC 9449 §8: the provider asks for a nonce once, and from then on gives the next in time.
pub(super) async fn nonce_at_the_endpoint(world: World) -> Outcome {
    let client = ClientAuthentication::basic("job-nonce", "job-nonce-secret");
    let key = DpopKey::generate()?;
    let endpoint = endpoint(&world, client, world.provider.http())?;
    let without = cached(grant(endpoint.clone()));
    expect("no proof", outcome(&without).await, "never 400 invalid_grant")?;
    let before = world.provider.asked("/token").await?;
    // Clones share what they know of the endpoint.
    let endpoint = endpoint.with_dpop(key);
    for (name, requests) in [("the first", "2"), ("the second", "3"), ("the third", "4")] {
        let credentials = cached(grant(endpoint.clone()));
        expect(name, outcome(&credentials).await, "a token")?;
        let asked = world.provider.asked("/token").await? - before;
        expect(&format!("requests by {name}"), asked.to_string(), requests)?;
    }
    Ok(())
}
