use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use http::HeaderValue;
use tokio::sync::Mutex;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, timeout, timeout_at};
use zeroize::Zeroizing;

use super::{
    CallCredentials, CallCredentialsError, CallDetails, CallMetadata, ChannelSecurityInfo,
};
use crate::causes::chain;
use crate::secret::Secret;

/// Sends `authorization: Bearer <token>` with every call (RFC 6750 §2.1).
///
/// Never below [`SecurityLevel::PrivacyAndIntegrity`](crate::SecurityLevel).
#[derive(Clone)]
pub struct BearerToken {
    source: Source,
}

#[derive(Clone)]
enum Source {
    Fixed(HeaderValue),
    File(Arc<TokenFile>),
}

impl BearerToken {
    /// How long the text of a token file is used before the file is read again.
    pub const REREAD_AFTER: Duration = Duration::from_secs(60);

    /// The longest token, in bytes: what our own gate accepts.
    pub const MAX_BYTES: usize = 16 * 1024;

    /// A token that stays as it is.
    ///
    /// # Errors
    ///
    /// When it is empty, longer than [`MAX_BYTES`](Self::MAX_BYTES), or has a character that a
    /// token cannot have; the message does not quote it.
    pub fn new(token: impl Into<Secret<String>>) -> Result<Self, CallCredentialsError> {
        Ok(Self { source: Source::Fixed(header(token.into().expose().as_bytes())?) })
    }

    /// The token in a file, white space around it removed.
    ///
    /// Nothing is read before the first call. The file is read again
    /// [`REREAD_AFTER`](Self::REREAD_AFTER) the last reading began, by one call at a time; while
    /// it cannot be read, the last token goes on being sent. A call fails with `UNAVAILABLE` when the
    /// file cannot be read, or not within 10 s, and no token is known, and with `UNAUTHENTICATED`
    /// when there is no token in it.
    pub fn from_file(path: impl AsRef<Path>) -> Self {
        Self {
            source: Source::File(Arc::new(TokenFile {
                path: path.as_ref().to_owned(),
                last: ArcSwapOption::empty(),
                pending: Mutex::new(None),
            })),
        }
    }
}

#[async_trait]
impl CallCredentials for BearerToken {
    async fn get_metadata(
        &self,
        _call: &CallDetails,
        _security: &ChannelSecurityInfo,
        metadata: &mut CallMetadata,
    ) -> Result<(), CallCredentialsError> {
        let value = match &self.source {
            Source::Fixed(value) => value.clone(),
            Source::File(file) => file.token().await?,
        };
        Ok(metadata.insert_authorization(value)?)
    }

    fn get_metadata_now(
        &self,
        _call: &CallDetails,
        _security: &ChannelSecurityInfo,
        metadata: &mut CallMetadata,
    ) -> Result<bool, CallCredentialsError> {
        let value = match &self.source {
            Source::Fixed(value) => Some(value.clone()),
            Source::File(file) => file.fresh(),
        };
        match value {
            Some(value) => {
                metadata.insert_authorization(value)?;
                Ok(true)
            }
            None => Ok(false),
        }
    }
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Source::Fixed(_) => f.write_str("BearerToken(..)"),
            Source::File(file) => write!(f, "BearerToken(file {:?})", file.path),
        }
    }
}

struct TokenFile {
    path: PathBuf,
    last: ArcSwapOption<Reading>,
    /// The reading that has not come back yet. A thread that is stuck in a file system stays
    /// stuck, whoever gave up on it: one is enough.
    pending: Mutex<Option<Pending>>,
}

struct Reading {
    at: Instant,
    value: HeaderValue,
}

struct Pending {
    task: JoinHandle<Read>,
    began: Instant,
}

type Read = Result<HeaderValue, CallCredentialsError>;

impl TokenFile {
    /// How long a call waits for a reading; who comes later waits no longer than the first.
    const LONGEST: Duration = Duration::from_secs(10);

    fn fresh(&self) -> Option<HeaderValue> {
        let last = self.last.load();
        let last = last.as_ref()?;
        (last.at.elapsed() < BearerToken::REREAD_AFTER).then(|| last.value.clone())
    }

    async fn token(&self) -> Read {
        let pending = match (self.pending.try_lock(), self.last.load_full()) {
            (Ok(free), _) => Ok(free),
            // Somebody else reads.
            (Err(_), Some(last)) => return Ok(last.value.clone()),
            (Err(_), None) => timeout(Self::LONGEST, self.pending.lock()).await,
        };
        match pending {
            Ok(mut pending) => self.read(&mut pending).await,
            Err(_) => Err(self.hangs()),
        }
    }

    async fn read(&self, pending: &mut Option<Pending>) -> Read {
        // What came back after everybody had left is newer than what is known, and as old as the
        // beginning of its reading. A failure is about to show again if it lasts.
        if pending.as_ref().is_some_and(|pending| pending.task.is_finished())
            && let (Ok(value), began) = self.outcome(pending).await
        {
            self.know(value, began);
        }
        if let Some(value) = self.fresh() {
            return Ok(value);
        }
        let (read, began) = self.outcome(pending).await;
        match (read, self.last.load_full()) {
            (Ok(value), _) => Ok(self.know(value, began)),
            (Err(error), Some(last)) => {
                tracing::warn!(error = chain(&error), "keeping the last token of the file");
                // Asked again after the same time, not by every call.
                Ok(self.know(last.value.clone(), Instant::now()))
            }
            (Err(error), None) => Err(error),
        }
    }

