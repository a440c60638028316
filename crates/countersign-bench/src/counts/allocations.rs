//! Allocations per operation.
//!
//! They are counted in a program of their own, whose allocator counts: in any other it would
//! cost instructions and time.

use std::alloc::GlobalAlloc;
use std::path::Path;
use std::process::Command;

use stats_alloc::{Region, StatsAlloc};

use super::instructions::{CountError, output};
use super::{COUNTED, counted, make_ready};
use crate::in_process::Subject;

/// Allocations and reallocations of each operation, on average.
pub fn per_operation<A: GlobalAlloc>(allocator: &StatsAlloc<A>, subject: &mut dyn Subject) -> f64 {
    make_ready(subject);
    let region = Region::new(allocator);
    counted(subject);
    let change = region.change();
    let count = u32::try_from(change.allocations + change.reallocations).unwrap_or(u32::MAX);
    f64::from(count) / COUNTED as f64
}

/// Counts one case, by running `program` (which takes the case's name and prints the count).
///
/// # Errors
///
/// When the program is missing, or says no count.
pub fn count(program: &Path, case: &str) -> Result<f64, CountError> {
    let name = program.display().to_string();
    let mut command = Command::new(program);
    command.arg(case);
    let said = output(command, &name, case)?;
    said.trim().parse().map_err(|_| CountError::NoCount {
        program: name,
        case: case.to_owned(),
        said,
    })
}
