use std::path::PathBuf;
use std::sync::Arc;

use countersign::CallCredentials;
use countersign::credentials::oauth::{
    ClientAuthentication, ClientCredentials, JwtBearer, PemSigner, RefreshToken, RefreshTokenFile,
    TokenEndpoint, TokenExchange, token_type,
};
use countersign::credentials::{
    CachedToken, DpopKey, DpopToken, FileToken, TokenRequest, TokenSource,
};
use countersign::fetch::HttpClient;
use http::Method;

use crate::world::{Failure, PATIENCE, World};

/// Where a client gets its token, and how it proves who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    SecretBasic,
    SecretPost,
    PrivateKeyJwt,
    TlsClientAuth,
    SelfSignedTls,
    RefreshToken,
    TokenExchange,
    JwtBearer,
    File,
    BoundToCertificate,
    BoundToKey,
    RefreshTokenBoundToKey,
}

/// Which key makes the proofs of a token that is bound to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prover {
    Holder,
    /// Who got hold of the token, and has a key of its own.
    Thief,
}

impl Source {
    pub(super) const ALL: [Self; 12] = [
        Self::SecretBasic,
        Self::SecretPost,
        Self::PrivateKeyJwt,
        Self::TlsClientAuth,
        Self::SelfSignedTls,
        Self::RefreshToken,
        Self::TokenExchange,
        Self::JwtBearer,
        Self::File,
        Self::BoundToCertificate,
        Self::BoundToKey,
        Self::RefreshTokenBoundToKey,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::SecretBasic => "client credentials, client_secret_basic",
            Self::SecretPost => "client credentials, client_secret_post",
            Self::PrivateKeyJwt => "client credentials, private_key_jwt",
            Self::TlsClientAuth => "client credentials, tls_client_auth",
            Self::SelfSignedTls => "client credentials, self_signed_tls_client_auth",
            Self::RefreshToken => "refresh token, rotated",
            Self::TokenExchange => "token exchange (the grant is ours)",
            Self::JwtBearer => "JWT bearer (the grant is ours)",
            Self::File => "file, from client credentials",
            Self::BoundToCertificate => "client credentials, bound to a certificate",
            Self::BoundToKey => "client credentials, bound to a key, with nonce",
            Self::RefreshTokenBoundToKey => "refresh token, bound to a key, with nonce",
        }
    }

    /// Of whom the token is.
    pub(super) fn subject(self) -> Subject {
        match self {
            Self::SecretBasic | Self::File => Subject::Client("job"),
            Self::SecretPost => Subject::Client("job-post"),
            Self::PrivateKeyJwt => Subject::Client("job-key"),
            Self::TlsClientAuth => Subject::Client("job-mtls"),
            Self::SelfSignedTls => Subject::Client("job-alone"),
            Self::BoundToCertificate => Subject::Client("job-mtls-bound"),
            Self::BoundToKey => Subject::Client("job-nonce"),
            Self::RefreshToken | Self::RefreshTokenBoundToKey => Subject::User("alice"),
            // Whose token was exchanged.
            Self::TokenExchange => Subject::User("job"),
            Self::JwtBearer => Subject::User("carol"),
        }
    }

    pub(super) fn is_bound_to_certificate(self) -> bool {
        self == Self::BoundToCertificate
    }

    pub(super) fn is_bound_to_key(self) -> bool {
        matches!(self, Self::BoundToKey | Self::RefreshTokenBoundToKey)
    }

    /// Call credentials with tokens for this resource. They ask for nothing yet, but for what a
    /// user or an agent has to do first.
    pub(super) async fn credentials(
        self,
        world: &World,
        resource: &str,
        prover: Prover,
    ) -> Result<Arc<dyn CallCredentials>, Failure> {
        let basic = |id: &str| ClientAuthentication::basic(id, format!("{id}-secret"));
        let by_certificate = ClientAuthentication::mutual_tls;
        let with = |name: &str| world.provider.http_as(world.identity(name));
        let plain = || world.provider.http();
        let endpoint = match self {
            Self::SecretBasic | Self::File => endpoint(world, basic("job"), plain())?,
            Self::SecretPost => {
                let client = ClientAuthentication::post("job-post", "job-post-secret");
                endpoint(world, client, plain())?
            }
            Self::PrivateKeyJwt => {
                let client = ClientAuthentication::private_key_jwt("job-key", signer(world)?);
                endpoint(world, client, plain())?
            }
            Self::TlsClientAuth => endpoint(world, by_certificate("job-mtls"), with("client"))?,
            Self::SelfSignedTls => {
                endpoint(world, by_certificate("job-alone"), with("self-signed"))?
            }
            Self::BoundToCertificate => {
                endpoint(world, by_certificate("job-mtls-bound"), with("client"))?
            }
            Self::BoundToKey => endpoint(world, basic("job-nonce"), plain())?,
            Self::RefreshToken => endpoint(world, basic("web"), plain())?,
            Self::RefreshTokenBoundToKey => endpoint(world, basic("web-nonce"), plain())?,
            Self::TokenExchange => endpoint(world, basic("gateway"), plain())?,
            Self::JwtBearer => {
                let client = ClientAuthentication::private_key_jwt("robot", signer(world)?);
                endpoint(world, client, plain())?
            }
        };
        let grant = |endpoint| ClientCredentials::new(endpoint).scope("read").resource(resource);
        Ok(match self {
            Self::SecretBasic
            | Self::SecretPost
            | Self::PrivateKeyJwt
            | Self::TlsClientAuth
            | Self::SelfSignedTls
            | Self::BoundToCertificate => Arc::new(cached(grant(endpoint))),
            Self::BoundToKey => {
                let key = DpopKey::generate()?;
                bound(grant(endpoint.with_dpop(key.clone())), key, prover)?
            }
            Self::RefreshToken => {
                let store = consent(world, "web").await?;
                Arc::new(cached(RefreshToken::new(endpoint, store).resource(resource)))
            }
            Self::RefreshTokenBoundToKey => {
                let key = DpopKey::generate()?;
                let store = consent(world, "web-nonce").await?;
                let endpoint = endpoint.with_dpop(key.clone());
                bound(RefreshToken::new(endpoint, store).resource(resource), key, prover)?
            }
            Self::TokenExchange => {
                let job = self::endpoint(world, basic("job"), plain())?;
                let subject = ClientCredentials::new(job).resource("https://orders.test/opaque");
                let exchange = TokenExchange::new(endpoint, subject, token_type::ACCESS_TOKEN)?;
                Arc::new(cached(exchange.scope("read").resource(resource)))
            }
            Self::JwtBearer => {
                let source = JwtBearer::new(endpoint, "robot", signer(world)?).subject("carol");
                Arc::new(cached(source.scope("read").resource(resource)))
            }
            Self::File => {
                // An agent writes what it got.
                let token = cached(grant(endpoint)).token(&TokenRequest::any()).await?;
                let path = world.file("agent-token");
                std::fs::write(&path, token.expose())?;
                Arc::new(cached(FileToken::new(path)?))
            }
        })
    }
}

