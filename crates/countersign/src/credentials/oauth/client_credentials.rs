use async_trait::async_trait;

use super::endpoint::{Accept, TokenEndpoint};
use super::form::Form;
use super::parameters::Parameters;
use crate::credentials::{FetchedToken, TokenError, TokenRequest, TokenSource};

/// Tokens for the client itself (RFC 6749 §4.4).
///
/// ```
/// use countersign::credentials::CachedToken;
/// use countersign::credentials::oauth::{ClientAuthentication, ClientCredentials, TokenEndpoint};
/// use countersign::fetch::HttpsClient;
/// use countersign::ClientTls;
///
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let http = HttpsClient::new(ClientTls::system_roots());
/// let client = ClientAuthentication::basic("orders", "the secret");
/// let endpoint = TokenEndpoint::new("https://id.example/token", client, http)?;
/// let credentials = CachedToken::new(ClientCredentials::new(endpoint).scope("billing"));
/// # Ok(())
/// # }
/// # example().unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct ClientCredentials {
    endpoint: TokenEndpoint,
    parameters: Parameters,
}

impl ClientCredentials {
    /// Asks at this endpoint, without a scope.
    pub fn new(endpoint: TokenEndpoint) -> Self {
        Self { endpoint, parameters: Parameters::default() }
    }

    /// Asks for these scopes, separated by spaces.
    #[must_use]
    pub fn scope(mut self, scope: impl Into<String>) -> Self {
        self.parameters.set("scope", scope.into());
        self
    }

    /// Asks for a token for this audience. Not in the RFC, and asked for by several servers.
    #[must_use]
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.parameters.set("audience", audience.into());
        self
    }

    /// Asks for a token for this resource (RFC 8707).
    #[must_use]
    pub fn resource(mut self, resource: impl Into<String>) -> Self {
        self.parameters.set("resource", resource.into());
        self
    }
}

#[async_trait]
impl TokenSource for ClientCredentials {
    async fn fetch(&self, _request: &TokenRequest) -> Result<FetchedToken, TokenError> {
        let form = self.parameters.add_to(Form::new().with("grant_type", "client_credentials"))?;
        Ok(self.endpoint.ask(form, Accept::Bearer).await?.token)
    }

    fn name(&self) -> &'static str {
        "client_credentials"
    }
}
