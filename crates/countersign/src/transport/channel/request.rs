use std::sync::Arc;

use crate::credentials::CallCredentials;

/// What a request may ask of the [`Channel`](crate::Channel) that sends it.
///
/// An `authorization` that is put into the metadata by hand is sent as it is, whatever the
/// connection: only credentials that are given to the channel or the call are held back from
/// connections that do not protect them.
pub trait ClientRequestExt: Sized {
    /// Uses these call credentials *instead of* the channel's.
    ///
    /// Like those they are asked only when the connection protects them; over a plaintext
    /// connection the call fails with `UNAUTHENTICATED` and nothing leaves.
    #[must_use]
    fn call_credentials(self, credentials: impl CallCredentials) -> Self;

    /// Waits for a connection until the deadline, rather than fail when there is none.
    ///
    /// Waits as well for call credentials that are not to be had for the moment and say
    /// [when to ask again](crate::credentials::CallCredentialsError::retry_after), as
    /// [`CachedToken`](crate::credentials::CachedToken) does during its back-off. When that is
    /// after the deadline, the call fails at once with what they failed with.
    #[must_use]
    fn wait_for_ready(self) -> Self;

    /// Addresses the call to another `:authority` than the target's. The server's certificate
    /// has to vouch for it, or the call fails with `UNAVAILABLE` and is not sent (gRFC A81).
    ///
    /// The channel's call credentials are for the channel's authority: this call carries those
    /// of [`call_credentials`](Self::call_credentials), or none.
    #[must_use]
    fn authority(self, authority: impl Into<String>) -> Self;
}

/// How one call differs from the channel's settings.
#[derive(Clone, Debug, Default)]
pub(super) struct CallOptions {
    pub(super) credentials: Option<Arc<dyn CallCredentials>>,
    pub(super) wait_for_ready: bool,
    pub(super) authority: Option<String>,
}

impl<T> ClientRequestExt for tonic::Request<T> {
    fn call_credentials(mut self, credentials: impl CallCredentials) -> Self {
        options(self.extensions_mut()).credentials = Some(Arc::new(credentials));
        self
    }

    fn wait_for_ready(mut self) -> Self {
        options(self.extensions_mut()).wait_for_ready = true;
        self
    }

    fn authority(mut self, authority: impl Into<String>) -> Self {
        options(self.extensions_mut()).authority = Some(authority.into());
        self
    }
}

fn options(extensions: &mut http::Extensions) -> &mut CallOptions {
    extensions.get_or_insert_default()
}
