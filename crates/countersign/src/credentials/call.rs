use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::HeaderMap;

use super::{CallMetadata, Rejection};
use crate::identity::SecurityLevel;

/// What authenticates one RPC: a token, a key, anything that goes into its metadata.
///
/// The channel asks once per attempt of a call, after a connection was picked and immediately
/// before the headers are sent; calls run at the same time, so an implementation does its own
/// caching. The level of the actual connection was compared with
/// [`minimum_channel_security_level`](Self::minimum_channel_security_level) before anything is
/// asked.
///
/// `Debug` says which credentials they are: it stands in errors and must not show what they hold
/// (gRFC L63).
///
/// Names follow the official `grpc` crate, so that an adapter stays thin.
#[async_trait]
pub trait CallCredentials: fmt::Debug + Send + Sync + 'static {
    /// Adds metadata for one call.
    ///
    /// May wait, under the call's deadline. It is dropped when the call ends first, and has to
    /// be cancel-safe: work that others wait for too belongs into a task of its own.
    ///
    /// # Errors
    ///
    /// The error becomes the call's status (see [`CallCredentialsErrorKind`]). The call is not
    /// sent, and not retried by the channel, unless it waits for readiness and the error says
    /// [when to ask again](CallCredentialsError::with_retry_after).
    async fn get_metadata(
        &self,
        call: &CallDetails,
        security: &ChannelSecurityInfo,
        metadata: &mut CallMetadata,
    ) -> Result<(), CallCredentialsError>;

    /// Adds metadata at once if nothing has to be waited for, and says whether it did.
    ///
    /// The channel tries this first and spares itself a boxed future. With `Ok(false)`, the
    /// default, nothing may have been added, and [`get_metadata`](Self::get_metadata) is asked.
    ///
    /// # Errors
    ///
    /// As [`get_metadata`](Self::get_metadata).
    fn get_metadata_now(
        &self,
        _call: &CallDetails,
        _security: &ChannelSecurityInfo,
        _metadata: &mut CallMetadata,
    ) -> Result<bool, CallCredentialsError> {
        Ok(false)
    }

    /// Whether a rejected call may be worth another try with other metadata, so that the channel
    /// keeps what it sent until there is an answer. Default: `false`.
    fn can_replace(&self) -> bool {
        false
    }

    /// A server answered a call that these credentials went with by `UNAUTHENTICATED`, before any
    /// message. Says whether the next metadata may do better.
    ///
    /// The channel asks each time, and sends a call once more at most, if all of it is still
    /// there: the request had ended, and its messages have 64 KiB or less. Asked only when
    /// [`can_replace`](Self::can_replace) says so; must not block. Default: `false`.
    fn rejected(&self, _rejection: &Rejection<'_>) -> bool {
        false
    }

    /// A server answered a call that these credentials went with, whatever its status; before
    /// [`rejected`](Self::rejected), where that is asked. For what servers hand out with their
    /// answers, as nonces for the next proof. Must not block. Default: nothing.
    fn answered(&self, _call: &CallDetails, _answer: &HeaderMap) {}

    /// The least protection under which these credentials may be sent.
    ///
    /// Default: [`SecurityLevel::PrivacyAndIntegrity`], since a bearer token that can be read
    /// can be used by whoever reads it (gRFC L62).
    fn minimum_channel_security_level(&self) -> SecurityLevel {
        SecurityLevel::PrivacyAndIntegrity
    }
}

#[async_trait]
impl<C: CallCredentials + ?Sized> CallCredentials for Arc<C> {
    async fn get_metadata(
        &self,
        call: &CallDetails,
        security: &ChannelSecurityInfo,
        metadata: &mut CallMetadata,
    ) -> Result<(), CallCredentialsError> {
        C::get_metadata(self, call, security, metadata).await
    }

    fn get_metadata_now(
        &self,
        call: &CallDetails,
        security: &ChannelSecurityInfo,
        metadata: &mut CallMetadata,
    ) -> Result<bool, CallCredentialsError> {
        C::get_metadata_now(self, call, security, metadata)
    }

    fn can_replace(&self) -> bool {
        C::can_replace(self)
    }

    fn rejected(&self, rejection: &Rejection<'_>) -> bool {
        C::rejected(self, rejection)
    }

    fn answered(&self, call: &CallDetails, answer: &HeaderMap) {
        C::answered(self, call, answer);
    }

    fn minimum_channel_security_level(&self) -> SecurityLevel {
        C::minimum_channel_security_level(self)
    }
}

