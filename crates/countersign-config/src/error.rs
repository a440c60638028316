use std::fmt;

use crate::causes::chain;

/// Why a configuration cannot be used: which file, what is wrong with it and where, what to try.
///
/// It quotes names and no values, since a secret may have been written where none belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    message: String,
    cause: Option<String>,
    hint: Option<String>,
}

impl ConfigError {
    /// An error in a few words: a lower-case clause that names the subject.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), cause: None, hint: None }
    }

    /// Adds what is wrong.
    #[must_use]
    pub fn with_cause(mut self, cause: impl Into<String>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// Adds an error and all its causes as what is wrong.
    #[must_use]
    pub fn because(self, error: &dyn std::error::Error) -> Self {
        self.with_cause(chain(error))
    }

    /// Adds what to try.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What cannot be done, such as ``cannot use `client.toml` ``.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Why; with the line and the column, where there is a place to point at.
    pub fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    /// What to try.
    pub fn to_try(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

/// All of it in one line.
impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(cause) = &self.cause {
            write!(f, ": {cause}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, " ({hint})")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}
