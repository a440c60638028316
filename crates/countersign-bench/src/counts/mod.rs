//! Exact counts of what an operation costs: instructions under callgrind, and allocations.
//!
//! Unlike times they hardly depend on the machine or on what else it does, so they can be
//! committed and compared: see [`baseline`].

pub mod allocations;
pub mod baseline;
pub mod cases;
pub mod compare;
pub mod instructions;
pub mod table;

use crate::in_process::Subject;

/// Operations that are counted. As many come before, so that every lazy thing is made.
pub const COUNTED: usize = 1_000;

/// Runs a subject twice, and what callgrind counts is what happens in [`counted`] alone: the
/// second time, without making inputs ready.
pub fn run(subject: &mut dyn Subject) {
    make_ready(subject);
    counted(subject);
}

/// Makes a subject warm, and its operations ready to be counted.
pub(crate) fn make_ready(subject: &mut dyn Subject) {
    subject.prepare(COUNTED);
    subject.run();
    subject.prepare(COUNTED);
}

/// The operations that are counted. Callgrind finds it by its name.
#[inline(never)]
pub fn counted(subject: &mut dyn Subject) {
    subject.run();
}

/// The name of [`counted`], as callgrind's `--toggle-collect` wants it.
pub const COUNTED_FUNCTION: &str = "*counts::counted*";
