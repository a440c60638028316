use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::credentials::CallCredentialsError;
use crate::fetch::FetchError;

/// Why a source has no token. Cloning is one atomic increment.
///
/// Never quotes a token, a secret or a key: its words reach the caller of the RPC and the log.
#[derive(Clone)]
pub struct TokenError {
    inner: Arc<Inner>,
}

struct Inner {
    transient: bool,
    message: String,
    retry_after: Option<Duration>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl TokenError {
    /// The same request may succeed later without anyone's help: calls fail with `UNAVAILABLE`,
    /// and the source is asked again after a back-off.
    pub fn transient(message: impl Into<String>) -> Self {
        Self::new(true, message.into())
    }

    /// Somebody has to do something first: calls fail with `UNAUTHENTICATED`, and the source is
    /// asked again after 30 s.
    pub fn permanent(message: impl Into<String>) -> Self {
        Self::new(false, message.into())
    }

    fn new(transient: bool, message: String) -> Self {
        Self { inner: Arc::new(Inner { transient, message, retry_after: None, source: None }) }
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.map(|inner| inner.source = Some(source.into()))
    }

    /// The source asks to be left alone for this long (`retry-after`). At most 2 min are kept to.
    #[must_use]
    pub fn with_retry_after(self, delay: Duration) -> Self {
        self.map(|inner| inner.retry_after = Some(delay))
    }

    fn map(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        // Shared only once it has failed calls; what has causes to add is still the maker's own.
        if let Some(inner) = Arc::get_mut(&mut self.inner) {
            change(inner);
        }
        self
    }

    /// Whether the same request may succeed later without anyone's help.
    pub fn is_transient(&self) -> bool {
        self.inner.transient
    }

    /// How long the source asked to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        self.inner.retry_after
    }
}

impl fmt::Debug for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenError")
            .field("transient", &self.inner.transient)
            .field("message", &self.inner.message)
            .field("source", &self.inner.source)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.message)
    }
}

impl Error for TokenError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.inner.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

impl From<TokenError> for CallCredentialsError {
    fn from(error: TokenError) -> Self {
        let words = error.to_string();
        let new = match error.is_transient() {
            true => Self::transient(words),
            false => Self::permanent(words),
        };
        match error.inner.source {
            Some(_) => new.with_source(Cause(error)),
            None => new,
        }
    }
}

/// The cause of an error that many calls fail with.
#[derive(Debug)]
struct Cause(TokenError);

/// Why somebody could not be reached, if that is what an error comes of.
pub(crate) fn unreached<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a FetchError> {
    let mut source = error.source();
    while let Some(cause) = source {
        let own = cause.downcast_ref::<Cause>().and_then(|it| it.0.inner.source.as_deref());
        let cause: &(dyn Error + 'static) = match own {
            Some(own) => own,
            None => cause,
        };
        if let Some(found) = cause.downcast_ref() {
            return Some(found);
        }
        source = cause.source();
    }
    None
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.inner.source {
            Some(source) => source.fmt(f),
            None => Ok(()),
        }
    }
}

impl Error for Cause {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.inner.source.as_deref().and_then(Error::source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::causes::chain;

    #[test]
    fn the_cause_is_told_once_and_the_class_is_kept() {
        let error = TokenError::transient("no answer").with_source(std::io::Error::other("reset"));
        assert_eq!(chain(&error), "no answer: reset");
        let of_the_call = CallCredentialsError::from(error.clone());
        assert!(of_the_call.is_transient());
        assert_eq!(chain(&of_the_call), "no answer: reset");
        assert!(!CallCredentialsError::from(TokenError::permanent("no")).is_transient());
    }

    #[test]
    fn who_could_not_be_reached_is_found_and_no_other_cause_is() {
        let unreachable =
            || FetchError::Unreachable { host: "id.example".to_owned(), source: "reset".into() };
        let of = |error: TokenError| CallCredentialsError::from(error);
        let by_us = of(TokenError::transient("no answer").with_source(unreachable()));
        assert_eq!(unreached(&by_us).expect("a cause").to_string(), "cannot reach id.example");
        let by_others = CallCredentialsError::transient("away").with_source(unreachable());
        assert!(unreached(&by_others).is_some());
        // It may quote what an endpoint said.
        let other = of(TokenError::transient("no answer").with_source("said: hunter2"));
        assert!(unreached(&other).is_none());
        assert!(unreached(&of(TokenError::permanent("no"))).is_none());
    }
}
