//! What the code under test writes to its log.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tracing_subscriber::fmt::MakeWriter;

/// Collects the log of this thread, from `DEBUG` up, until it is dropped.
///
/// Tasks of a current-thread runtime on the same thread are collected too; other threads are
/// not.
pub struct Logs {
    written: Arc<Mutex<Vec<u8>>>,
    _guard: tracing::subscriber::DefaultGuard,
}

impl Logs {
    /// Begins to collect.
    pub fn collect() -> Self {
        stay_awake();
        let written = Arc::new(Mutex::new(Vec::new()));
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .with_ansi(false)
            .without_time()
            .with_writer(Writer(Arc::clone(&written)))
            .finish();
        Self { written, _guard: tracing::subscriber::set_default(subscriber) }
    }

    /// Everything so far.
    pub fn text(&self) -> String {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&written).into_owned()
    }

    /// The lines so far that have `part` in them.
    pub fn lines_with(&self, part: &str) -> Vec<String> {
        self.text().lines().filter(|line| line.contains(part)).map(str::to_owned).collect()
    }
}

impl fmt::Debug for Logs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Logs")
    }
}

/// While tracing knows of one collector at most, a line that is first reached on a thread without
/// a collector is switched off for the whole process, whatever another test collects. Two that
/// stay keep it from that.
fn stay_awake() {
    static AWAKE: OnceLock<[tracing::Dispatch; 2]> = OnceLock::new();
    AWAKE.get_or_init(|| {
        [(), ()].map(|()| {
            let collector = tracing_subscriber::fmt()
                .with_max_level(tracing::Level::DEBUG)
                .with_writer(io::sink)
                .finish();
            tracing::Dispatch::new(collector)
        })
    });
}

#[derive(Clone)]
struct Writer(Arc<Mutex<Vec<u8>>>);

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Writer {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
