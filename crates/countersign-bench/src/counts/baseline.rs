//! The committed counts.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Counts of every case, and what they were made with.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// What instruction counts depend on.
    pub made_with: Tools,
    /// By the case's name.
    pub cases: BTreeMap<String, Counts>,
}

/// What instruction counts depend on besides our own code.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Tools {
    /// For instance `x86_64`. Counts of another architecture say nothing.
    pub architecture: String,
    /// What `rustc --version` says.
    pub compiler: String,
    /// What `valgrind --version` says.
    pub valgrind: String,
}

/// What one operation costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Instructions per operation, rounded; none where they vary from one run to the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions: Option<u64>,
    /// Allocations and reallocations per operation.
    pub allocations: f64,
    /// By how much they may grow, where that is not [`TOLERANCE`](super::compare::TOLERANCE).
    /// Written by hand, and kept when the counts are made anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<f64>,
}

/// Why there is no baseline.
#[derive(Debug, thiserror::Error)]
pub enum BaselineError {
    /// The file cannot be read or written.
    #[error("cannot open the baseline `{path}`")]
    File {
        /// The file.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is not a baseline.
    #[error("the baseline `{path}` cannot be read")]
    Json {
        /// The file.
        path: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

impl Baseline {
    /// Reads a baseline.
    ///
    /// # Errors
    ///
    /// When there is none, or it is not one.
    pub fn read(path: &Path) -> Result<Self, BaselineError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| BaselineError::File { path: path.display().to_string(), source })?;
        serde_json::from_str(&text)
            .map_err(|source| BaselineError::Json { path: path.display().to_string(), source })
    }

    /// Writes the baseline.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), BaselineError> {
        let text = serde_json::to_string_pretty(self).expect("names and numbers");
        std::fs::write(path, text + "\n")
            .map_err(|source| BaselineError::File { path: path.display().to_string(), source })
    }

    /// Takes over the tolerances that another baseline has for the same cases.
    pub fn keep_tolerances_of(&mut self, other: &Self) {
        for (name, counts) in &mut self.cases {
            counts.tolerance = other.cases.get(name).and_then(|before| before.tolerance);
        }
    }
}
