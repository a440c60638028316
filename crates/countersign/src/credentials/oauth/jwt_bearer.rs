use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

use super::endpoint::{Accept, TokenEndpoint};
use super::form::Form;
use super::parameters::Parameters;
use super::self_signed::Claims;
use super::signer::Signer;
use crate::credentials::{FetchedToken, TokenError, TokenRequest, TokenSource};

/// Tokens for whom a signed statement speaks (RFC 7523 §2.1): what service accounts use.
///
/// The statement is made anew for each request, for the endpoint's URL unless
/// [`assertion_audience`](Self::assertion_audience) says another, and is good for five minutes.
#[derive(Clone, Debug)]
pub struct JwtBearer {
    endpoint: TokenEndpoint,
    parameters: Parameters,
    signer: Arc<dyn Signer>,
    claims: Claims,
    audience: Option<String>,
}

impl JwtBearer {
    /// How long a statement is good for.
    pub const ASSERTION_LIFETIME: Duration = Duration::from_secs(5 * 60);

    /// Statements by `issuer` about itself.
    pub fn new(endpoint: TokenEndpoint, issuer: impl Into<String>, signer: impl Signer) -> Self {
        Self {
            endpoint,
            parameters: Parameters::default(),
            signer: Arc::new(signer),
            claims: Claims::new(issuer.into()),
            audience: None,
        }
    }

    /// Speaks for somebody else: the token is theirs.
    #[must_use]
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.claims.set_subject(subject.into());
        self
    }

    /// Makes statements for this audience.
    #[must_use]
    pub fn assertion_audience(mut self, audience: impl Into<String>) -> Self {
        self.audience = Some(audience.into());
        self
    }

    /// Adds a claim to the statement, as some servers have it for scopes. The claims that RFC 7523
    /// §3 asks for stay as they are.
    #[must_use]
    pub fn claim(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.claims.add(name.into(), value.into());
        self
    }

    /// Asks for a token for this resource (RFC 8707), an absolute URI.
    #[must_use]
    pub fn resource(mut self, resource: impl Into<String>) -> Self {
        self.parameters.set("resource", resource.into());
        self
    }

    /// Asks for these scopes, separated by spaces.
    #[must_use]
    pub fn scope(mut self, scope: impl Into<String>) -> Self {
        self.parameters.set("scope", scope.into());
        self
    }
}

#[async_trait]
impl TokenSource for JwtBearer {
    async fn fetch(&self, _request: &TokenRequest) -> Result<FetchedToken, TokenError> {
        let audience = self.audience.clone().unwrap_or_else(|| self.endpoint.url());
        let now = self.endpoint.clock().now();
        let (assertion, _) =
            self.claims.sign(&*self.signer, &audience, now, Self::ASSERTION_LIFETIME, true).await?;
        let form = Form::new()
            .with("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer")
            .with("assertion", assertion.expose());
        Ok(self.endpoint.ask(self.parameters.add_to(form)?, Accept::Bearer).await?.token)
    }

    fn name(&self) -> &'static str {
        "jwt_bearer"
    }
}
