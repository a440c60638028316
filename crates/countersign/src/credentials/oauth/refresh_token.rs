use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::timeout;

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
///
/// A request that was sent is not given up, even if nobody waits for its token any more: its
/// answer is waited for, 30 s at most, and the refresh token in it is stored.
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

    /// One request, what has to precede it and what has to follow it.
    async fn refresh(self, mut turn: Turn) -> Result<FetchedToken, TokenError> {
        const MOST: Duration = Duration::from_secs(30);
        turn.save().await?;
        let current = turn.store.token();
        let form = self
            .parameters
            .add_to(Form::new().with("grant_type", "refresh_token"))?
            .with("refresh_token", current.expose());
        let too_late = |_| Err(TokenError::transient("the token endpoint gave no answer"));
        let answer = timeout(MOST, self.endpoint.ask(form, Accept::Bearer))
            .await
            .unwrap_or_else(too_late)?;
        if let Some(next) = answer.refresh_token.filter(|next| next.expose() != current.expose()) {
            *turn.unsaved = Some(next);
            turn.save().await?;
        }
        Ok(answer.token)
    }
}

/// The right to use the refresh token: nobody else does meanwhile.
struct Turn {
    store: Box<dyn StoredToken>,
    unsaved: OwnedMutexGuard<Option<Secret<String>>>,
}

impl Turn {
    async fn save(&mut self) -> Result<(), TokenError> {
        if let Some(token) = self.unsaved.as_ref() {
            self.store.replace(token.clone()).await?;
            *self.unsaved = None;
        }
        Ok(())
    }
}

#[async_trait]
impl TokenSource for RefreshToken {
    async fn fetch(&self, _request: &TokenRequest) -> Result<FetchedToken, TokenError> {
        let unsaved = Arc::clone(&self.unsaved).lock_owned().await;
        let turn = Turn { store: self.store.open().await?, unsaved };
        // In a task that nobody aborts: once the request has left, the token that is stored may
        // be void, and the only good one is in the answer. And what is being stored is stored to
        // its end before the store is let go.
        let refreshing = tokio::spawn(self.clone().refresh(turn));
        let cut_off = |_| Err(TokenError::transient("the refresh was cut off"));
        refreshing.await.unwrap_or_else(cut_off)
    }

    fn name(&self) -> &'static str {
        "refresh_token"
    }
}
