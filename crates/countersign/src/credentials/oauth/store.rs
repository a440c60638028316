use std::fmt;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
#[cfg(unix)]
use std::time::Duration;

use async_trait::async_trait;
use zeroize::Zeroizing;

use crate::credentials::TokenError;
use crate::secret::Secret;

/// Where a refresh token is kept. Bring one's own for a keychain or a secret manager.
#[async_trait]
pub trait RefreshTokenStore: fmt::Debug + Send + Sync + 'static {
    /// Opens it for one user at a time, until what is returned is dropped.
    ///
    /// # Errors
    ///
    /// [`TokenError::transient`] when it is out of reach, and [`TokenError::permanent`] when
    /// there is no token in it.
    async fn open(&self) -> Result<Box<dyn StoredToken>, TokenError>;
}

/// An open [`RefreshTokenStore`].
#[async_trait]
pub trait StoredToken: Send + Sync {
    /// The token in it.
    fn token(&self) -> Secret<String>;

    /// Puts another in its place, so that it is there after a crash. Once begun it should end,
    /// even if nobody waits for it any more: the old token may be void already.
    ///
    /// # Errors
    ///
    /// The old one is still in its place.
    async fn replace(&mut self, token: Secret<String>) -> Result<(), TokenError>;
}

/// A refresh token in a file of its own, which only its owner may read.
///
/// A new one is written beside it, flushed to the disk and moved over it. On Unix a lock on
/// `<file>.lock` keeps other processes away meanwhile; elsewhere there is no such lock.
#[derive(Clone, Debug)]
pub struct RefreshTokenFile {
    path: PathBuf,
}

impl RefreshTokenFile {
    /// The longest token, in bytes.
    const MAX_BYTES: u64 = 16 * 1024;

    /// The token in this file, white space around it left out. Reads nothing yet.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self { path: path.as_ref().to_owned() }
    }
}

#[async_trait]
impl RefreshTokenStore for RefreshTokenFile {
    async fn open(&self) -> Result<Box<dyn StoredToken>, TokenError> {
        let lock = lock(&self.path).await?;
        let path = self.path.clone();
        Ok(Box::new(off_the_runtime(move || OpenFile::open(path, lock)).await?))
    }
}

struct OpenFile {
    path: PathBuf,
    token: Secret<String>,
    _lock: Option<File>,
}

impl OpenFile {
    fn open(path: PathBuf, lock: Option<File>) -> Result<Self, TokenError> {
        let mut text = Zeroizing::new(String::with_capacity(4096));
        File::open(&path)
            .and_then(|file| file.take(RefreshTokenFile::MAX_BYTES + 1).read_to_string(&mut text))
            .map_err(|error| cannot_read(&path, error))?;
        let token = Secret::from(text.trim());
        let fits = !token.expose().is_empty() && text.len() as u64 <= RefreshTokenFile::MAX_BYTES;
        match fits {
            true => Ok(Self { path, token, _lock: lock }),
            false => {
                let words = format!("there is no refresh token in `{}`", path.display());
                Err(TokenError::permanent(words))
            }
        }
    }
}

#[async_trait]
impl StoredToken for OpenFile {
    fn token(&self) -> Secret<String> {
        self.token.clone()
    }

    async fn replace(&mut self, token: Secret<String>) -> Result<(), TokenError> {
        let (path, next) = (self.path.clone(), token.clone());
        // A blocking task that has begun runs to its end, whoever waits.
        off_the_runtime(move || {
            write(&path, next.expose()).map_err(|error| {
                let words = format!("cannot store the next refresh token in `{}`", path.display());
                TokenError::transient(words).with_source(error)
            })
        })
        .await?;
        self.token = token;
        Ok(())
    }
}

