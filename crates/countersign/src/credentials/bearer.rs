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
    /// [`REREAD_AFTER`](Self::REREAD_AFTER) the last reading, by one call at a time; while it
    /// cannot be read, the last token goes on being sent. A call fails with `UNAVAILABLE` when the
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
    /// Who comes later waits no longer.
    until: Instant,
}

type Read = Result<HeaderValue, CallCredentialsError>;

impl TokenFile {
    /// How long a call waits for a reading.
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
        if let Some(value) = self.fresh() {
            return Ok(value);
        }
        // What came back after everybody had left may be old.
        drop(pending.take_if(|pending| pending.task.is_finished()));
        let Pending { task, until } = pending.get_or_insert_with(|| {
            let path = self.path.clone();
            let task = spawn_blocking(move || read(&path));
            Pending { task, until: Instant::now() + Self::LONGEST }
        });
        let read = match timeout_at(*until, task).await {
            Ok(read) => {
                *pending = None;
                let cut_off = |_| Err(CallCredentialsError::transient("reading was cut off"));
                read.unwrap_or_else(cut_off)
            }
            Err(_) => Err(self.hangs()),
        };
        let value = match (read, self.last.load_full()) {
            (Ok(value), _) => value,
            (Err(error), Some(last)) => {
                tracing::warn!(error = chain(&error), "keeping the last token of the file");
                // Asked again after the same time, not by every call.
                last.value.clone()
            }
            (Err(error), None) => return Err(error),
        };
        self.last.store(Some(Arc::new(Reading { at: Instant::now(), value: value.clone() })));
        Ok(value)
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
