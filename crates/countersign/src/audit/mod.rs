//! Audit: a record of every decision, that no sink can hold a call up for.
//!
//! A [`Gate`](crate::Gate) makes one [`AuditEvent`] of each decision: a call that passes, one that
//! is refused, and one that is ended later, with its credential or by a new policy. An [`Audit`]
//! hands it to one or several sinks, each with its own condition, bounded queue and thread; the
//! threads belong to an [`AuditWriter`].
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use countersign::audit::{Audit, AuditCondition, FileSink, JsonLines, STDOUT_LOGGER};
//! use countersign::audit::{SinkOptions, WhenFull};
//! use countersign::{Gate, MutualTls, Rules};
//!
//! # async fn serve(_: Gate) {}
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let refused = SinkOptions::new(WhenFull::DropAndCount).when(AuditCondition::OnDeny);
//! let audit = Audit::builder()
//!     .sink("file", FileSink::open("/var/log/orders/audit.jsonl")?, WhenFull::RefuseCall)
//!     .sink(STDOUT_LOGGER, JsonLines::stdout(), refused)
//!     .build()?;
//! let writer = audit.start()?;
//! let gate = Gate::builder()
//!     .authenticate(MutualTls::new())
//!     .authorize(Rules::new().authenticated("/orders.v1.Orders/*"))
//!     .audit(&audit)
//!     .build()?;
//! serve(gate).await;
//! writer.close(Duration::from_secs(5)).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Conditions and loggers of a policy's `audit_logging_options` (gRFC A59) go before those in
//! code, from the next call after a reload on; see [`SinkOptions::regardless_of_policy`].

mod call_ids;
mod collect;
mod event;
mod grpc;
mod json;
mod options;
mod queue;
mod report;
mod sink;
mod sinks;
mod text;
mod time;
mod writer;

pub use crate::authorization::AuditCondition;
pub use collect::{Audit, AuditBuilder, AuditError};
pub use event::{AuditEvent, AuditOutcome, AuditValue};
pub use grpc::GrpcAuditLog;
pub use options::{SinkOptions, WhenFull};
pub use report::SinkReport;
pub use sink::{AuditSink, SinkError};
#[cfg(feature = "opentelemetry")]
pub use sinks::OpenTelemetrySink;
#[cfg(unix)]
pub use sinks::{Facility, JournaldSink, SyslogSink};
pub use sinks::{FileSink, FileSinkBuilder, Fsync, JsonLines};
pub use writer::{AuditWriter, Unwritten};

pub(crate) use call_ids::CallIds;
pub(crate) use collect::Wanted;
pub(crate) use event::RefusalFacts;
pub(crate) use text::{Text, clean};

/// The name of the one logger that every implementation of gRFC A59 knows. What it writes is up
/// to whoever adds a sink under this name; as a rule, [`JsonLines::stdout`].
pub const STDOUT_LOGGER: &str = "stdout_logger";
