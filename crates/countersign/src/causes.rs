//! An error and what caused it, in one line.

use std::error::Error;

/// The error's own words and those of its causes, with colons between, for a line of the log.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        words.push_str(": ");
        words.push_str(&cause.to_string());
        source = cause.source();
    }
    words
}
