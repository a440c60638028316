//! What the benchmark's programs share: the operations that are measured in process, and their
//! exact counts.

pub mod counts;
pub mod in_process;
