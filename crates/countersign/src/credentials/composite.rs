use std::sync::Arc;

use async_trait::async_trait;
use http::HeaderMap;

use super::{
    CallCredentials, CallCredentialsError, CallDetails, CallMetadata, ChannelSecurityInfo,
    Rejection,
};
use crate::identity::SecurityLevel;

/// Several call credentials as one, asked in order.
///
/// The first failure ends it. Its minimum level is the highest of theirs. Two that write the
/// same key are a mistake and fail the call.
#[derive(Clone, Debug)]
pub struct CompositeCallCredentials {
    parts: Vec<Arc<dyn CallCredentials>>,
}

impl CompositeCallCredentials {
    /// Begins with two.
    pub fn new(first: impl CallCredentials, second: impl CallCredentials) -> Self {
        Self { parts: vec![Arc::new(first), Arc::new(second)] }
    }

    /// Adds another.
    #[must_use]
    pub fn and(mut self, next: impl CallCredentials) -> Self {
        self.parts.push(Arc::new(next));
        self
    }
}

#[async_trait]
impl CallCredentials for CompositeCallCredentials {
    async fn get_metadata(
        &self,
        call: &CallDetails,
        security: &ChannelSecurityInfo,
        metadata: &mut CallMetadata,
    ) -> Result<(), CallCredentialsError> {
        for part in &self.parts {
            if !part.get_metadata_now(call, security, metadata)? {
                part.get_metadata(call, security, metadata).await?;
            }
        }
        Ok(())
    }

    fn can_replace(&self) -> bool {
        self.parts.iter().any(|part| part.can_replace())
    }

    fn rejected(&self, rejection: &Rejection<'_>) -> bool {
        // Each is told, whatever the others say.
        let said = self.parts.iter().map(|part| part.rejected(rejection));
        said.filter(|said| *said).count() > 0
    }

    fn answered(&self, call: &CallDetails, answer: &HeaderMap) {
        self.parts.iter().for_each(|part| part.answered(call, answer));
    }

    fn minimum_channel_security_level(&self) -> SecurityLevel {
        self.parts
            .iter()
            .map(|part| part.minimum_channel_security_level())
            .max()
            .unwrap_or(SecurityLevel::PrivacyAndIntegrity)
    }
}
