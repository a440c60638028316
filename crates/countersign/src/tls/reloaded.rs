use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::Mutex;
use tokio::task::{JoinError, JoinHandle, spawn_blocking};
use tokio::time::{Instant, timeout};

use super::{ClientTls, LoadedClientTls, TlsConfigError};
use crate::causes::chain;

/// [`ClientTls`] as its files stand: read when it is first wanted, and again when it is wanted a
/// minute later or after that.
///
/// Only a complete and checked set replaces the last one. While files cannot be read, are half
/// written or hang, the last set stays, and the log says so once a minute. However many want it
/// at the same time, it is read once.
pub(crate) struct ReloadedClientTls {
    tls: ClientTls,
    known: ArcSwapOption<Known>,
    /// The reading that has not come back yet: a thread that is stuck stays stuck, one is enough.
    pending: Mutex<Option<JoinHandle<Loading>>>,
}

type Loading = Result<LoadedClientTls, TlsConfigError>;

struct Known {
    loaded: Arc<LoadedClientTls>,
    at: Instant,
}

/// Why there is nothing to shake hands with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotLoaded {
    #[error(transparent)]
    Unusable(#[from] TlsConfigError),
    #[error("reading the credentials was cut off")]
    CutOff(#[from] JoinError),
}

impl ReloadedClientTls {
    /// How long what was read is used.
    const RELOAD: Duration = Duration::from_secs(60);

    /// How long a second reading is waited for: there is the first one to go on with.
    const LONGEST: Duration = Duration::from_secs(2);

    /// Reads nothing and needs no runtime.
    pub(crate) fn new(tls: ClientTls) -> Self {
        Self { tls, known: ArcSwapOption::empty(), pending: Mutex::new(None) }
    }

    pub(crate) fn settings(&self) -> &ClientTls {
        &self.tls
    }

    /// Cancel-safe: a reading that was begun serves whoever comes next.
    pub(crate) async fn get(&self) -> Result<Arc<LoadedClientTls>, NotLoaded> {
        let Some(known) = self.known.load_full() else {
            let mut pending = self.pending.lock().await;
            return self.read(&mut pending).await;
        };
        if known.at.elapsed() < Self::RELOAD {
            return Ok(Arc::clone(&known.loaded));
        }
        // Somebody else is at it.
        let Ok(mut pending) = self.pending.try_lock() else { return Ok(Arc::clone(&known.loaded)) };
        let why = match timeout(Self::LONGEST, self.read(&mut pending)).await {
            Ok(Ok(loaded)) => return Ok(loaded),
            Ok(Err(error)) => chain(&error),
            Err(_) => "the reading does not come back".to_owned(),
        };
        tracing::warn!(error = why, "keeping certificates that were read before");
        Ok(self.keep(Arc::clone(&known.loaded)))
    }

    async fn read(
        &self,
        pending: &mut Option<JoinHandle<Loading>>,
    ) -> Result<Arc<LoadedClientTls>, NotLoaded> {
        match self.known.load_full() {
            Some(known) if known.at.elapsed() < Self::RELOAD => {
                return Ok(Arc::clone(&known.loaded));
            }
            _ => {}
        }
        // What came back after everybody had left may be old.
        drop(pending.take_if(|reading| reading.is_finished()));
        let reading = pending.get_or_insert_with(|| {
            let tls = self.tls.clone();
            spawn_blocking(move || tls.load())
        });
        let loaded = reading.await;
        *pending = None;
        Ok(self.keep(Arc::new(loaded??)))
    }

    fn keep(&self, loaded: Arc<LoadedClientTls>) -> Arc<LoadedClientTls> {
        let known = Known { loaded: Arc::clone(&loaded), at: Instant::now() };
        self.known.store(Some(Arc::new(known)));
        loaded
    }
}
