use std::fmt;
use std::io;
use std::path::PathBuf;

use super::json::Place;
use crate::authorization::coverage::shortened;

const UNREADABLE: &str = "failed to unmarshal policy: ";

/// Why a text is no policy, and where.
///
/// The words are those of grpc-go where it has the same complaint, so that who looks for them
/// finds them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidPolicy {
    place: Place,
    message: String,
    hint: Option<String>,
}

impl InvalidPolicy {
    /// It is well-formed, and says something that cannot be.
    pub(super) fn new(place: Place, message: impl Into<String>) -> Self {
        Self { place, message: message.into(), hint: None }
    }

    /// It is not JSON, or has keys or types that no policy has.
    pub(super) fn unreadable(place: Place, message: impl Into<String>) -> Self {
        Self::new(place, format!("{UNREADABLE}{}", message.into()))
    }

    pub(super) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says in which part of the policy it is: `"allow_rules" 0: …`.
    pub(super) fn within(mut self, part: impl fmt::Display) -> Self {
        self.message = match self.message.strip_prefix(UNREADABLE) {
            Some(message) => format!("{UNREADABLE}{part}: {message}"),
            None => format!("{part}: {}", self.message),
        };
        self
    }

    /// The line, counted from 1.
    pub fn line(&self) -> u32 {
        self.place.line
    }

    /// The column, counted from 1 in characters.
    pub fn column(&self) -> u32 {
        self.place.column
    }

    /// What is wrong, without the place.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to try.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for InvalidPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at line {} column {}", self.message, self.place.line, self.place.column)
    }
}

impl std::error::Error for InvalidPolicy {}

/// Why a file gives no policy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// It cannot be read, is no UTF-8, or is longer than [`Policy::MAX_BYTES`](super::Policy::MAX_BYTES).
    #[error("cannot read the policy `{}`", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What is in the way.
        source: io::Error,
    },
    /// What it says is no policy.
    #[error("`{}` is not a policy", .path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        source: InvalidPolicy,
    },
    /// A rule asks for an authenticator that a gate has not got: if it allows, it would let nobody
    /// in; if it denies, it would keep nobody out.
    #[error("`{}`: the rule {rule:?} asks for the authenticator {name:?}, and the gate has {known:?}", .path.display())]
    UnknownAuthenticator {
        /// The file.
        path: PathBuf,
        /// The rule.
        rule: String,
        /// The authenticator that is missing.
        name: String,
        /// Those that are there.
        known: Vec<String>,
    },
    /// It wants decisions to be logged by somebody whom a gate's audit has not got.
    #[error("`{}` wants its decisions logged by {name:?}, and the gate's audit has {known:?}", .path.display())]
    UnknownAuditLogger {
        /// The file.
        path: PathBuf,
        /// The logger that is missing.
        name: String,
        /// Those that are there.
        known: Vec<String>,
    },
    /// A strict gate asks it, and methods would have no rule.
    #[error(
        "`{}`: no rule of the policy is for {}, and the gate is strict", .path.display(),
        shortened(.methods.iter().map(String::as_str))
    )]
    Uncovered {
        /// The file.
        path: PathBuf,
        /// The methods without a rule, as paths.
        methods: Vec<String>,
    },
}
