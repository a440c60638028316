//! What people write today: an interceptor that verifies a token by the `jsonwebtoken` crate.

use std::fs;

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use tonic::{Request, Status};

use super::Outcome;
use crate::material::{AUDIENCE, Claims, ISSUER};
use crate::options::ServeOptions;

/// Verifies every call's token; nothing is remembered.
#[derive(Clone)]
pub(super) struct Verifier {
    key: DecodingKey,
    validation: Validation,
}

/// Who calls, for handlers.
#[derive(Clone)]
pub(super) struct Subject {
    #[allow(dead_code, reason = "a handler would read it; the echo does not")]
    name: String,
}

impl Verifier {
    pub(super) fn new(options: &ServeOptions) -> Outcome<Self> {
        let path = options.jwt_public_key.as_ref().ok_or("--jwt-public-key is needed")?;
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_audience(&[AUDIENCE]);
        validation.set_issuer(&[ISSUER]);
        Ok(Self { key: DecodingKey::from_ec_pem(&fs::read(path)?)?, validation })
    }
}

impl tonic::service::Interceptor for Verifier {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let refused = || Status::unauthenticated("call credentials were not accepted");
        let value = request.metadata().get("authorization").ok_or_else(refused)?;
        let token = value.to_str().ok().and_then(|value| value.strip_prefix("Bearer "));
        let token = token.ok_or_else(refused)?;
        let verified = jsonwebtoken::decode::<Claims>(token, &self.key, &self.validation)
            .map_err(|_| refused())?;
        request.extensions_mut().insert(Subject { name: verified.claims.sub });
        Ok(request)
    }
}
