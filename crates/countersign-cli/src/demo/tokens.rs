//! The tokens of the demo's issuer: right ones, and one for each way to be wrong.

use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign::authentication::jwt::{KeySet, KeySource};
use countersign::{Clock as _, Jwt, SystemClock};
use rustls_pki_types::CertificateDer;
use serde_json::json;

use crate::issuer::{Draft, SigningKey, jwks};
use crate::output::Failure;

/// The `iss` of its tokens. Nobody asks it for anything: its keys are given.
const ISSUER: &str = "https://id.demo.example";

/// For whom its tokens are.
const AUDIENCE: &str = "greeter";

/// Whom its tokens are about.
const SUBJECT: &str = "carol";

/// How the server names that subject.
pub(super) const PRINCIPAL: &str = "https://id.demo.example#carol";

const HOUR: Duration = Duration::from_secs(60 * 60);

/// An issuer whose key was changed once.
pub(super) struct Tokens {
    current: SigningKey,
    /// Signed once, and is in the key set no more.
    removed: SigningKey,
    now: SystemTime,
}

impl Tokens {
    pub(super) fn new() -> Result<Self, Failure> {
        let ((current, _), (removed, _)) = (SigningKey::generate()?, SigningKey::generate()?);
        Ok(Self { current, removed, now: SystemClock.now() })
    }

    /// What a server needs to verify them.
    pub(super) fn authenticator(&self) -> Result<Jwt, Failure> {
        let unusable = "cannot verify the demo's tokens";
        let keys = KeySet::from_json(&jwks(&[&self.current]))
            .map_err(|error| Failure::config(unusable).because(&error))?;
        Jwt::issuer(ISSUER)
            .keys(KeySource::given(keys))
            .audience(AUDIENCE)
            .build()
            .map_err(|error| Failure::config(unusable).because(&error))
    }

    pub(super) fn right(&self) -> Result<String, Failure> {
        self.sign(self.draft(self.now)?)
    }

    pub(super) fn with_scope(&self, scope: &str) -> Result<String, Failure> {
        self.sign(self.draft(self.now)?.claim("scope", scope))
    }

    pub(super) fn expired(&self) -> Result<String, Failure> {
        self.sign(self.draft(self.now - 2 * HOUR)?)
    }

    pub(super) fn for_somebody_else(&self) -> Result<String, Failure> {
        self.sign(self.draft(self.now)?.claim("aud", "orders"))
    }

    pub(super) fn of_another_issuer(&self) -> Result<String, Failure> {
        self.sign(self.draft(self.now)?.claim("iss", "https://id.other.example"))
    }

    pub(super) fn unsigned(&self) -> Result<String, Failure> {
        Ok(self.draft(self.now)?.unsigned())
    }

    pub(super) fn of_a_removed_key(&self) -> Result<String, Failure> {
        Ok(self.draft(self.now)?.sign(&self.removed)?.token)
    }

    /// Worth something only with the client certificate (RFC 8705 §3).
    pub(super) fn bound_to(&self, certificate: &CertificateDer<'_>) -> Result<String, Failure> {
        let thumbprint = URL_SAFE_NO_PAD.encode(digest(&SHA256, certificate));
        self.sign(self.draft(self.now)?.claim("cnf", json!({ "x5t#S256": thumbprint })))
    }

    fn draft(&self, begin: SystemTime) -> Result<Draft, Failure> {
        Draft::access_token(ISSUER, SUBJECT, &[AUDIENCE.to_owned()], begin, HOUR)
    }

    fn sign(&self, draft: Draft) -> Result<String, Failure> {
        Ok(draft.sign(&self.current)?.token)
    }
}