/// Of whom a token is. The gate tells clients from users by name, where the token does.
#[derive(Clone, Copy, Debug)]
pub(super) enum Subject {
    Client(&'static str),
    User(&'static str),
}

/// The provider's token endpoint, asked by this client over such connections.
pub(super) fn endpoint(
    world: &World,
    client: ClientAuthentication,
    http: impl HttpClient,
) -> Result<TokenEndpoint, Failure> {
    Ok(TokenEndpoint::new(&world.provider.token_endpoint(), client, http)?)
}

/// Keeps what the source gets, and gives it time to.
pub(super) fn cached<S: TokenSource>(source: S) -> CachedToken<S> {
    CachedToken::builder(source).with_fetch_timeout(PATIENCE).build()
}

/// Signs with the key of the certificate `client`.
pub(super) fn signer(world: &World) -> Result<PemSigner, Failure> {
    let pem = std::fs::read(world.file("client.key"))?;
    Ok(PemSigner::from_pem(pem)?.with_key_id("orders-1"))
}

/// A store with the refresh token that the user's consent gave.
pub(super) async fn consent(world: &World, client: &str) -> Result<RefreshTokenFile, Failure> {
    Ok(RefreshTokenFile::new(consented(world, client).await?))
}

/// The same as a file that others may look into.
pub(super) async fn consented(world: &World, client: &str) -> Result<PathBuf, Failure> {
    let told = world.provider.steer(Method::POST, &format!("/consent/{client}")).await?;
    let path = world.file(&format!("{client}-refresh-token"));
    std::fs::write(&path, told.as_str().ok_or("no refresh token")?)?;
    Ok(path)
}

fn bound(
    source: impl TokenSource,
    key: DpopKey,
    prover: Prover,
) -> Result<Arc<dyn CallCredentials>, Failure> {
    let key = match prover {
        Prover::Holder => key,
        Prover::Thief => DpopKey::generate()?,
    };
    Ok(Arc::new(DpopToken::new(cached(source), key)))
}
