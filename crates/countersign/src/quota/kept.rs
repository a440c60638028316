use std::sync::{Arc, OnceLock};

use super::builder::{Mark, Quota};
use super::map::Hold;

/// What a remembered caller keeps: its meters under each limit, found once.
///
/// In this order, so that what a call under one limit looks at lies together: of many callers
/// each is out of the caches when it comes.
#[repr(C)]
pub(super) struct Kept {
    mark: Arc<Mark>,
    /// The first ones at hand, since more are rare. Limits of calls, and then those of bytes.
    first: [OnceLock<KeptMeter>; 2],
    others: Box<[OnceLock<KeptMeter>]>,
}

pub(super) enum KeptMeter {
    At(Hold),
    /// There was no place for one more.
    Elsewhere,
    /// The limit is not for this caller.
    None,
}

impl Kept {
    #[cold]
    pub(super) fn new(quota: &Quota) -> Self {
        let limits = quota.calls.len() + quota.bytes.len();
        let others = (2..limits).map(|_| OnceLock::new()).collect();
        Self { mark: Arc::clone(&quota.mark), first: Default::default(), others }
    }

    /// Whether it was this quota, or a clone, whose meters these are.
    #[inline]
    pub(super) fn is_of(&self, quota: &Quota) -> bool {
        Arc::ptr_eq(&self.mark, &quota.mark)
    }

    /// The meter under the first limit, if it was looked for.
    #[inline]
    pub(super) fn first(&self) -> Option<&KeptMeter> {
        self.first[0].get()
    }

    /// The meter under a limit.
    #[inline]
    pub(super) fn meter(&self, number: usize) -> &OnceLock<KeptMeter> {
        self.first.get(number).unwrap_or_else(|| &self.others[number - 2])
    }
}
