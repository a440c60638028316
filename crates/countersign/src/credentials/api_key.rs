use std::fmt;

use async_trait::async_trait;
use http::{HeaderName, HeaderValue};

use super::{
    CallCredentials, CallCredentialsError, CallDetails, CallMetadata, ChannelSecurityInfo,
};
use crate::secret::Secret;

/// [`ApiKey::DEFAULT_KEY`], parsed once.
pub(crate) static API_KEY: HeaderName = HeaderName::from_static(ApiKey::DEFAULT_KEY);

/// Sends an API key with every call, as `x-api-key` unless another key is named.
///
/// Never below [`SecurityLevel::PrivacyAndIntegrity`](crate::SecurityLevel).
#[derive(Clone)]
pub struct ApiKey {
    name: HeaderName,
    value: HeaderValue,
}

impl ApiKey {
    /// The metadata key that is used when none is named.
    pub const DEFAULT_KEY: &str = "x-api-key";

    /// Sends `key` as `x-api-key`.
    ///
    /// # Errors
    ///
    /// When it is empty or not visible ASCII; the message does not quote it.
    pub fn new(key: impl Into<Secret<String>>) -> Result<Self, CallCredentialsError> {
        let key = key.into();
        let text = key.expose();
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(CallCredentialsError::permanent("the API key is not visible ASCII"));
        }
        let mut value = HeaderValue::from_str(text).expect("visible ASCII");
        value.set_sensitive(true);
        Ok(Self { name: API_KEY.clone(), value })
    }

    /// Sends it under another metadata key.
    ///
    /// # Errors
    ///
    /// When the name cannot be a metadata key, belongs to the transport, or ends in `-bin`: what
    /// is under such a key is base64 to servers, and a key is not.
    pub fn under(mut self, metadata_key: &str) -> Result<Self, CallCredentialsError> {
        self.name = CallMetadata::checked_name(metadata_key)?;
        Ok(self)
    }
}

#[async_trait]
impl CallCredentials for ApiKey {
    async fn get_metadata(
        &self,
        _call: &CallDetails,
        _security: &ChannelSecurityInfo,
        metadata: &mut CallMetadata,
    ) -> Result<(), CallCredentialsError> {
        Ok(metadata.insert_checked(self.name.clone(), self.value.clone())?)
    }

    fn get_metadata_now(
        &self,
        _call: &CallDetails,
        _security: &ChannelSecurityInfo,
        metadata: &mut CallMetadata,
    ) -> Result<bool, CallCredentialsError> {
        metadata.insert_checked(self.name.clone(), self.value.clone())?;
        Ok(true)
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKey({}: ..)", self.name)
    }
}
