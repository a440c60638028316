use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::flaw::Flaw;
use crate::authentication::jwt::keys::{Key, KeyUse};
use crate::identity::numeric_date;
use crate::jose::{Algorithm, NoThumbprint, json, thumbprint};

/// A proof that is read by the letter of RFC 9449 §4.2, its signature not looked at yet.
pub(super) struct ReadProof<'a> {
    /// Header and payload as they were written: what is signed.
    signed: &'a str,
    signature: Vec<u8>,
    algorithm: Algorithm,
    jwk: Map<String, Value>,
    pub(super) thumbprint: String,
    pub(super) claims: ProofClaims,
}

/// What a proof says. The last two are there only when they are needed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ProofClaims {
    pub(super) id: String,
    pub(super) method: String,
    pub(super) uri: String,
    pub(super) issued_at: SystemTime,
    pub(super) token_hash: Option<String>,
    pub(super) nonce: Option<String>,
}

/// The longest proof that is looked at, in bytes.
pub(super) const MAX_BYTES: usize = 8 * 1024;

const MAX_ID_BYTES: usize = 256;

/// What only a private key has (RFC 7518 §6.2.2 and §6.3.2, RFC 8037 §2), or a symmetric one.
const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

impl<'a> ReadProof<'a> {
    pub(super) fn read(text: &'a str) -> Result<Self, Flaw> {
        if text.len() > MAX_BYTES {
            return Err(Flaw::TooLong);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(Flaw::Form)?;
        let (header, payload) = signed.split_once('.').ok_or(Flaw::Form)?;
        // No padding, and no bits after the last byte: each proof has one spelling.
        let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| Flaw::Form);
        let (header, payload, signature) =
            (decoded(header)?, decoded(payload)?, decoded(signature)?);

        let mut header = json::object(&header).map_err(|_| Flaw::Json("header"))?;
        if header.contains_key("crit") {
            return Err(Flaw::Critical);
        }
        let text = |name: &str| header.get(name).and_then(Value::as_str);
        // A media type, so its case does not count (RFC 7515 §4.1.9).
        if !text("typ").is_some_and(|typ| typ.eq_ignore_ascii_case("dpop+jwt")) {
            return Err(Flaw::Type);
        }
        let algorithm = text("alg").and_then(Algorithm::from_name).ok_or(Flaw::Algorithm)?;
        let Some(Value::Object(jwk)) = header.remove("jwk") else {
            return Err(Flaw::Key("it is missing or not an object"));
        };
        if PRIVATE_MEMBERS.iter().any(|name| jwk.contains_key(*name)) {
            return Err(Flaw::Key("it is not a public key alone"));
        }
        let thumbprint = thumbprint(&jwk).map_err(|NoThumbprint(why)| Flaw::Key(why))?;
        let claims = json::object(&payload).map_err(|_| Flaw::Json("payload"))?;
        let claims = ProofClaims::read(claims)?;
        Ok(Self { signed, signature, algorithm, jwk, thumbprint, claims })
    }

    /// Verifies the signature with the key that the proof brings along. Whose key that is, is
    /// another question.
    pub(super) fn verify_signature(&self) -> Result<(), Flaw> {
        let mut jwk = self.jwk.clone();
        // The key is made ready for its algorithms, and here for no other than this one.
        jwk.entry("alg").or_insert_with(|| Value::from(self.algorithm.name()));
        let key = Key::parse(&jwk, KeyUse::Signature).map_err(Flaw::Key)?;
        key.ready_for(self.algorithm)
            .ok_or(Flaw::Key("it is not for the proof's `alg`"))?
            .verify_sig(self.signed.as_bytes(), &self.signature)
            .map_err(|_| Flaw::Signature)
    }
}

impl ProofClaims {
    fn read(mut claims: Map<String, Value>) -> Result<Self, Flaw> {
        let mut optional = |name: &'static str| match claims.remove(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Flaw::Claim(name)),
        };
        let (token_hash, nonce) = (optional("ath")?, optional("nonce")?);
        let mut text = |name| optional(name)?.ok_or(Flaw::Claim(name));
        let (id, method, uri) = (text("jti")?, text("htm")?, text("htu")?);
        if id.is_empty() || id.len() > MAX_ID_BYTES {
            return Err(Flaw::Id);
        }
        let issued_at = claims.get("iat").and_then(numeric_date).ok_or(Flaw::Claim("iat"))?;
        Ok(Self { id, method, uri, issued_at, token_hash, nonce })
    }
}
