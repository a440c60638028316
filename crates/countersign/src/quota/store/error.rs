use std::error::Error;
use std::sync::Arc;

use crate::quota::limit::Limit;

/// Why a store did not say what is left.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{what}")]
pub struct QuotaStoreError {
    kind: QuotaStoreErrorKind,
    what: String,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

/// Kinds of [`QuotaStoreError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum QuotaStoreErrorKind {
    /// Nobody answers there, or not any more.
    Unreachable,
    /// No answer within the deadline.
    TimedOut,
    /// It does not accept who we are, or does not let us do what is needed.
    NotAllowed,
    /// What it answers is an error or not an answer.
    Answer,
    /// It cannot count by a limit.
    Limit,
    /// An address or a setting cannot be used.
    Setting,
}

impl QuotaStoreError {
    /// An error of a kind, said in a clause that names what is at fault and quotes no secret.
    pub fn new(kind: QuotaStoreErrorKind, what: impl Into<String>) -> Self {
        Self { kind, what: what.into(), source: None }
    }

    /// The store cannot count by the limit.
    pub fn limit(limit: Limit) -> Self {
        let (rate, per, burst) = (limit.rate(), limit.per(), limit.burst());
        let what =
            format!("{rate} in {per:?} with a burst of {burst} is more than the store counts");
        Self::new(QuotaStoreErrorKind::Limit, what)
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into().into());
        self
    }

    /// What kind it is.
    pub fn kind(&self) -> QuotaStoreErrorKind {
        self.kind
    }
}
