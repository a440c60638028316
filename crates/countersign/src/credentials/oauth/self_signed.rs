use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use serde_json::{Map, Value};

use super::assertion::{random_id, sign_jwt};
use super::endpoint::unsigned;
use super::signer::Signer;
use crate::clock::{Clock, SystemClock};
use crate::credentials::{FetchedToken, TokenError, TokenRequest, TokenScope, TokenSource};
use crate::secret::Secret;

/// Tokens that the client signs itself, one for each host that it calls (AIP-4111).
///
/// The audience is `https://host/`, without the port if that is 443. A token is signed once for
/// each audience and lifetime, never for each call; servers have to know the public key.
#[derive(Clone, Debug)]
pub struct SelfSignedJwt {
    signer: Arc<dyn Signer>,
    claims: Claims,
    lifetime: Duration,
    audience: Option<String>,
    clock: Arc<dyn Clock>,
}

impl SelfSignedJwt {
    /// The lifetime of a token unless another is set, and the longest that Google's servers take.
    pub const LIFETIME: Duration = Duration::from_secs(3_600);

    /// Tokens by `issuer` about itself.
    pub fn new(issuer: impl Into<String>, signer: impl Signer) -> Self {
        Self::of(issuer.into(), Arc::new(signer))
    }

    pub(super) fn of(issuer: String, signer: Arc<dyn Signer>) -> Self {
        Self {
            signer,
            claims: Claims::new(issuer),
            lifetime: Self::LIFETIME,
            audience: None,
            clock: Arc::new(SystemClock),
        }
    }

    /// Tokens about somebody else.
    #[must_use]
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.claims.set("sub", subject.into().into());
        self
    }

    /// Adds a claim. Those that say who, for whom and how long stay as they are.
    #[must_use]
    pub fn claim(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.claims.add(name.into(), value.into());
        self
    }

    /// One token for this audience, in place of one for each host. It then goes to whatever
    /// hosts the credentials are given to: see
    /// [`PerAuthority`](crate::credentials::PerAuthority).
    #[must_use]
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audience = Some(audience.into());
        self
    }

    /// How long a token is good for. Default: [`LIFETIME`](Self::LIFETIME).
    #[must_use]
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// Reads the time from here. Default: the operating system's clock.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }
}

#[async_trait]
impl TokenSource for SelfSignedJwt {
    async fn fetch(&self, request: &TokenRequest) -> Result<FetchedToken, TokenError> {
        let audience = self.audience.clone().or_else(|| request.audience()).unwrap_or_default();
        let now = self.clock.now();
        let (token, end) =
            self.claims.sign(&*self.signer, &audience, now, self.lifetime, false).await?;
        Ok(FetchedToken::bearer(token).expires_in(self.lifetime).expires_at(end))
    }

    fn name(&self) -> &'static str {
        "self_signed_jwt"
    }

    fn scope(&self) -> TokenScope {
        match self.audience {
            Some(_) => TokenScope::Any,
            None => TokenScope::Host,
        }
    }
}

/// What a client states of itself.
#[derive(Clone, Debug)]
pub(super) struct Claims {
    members: Map<String, Value>,
}

impl Claims {
    /// By somebody about themselves.
    pub(super) fn new(issuer: String) -> Self {
        let mut members = Map::new();
        members.insert("sub".to_owned(), issuer.clone().into());
        members.insert("iss".to_owned(), issuer.into());
        Self { members }
    }

    pub(super) fn set(&mut self, name: &str, value: Value) {
        self.members.insert(name.to_owned(), value);
    }

    /// A claim of the user's own.
    pub(super) fn add(&mut self, name: String, value: Value) {
        if !matches!(name.as_str(), "iss" | "sub" | "aud" | "iat" | "exp" | "jti") {
            self.members.insert(name, value);
        }
    }

    /// Signs the statement; says too when it ends.
    pub(super) async fn sign(
        &self,
        signer: &dyn Signer,
        audience: &str,
        now: SystemTime,
        lifetime: Duration,
        once: bool,
    ) -> Result<(Secret<String>, SystemTime), TokenError> {
        if audience.trim().is_empty() {
            return Err(TokenError::permanent("a statement needs an audience"));
        }
        let issued = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let end = issued.saturating_add(lifetime.as_secs());
        let mut claims = self.members.clone();
        claims.insert("aud".to_owned(), audience.into());
        claims.insert("iat".to_owned(), issued.into());
        claims.insert("exp".to_owned(), end.into());
        if once {
            claims.insert("jti".to_owned(), random_id().map_err(unsigned)?.into());
        }
        let token = sign_jwt(signer, "JWT", &claims).await.map_err(unsigned)?;
        let end = UNIX_EPOCH.checked_add(Duration::from_secs(end)).unwrap_or(now);
        Ok((token, end))
    }
}
