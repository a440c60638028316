use std::sync::Arc;

use super::map::Hold;
use super::rule::{Meters, Rule};
use super::steady::SteadyClock;
use super::streams::StreamPlace;

/// The right to one call. It holds the call's place among those under way, for as long as it is.
#[derive(Debug)]
#[must_use = "the call's place is given back when this is dropped"]
pub struct Admission {
    /// Most calls have none.
    pub(super) going_on: Option<Box<GoingOn>>,
}

/// What there is to do while a call goes on.
#[derive(Debug)]
pub(super) struct GoingOn {
    pub(super) _place: Option<StreamPlace>,
    pub(super) bytes: Option<ByteMeters>,
}

impl Admission {
    /// Takes bytes that flowed in either direction. What is not there is owed.
    pub fn charge_bytes(&self, bytes: u64) {
        if let Some(meters) = self.bytes() {
            meters.charge(bytes);
        }
    }

    /// What the call's other half charges its bytes to; `None`: nobody counts them.
    pub(crate) fn bytes(&self) -> Option<&ByteMeters> {
        self.going_on.as_ref()?.bytes.as_ref()
    }

    /// Whether there is nothing to do while the call goes on.
    pub(crate) fn is_over(&self) -> bool {
        self.going_on.is_none()
    }
}

/// Where a call's bytes are counted.
#[derive(Clone, Debug)]
pub(crate) struct ByteMeters {
    pub(super) clock: SteadyClock,
    pub(super) meters: Arc<[ByteMeter]>,
}

/// A limit of bytes, and the caller's meter under it; `None`: the one that is shared by all
/// without a place.
type ByteMeter = (Arc<Rule>, Option<Hold>);

impl ByteMeters {
    pub(crate) fn charge(&self, bytes: u64) {
        let now = self.clock.now();
        for (rule, hold) in &*self.meters {
            let meter = match (hold, &rule.meters) {
                (Some(hold), _) => hold.meter(),
                (None, Meters::Many(map)) => map.shared_meter(),
                (None, Meters::One(meter)) => meter,
            };
            meter.charge(&rule.pace, rule.pace.at_ns(now), bytes);
        }
    }
}
