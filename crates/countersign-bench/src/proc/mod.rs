//! What the system tells about processes, and where they run.

mod cpu;
mod memory;
mod place;

pub(crate) use cpu::CpuClock;
pub(crate) use memory::resident_kib;
pub(crate) use place::{Placement, open_files, placement, stay_on};
