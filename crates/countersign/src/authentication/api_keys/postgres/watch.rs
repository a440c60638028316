//! Hearing of changes by `LISTEN`, on a connection of its own.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_postgres::{AsyncMessage, Client, Connection, NoTls, Socket};
use tokio_util::task::AbortOnDropHandle;

use super::{KeyStoreError, PostgresKeys, Shared, failed, unreachable};
use crate::authentication::api_keys::store::{KeyChange, KeyChanges};

/// How long nothing may be heard before the database is asked whether it is still there.
const QUIET: Duration = Duration::from_secs(10);

/// How long it has to say so.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long to wait before connecting again.
const BACKOFF: Duration = Duration::from_secs(1);

/// How many changes wait to be looked at. More wait in the database.
const WAITING: usize = 1024;

/// Listens from the first question on, until it is dropped.
pub(super) struct Watch {
    shared: Arc<Shared>,
    heard: Option<(mpsc::Receiver<KeyChange>, AbortOnDropHandle<()>)>,
}

impl Watch {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, heard: None }
    }
}

#[async_trait]
impl KeyChanges for Watch {
    async fn next(&mut self) -> Option<KeyChange> {
        let (heard, _) = self.heard.get_or_insert_with(|| {
            let (told, heard) = mpsc::channel(WAITING);
            let task = tokio::spawn(keep_listening(Arc::clone(&self.shared), told));
            (heard, AbortOnDropHandle::new(task))
        });
        heard.recv().await
    }
}

async fn keep_listening(shared: Arc<Shared>, told: mpsc::Sender<KeyChange>) {
    let mut is_lost = false;
    loop {
        let began = |is_lost: &mut bool| {
            if std::mem::take(is_lost) {
                tracing::info!("changes of API keys are heard of again");
            }
        };
        let error = match listen(&shared, &told, || began(&mut is_lost)).await {
            Ok(()) => return,
            Err(error) => error,
        };
        if !std::mem::replace(&mut is_lost, true) {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::warn!(
                %error,
                cause,
                "changes of API keys are not heard of; a revocation now takes effect within 30 s"
            );
        }
        tokio::time::sleep(BACKOFF).await;
    }
}

/// Listens until the connection is lost, or, which is no error, nobody is left to tell.
async fn listen(
    shared: &Shared,
    told: &mpsc::Sender<KeyChange>,
    began: impl FnOnce(),
) -> Result<(), KeyStoreError> {
    let (raw, mut notified) = mpsc::channel(WAITING);
    let (client, _driver): (Client, _) = match &shared.tls {
        Some(tls) => {
            let connected = shared.config.connect(tls.clone()).await.map_err(unreachable)?;
            let (client, connection) = connected;
            (client, AbortOnDropHandle::new(tokio::spawn(forward(connection, raw))))
        }
        None => {
            let (client, connection) = shared.config.connect(NoTls).await.map_err(unreachable)?;
            (client, AbortOnDropHandle::new(tokio::spawn(forward(connection, raw))))
        }
    };
    ask(&client, &format!("LISTEN {}", PostgresKeys::CHANNEL)).await?;
    began();
    // What changed until now was told to nobody.
    let mut change = KeyChange::Any;
    loop {
        if told.send(change).await.is_err() {
            return Ok(());
        }
        change = loop {
            match timeout(QUIET, notified.recv()).await {
                Ok(Some(change)) => break change,
                Ok(None) => return Err(KeyStoreError::unavailable("the connection was lost")),
                Err(_) => ask(&client, "").await?,
            }
        };
    }
}

async fn ask(client: &Client, sql: &str) -> Result<(), KeyStoreError> {
    match timeout(PATIENCE, client.batch_execute(sql)).await {
        Ok(done) => done.map_err(failed),
        Err(_) => Err(KeyStoreError::unavailable("the key database does not answer")),
    }
}

/// Drives the connection, and passes on what it is notified of.
async fn forward<T>(mut connection: Connection<Socket, T>, raw: mpsc::Sender<KeyChange>)
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
        if let AsyncMessage::Notification(told) = message {
            let change = told.payload().parse().map_or(KeyChange::Any, KeyChange::Key);
            if raw.send(change).await.is_err() {
                return;
            }
        }
    }
}
