use countersign_testkit::wait::until;
use tokio::runtime::Handle;

/// How many tasks of this runtime there were at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tasks(usize);

impl Tasks {
    pub(crate) fn now() -> Self {
        Self(Handle::current().metrics().num_alive_tasks())
    }

    /// Waits until there are no more than at that time.
    pub(crate) async fn are_back(self) {
        until("all tasks have ended", || Self::now().0 <= self.0).await;
    }
}
