//! What the programs share: nothing worth copying.

use std::path::PathBuf;

/// The folder of certificates, the first argument; `.countersign` without one.
pub fn certificates() -> PathBuf {
    std::env::args().nth(1).map_or_else(|| PathBuf::from(".countersign"), PathBuf::from)
}

/// The second argument.
pub fn second_argument(otherwise: &str) -> String {
    std::env::args().nth(2).unwrap_or_else(|| otherwise.to_owned())
}
