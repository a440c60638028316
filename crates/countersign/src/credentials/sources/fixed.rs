use std::time::Duration;

use async_trait::async_trait;

use crate::credentials::cache::jwt_expiry;
use crate::credentials::{FetchedToken, TokenError, TokenRequest, TokenSource};
use crate::secret::Secret;

/// A token that was handed in, from the environment for instance, which the library does not
/// read. For calls [`BearerToken`](crate::BearerToken) does; this is for what takes a source,
/// such as the subject of a token exchange.
///
/// A JWT ends with its `exp`, any other text never.
#[derive(Clone, Debug)]
pub struct FixedToken {
    token: Secret<String>,
}

impl FixedToken {
    /// This token.
    pub fn new(token: impl Into<Secret<String>>) -> Self {
        Self { token: token.into() }
    }
}

#[async_trait]
impl TokenSource for FixedToken {
    async fn fetch(&self, _request: &TokenRequest) -> Result<FetchedToken, TokenError> {
        let token = FetchedToken::bearer(self.token.clone());
        Ok(match jwt_expiry(self.token.expose()) {
            Some(end) => token.expires_at(end),
            None => token.recheck_after(Duration::MAX),
        })
    }

    fn name(&self) -> &'static str {
        "fixed"
    }
}
