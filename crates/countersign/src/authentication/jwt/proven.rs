use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::error::TokenError;
use crate::authentication::Lease;
use crate::identity::{PeerIdentity, Principal};
use crate::secret::constant_time_eq;

/// A token whose every check passed but the proof of possession, which is the call's.
#[derive(Debug)]
pub(super) struct Proven {
    pub(super) principal: Principal,
    /// `exp` and the leeway.
    pub(super) end: SystemTime,
    pub(super) lease: Lease,
    pub(super) binding: Option<Binding>,
}

impl Proven {
    /// Whether each call has to bring a proof of its own.
    pub(super) fn is_bound_to_key(&self) -> bool {
        self.binding.as_ref().is_some_and(|binding| binding.key.is_some())
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
    pub(super) fn read(claims: &Map<String, Value>) -> Result<Option<Self>, TokenError> {
        let claim = |expected| TokenError::Claim { name: "cnf".to_owned(), expected };
        let Some(cnf) = claims.get("cnf") else {
            return Ok(None);
        };
        let cnf = cnf.as_object().ok_or_else(|| claim("an object"))?;
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
