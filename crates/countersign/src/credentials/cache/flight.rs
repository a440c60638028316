use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::engine::Core;
use super::held::{Began, Held};
use super::slot::Slot;
use super::source::TokenRequest;
use super::{TokenError, TokenSource};

/// What a fetch came to.
pub(super) type Outcome = Result<Arc<Held>, TokenError>;

/// How those who wait hear of it.
pub(super) type Landing = watch::Receiver<Option<Outcome>>;

/// One fetch, in a task of its own. Dropping it ends the task.
#[derive(Debug)]
pub(super) struct Flight {
    task: AbortHandle,
    landing: Landing,
}

impl Flight {
    /// Sets off, on the runtime of whoever asks. `None` outside of one.
    ///
    /// The task does not keep its slot alive: the slot owns the task, and the last handle to the
    /// credential owns the slot.
    pub(super) fn launch<S: TokenSource + ?Sized>(
        slot: &Arc<Slot>,
        core: &Arc<Core<S>>,
        request: &TokenRequest,
    ) -> Option<Self> {
        let runtime = Handle::try_current().ok()?;
        let (said, landing) = watch::channel(None);
        let (slot, core, request) = (Arc::downgrade(slot), Arc::clone(core), request.clone());
        let task = runtime.spawn(async move {
            let began = Began::now(&*core.clock);
            let answer = match timeout(core.fetch_timeout, core.source.fetch(&request)).await {
                Ok(answer) => answer,
                Err(_) => Err(TokenError::transient(format!(
                    "{} gave no token within {} s",
                    core.name,
                    core.fetch_timeout.as_secs()
                ))),
            };
            if let Some(slot) = slot.upgrade() {
                said.send_replace(Some(slot.land(&core, began, answer)));
            }
        });
        Some(Self { task: task.abort_handle(), landing })
    }

    /// Where to hear of its outcome; `None` when the task was lost, with its runtime or in a
    /// panic.
    pub(super) fn landing(&self) -> Option<Landing> {
        let lost = self.landing.has_changed().is_err() && self.landing.borrow().is_none();
        (!lost).then(|| self.landing.clone())
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Waits for the outcome of a fetch; `None` when its task was lost.
pub(super) async fn landed(mut landing: Landing) -> Option<Outcome> {
    landing.wait_for(Option::is_some).await.ok()?.clone()
}
