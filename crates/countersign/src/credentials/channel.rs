use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use super::CallCredentials;
use crate::tls::ClientTls;

/// How a channel secures its connections, and what its calls carry.
///
/// What only the connection knows is checked for each call before its credentials are asked:
/// with [`local`](ChannelCredentials::local), a Unix socket protects them and a loopback address
/// does not.
#[derive(Clone)]
pub struct ChannelCredentials<Kind = Tls> {
    any: AnyChannelCredentials,
    kind: PhantomData<fn() -> Kind>,
}

/// Marks [`ChannelCredentials`] that use TLS.
#[derive(Clone, Copy, Debug)]
pub enum Tls {}

/// Marks [`ChannelCredentials`] for this machine alone.
#[derive(Clone, Copy, Debug)]
pub enum Local {}

/// Marks [`ChannelCredentials`] without any protection.
#[derive(Clone, Copy, Debug)]
pub enum Insecure {}

/// The kinds of channel credentials that call credentials can be added to.
#[diagnostic::on_unimplemented(
    message = "call credentials cannot travel over `{Self}` channel credentials",
    label = "these channel credentials protect nothing",
    note = "use `ChannelCredentials::tls(..)`; for a Unix socket, `ChannelCredentials::local()`"
)]
pub trait CarriesCallCredentials: sealed::Sealed {}

impl CarriesCallCredentials for Tls {}
impl CarriesCallCredentials for Local {}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Tls {}
    impl Sealed for super::Local {}
}

impl ChannelCredentials<Tls> {
    /// TLS: the server is verified, and the connection protects what it carries.
    pub fn tls(tls: ClientTls) -> Self {
        Self::new(ChannelSecurity::Tls(tls))
    }
}

impl ChannelCredentials<Local> {
    /// This machine alone: Unix sockets (`PrivacyAndIntegrity`) and loopback addresses
    /// (`NoSecurity`). A connection to anywhere else is refused.
    pub fn local() -> Self {
        Self::new(ChannelSecurity::Local)
    }
}

impl ChannelCredentials<Insecure> {
    /// Plaintext, spelled out. Anyone on the way reads and changes it, so call credentials cannot
    /// be added:
    ///
    /// ```compile_fail,E0277
    /// # use countersign::{BearerToken, ChannelCredentials};
    /// let token = BearerToken::from_file("token");
    /// ChannelCredentials::insecure().with_call_credentials(token);
    /// ```
    ///
    /// To those for this machine alone they can:
    ///
    /// ```
    /// # use countersign::{BearerToken, ChannelCredentials};
    /// let token = BearerToken::from_file("token");
    /// ChannelCredentials::local().with_call_credentials(token);
    /// ```
    pub fn insecure() -> Self {
        Self::new(ChannelSecurity::Insecure)
    }
}

impl<Kind> ChannelCredentials<Kind> {
    /// Adds what authenticates each call. A second one replaces the first; combine them with
    /// [`CompositeCallCredentials`](super::CompositeCallCredentials).
    #[must_use]
    pub fn with_call_credentials(mut self, credentials: impl CallCredentials) -> Self
    where
        // Here and not on the `impl`, where the compiler would not say the trait's own words.
        Kind: CarriesCallCredentials,
    {
        self.any.call = Some(Arc::new(credentials));
        self
    }

    fn new(security: ChannelSecurity) -> Self {
        Self { any: AnyChannelCredentials { security, call: None }, kind: PhantomData }
    }

    pub(crate) fn into_any(self) -> AnyChannelCredentials {
        self.any
    }
}

impl<Kind> fmt::Debug for ChannelCredentials<Kind> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelCredentials")
            .field("security", &self.any.security)
            .field("call", &self.any.call)
            .finish()
    }
}

/// Channel credentials whose kind has served its purpose.
#[derive(Clone, Debug)]
pub(crate) struct AnyChannelCredentials {
    pub(crate) security: ChannelSecurity,
    pub(crate) call: Option<Arc<dyn CallCredentials>>,
}

#[derive(Clone, Debug)]
pub(crate) enum ChannelSecurity {
    Tls(ClientTls),
    Local,
    Insecure,
}
