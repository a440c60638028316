use std::sync::Arc;
use std::time::Duration;

use super::RefreshWindows;
use crate::clock::{Clock, SystemClock};

/// How a cache is set up.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(super) clock: Arc<dyn Clock>,
    /// The source's own unless set.
    pub(super) windows: Option<RefreshWindows>,
    /// The source's own unless set.
    pub(super) fetch_timeout: Option<Duration>,
    pub(super) max_entries: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            windows: None,
            fetch_timeout: None,
            max_entries: 1_000,
        }
    }
}

impl Settings {
    pub(crate) fn max_entries(mut self, entries: usize) -> Self {
        self.max_entries = entries;
        self
    }
}
