//! What stands where conditions in CEL would, in a build without the feature `cel`.

use super::condition::Seen;
use super::error::InvalidPolicy;
use super::json::Node;

/// There is none: a policy that has one is refused, since a condition that is skipped is a door
/// left open.
#[derive(Debug)]
pub(super) enum Expression {}

/// It could not be evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Undecided;

impl Expression {
    pub(super) fn compile(_: &str, node: &Node, _: &str) -> Result<Self, InvalidPolicy> {
        let message = "this build cannot evaluate CEL expressions";
        Err(InvalidPolicy::new(node.place, message)
            .with_hint("build countersign with its feature `cel`"))
    }

    pub(super) fn evaluate(&self, _: &Seen<'_>) -> Result<bool, Undecided> {
        match *self {}
    }

    pub(super) fn source(&self) -> &str {
        match *self {}
    }

    pub(super) fn reads_headers(&self) -> bool {
        match *self {}
    }

    pub(super) fn reads_callers(&self) -> bool {
        match *self {}
    }
}
