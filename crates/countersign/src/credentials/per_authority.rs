use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use http::HeaderMap;

use super::{
    CallCredentials, CallCredentialsError, CallDetails, CallMetadata, ChannelSecurityInfo,
    Rejection,
};
use crate::identity::{Authority, InvalidAuthority, SecurityLevel};

/// Call credentials for each authority that they are meant for, and for no other.
///
/// A call to any other authority fails with `UNAUTHENTICATED` and nothing leaves. The authority
/// is the call's own `:authority`, which the server's certificate vouches for, and not the address
/// that a resolver gave. Names are compared without regard to case, and without `:443`.
///
/// ```
/// use countersign::BearerToken;
/// use countersign::credentials::PerAuthority;
///
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let credentials = PerAuthority::new()
///     .with("orders.example", BearerToken::new("one-token")?)?
///     .with("billing.example:8443", BearerToken::new("another-one")?)?;
/// # Ok(())
/// # }
/// # example().unwrap();
/// ```
#[derive(Clone, Debug, Default)]
pub struct PerAuthority {
    targets: HashMap<String, Arc<dyn CallCredentials>>,
}

impl PerAuthority {
    /// For nobody yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sends these to this authority: a host, with its port unless that is 443.
    ///
    /// # Errors
    ///
    /// When it is not a host with an optional port.
    pub fn with(
        mut self,
        authority: &str,
        credentials: impl CallCredentials,
    ) -> Result<Self, InvalidAuthority> {
        let authority = Authority::parse(authority)?;
        let host = authority.without_https_port().to_ascii_lowercase();
        self.targets.insert(host, Arc::new(credentials));
        Ok(self)
    }

    fn of(&self, call: &CallDetails) -> Option<&Arc<dyn CallCredentials>> {
        let host = call.audience_host();
        match self.targets.get(host) {
            Some(credentials) => Some(credentials),
            None if host.bytes().any(|byte| byte.is_ascii_uppercase()) => {
                self.targets.get(&host.to_ascii_lowercase())
            }
            None => None,
        }
    }

    fn meant_for(
        &self,
        call: &CallDetails,
        security: &ChannelSecurityInfo,
    ) -> Result<&Arc<dyn CallCredentials>, CallCredentialsError> {
        let credentials = self.of(call).ok_or_else(|| {
            CallCredentialsError::permanent(format!(
                "there are no call credentials for {:?}",
                call.authority()
            ))
        })?;
        // The channel compared the level with what the least needy of all asks for.
        let need = credentials.minimum_channel_security_level();
        let have = security.security_level();
        if have < need {
            return Err(CallCredentialsError::permanent(format!(
                "the connection's security level is {have}, and the call credentials need {need}"
            )));
        }
        Ok(credentials)
    }
}

#[async_trait]
impl CallCredentials for PerAuthority {
    async fn get_metadata(
        &self,
        call: &CallDetails,
        security: &ChannelSecurityInfo,
        metadata: &mut CallMetadata,
    ) -> Result<(), CallCredentialsError> {
        self.meant_for(call, security)?.get_metadata(call, security, metadata).await
    }

    fn get_metadata_now(
        &self,
        call: &CallDetails,
        security: &ChannelSecurityInfo,
        metadata: &mut CallMetadata,
    ) -> Result<bool, CallCredentialsError> {
        self.meant_for(call, security)?.get_metadata_now(call, security, metadata)
    }

    fn can_replace(&self) -> bool {
        self.targets.values().any(|credentials| credentials.can_replace())
    }

    fn rejected(&self, rejection: &Rejection<'_>) -> bool {
        self.of(rejection.call()).is_some_and(|credentials| credentials.rejected(rejection))
    }

    fn answered(&self, call: &CallDetails, answer: &HeaderMap) {
        if let Some(credentials) = self.of(call) {
            credentials.answered(call, answer);
        }
    }

    /// The least that any of them needs; what each needs is compared again for each call.
    fn minimum_channel_security_level(&self) -> SecurityLevel {
        let levels = self.targets.values().map(|one| one.minimum_channel_security_level());
        levels.min().unwrap_or(SecurityLevel::PrivacyAndIntegrity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::BearerToken;

    fn sent(authority: &str, level: SecurityLevel) -> Result<String, CallCredentialsError> {
        let token = |text: &str| BearerToken::new(text).expect("a token");
        let credentials = PerAuthority::new()
            .with("Orders.example:443", token("one"))
            .and_then(|it| it.with("billing.example:8443", token("two")))
            .expect("authorities");
        let mut metadata = CallMetadata::default();
        let call = CallDetails::new(authority, "/a.B/C");
        let security = ChannelSecurityInfo::new("tls", level);
        credentials.get_metadata_now(&call, &security, &mut metadata)?;
        let value = metadata.get("authorization").expect("a value");
        Ok(String::from_utf8_lossy(value).into_owned())
    }

    #[test]
    fn a_token_goes_where_it_is_meant_to_and_nowhere_else() {
        for (authority, value) in [
            ("orders.example", Some("Bearer one")),
            ("ORDERS.example:443", Some("Bearer one")),
            ("billing.example:8443", Some("Bearer two")),
            ("billing.example", None),
            ("orders.example:8443", None),
            ("orders.example.evil.example", None),
            ("evil.example", None),
        ] {
            match (sent(authority, SecurityLevel::PrivacyAndIntegrity), value) {
                (Ok(sent), Some(value)) => assert_eq!(sent, value, "{authority}"),
                (Err(error), None) => assert!(!error.is_transient(), "{authority}: {error}"),
                (sent, _) => panic!("{authority}: {sent:?}"),
            }
        }
    }

    #[test]
    fn each_keeps_its_own_level() {
        sent("orders.example", SecurityLevel::IntegrityOnly).expect_err("too low");
    }
}
