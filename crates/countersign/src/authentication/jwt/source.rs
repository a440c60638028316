use super::KeySet;
use crate::authentication::Generation;
use std::sync::Arc;

/// Where keys come from.
#[derive(Clone, Debug)]
pub struct KeySource(KeySet);
impl KeySource {
    /// given
    pub fn given(keys: KeySet) -> Self {
        Self(keys)
    }
    /// d
    pub fn discovery() -> Self {
        Self(KeySet::default())
    }
}
#[derive(Debug)]
pub(crate) struct Keys {
    keys: Arc<KeySet>,
    generation: Generation,
}
pub(crate) struct Snapshot {
    pub(crate) keys: Option<Arc<KeySet>>,
    pub(crate) generation: u64,
}
pub(crate) enum Missing {
    Final,
    Unavailable { retry_after: std::time::Duration },
    Wait,
}
pub(crate) struct KeysUnavailable {
    pub(crate) retry_after: Option<std::time::Duration>,
}
impl Keys {
    pub(crate) fn new(source: KeySource) -> Self {
        Self { keys: Arc::new(source.0), generation: Generation::new() }
    }
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot { keys: Some(Arc::clone(&self.keys)), generation: self.generation.now() }
    }
    pub(crate) fn generation(&self) -> &Generation {
        &self.generation
    }
    pub(crate) fn missing(&self, _kid: Option<&str>) -> Missing {
        Missing::Final
    }
    pub(crate) async fn refetched_for(
        &self,
        _kid: Option<&str>,
    ) -> Result<Snapshot, KeysUnavailable> {
        Ok(self.snapshot())
    }
    pub(crate) fn is_ready(&self) -> bool {
        true
    }
    pub(crate) async fn warm_up(&self) {}
}
