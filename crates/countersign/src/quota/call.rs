use std::sync::Arc;
use std::time::Duration;

use super::exceeded::{Exceeded, Over};
use super::limit::Limit;
use super::rule::Rule;
use super::subject::Subject;
use crate::identity::{MethodPath, PeerAddress, Principal};

/// One call, as far as a quota looks at it.
#[derive(Clone, Copy, Debug)]
pub struct QuotaCall<'a> {
    pub(super) caller: Option<&'a Principal>,
    pub(super) address: &'a PeerAddress,
    pub(super) path: Option<MethodPath<'a>>,
    pub(super) is_denied: bool,
}

impl<'a> QuotaCall<'a> {
    /// A proven caller's.
    pub fn by(caller: &'a Principal) -> Self {
        Self { caller: Some(caller), address: &PeerAddress::Unknown, path: None, is_denied: false }
    }

    /// One of whom nobody is proven, from an address.
    pub fn from(address: &'a PeerAddress) -> Self {
        Self { caller: None, address, path: None, is_denied: false }
    }

    /// The same call, which is refused whatever a quota says. It takes nothing from limits of
    /// methods, or whoever may not call a method could keep those out who may.
    #[must_use]
    pub fn denied(mut self) -> Self {
        self.is_denied = true;
        self
    }

    /// The same call of a method. Without one no limit of methods is for it, and it costs 1.
    #[must_use]
    pub fn to(mut self, path: MethodPath<'a>) -> Self {
        self.path = Some(path);
        self
    }
}

/// What a call takes from one bucket of a store.
#[derive(Debug)]
pub(crate) struct Charge<'a> {
    pub(super) rule: &'a Arc<Rule>,
    pub(super) subject: Subject<'a>,
    pub(super) cost: u64,
}

impl<'a> Charge<'a> {
    /// The limit's name.
    pub(crate) fn name(&self) -> &'a str {
        &self.rule.name
    }

    pub(crate) fn limit(&self) -> Limit {
        self.rule.limit()
    }

    pub(crate) fn cost(&self) -> u64 {
        self.cost
    }

    /// Whose bucket it is: with the limit's name, the same in every process of a fleet whose
    /// quota is built alike, and another one's for no other bucket.
    pub(crate) fn subject(&self) -> &Subject<'a> {
        &self.subject
    }

    /// The refusal of a call by this limit.
    pub(crate) fn exceeded(&self, retry_after: Option<Duration>) -> Exceeded {
        Exceeded::new(Over::Rule(Arc::clone(self.rule)), retry_after)
    }
}
