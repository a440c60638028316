//! What runs beside the calls: hearing of changes, and writing when keys were used.

use std::future::{pending, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use tokio_util::sync::CancellationToken;

use super::authenticator::{ApiKeys, Shared};
use super::store::KeyChange;

/// Until the token says that nobody is left to ask for a key.
pub(super) async fn run(shared: Arc<Shared>, ended: CancellationToken) {
    let both = async {
        let (mut hear, mut write) = (pin!(hear(&shared)), pin!(write(&shared)));
        // Both go on for ever.
        poll_fn(|cx| -> Poll<()> {
            let _ = hear.as_mut().poll(cx);
            let _ = write.as_mut().poll(cx);
            Poll::Pending
        })
        .await;
    };
    ended.run_until_cancelled(both).await;
    flush(&shared).await;
}

async fn hear(shared: &Shared) -> ! {
    if let Some(mut changes) = shared.store.watch() {
        // What changed before this began was told to nobody.
        shared.records.changed(KeyChange::Any);
        while let Some(change) = changes.next().await {
            shared.records.changed(change);
        }
        tracing::warn!(
            store = ?shared.store,
            "no more changes of API keys are told; a revocation now takes effect within 30 s"
        );
    }
    pending().await
}

async fn write(shared: &Shared) -> ! {
    loop {
        tokio::time::sleep(ApiKeys::NOTE_USES_EVERY).await;
        flush(shared).await;
    }
}

async fn flush(shared: &Shared) {
    let uses = shared.uses.take();
    if uses.is_empty() {
        return;
    }
    let noted = shared.store.note_uses(&uses);
    let error = match tokio::time::timeout(shared.lookup_timeout, noted).await {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the store did not answer".to_owned(),
    };
    shared.counters.lost_uses.add(uses.len() as u64);
    tracing::warn!(%error, uses = uses.len(), "when API keys were used could not be written");
}
