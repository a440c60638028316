//! So many entries of a kind in a process of their own, and the memory that they take.

use std::any::Any;
use std::error::Error;

use countersign_bench::in_process::{api_keys, jwt, limits};

use crate::options::{Held, HoldOptions};
use crate::proc::resident_kib;

/// Prints the bytes that each entry takes.
///
/// # Errors
///
/// When the system does not tell how much memory this process has.
pub(crate) fn run(options: &HoldOptions) -> Result<(), Box<dyn Error>> {
    let pid = std::process::id();
    // What is needed once is there before it counts.
    let first = hold(options.held, 100);
    let before = resident_kib(pid)?;
    let all = hold(options.held, options.count);
    let after = resident_kib(pid)?;
    #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
    let each = after.saturating_sub(before) as f64 * 1024.0 / options.count as f64;
    println!("{each}");
    drop((first, all));
    Ok(())
}

fn hold(held: Held, count: usize) -> Box<dyn Any> {
    match held {
        Held::Meters => limits::hold_meters(count),
        Held::Governor => limits::hold_governor(count),
        Held::Tokens => jwt::hold_remembered(count),
        Held::Keys => api_keys::hold(count),
    }
}