async fn off_the_runtime<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, TokenError> + Send + 'static,
) -> Result<T, TokenError> {
    let cut_off = |_| Err(TokenError::transient("the work on a file was cut off"));
    tokio::task::spawn_blocking(work).await.unwrap_or_else(cut_off)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn for_the_owner_alone() -> std::fs::OpenOptions {
    let mut options = File::options();
    options.write(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn write(path: &Path, token: &str) -> std::io::Result<()> {
    let next = beside(path, ".next");
    // What a crash left behind could have other permissions.
    match std::fs::remove_file(&next) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = for_the_owner_alone().create_new(true).open(&next)?;
    file.write_all(token.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&next, path)?;
    // So that the new name survives a crash too. What is no folder to open need not be flushed.
    if let Some(Ok(folder)) = path.parent().map(File::open) {
        let _ = folder.sync_all();
    }
    Ok(())
}

/// Waits until nobody else has it, without a thread that waits too: whoever holds it may take
/// for ever, and a runtime does not end before its threads do.
#[cfg(unix)]
async fn lock(path: &Path) -> Result<Option<File>, TokenError> {
    const BETWEEN_TRIES: Duration = Duration::from_millis(50);
    loop {
        let path = path.to_owned();
        let locked = off_the_runtime(move || {
            let file = for_the_owner_alone().truncate(false).open(beside(&path, ".lock"));
            let file = file.map_err(|error| cannot_read(&path, error))?;
            match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => Ok(Some(file)),
                Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => Ok(None),
                Err(error) => Err(cannot_read(&path, error.into())),
            }
        });
        if let Some(file) = locked.await? {
            return Ok(Some(file));
        }
        tokio::time::sleep(BETWEEN_TRIES).await;
    }
}

#[cfg(not(unix))]
async fn lock(_path: &Path) -> Result<Option<File>, TokenError> {
    Ok(None)
}

fn cannot_read(path: &Path, error: std::io::Error) -> TokenError {
    let words = format!("cannot read the refresh token in `{}`", path.display());
    TokenError::transient(words).with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_new_token_takes_the_place_of_the_old_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("refresh");
        std::fs::write(&path, " first \n").expect("written");
        let store = RefreshTokenFile::new(&path);
        let mut open = store.open().await.expect("a token");
        assert_eq!(open.token().expose(), "first");
        open.replace("second".into()).await.expect("stored");
        assert_eq!(open.token().expose(), "second");
        drop(open);
        assert_eq!(std::fs::read_to_string(&path).expect("text"), "second");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(&path).expect("a file").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[tokio::test]
    async fn a_file_without_a_token_is_an_error_by_its_kind() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("refresh");
        let store = RefreshTokenFile::new(&path);
        assert!(store.open().await.err().expect("no file").is_transient());
        for text in [" \n".to_owned(), "x".repeat(16 * 1024 + 1)] {
            std::fs::write(&path, text).expect("written");
            assert!(!store.open().await.err().expect("no token").is_transient());
        }
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn the_store_is_for_one_at_a_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("refresh");
        std::fs::write(&path, "first").expect("written");
        let store = RefreshTokenFile::new(&path);
        let open = store.open().await.expect("a token");
        let second = tokio::spawn(async move { store.open().await.map(|it| it.token()) });
        let held = File::options().write(true).open(beside(&path, ".lock")).expect("a lock");
        rustix::fs::flock(&held, rustix::fs::FlockOperation::NonBlockingLockExclusive)
            .expect_err("it is held");
        drop(open);
        assert_eq!(second.await.expect("no panic").expect("a token").expose(), "first");
    }

    #[cfg(unix)]
    #[tokio::test(start_paused = true)]
    async fn whoever_waits_for_the_store_holds_no_thread() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("refresh");
        std::fs::write(&path, "first").expect("written");
        let held = for_the_owner_alone().open(beside(&path, ".lock")).expect("a lock");
        rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).expect("locked");
        // Another process, which does not end: time only passes while no thread is at work.
        let store = RefreshTokenFile::new(&path);
        let waiting = tokio::time::timeout(Duration::from_secs(60), store.open());
        assert!(waiting.await.is_err(), "it is held");
        drop(held);
        assert_eq!(store.open().await.expect("a token").token().expose(), "first");
    }
}
