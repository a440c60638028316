//! What it costs that every decision is on record: to the call, and to the thread that writes.

use std::io;
use std::path::Path;
use std::time::Duration;

use countersign::GateBuilder;
use countersign::audit::{
    Audit, AuditEvent, AuditSink, AuditWriter, FileSink, JsonLines, SinkError, WhenFull,
};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::{Subject, repeat};

/// Far longer than the sinks take for what one preparation leaves.
const PATIENCE: Duration = Duration::from_secs(10);
/// Events that an audit writes between two flushes at most.
const BATCH: usize = 512;

/// Where records go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Records {
    /// Nowhere: what remains is the call's part.
    Nowhere,
    /// Into a file, as lines of JSON.
    File,
}

/// Forgets every event.
struct Null;

impl AuditSink for Null {
    fn write(&mut self, _: &AuditEvent) -> Result<(), SinkError> {
        Ok(())
    }
}

/// An audit that runs, and what has to live as long as it does.
#[derive(Debug)]
pub struct Running {
    audit: Audit,
    writer: AuditWriter,
    runtime: Runtime,
    _folder: TempDir,
}

impl Running {
    /// Starts one. A call is refused where its record has no room, so none gets lost unseen.
    pub fn new(records: Records) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let audit = match records {
            Records::Nowhere => Audit::builder().sink("null", Null, WhenFull::RefuseCall),
            Records::File => {
                let file = file(folder.path());
                Audit::builder().sink("file", file, WhenFull::RefuseCall)
            }
        };
        let audit = audit.build().expect("an audit");
        let writer = audit.start().expect("a thread");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Self { audit, writer, runtime: runtime.expect("a runtime"), _folder: folder }
    }

    /// Puts the gate's decisions on record.
    pub fn of(&self, gate: GateBuilder) -> GateBuilder {
        gate.audit(&self.audit)
    }

    /// Whether every decision found its place.
    pub fn lost_nothing(&self) -> bool {
        self.audit.report().iter().all(|sink| sink.dropped == 0 && sink.failed == 0)
    }
}

fn file(folder: &Path) -> FileSink {
    FileSink::open(folder.join("audit.jsonl")).expect("a file")
}

/// Calls whose records are written before the next ones are measured, so that no queue is full.
pub fn recorded(calls: Box<dyn Subject>, running: Running) -> Box<dyn Subject> {
    Box::new(Recorded { calls, running })
}

struct Recorded {
    calls: Box<dyn Subject>,
    running: Running,
}

impl Subject for Recorded {
    fn prepare(&mut self, times: usize) {
        let written = self.running.writer.flush(PATIENCE);
        self.running.runtime.block_on(written).expect("the sink keeps up");
        assert!(self.running.lost_nothing(), "a decision is not on record");
        self.calls.prepare(times);
    }

    fn run(&mut self) {
        self.calls.run();
    }

    fn most_at_once(&self) -> usize {
        self.calls.most_at_once()
    }
}

/// A record as a line of JSON, handed on in batches as the audit's thread does it; that thread's
/// part of a call.
pub fn line(records: Records) -> Box<dyn Subject> {
    match records {
        Records::Nowhere => written(JsonLines::to(io::sink()), None),
        Records::File => {
            let folder = tempfile::tempdir().expect("a folder");
            written(file(folder.path()), Some(folder))
        }
    }
}

fn written(mut sink: impl AuditSink, folder: Option<TempDir>) -> Box<dyn Subject> {
    let (event, mut pending) = (AuditEvent::example(), 0);
    repeat(move || {
        // The file lives as long as the subject.
        let _ = &folder;
        sink.write(&event).expect("room on the disk");
        pending += 1;
        if pending == BATCH {
            sink.flush().expect("room on the disk");
            pending = 0;
        }
    })
}
