use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Mutex;

use super::endpoint::{Accept, TokenEndpoint};
use super::form::Form;
use super::parameters::Parameters;
use super::store::{RefreshTokenStore, StoredToken};
use crate::credentials::{FetchedToken, TokenError, TokenRequest, TokenSource};
use crate::secret::Secret;

/// Tokens for whoever once consented, by a refresh token that is kept in a store
/// (RFC 6749 §6).
///
/// Servers may give a new refresh token each time, and then the old one is void (RFC 9700
/// §4.14.2). The new one is stored *before* the access token is used; when it cannot be stored
/// it is kept in memory, and storing it is what the next fetch tries first. The store is held
/// for one process at a time, since a refresh token that is used twice counts as stolen.
#[derive(Clone, Debug)]
pub struct RefreshToken {
    endpoint: TokenEndpoint,
    parameters: Parameters,
    store: Arc<dyn RefreshTokenStore>,
    unsaved: Arc<Mutex<Option<Secret<String>>>>,
}

impl RefreshToken {
    /// Asks at this endpoint with what is in the store.
    pub fn new(endpoint: TokenEndpoint, store: impl RefreshTokenStore) -> Self {
        Self {
            endpoint,
            parameters: Parameters::default(),
            store: Arc::new(store),
            unsaved: Arc::default(),
        }
    }

    /// Asks for fewer scopes than were consented to, separated by spaces.
    #[must_use]
    pub fn scope(mut self, scope: impl Into<String>) -> Self {
        self.parameters.set("scope", scope.into());
        self
    }

    /// Asks for a token for this resource (RFC 8707), an absolute URI.
    #[must_use]
    pub fn resource(mut self, resource: impl Into<String>) -> Self {
        self.parameters.set("resource", resource.into());
        self
    }

    async fn save(
        &self,
        store: &mut Box<dyn StoredToken>,
        unsaved: &mut Option<Secret<String>>,
    ) -> Result<(), TokenError> {
        if let Some(token) = unsaved.as_ref() {
            store.replace(token.clone()).await?;
            *unsaved = None;
        }
        Ok(())
    }
}

#[async_trait]
impl TokenSource for RefreshToken {
    async fn fetch(&self, _request: &TokenRequest) -> Result<FetchedToken, TokenError> {
        let form = self.parameters.add_to(Form::new().with("grant_type", "refresh_token"))?;
        let mut unsaved = self.unsaved.lock().await;
        let mut store = self.store.open().await?;
        self.save(&mut store, &mut unsaved).await?;
        let current = store.token();
        let form = form.with("refresh_token", current.expose());
        let answer = self.endpoint.ask(form, Accept::Bearer).await?;
        if let Some(next) = answer.refresh_token.filter(|next| next.expose() != current.expose()) {
            *unsaved = Some(next);
            self.save(&mut store, &mut unsaved).await?;
        }
        Ok(answer.token)
    }

    fn name(&self) -> &'static str {
        "refresh_token"
    }
}
