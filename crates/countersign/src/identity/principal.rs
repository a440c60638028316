use std::fmt;
use std::sync::Arc;

/// The identity that was accepted for a caller (gRFC A43).
///
/// A name, and the authenticator that vouches for it. Two authenticators may know the same name
/// and mean different callers, so equality looks at both. Cloning is one atomic increment.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Principal {
    inner: Arc<Inner>,
}

#[derive(PartialEq, Eq, Hash)]
struct Inner {
    name: String,
    authenticator: String,
}

impl Principal {
    /// Names a principal. It proves nothing by itself: what a handler is given is a principal
    /// inside an [`Authenticated`](crate::authentication::Authenticated).
    pub fn new(name: impl Into<String>, authenticator: impl Into<String>) -> Self {
        Self { inner: Arc::new(Inner { name: name.into(), authenticator: authenticator.into() }) }
    }

    /// The name, for instance `spiffe://prod.example/orders` or `ci`.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The authenticator that proved it, for instance `mutual-tls`.
    pub fn authenticator(&self) -> &str {
        &self.inner.authenticator
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Principal({:?} by {})", self.inner.name, self.inner.authenticator)
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.name)
    }
}