/// Which call asks for credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallDetails {
    pub(crate) authority: Arc<str>,
    pub(crate) audience_host: Arc<str>,
    pub(crate) path: String,
}

impl CallDetails {
    /// Details for testing call credentials by themselves.
    ///
    /// `authority` is the call's `:authority`; `path` is `/package.Service/Method`.
    pub fn new(authority: &str, path: &str) -> Self {
        Self {
            authority: authority.into(),
            audience_host: authority.strip_suffix(":443").unwrap_or(authority).into(),
            path: path.to_owned(),
        }
    }

    /// The service's URL, the audience of self-signed tokens: `https://`, the authority without
    /// `:443`, and the service; for instance `https://orders.example/orders.v1.Orders`.
    pub fn service_url(&self) -> String {
        let service = self.path.rsplit_once('/').map_or(self.path.as_str(), |(head, _)| head);
        format!("https://{}{service}", self.audience_host)
    }

    /// The host that the call is addressed to, with its port unless that is 443.
    pub fn audience_host(&self) -> &str {
        &self.audience_host
    }

    /// The bare method name.
    pub fn method_name(&self) -> &str {
        self.path.rsplit_once('/').map_or("", |(_, method)| method)
    }

    /// The `:authority` that the call goes to.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The call's path, `/package.Service/Method`.
    pub fn path(&self) -> &str {
        &self.path
    }
}

/// How the connection that was picked for a call is secured.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChannelSecurityInfo {
    pub(crate) security_protocol: &'static str,
    pub(crate) security_level: SecurityLevel,
}

impl ChannelSecurityInfo {
    /// Security for testing call credentials by themselves.
    pub fn new(security_protocol: &'static str, security_level: SecurityLevel) -> Self {
        Self { security_protocol, security_level }
    }

    /// `tls`, `local` or `insecure`.
    pub fn security_protocol(&self) -> &str {
        self.security_protocol
    }

    /// The level of this very connection.
    pub fn security_level(&self) -> SecurityLevel {
        self.security_level
    }
}

/// Why call credentials are not to be had for a call.
#[derive(Debug)]
pub struct CallCredentialsError {
    kind: CallCredentialsErrorKind,
    message: String,
    retry_after: Option<Duration>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// What a call fails with when its credentials are not to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallCredentialsErrorKind {
    /// They may be had later: `UNAVAILABLE`.
    Transient,
    /// They will not be had before somebody does something: `UNAUTHENTICATED`.
    Permanent,
    /// A gRPC status code of the implementer's choice. The codes that belong to applications
    /// (gRFC A54) become `INTERNAL`.
    Code(i32),
}

impl CallCredentialsError {
    /// The credentials may be had later, without anyone's help: `UNAVAILABLE`.
    pub fn transient(message: impl Into<String>) -> Self {
        Self::new(CallCredentialsErrorKind::Transient, message)
    }

    /// The credentials will not be had before somebody does something: `UNAUTHENTICATED`.
    pub fn permanent(message: impl Into<String>) -> Self {
        Self::new(CallCredentialsErrorKind::Permanent, message)
    }

    /// An error of a given kind. The message reaches the caller of the RPC.
    pub fn new(kind: CallCredentialsErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), retry_after: None, source: None }
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Says when it is worth asking again. A call that waits for readiness does so then, if the
    /// failure is transient; any other call fails all the same.
    #[must_use]
    pub fn with_retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }

    /// When it is worth asking again, if that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// What the call fails with.
    pub fn kind(&self) -> CallCredentialsErrorKind {
        self.kind
    }

    /// Whether the same credentials may be had later without anyone's help.
    pub fn is_transient(&self) -> bool {
        // 14 is UNAVAILABLE.
        matches!(
            self.kind,
            CallCredentialsErrorKind::Transient | CallCredentialsErrorKind::Code(14)
        )
    }
}

impl fmt::Display for CallCredentialsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for CallCredentialsError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_audience_leaves_out_the_https_port_and_the_method() {
        for (authority, url) in [
            ("api.example.com:443", "https://api.example.com/pkg.Service"),
            ("api.example.com:8443", "https://api.example.com:8443/pkg.Service"),
            ("[::1]:443", "https://[::1]/pkg.Service"),
        ] {
            let call = CallDetails::new(authority, "/pkg.Service/Method");
            assert_eq!((call.service_url().as_str(), call.method_name()), (url, "Method"));
        }
    }
}
