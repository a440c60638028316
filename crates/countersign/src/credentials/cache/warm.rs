use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use super::engine::TokenCache;
use super::flight::{Landing, landed};
use super::source::TokenRequest;
use super::{TokenError, TokenSource};

/// Keeps a token fresh while nobody calls, until it is dropped; from
/// [`CachedToken::keep_warm`](super::CachedToken::keep_warm).
///
/// It does not keep the credentials themselves: when the last of them is dropped, it ends by
/// itself, and a fetch that is under way is aborted as ever.
#[derive(Debug)]
#[must_use = "dropped, it keeps nothing warm"]
pub struct KeepWarm {
    task: AbortHandle,
}

/// When a token has to be looked at again.
pub(super) enum Next {
    /// When this fetch has come back.
    Landing(Landing),
    At(Instant),
}

impl Next {
    /// After this long, within bounds: a clock that steps is noticed, and nothing spins.
    pub(super) fn after(delay: Duration) -> Self {
        const LEAST: Duration = Duration::from_millis(100);
        const MOST: Duration = Duration::from_secs(60);
        Self::At(Instant::now() + delay.clamp(LEAST, MOST))
    }
}

impl KeepWarm {
    /// Begins at once, on the runtime of whoever asks.
    pub(super) fn start<S: TokenSource>(
        cache: &Arc<TokenCache<S>>,
        key: Option<String>,
        request: TokenRequest,
    ) -> Result<Self, TokenError> {
        let runtime = Handle::try_current().map_err(|_| {
            let name = cache.source().name();
            TokenError::transient(format!("{name} cannot be kept warm outside of a tokio runtime"))
        })?;
        let task = runtime.spawn(keep(Arc::downgrade(cache), key, request));
        Ok(Self { task: task.abort_handle() })
    }
}

impl Drop for KeepWarm {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn keep<S: TokenSource>(
    cache: Weak<TokenCache<S>>,
    key: Option<String>,
    request: TokenRequest,
) {
    loop {
        // Not held while waiting: whoever drops the last of the credentials ends this too.
        let Some(next) = cache.upgrade().map(|cache| cache.look(key.as_deref(), &request)) else {
            return;
        };
        match next {
            Next::Landing(landing) => drop(landed(landing).await),
            Next::At(at) => sleep_until(at).await,
        }
    }
}
