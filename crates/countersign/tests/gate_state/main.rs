//! What a gate remembers, for how long its verdicts hold, and whether it can give any.

mod combinations;
#[path = "../support/handlers.rs"]
mod handlers;
mod memory;
mod readiness;
mod scripted;
mod streams;
#[path = "../support/reached.rs"]
mod support;
