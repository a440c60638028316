use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;

use super::atomic::{AtomicMeter, Pace};
use super::limit::Limit;
use super::map::{MeterMap, WhenFull};
use super::subject::Subject;
use super::tenant::Tenant;
use crate::identity::{PeerAddress, Principal, Source};

/// One of a quota's limits, and the buckets under it.
#[derive(Debug)]
pub(super) struct Rule {
    /// The same in every process of a fleet, and what callers are told.
    pub(super) name: String,
    pub(super) scope: Scope,
    pub(super) unit: Unit,
    /// Whether it is for some methods only.
    pub(super) of_methods: bool,
    pub(super) pace: Pace,
    pub(super) meters: Meters,
}

/// Who shares a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    Everybody,
    Caller,
    Tenant(Tenant),
    /// Those of whom nobody is proven.
    Address,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// Calls, each by its cost.
    Calls,
    /// Bytes of messages, as they flow.
    Bytes,
}

pub(super) enum Meters {
    One(AtomicMeter),
    Many(Arc<MeterMap>),
}

impl Rule {
    pub(super) fn new(
        name: String,
        (scope, unit): (Scope, Unit),
        pace: Pace,
        (places, when_full): (NonZeroUsize, WhenFull),
    ) -> Self {
        let many = || Meters::Many(Arc::new(MeterMap::new(pace, places).when_full(when_full)));
        let meters = match scope {
            Scope::Everybody => Meters::One(AtomicMeter::new()),
            Scope::Caller | Scope::Tenant(_) | Scope::Address => many(),
        };
        Self { name, scope, unit, of_methods: false, pace, meters }
    }

    pub(super) fn limit(&self) -> Limit {
        self.pace.limit()
    }

    /// Whose bucket a call takes from; `None`: from nobody's.
    pub(super) fn subject<'a>(
        &self,
        caller: Option<&'a Principal>,
        address: &PeerAddress,
    ) -> Option<Subject<'a>> {
        match (&self.scope, caller) {
            (Scope::Everybody, _) => Some(Subject::Everybody),
            (Scope::Caller, Some(caller)) => Some(Subject::Caller(caller)),
            (Scope::Tenant(by), Some(caller)) => by.of(caller).map(Subject::Tenant),
            (Scope::Address, None) => Some(Subject::Address(Source::of(address))),
            (Scope::Caller | Scope::Tenant(_), None) | (Scope::Address, Some(_)) => None,
        }
    }

    /// Whether what is left in a bucket says nothing of others than the caller.
    pub(super) fn is_the_callers_own(&self) -> bool {
        self.scope == Scope::Caller
    }
}

impl fmt::Debug for Meters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(_) => f.write_str("One"),
            Self::Many(map) => write!(f, "Many({})", map.len()),
        }
    }
}
