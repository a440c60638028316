use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use super::Policy;
use crate::authentication::Generation;

/// A policy that another one may take the place of while it is asked.
#[derive(Debug)]
pub(crate) struct LivePolicy {
    current: ArcSwap<Policy>,
    generation: Generation,
}

impl LivePolicy {
    pub(crate) fn new(policy: Policy) -> Self {
        Self { current: ArcSwap::from_pointee(policy), generation: Generation::new() }
    }

    /// The policy that holds now. A call is decided by one of them from beginning to end.
    pub(crate) fn load(&self) -> Guard<Arc<Policy>> {
        self.current.load()
    }

    /// Counts the replacements. To be read *before* the policy is asked.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.now()
    }

    pub(super) fn replace(&self, policy: Policy) {
        self.current.store(Arc::new(policy));
        self.generation.advance();
    }
}
