//! Our channel with each of our sources of tokens.

use bytes::Bytes;
use countersign::credentials::oauth::{
    ClientAuthentication, ClientCredentials, ServiceAccountKey, TokenEndpoint,
};
use countersign::credentials::{CachedToken, FileToken, TokenSource};
use countersign::fetch::{FetchError, FetchLimits, HttpClient};
use countersign::{
    BearerToken, Channel, ChannelCredentials, ClientTls, RootCertificates, async_trait,
};

use super::{Fetches, Outcome};
use crate::options::{CallOptions, Caller};

/// A connected channel whose calls carry what was asked for.
pub(super) async fn channel(options: &CallOptions) -> Outcome<(Channel, Option<Fetches>)> {
    let token = || std::fs::read_to_string(&options.token_file);
    Ok(match options.caller {
        Caller::Header | Caller::Tonic => (connected(options, tls(options)).await?, None),
        Caller::Bearer => {
            let credentials = tls(options).with_call_credentials(BearerToken::new(token()?)?);
            (connected(options, credentials).await?, None)
        }
        Caller::File => cached(options, FileToken::new(&options.token_file)?).await?,
        Caller::ClientCredentials => {
            let http = Endpoint { token: token()? };
            let client = ClientAuthentication::basic("bench", "secret".to_owned());
            let endpoint = TokenEndpoint::new("https://id.example/token", client, http)?;
            cached(options, ClientCredentials::new(endpoint)).await?
        }
        Caller::SelfSigned => {
            let path = options.key_file.as_ref().ok_or("--key-file is needed")?;
            let key = ServiceAccountKey::from_json(std::fs::read(path)?)?;
            // As long as the other tokens are, about.
            cached(options, key.self_signed().claim("scope", "orders.read".repeat(4))).await?
        }
    })
}

async fn cached(
    options: &CallOptions,
    source: impl TokenSource,
) -> Outcome<(Channel, Option<Fetches>)> {
    let token = CachedToken::new(source);
    let watched = token.clone();
    let channel = connected(options, tls(options).with_call_credentials(token)).await?;
    let fetches: Fetches = Box::new(move || watched.telemetry().refreshed);
    Ok((channel, Some(fetches)))
}

fn tls(options: &CallOptions) -> ChannelCredentials<countersign::credentials::Tls> {
    let roots = RootCertificates::from_pem_file(&options.ca);
    ChannelCredentials::tls(ClientTls::only_roots(roots))
}

async fn connected<Kind>(
    options: &CallOptions,
    credentials: ChannelCredentials<Kind>,
) -> Outcome<Channel> {
    let target = format!("ipv4:{}", options.target);
    Ok(Channel::builder(target, credentials).authority("localhost").connect().await?)
}

/// A token endpoint without a network: it is asked once, before anything counts.
#[derive(Debug)]
struct Endpoint {
    token: String,
}

#[async_trait]
impl HttpClient for Endpoint {
    async fn send(
        &self,
        _: http::Request<Bytes>,
        _: FetchLimits,
    ) -> Result<http::Response<Bytes>, FetchError> {
        let token = &self.token;
        let answer = serde_json::json!({ "access_token": token, "token_type": "Bearer",
            "expires_in": 3_600 });
        Ok(http::Response::new(answer.to_string().into()))
    }
}
