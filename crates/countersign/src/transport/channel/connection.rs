//! A connection that is ready for calls, and how it comes to its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use hyper::client::conn::http2::SendRequest;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tonic::body::Body;

use super::backoff::luck;
use super::options::Options;
use crate::credentials::ChannelSecurityInfo;
use crate::identity::Authority;
use crate::tls::leaf_is_valid_for;

/// The part that calls use. Dropping it takes no new calls; calls in flight finish.
pub(super) struct Connection {
    sender: SendRequest<Body>,
    pub(super) security: ChannelSecurityInfo,
    pub(super) address: String,
    leaf: Option<CertificateDer<'static>>,
    activity: Arc<Activity>,
    pub(super) made: Instant,
    /// Set when no new calls are to be sent on it.
    retired: AtomicBool,
}

/// The part that keeps it going, in a task of its own.
pub(super) struct Driver {
    running: AbortOnDropHandle<()>,
    activity: Arc<Activity>,
    idle_timeout: Option<Duration>,
    max_age: Option<Duration>,
}

#[derive(Default)]
struct Activity {
    calls: AtomicUsize,
    /// Counts every call's beginning and end, so that the idle timer sees that there was one.
    changes: AtomicUsize,
}

/// Held by each call on the connection until its last byte.
pub(super) struct Busy(Arc<Activity>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.changes.fetch_add(1, Ordering::Relaxed);
        self.0.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Connection {
    pub(super) fn new(
        sender: SendRequest<Body>,
        running: AbortOnDropHandle<()>,
        security: ChannelSecurityInfo,
        leaf: Option<CertificateDer<'static>>,
        address: String,
        options: &Options,
    ) -> (Self, Driver) {
        let activity = Arc::new(Activity::default());
        let driver = Driver {
            running,
            activity: Arc::clone(&activity),
            idle_timeout: options.idle_timeout,
            // Some earlier, some later, so that a fleet does not come back all at once.
            max_age: options.max_connection_age.map(jittered),
        };
        let (made, retired) = (Instant::now(), AtomicBool::new(false));
        (Self { sender, security, address, leaf, activity, made, retired }, driver)
    }

    pub(super) fn sender(&self) -> SendRequest<Body> {
        self.sender.clone()
    }

    pub(super) fn busy(&self) -> Busy {
        self.activity.calls.fetch_add(1, Ordering::Relaxed);
        self.activity.changes.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(&self.activity))
    }

    /// Whether a new call may be sent on it.
    pub(super) fn is_usable(&self) -> bool {
        !self.retired.load(Ordering::Relaxed) && !self.sender.is_closed()
    }

    /// Whether it ended, and no call was begun on it.
    pub(super) fn ended_unused(&self) -> bool {
        self.sender.is_closed() && self.activity.changes.load(Ordering::Relaxed) == 0
    }

    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }

    /// Whether this connection may carry calls for another authority than the target's (gRFC
    /// A81): with TLS, if the server's own certificate is valid for its host.
    pub(super) fn vouches_for(&self, authority: &Authority) -> bool {
        let Some(leaf) = &self.leaf else {
            return self.security.security_protocol() != "tls";
        };
        ServerName::try_from(authority.host()).is_ok_and(|name| leaf_is_valid_for(leaf, &name))
    }
}

/// Give or take 10 %.
fn jittered(age: Duration) -> Duration {
    Duration::try_from_secs_f64(age.as_secs_f64() * (1.0 + 0.1 * luck())).unwrap_or(age)
}

impl Driver {
    /// Waits until no new calls are to be sent on the connection: it ended, was idle for too
    /// long, or is too old. Calls in flight go on afterwards.
    pub(super) async fn until_retired(mut self) {
        let too_old = async {
            match self.max_age {
                Some(age) => tokio::time::sleep(age).await,
                None => std::future::pending().await,
            }
        };
        let activity = Arc::clone(&self.activity);
        let idle = async {
            match self.idle_timeout {
                Some(timeout) => activity.idle_for(timeout).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = &mut self.running => {}
            () = too_old => {}
            () = idle => {}
        }
        // From here on the connection is its own master: it ends when the last call on it has.
        self.running.detach();
    }
}

impl Activity {
    /// Waits until there was no call for `timeout`.
    async fn idle_for(&self, timeout: Duration) {
        let mut since = Instant::now();
        let mut seen = self.changes.load(Ordering::Relaxed);
        loop {
            tokio::time::sleep_until(since + timeout).await;
            let changes = self.changes.load(Ordering::Relaxed);
            if changes == seen && self.calls.load(Ordering::Relaxed) == 0 {
                return;
            }
            seen = changes;
            since = Instant::now();
        }
    }
}
