use std::error::Error;
use std::fmt;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};

use super::{PolicyError, PolicyFile};

/// Keeps a [`PolicyFile`] up to date for as long as it is kept.
#[must_use = "the file is watched for as long as this is kept"]
pub struct PolicyWatch {
    task: JoinHandle<()>,
}

impl PolicyWatch {
    /// How often a problem that persists is told.
    const REPEAT: Duration = Duration::from_secs(60);

    pub(super) fn start(file: PolicyFile) -> Self {
        Self { task: tokio::spawn(run(file)) }
    }
}

impl Drop for PolicyWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for PolicyWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PolicyWatch")
    }
}

async fn run(file: PolicyFile) {
    let mut ticks = tokio::time::interval(PolicyFile::POLL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut warned: Option<Warned> = None;
    loop {
        ticks.tick().await;
        let reading = file.clone();
        let Ok(read) = tokio::task::spawn_blocking(move || reading.look()).await else {
            // The runtime ends.
            return;
        };
        match read {
            Ok(replaced) => {
                if replaced || warned.is_some() {
                    let (path, policy) = (file.path().display(), file.current());
                    let replaced = file.report().replaced;
                    tracing::info!(
                        %path, policy = policy.name(), replaced, "the policy file is in use"
                    );
                }
                warned = None;
            }
            Err(error) => {
                let words = words(&error);
                if warned.as_ref().is_none_or(|warned| warned.is_over(&words)) {
                    let path = file.path().display();
                    let report = file.report();
                    tracing::warn!(
                        %path,
                        error = %words,
                        refused = report.refused,
                        since_good_s = report.since_good.as_secs(),
                        "the last good policy is in use"
                    );
                    warned = Some(Warned { words, at: Instant::now() });
                }
            }
        }
    }
}

/// What was told last, and when.
struct Warned {
    words: String,
    at: Instant,
}

impl Warned {
    fn is_over(&self, words: &str) -> bool {
        self.words != words || self.at.elapsed() >= PolicyWatch::REPEAT
    }
}

fn words(error: &PolicyError) -> String {
    let source = error.source().map(|source| format!(": {source}"));
    format!("{error}{}", source.unwrap_or_default())
}
