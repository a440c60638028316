use std::fs::{File, Metadata};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use zeroize::Zeroizing;

use crate::credentials::cache::jwt_expiry;
use crate::credentials::{FetchedToken, RefreshWindows, TokenError, TokenRequest, TokenSource};
use crate::secret::Secret;

/// A token in a file that somebody else rewrites, such as a projected token of Kubernetes
/// (gRFC A97).
///
/// Nothing is read before the first call. A JWT is read again from 90 s before its `exp` on,
/// while calls go on with the one that is there; calls wait for the reading from 30 s before.
/// Anything else is read again every minute. White space around the token is left out. What
/// counts is what stands at the path: a symbolic link that is exchanged is followed anew.
///
/// A file that cannot be read is transient (`UNAVAILABLE`); what is no token, or has ended, is
/// permanent (`UNAUTHENTICATED`) until the file changes.
#[derive(Clone, Debug)]
pub struct FileToken {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    only_jwt: bool,
    /// What the file looked like when it was last read.
    seen: Mutex<Option<Stamp>>,
    /// Whether a reading has not come back yet.
    reading: AtomicBool,
}

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    inode: u64,
}

impl FileToken {
    /// How often what is no JWT is read again.
    pub const REREAD_AFTER: Duration = Duration::from_secs(60);

    /// The longest token, in bytes.
    pub const MAX_BYTES: u64 = 16 * 1024;

    /// Any token in this file.
    ///
    /// # Errors
    ///
    /// When the path is empty. Whether there is a file shows at the first call.
    pub fn new(path: impl AsRef<Path>) -> Result<Self, TokenError> {
        Self::make(path.as_ref(), false)
    }

    /// A JWT with `exp` in this file, and nothing else, as gRFC A97 has it.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn jwt(path: impl AsRef<Path>) -> Result<Self, TokenError> {
        Self::make(path.as_ref(), true)
    }

    fn make(path: &Path, only_jwt: bool) -> Result<Self, TokenError> {
        if path.as_os_str().is_empty() {
            return Err(TokenError::permanent("the path of the token file is empty"));
        }
        let path = path.to_owned();
        let (seen, reading) = (Mutex::new(None), AtomicBool::new(false));
        Ok(Self { inner: Arc::new(Inner { path, only_jwt, seen, reading }) })
    }
}

#[async_trait]
impl TokenSource for FileToken {
    async fn fetch(&self, _request: &TokenRequest) -> Result<FetchedToken, TokenError> {
        let inner = &self.inner;
        // A thread that is stuck in a file system stays stuck: one is enough.
        if inner.reading.swap(true, Ordering::AcqRel) {
            let words = format!("the reading of `{}` does not come back", inner.path.display());
            return Err(TokenError::transient(words));
        }
        let reading = Reading(Arc::clone(inner));
        let read = tokio::task::spawn_blocking(move || reading.0.read());
        let cut_off = |_| Err(TokenError::transient("the reading of a file was cut off"));
        inner.token(read.await.unwrap_or_else(cut_off)?)
    }

    fn name(&self) -> &'static str {
        "file"
    }

    fn windows(&self) -> RefreshWindows {
        RefreshWindows::file()
    }

    fn has_changed(&self) -> bool {
        let seen = *self.inner.seen.lock().unwrap_or_else(PoisonError::into_inner);
        std::fs::metadata(&self.inner.path).ok().map(|now| Stamp::of(&now)) != seen
    }
}

/// A reading under way.
struct Reading(Arc<Inner>);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.reading.store(false, Ordering::Release);
    }
}

impl Inner {
    fn read(&self) -> Result<Zeroizing<String>, TokenError> {
        let read = || {
            let file = File::open(&self.path)?;
            let stamp = Stamp::of(&file.metadata()?);
            *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(stamp);
            // White space around a token is little; a byte over the limit says that it is over.
            let mut bytes = Zeroizing::new(Vec::with_capacity(4096));
            file.take(FileToken::MAX_BYTES + 1024).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = read().map_err(|error: std::io::Error| {
            let words = format!("cannot read the token file `{}`", self.path.display());
            TokenError::transient(words).with_source(error)
        })?;
        match std::str::from_utf8(bytes.trim_ascii()) {
            Ok(text) => Ok(Zeroizing::new(text.to_owned())),
            Err(_) => Err(self.is_no("text")),
        }
    }

    fn token(&self, text: Zeroizing<String>) -> Result<FetchedToken, TokenError> {
        if text.is_empty() {
            return Err(self.is_no("token"));
        }
        let token = FetchedToken::bearer(Secret::from(text.as_str()));
        match jwt_expiry(&text) {
            Some(end) => Ok(token.expires_at(end)),
            None if self.only_jwt => Err(self.is_no("JWT with `exp`")),
            None => Ok(token.recheck_after(FileToken::REREAD_AFTER)),
        }
    }

    fn is_no(&self, what: &str) -> TokenError {
        TokenError::permanent(format!("what is in `{}` is no {what}", self.path.display()))
    }
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        #[cfg(unix)]
        let inode = std::os::unix::fs::MetadataExt::ino(metadata);
        #[cfg(not(unix))]
        let inode = 0;
        Self { modified: metadata.modified().ok(), length: metadata.len(), inode }
    }
}
