use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use super::TlsConfigError;
use super::server::{LoadedServerTls, ServerTls};

/// A server's TLS in use, and where it came from, to be read again.
///
/// A whole configuration takes the place of a whole one (ADR 5): a handshake sees the one or the
/// other, and never a certificate of this with the authorities of that.
pub(crate) struct ServedTls {
    sources: ServerTls,
    http1: bool,
    current: ArcSwap<LoadedServerTls>,
    /// One reader at a time: an earlier reading must not take the place of a later one.
    reading: Mutex<()>,
}

impl ServedTls {
    /// Blocks on the file system.
    pub(crate) fn load(sources: ServerTls) -> Result<Self, TlsConfigError> {
        let loaded = sources.assemble(sources.read()?)?;
        Ok(Self::new(sources, false, Arc::new(loaded)))
    }

    /// The same, beside this one, with HTTP/1.1 offered after HTTP/2.
    pub(crate) fn with_http1(&self) -> Self {
        let mut loaded = LoadedServerTls::clone(&self.current.load());
        loaded.offer_http1();
        Self::new(self.sources.clone(), true, Arc::new(loaded))
    }

    fn new(sources: ServerTls, http1: bool, loaded: Arc<LoadedServerTls>) -> Self {
        Self { sources, http1, current: ArcSwap::new(loaded), reading: Mutex::new(()) }
    }

    /// What a handshake that begins now uses to its end.
    pub(crate) fn current(&self) -> Arc<LoadedServerTls> {
        self.current.load_full()
    }

    /// Reads the sources again; `true` if what they hold is something else. Blocks on the file
    /// system.
    pub(crate) fn reload(&self) -> Result<bool, TlsConfigError> {
        let _reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let material = self.sources.read()?;
        // What is the same stays, so that clients go on resuming their sessions: the key of their
        // tickets belongs to a configuration.
        if material == self.current.load().material {
            return Ok(false);
        }
        let mut loaded = self.sources.assemble(material)?;
        if self.http1 {
            loaded.offer_http1();
        }
        self.current.store(Arc::new(loaded));
        Ok(true)
    }
}

impl fmt::Debug for ServedTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.sources, f)
    }
}