    /// What the reading that was begun comes to, or else a new one, and when that began.
    async fn outcome(&self, pending: &mut Option<Pending>) -> (Read, Instant) {
        let Pending { task, began } = pending.get_or_insert_with(|| {
            let path = self.path.clone();
            let task = spawn_blocking(move || read(&path));
            Pending { task, began: Instant::now() }
        });
        let began = *began;
        let read = match timeout_at(began + Self::LONGEST, task).await {
            Ok(read) => {
                *pending = None;
                let cut_off = |_| Err(CallCredentialsError::transient("reading was cut off"));
                read.unwrap_or_else(cut_off)
            }
            Err(_) => Err(self.hangs()),
        };
        (read, began)
    }

    fn know(&self, value: HeaderValue, at: Instant) -> HeaderValue {
        self.last.store(Some(Arc::new(Reading { at, value: value.clone() })));
        value
    }

    fn hangs(&self) -> CallCredentialsError {
        let words = format!("the reading of `{}` does not come back", self.path.display());
        CallCredentialsError::transient(words)
    }
}

fn read(path: &Path) -> Result<HeaderValue, CallCredentialsError> {
    use std::io::Read;
    let mut bytes = Zeroizing::new(Vec::new());
    // One byte over the limit is enough to know that it is over.
    std::fs::File::open(path)
        .and_then(|file| file.take(BearerToken::MAX_BYTES as u64 + 1024).read_to_end(&mut bytes))
        .map_err(|error| {
            CallCredentialsError::transient(format!(
                "cannot read the token file `{}`",
                path.display()
            ))
            .with_source(error)
        })?;
    header(bytes.trim_ascii()).map_err(|error| {
        CallCredentialsError::permanent(format!("token file `{}`: {error}", path.display()))
    })
}

fn header(token: &[u8]) -> Result<HeaderValue, CallCredentialsError> {
    let problem = if token.is_empty() {
        "there is no token in it"
    } else if token.len() > BearerToken::MAX_BYTES {
        "the token is longer than 16 KiB"
    } else if !token.iter().all(u8::is_ascii_graphic) {
        "the token has a character that is not visible ASCII"
    } else {
        let text = Zeroizing::new([b"Bearer ", token].concat());
        let mut value = HeaderValue::from_bytes(&text).expect("visible ASCII");
        value.set_sensitive(true);
        return Ok(value);
    };
    Err(CallCredentialsError::permanent(problem))
}

#[cfg(all(test, unix))]
mod tests {
    use countersign_testkit::wait::until;
    use futures_util::FutureExt;
    use tokio::time::advance;

    use super::*;
    use crate::fifo::Fifo;

    fn token_file(path: &Path) -> Arc<TokenFile> {
        match BearerToken::from_file(path).source {
            Source::File(file) => file,
            Source::Fixed(_) => panic!("it is a file"),
        }
    }

    /// What is given to a call that waits for a reading that hangs.
    async fn outwaited(file: &TokenFile) -> Read {
        tokio::join!(file.token(), advance(TokenFile::LONGEST)).0
    }

    async fn came_back(file: &TokenFile) {
        until("the reading comes back", || {
            let pending = file.pending.try_lock().expect("nobody waits");
            pending.as_ref().is_some_and(|pending| pending.task.is_finished())
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_back_too_late_for_whoever_waited_replaces_the_last_token() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        std::fs::write(&path, "one").expect("written");
        let file = token_file(&path);
        assert_eq!(file.token().await.expect("a token"), "Bearer one");
        let slow = Fifo::at(&path);
        advance(BearerToken::REREAD_AFTER).await;
        assert_eq!(outwaited(&file).await.expect("the last one"), "Bearer one");
        slow.feed("two").await;
        came_back(&file).await;
        advance(BearerToken::REREAD_AFTER).await;
        // Over a minute old, it is better than what was there before, and read again.
        assert_eq!(outwaited(&file).await.expect("the last one"), "Bearer two");
        slow.feed("no token").await;
        came_back(&file).await;
        advance(BearerToken::REREAD_AFTER).await;
        assert_eq!(outwaited(&file).await.expect("the last one"), "Bearer two");
    }

    #[tokio::test(start_paused = true)]
    async fn a_first_reading_that_nobody_waited_for_serves_a_minute_from_its_beginning() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        let slow = Fifo::at(&path);
        let file = token_file(&path);
        outwaited(&file).await.expect_err("there is no token");
        slow.feed("one").await;
        came_back(&file).await;
        let first = file.token().now_or_never().expect("at once");
        assert_eq!(first.expect("a token"), "Bearer one");
        let instant = Duration::from_millis(1);
        advance(BearerToken::REREAD_AFTER - TokenFile::LONGEST - instant).await;
        assert!(file.fresh().is_some());
        advance(instant).await;
        assert!(file.fresh().is_none(), "its minute is over");
        assert!(file.token().now_or_never().is_none(), "it is read again");
        assert_eq!(outwaited(&file).await.expect("the last one"), "Bearer one");
    }
}
