//! Stores of quotas: one count for a fleet of gates.
//!
//! A gate's own meters know only what comes through that gate. Where several gates stand before
//! one service, they ask a [`QuotaStore`]: `ValkeyStore` (feature `valkey`), Envoy's rate limit
//! service (`countersign::EnvoyRateLimit`, feature `envoy-ratelimit`), or one of your own.
//!
//! * [`Bucket`] is one of those that a call takes from; a call takes from all of them or is
//!   refused, in one round trip.
//! * [`SharedQuota`] is what asks the store: within a deadline, not at all while it knows the
//!   answer, and not at all for a while after the store has failed.
//! * [`WhenDown`] says what happens when the store cannot be asked. There is no default.
//! * [`StoreCounters`] tell how that goes.

mod breaker;
mod bucket;
mod counters;
mod error;
mod fleet;
mod known;
mod share;
mod shared;
#[cfg(feature = "valkey")]
mod valkey;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::limit::Limit;
use super::meter::Allowance;

pub use bucket::Bucket;
pub use counters::StoreCounters;
pub use error::{QuotaStoreError, QuotaStoreErrorKind};
pub(crate) use fleet::StoreSays;
pub use shared::{DecidedBy, SharedQuota, Verdict, WhenDown};
#[cfg(feature = "valkey")]
pub use valkey::ValkeyStore;

/// Where a fleet's buckets are.
///
/// [`SharedQuota`] asks it, for each call that is to be counted, and drops the future when its
/// deadline is over or, mostly, when the caller has gone: whether the buckets were taken from is
/// then unknown, and never more than once. It may be asked for many calls at the same time.
#[async_trait]
pub trait QuotaStore: fmt::Debug + Send + Sync + 'static {
    /// Takes from all buckets, or from none where one of them has not enough; in one round trip.
    /// No bucket is among them twice.
    ///
    /// What it says of each is in the order that they were given in. The call may pass where
    /// every bucket allows it; where one does not, the others say what they would have. A
    /// refusal that says to come back after 0 ns means that nobody knows when.
    ///
    /// # Errors
    ///
    /// It cannot be said. What becomes of the call is then for [`WhenDown`] to say.
    async fn take(&self, buckets: &[Bucket<'_>]) -> Result<Vec<Allowance>, QuotaStoreError>;

    /// Whether the store can count by this limit. Default: by any.
    ///
    /// # Errors
    ///
    /// [`QuotaStoreErrorKind::Limit`], with what is too much for it.
    fn accepts(&self, limit: Limit) -> Result<(), QuotaStoreError> {
        let _ = limit;
        Ok(())
    }
}

#[async_trait]
impl<S: QuotaStore + ?Sized> QuotaStore for Arc<S> {
    async fn take(&self, buckets: &[Bucket<'_>]) -> Result<Vec<Allowance>, QuotaStoreError> {
        S::take(self, buckets).await
    }

    fn accepts(&self, limit: Limit) -> Result<(), QuotaStoreError> {
        S::accepts(self, limit)
    }
}
