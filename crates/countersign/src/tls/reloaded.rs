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
/// at the same time, it is read once. What comes back after everybody has left is used as well,
/// and is as old as the beginning of its reading.
pub(crate) struct ReloadedClientTls {
    tls: ClientTls,
    known: ArcSwapOption<Known>,
    /// The reading that has not come back yet: a thread that is stuck stays stuck, one is enough.
    pending: Mutex<Option<Pending>>,
}

struct Pending {
    task: JoinHandle<Result<LoadedClientTls, TlsConfigError>>,
    began: Instant,
}

struct Known {
    loaded: Arc<LoadedClientTls>,
    at: Instant,
}

impl Known {
    fn is_fresh(&self) -> bool {
        self.at.elapsed() < ReloadedClientTls::RELOAD
    }
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
        let mut pending = match self.known.load_full() {
            Some(known) if known.is_fresh() => return Ok(Arc::clone(&known.loaded)),
            Some(known) => match self.pending.try_lock() {
                Ok(pending) => pending,
                // Somebody else is at it.
                Err(_) => return Ok(Arc::clone(&known.loaded)),
            },
            None => self.pending.lock().await,
        };
        if pending.as_ref().is_some_and(|pending| pending.task.is_finished()) {
            // Of a failure nobody is told: the next reading is about to show whether it lasts.
            drop(self.read(&mut pending).await);
        }
        let known = match self.known.load_full() {
            Some(known) if known.is_fresh() => return Ok(Arc::clone(&known.loaded)),
            Some(known) => known,
            None => return self.read(&mut pending).await,
        };
        let why = match timeout(Self::LONGEST, self.read(&mut pending)).await {
            Ok(Ok(loaded)) => return Ok(loaded),
            Ok(Err(error)) => chain(&error),
            Err(_) => "the reading does not come back".to_owned(),
        };
        tracing::warn!(error = why, "keeping certificates that were read before");
        Ok(self.keep(Arc::clone(&known.loaded), Instant::now()))
    }

    /// The reading that was begun, or else a new one.
    async fn read(&self, pending: &mut Option<Pending>) -> Result<Arc<LoadedClientTls>, NotLoaded> {
        let Pending { task, began } = pending.get_or_insert_with(|| {
            let tls = self.tls.clone();
            Pending { task: spawn_blocking(move || tls.load()), began: Instant::now() }
        });
        let (loaded, began) = (task.await, *began);
        *pending = None;
        Ok(self.keep(Arc::new(loaded??), began))
    }

    fn keep(&self, loaded: Arc<LoadedClientTls>, at: Instant) -> Arc<LoadedClientTls> {
        let known = Known { loaded: Arc::clone(&loaded), at };
        self.known.store(Some(Arc::new(known)));
        loaded
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::path::Path;

    use countersign_testkit::pki::CertificateAuthority;
    use countersign_testkit::wait::until;
    use futures_util::FutureExt;
    use tokio::time::advance;

    use super::*;
    use crate::fifo::Fifo;
    use crate::tls::RootCertificates;

    fn reloaded(path: &Path) -> ReloadedClientTls {
        ReloadedClientTls::new(ClientTls::only_roots(RootCertificates::from_pem_file(path)))
    }

    fn pem() -> Vec<u8> {
        CertificateAuthority::new("test CA").certificate_pem().into()
    }

    /// What is given to somebody who waits for a reading that hangs.
    async fn outwaited(tls: &ReloadedClientTls) -> Arc<LoadedClientTls> {
        let (given, ()) = tokio::join!(tls.get(), advance(ReloadedClientTls::LONGEST));
        given.expect("the last set")
    }

    async fn came_back(tls: &ReloadedClientTls) {
        until("the reading comes back", || {
            let pending = tls.pending.try_lock().expect("nobody waits");
            pending.as_ref().is_some_and(|pending| pending.task.is_finished())
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_back_too_late_for_whoever_waited_replaces_the_last_set() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ca.pem");
        std::fs::write(&path, pem()).expect("written");
        let tls = reloaded(&path);
        let first = tls.get().await.expect("it can be read");
        let slow = Fifo::at(&path);
        advance(ReloadedClientTls::RELOAD).await;
        assert!(Arc::ptr_eq(&outwaited(&tls).await, &first));
        slow.feed(pem()).await;
        came_back(&tls).await;
        advance(ReloadedClientTls::RELOAD).await;
        // Over a minute old, it is better than what was there before, and read again.
        let second = outwaited(&tls).await;
        assert!(!Arc::ptr_eq(&second, &first));
        slow.feed("no certificate").await;
        came_back(&tls).await;
        advance(ReloadedClientTls::RELOAD).await;
        assert!(Arc::ptr_eq(&outwaited(&tls).await, &second), "what cannot be used replaces none");
    }

    #[tokio::test(start_paused = true)]
    async fn a_first_reading_that_nobody_waited_for_serves_a_minute_from_its_beginning() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ca.pem");
        let slow = Fifo::at(&path);
        let tls = reloaded(&path);
        assert!(tls.get().now_or_never().is_none(), "it is begun");
        advance(ReloadedClientTls::RELOAD / 2).await;
        slow.feed(pem()).await;
        came_back(&tls).await;
        let first = tls.get().now_or_never().expect("at once").expect("a set");
        advance(ReloadedClientTls::RELOAD / 2 - Duration::from_millis(1)).await;
        let again = tls.get().now_or_never().expect("at once").expect("a set");
        assert!(Arc::ptr_eq(&again, &first));
        advance(Duration::from_millis(1)).await;
        assert!(tls.get().now_or_never().is_none(), "its minute is over, it is read again");
        assert!(Arc::ptr_eq(&outwaited(&tls).await, &first));
    }
}
