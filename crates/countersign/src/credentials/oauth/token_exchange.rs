use std::sync::Arc;

use async_trait::async_trait;

use super::endpoint::{Accept, TokenEndpoint, shortened};
use super::form::Form;
use super::parameters::Parameters;
use crate::credentials::{FetchedToken, TokenError, TokenRequest, TokenScope, TokenSource};
use crate::secret::Secret;

/// One token for another (RFC 8693): of a workload for one of the cloud, or of a user for one
/// that a backend takes.
///
/// Sent as a form, as the RFC has it. The answer's `issued_token_type` is checked.
#[derive(Clone, Debug)]
pub struct TokenExchange {
    endpoint: TokenEndpoint,
    parameters: Parameters,
    subject: Party,
    actor: Option<Party>,
    requested: String,
    for_each_host: bool,
}

#[derive(Clone, Debug)]
struct Party {
    /// Without one, the subject comes with each request.
    source: Option<Arc<dyn TokenSource>>,
    kind: String,
}

/// Names of token types (RFC 8693 §3).
pub mod token_type {
    /// An access token, opaque or not.
    pub const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
    /// A JWT of any use.
    pub const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
    /// An ID token of OpenID Connect.
    pub const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
}

impl TokenExchange {
    /// Exchanges what this source gives, which is of this type (see [`token_type`]). The source
    /// is asked for each exchange.
    ///
    /// # Errors
    ///
    /// When the type is empty.
    pub fn new(
        endpoint: TokenEndpoint,
        subject: impl TokenSource,
        subject_type: impl Into<String>,
    ) -> Result<Self, TokenError> {
        Self::make(endpoint, Some(Arc::new(subject)), subject_type.into())
    }

    /// Exchanges the tokens of many subjects, each for its own:
    /// [`SubjectTokens`](super::SubjectTokens).
    ///
    /// # Errors
    ///
    /// When the type is empty.
    pub fn for_subjects(
        endpoint: TokenEndpoint,
        subject_type: impl Into<String>,
    ) -> Result<Self, TokenError> {
        Self::make(endpoint, None, subject_type.into())
    }

    fn make(
        endpoint: TokenEndpoint,
        source: Option<Arc<dyn TokenSource>>,
        kind: String,
    ) -> Result<Self, TokenError> {
        if kind.is_empty() {
            return Err(TokenError::permanent("a token exchange needs the subject's token type"));
        }
        Ok(Self {
            endpoint,
            parameters: Parameters::default(),
            subject: Party { source, kind },
            actor: None,
            requested: token_type::ACCESS_TOKEN.to_owned(),
            for_each_host: false,
        })
    }

    /// Says who acts for the subject, by a token of their own.
    #[must_use]
    pub fn actor(mut self, actor: impl TokenSource, actor_type: impl Into<String>) -> Self {
        self.actor = Some(Party { source: Some(Arc::new(actor)), kind: actor_type.into() });
        self
    }

    /// Asks for a token for this audience.
    #[must_use]
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.parameters.set("audience", audience.into());
        self.for_each_host = false;
        self
    }

    /// Asks for a token for each host that is called, with `https://host/` as its audience.
    #[must_use]
    pub fn audience_of_each_host(mut self) -> Self {
        self.for_each_host = true;
        self
    }

    /// Asks for a token for this resource, an absolute URI.
    #[must_use]
    pub fn resource(mut self, resource: impl Into<String>) -> Self {
        self.parameters.set("resource", resource.into());
        self
    }

    /// Asks for these scopes, separated by spaces. Default: the parameter is left out.
    #[must_use]
    pub fn scope(mut self, scope: impl Into<String>) -> Self {
        self.parameters.set("scope", scope.into());
        self
    }

    /// Asks for a token of this type, and takes no other. Default:
    /// [`token_type::ACCESS_TOKEN`].
    #[must_use]
    pub fn requested_type(mut self, requested: impl Into<String>) -> Self {
        self.requested = requested.into();
        self
    }

    async fn form(&self, request: &TokenRequest) -> Result<Form, TokenError> {
        let subject = match (request.subject(), &self.subject.source) {
            (Some(subject), None) => subject.clone(),
            (None, Some(source)) => given(&**source).await?,
            _ => return Err(TokenError::permanent("there is no one subject to the exchange")),
        };
        let mut form = Form::new()
            .with("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange")
            .with("subject_token", subject.expose())
            .with("subject_token_type", &self.subject.kind)
            .with("requested_token_type", &self.requested);
        if let Some(Party { source: Some(source), kind }) = &self.actor {
            form.push("actor_token", given(&**source).await?.expose());
            form.push("actor_token_type", kind);
        }
        if self.for_each_host && !self.parameters.has("audience") {
            let audience = request
                .audience()
                .ok_or_else(|| TokenError::permanent("the exchange needs a host"))?;
            form.push("audience", &audience);
        }
        self.parameters.add_to(form)
    }
}

async fn given(source: &dyn TokenSource) -> Result<Secret<String>, TokenError> {
    Ok(source.fetch(&TokenRequest::any()).await?.token().clone())
}

#[async_trait]
impl TokenSource for TokenExchange {
    async fn fetch(&self, request: &TokenRequest) -> Result<FetchedToken, TokenError> {
        let form = self.form(request).await?;
        let answer = self.endpoint.ask(form, Accept::BearerOrNone).await?;
        match answer.issued_token_type {
            Some(issued) if issued == self.requested => Ok(answer.token),
            Some(issued) => Err(TokenError::permanent(format!(
                "{:?} issued a token of type {:?} where {:?} was asked for",
                self.endpoint,
                shortened(&issued),
                self.requested
            ))),
            None => Err(TokenError::transient(format!(
                "{:?} does not say what type of token it issued",
                self.endpoint
            ))),
        }
    }

    fn name(&self) -> &'static str {
        "token_exchange"
    }

    fn scope(&self) -> TokenScope {
        match self.for_each_host {
            true => TokenScope::Host,
            false => TokenScope::Any,
        }
    }
}
