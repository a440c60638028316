//! What is on record of a gate's decisions, and what becomes of calls when it cannot be.

mod decisions;
mod full;
#[path = "../support/handlers.rs"]
mod handlers;
mod kit;
#[cfg(feature = "opentelemetry")]
mod open_telemetry;
mod policies;
mod secrets;
mod sinks;
#[path = "../support/reached.rs"]
mod support;
#[cfg(unix)]
mod system_logs;
