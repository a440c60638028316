use std::fmt;
use std::sync::Arc;

use super::endpoint::TokenEndpoint;
use super::jwt_bearer::JwtBearer;
use super::pem_signer::PemSigner;
use super::self_signed::SelfSignedJwt;
use super::signer::Signer;
use crate::credentials::TokenError;
use crate::fetch::HttpClient;
use crate::secret::Secret;

/// A service account's key file, in the JSON form that Google made common.
#[derive(Clone)]
pub struct ServiceAccountKey {
    email: String,
    token_uri: Option<String>,
    signer: Arc<dyn Signer>,
}

#[derive(serde::Deserialize)]
struct KeyFile {
    #[serde(rename = "type")]
    kind: String,
    client_email: String,
    private_key: String,
    private_key_id: Option<String>,
    token_uri: Option<String>,
}

impl ServiceAccountKey {
    /// Reads the text of a key file.
    ///
    /// # Errors
    ///
    /// When it is not a key file of a service account, or its key is none that signs.
    pub fn from_json(text: impl AsRef<[u8]>) -> Result<Self, TokenError> {
        // serde's words could quote the key.
        let file: KeyFile = serde_json::from_slice(text.as_ref()).map_err(|error| {
            let words = format!("no service account's key, at line {}", error.line());
            TokenError::permanent(words)
        })?;
        let private_key = Secret::from(file.private_key);
        if file.kind != "service_account" {
            return Err(TokenError::permanent("the key file is not one of a service account"));
        }
        let mut signer = PemSigner::from_pem(private_key.expose())
            .map_err(|error| TokenError::permanent("the key in the key file").with_source(error))?;
        if let Some(id) = file.private_key_id {
            signer = signer.with_key_id(id);
        }
        Ok(Self { email: file.client_email, token_uri: file.token_uri, signer: Arc::new(signer) })
    }

    /// Whose key it is.
    pub fn email(&self) -> &str {
        &self.email
    }

    /// Tokens that are signed here, for each host one (AIP-4111).
    pub fn self_signed(&self) -> SelfSignedJwt {
        SelfSignedJwt::of(self.email.clone(), Arc::clone(&self.signer))
    }

    /// Tokens from the file's `token_uri`, with these scopes in the statement.
    ///
    /// # Errors
    ///
    /// When the file names no endpoint, or none that may be asked.
    pub fn exchanged(&self, scope: &str, http: impl HttpClient) -> Result<JwtBearer, TokenError> {
        let url = self
            .token_uri
            .as_deref()
            .ok_or_else(|| TokenError::permanent("the key file names no token_uri"))?;
        let endpoint = TokenEndpoint::without_client(url, http)?;
        let grant = JwtBearer::new(endpoint, self.email.clone(), Arc::clone(&self.signer));
        Ok(grant.claim("scope", scope))
    }
}

impl fmt::Debug for ServiceAccountKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServiceAccountKey({})", self.email)
    }
}
