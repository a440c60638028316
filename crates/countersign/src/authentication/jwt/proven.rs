use std::sync::Arc;
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::error::TokenError;
use crate::authentication::{Generation, Grant, Grants, Lease, are_current};
use crate::identity::{PeerIdentity, Principal};
use crate::jose::json::{Members, Seen};
use crate::secret::constant_time_eq;

/// A token whose every check passed but the proof of possession, which is the call's.
///
/// It is looked at for each call: what is read then is in one place, the leases that it gives
/// included.
#[derive(Debug)]
pub(super) struct Proven {
    pub(super) principal: Principal,
    /// `exp` and the leeway.
    pub(super) end: SystemTime,
    pub(super) binding: Option<Box<Binding>>,
    remembered_until: SystemTime,
    /// The list of what is revoked and, where there is a set of them, the keys.
    granted: [Grant; 2],
}

impl Proven {
    pub(super) fn new(
        principal: Principal,
        end: SystemTime,
        binding: Option<Binding>,
        remembered_until: SystemTime,
        revocations: (&Generation, u64),
        keys: Option<(&Generation, u64)>,
    ) -> Self {
        let granted = [revocations, keys.unwrap_or(revocations)];
        let granted = granted.map(|(generation, seen)| (generation.clone(), seen));
        Self { principal, end, binding: binding.map(Box::new), remembered_until, granted }
    }

    /// Whether it may be remembered still.
    pub(super) fn holds(&self, now: SystemTime) -> bool {
        now < self.remembered_until && are_current(&self.granted)
    }

    pub(super) fn lease(self: &Arc<Self>) -> Lease {
        Lease::of(self.remembered_until, Arc::clone(self) as Arc<dyn Grants>)
    }

    /// Whether each call has to bring a proof of its own.
    pub(super) fn is_bound_to_key(&self) -> bool {
        self.binding.as_ref().is_some_and(|binding| binding.key.is_some())
    }
}

impl Grants for Proven {
    fn grants(&self) -> &[Grant] {
        &self.granted
    }
}

/// What a token is bound to (RFC 7800 §3.1). A bound token is never taken as a plain bearer one:
/// that would be the whole attack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Binding {
    /// `x5t#S256`: SHA-256 of the client certificate (RFC 8705 §3.1).
    pub(super) certificate: Option<[u8; 32]>,
    /// `jkt`: the thumbprint of the DPoP key (RFC 9449 §6.1).
    pub(super) key: Option<String>,
}

impl Binding {
    pub(super) fn read(claims: &Members<'_>) -> Result<Option<Self>, TokenError> {
        let claim = |expected| TokenError::Claim { name: "cnf".to_owned(), expected };
        let Some(cnf) = claims.get("cnf") else {
            return Ok(None);
        };
        let cnf = Seen::as_object(cnf).ok_or_else(|| claim("an object"))?;
        let certificate = match cnf.get("x5t#S256") {
            None => None,
            Some(value) => {
                let bytes = value.as_str().and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
                let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
                Some(bytes.ok_or_else(|| claim("a SHA-256 thumbprint"))?)
            }
        };
        let key = match cnf.get("jkt") {
            None => None,
            Some(Value::String(thumbprint)) => Some(thumbprint.clone()),
            Some(_) => return Err(claim("a key's thumbprint")),
        };
        // RFC 7800 §3.1: what is not understood here cannot be enforced here.
        let known = ["x5t#S256", "jkt"];
        if cnf.keys().any(|name| !known.contains(&name.as_str())) || cnf.is_empty() {
            return Err(TokenError::ProofRequired("it is bound in a way that is not known here"));
        }
        Ok(Some(Self { certificate, key }))
    }

    /// Whether the connection has the certificate that the token is bound to.
    pub(super) fn check_certificate(&self, peer: &PeerIdentity) -> Result<(), TokenError> {
        let Some(bound) = &self.certificate else {
            return Ok(());
        };
        let Some(certificate) = peer.certificate() else {
            return Err(TokenError::ProofRequired("the connection has no client certificate"));
        };
        match constant_time_eq(certificate.thumbprint(), bound) {
            true => Ok(()),
            false => Err(TokenError::ProofInvalid("the client certificate is another one")),
        }
    }
}
