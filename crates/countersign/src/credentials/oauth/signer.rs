use std::error::Error;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::jose::Algorithm;

/// Signs what a client states, with a key that need not be in this process: a file, a key
/// management service, a hardware module.
///
/// Called when an assertion is needed, as for a token request; never for each call. `Debug` says
/// which key it is and must not show it.
#[async_trait]
pub trait Signer: fmt::Debug + Send + Sync + 'static {
    /// The algorithm of its signatures, the `alg` of what it signs.
    fn algorithm(&self) -> Algorithm;

    /// The `kid` under which the other end knows the public key; `None` leaves it out.
    fn key_id(&self) -> Option<&str>;

    /// Signs the whole message, which is not hashed yet.
    ///
    /// The signature has the form of RFC 7518 §3: for ECDSA the two numbers one after the
    /// other, not DER. May wait. It is dropped when nobody waits any more.
    ///
    /// # Errors
    ///
    /// [`SignError`]: whether it may work later decides whether it is tried again.
    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError>;
}

#[async_trait]
impl<S: Signer + ?Sized> Signer for Arc<S> {
    fn algorithm(&self) -> Algorithm {
        S::algorithm(self)
    }

    fn key_id(&self) -> Option<&str> {
        S::key_id(self)
    }

    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        S::sign(self, message).await
    }
}

/// Why there is no signature.
#[derive(Debug)]
pub struct SignError {
    message: String,
    transient: bool,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl SignError {
    /// It may work later, without anyone's help: the service is out of reach.
    pub fn transient(message: impl Into<String>) -> Self {
        Self { message: message.into(), transient: true, source: None }
    }

    /// It will not work before somebody does something: the key is gone or may not be used.
    pub fn permanent(message: impl Into<String>) -> Self {
        Self { message: message.into(), transient: false, source: None }
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Whether it may work later without anyone's help.
    pub fn is_transient(&self) -> bool {
        self.transient
    }
}

impl fmt::Display for SignError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for SignError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}
