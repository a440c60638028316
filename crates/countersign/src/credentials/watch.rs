use std::fmt;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};

use super::ServerCredentials;
use crate::causes::chain;

/// Keeps the certificates of [`ServerCredentials`] up to date for as long as it is kept; see
/// [`ServerCredentials::watch`].
#[must_use = "the certificates are watched for as long as this is kept"]
pub struct CertificateWatch {
    task: JoinHandle<()>,
}

impl CertificateWatch {
    /// How often files are read.
    pub const POLL: Duration = Duration::from_secs(10);

    /// How often a problem that persists is told.
    const REPEAT: Duration = Duration::from_secs(60);

    pub(super) fn start(credentials: ServerCredentials) -> Self {
        Self { task: tokio::spawn(run(credentials)) }
    }
}

impl Drop for CertificateWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for CertificateWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CertificateWatch")
    }
}

async fn run(credentials: ServerCredentials) {
    let mut ticks = tokio::time::interval(CertificateWatch::POLL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut warned: Option<(String, Instant)> = None;
    loop {
        ticks.tick().await;
        let reading = credentials.clone();
        let Ok(read) = tokio::task::spawn_blocking(move || reading.reload()).await else {
            // The runtime ends.
            return;
        };
        match read {
            Ok(changed) => {
                if changed || warned.is_some() {
                    tracing::info!(changed, "the server's certificates are in use as they are now");
                }
                warned = None;
            }
            Err(error) => {
                let words = chain(&error);
                let is_over = |(known, at): &(String, Instant)| {
                    *known != words || at.elapsed() >= CertificateWatch::REPEAT
                };
                if warned.as_ref().is_none_or(is_over) {
                    tracing::warn!(error = %words, "the certificates from before are in use");
                    warned = Some((words, Instant::now()));
                }
            }
        }
    }
}
