//! A [`KeyStore`] in a file.

mod content;

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use tokio::time::Instant;

use super::format::KeyId;
use super::record::KeyRecord;
use super::store::{KeyChange, KeyChanges, KeyStore, KeyStoreError, KeyUse};
use super::{disk, memory};

use self::content::{Content, check, parse, read, render, render_uses, unusable, used_path};

/// Keys in a JSON file, with hashes and never the keys: for one gateway, or for many that get the
/// file from a repository.
///
/// The file is read again when its content has changed, at most [`POLL`](Self::POLL) late. One
/// that is broken by then is told in the log, and the last good one stays. It is written whole,
/// with mode 0600, by a rename, and under a lock (`keys.json.lock`) that other processes of ours
/// respect. When keys were used stands beside it (`keys.json.used`), so that a file under version
/// control changes only when somebody changes it.
///
/// Cloning shares everything.
#[derive(Clone)]
pub struct FileKeys {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    current: ArcSwap<Content>,
    /// When the file was looked at last. Held while it is read or written.
    looked: tokio::sync::Mutex<Instant>,
    /// Held while what was read or written becomes what is known, so that the later one stays.
    storing: Mutex<()>,
    /// The last thing that was wrong with the file, lest it is told each second.
    told: Mutex<Option<String>>,
}

impl FileKeys {
    /// The most keys in a file.
    pub const MAX_KEYS: usize = 10_000;

    /// The largest file, in bytes.
    pub const MAX_FILE_BYTES: u64 = 32 * 1024 * 1024;

    /// How old what is known of the file may be.
    pub const POLL: Duration = Duration::from_secs(1);

    /// Opens a file. Blocks on the file system.
    ///
    /// # Errors
    ///
    /// It is not there, cannot be read, or is not what it should be.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, KeyStoreError> {
        let path = path.as_ref().to_owned();
        let content = read(&path)?;
        Ok(Self {
            shared: Arc::new(Shared {
                path,
                current: ArcSwap::from_pointee(content),
                looked: tokio::sync::Mutex::new(Instant::now()),
                storing: Mutex::default(),
                told: Mutex::default(),
            }),
        })
    }

    /// Opens a file, and makes one without keys where there is none. Blocks on the file system.
    ///
    /// # Errors
    ///
    /// It cannot be made, cannot be read, or is not what it should be.
    pub fn open_or_create(path: impl AsRef<Path>) -> Result<Self, KeyStoreError> {
        let path = path.as_ref();
        let empty = render(&BTreeMap::new())?;
        match disk::create(path, &empty) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                Err(unusable("make", path).with_source(error))
            }
            _ => Self::open(path),
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }
}

impl Shared {
    /// What the file says, read again when that is long ago.
    async fn fresh(self: &Arc<Self>) -> Arc<Content> {
        let mut looked = self.looked.lock().await;
        if looked.elapsed() < FileKeys::POLL {
            return self.current.load_full();
        }
        let shared = Arc::clone(self);
        let read = tokio::task::spawn_blocking(move || {
            let problem = shared.reload().err();
            shared.tell(problem);
        });
        // Only its own panic could fail it, and then the last good content stays.
        let _ = read.await;
        *looked = Instant::now();
        self.current.load_full()
    }

    fn reload(&self) -> Result<(), KeyStoreError> {
        let _storing = self.storing.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = disk::read(&self.path, FileKeys::MAX_FILE_BYTES)
            .map_err(|error| unusable("read", &self.path).with_source(error))?;
        if bytes != self.current.load().bytes {
            let mut content = parse(&self.path, bytes)?;
            let known = self.current.load_full();
            for (id, record) in &mut content.records {
                let used = known.records.get(id).and_then(|known| known.last_used_at);
                record.last_used_at = record.last_used_at.max(used);
            }
            self.current.store(Arc::new(content));
        }
        Ok(())
    }

    /// Tells a problem once, and when it is over.
    fn tell(&self, problem: Option<KeyStoreError>) {
        let said = problem.as_ref().map(|problem| match std::error::Error::source(problem) {
            Some(cause) => format!("{problem}: {cause}"),
            None => problem.to_string(),
        });
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if *told == said {
            return;
        }
        match &said {
            Some(error) => tracing::warn!(%error, "keeping the last good API keys of the file"),
            None => {
                tracing::info!(path = %self.path.display(), "the file of API keys is good again")
            }
        }
        *told = said;
    }

    /// Changes the file: read, change, write, under the lock. It happens whole or not at all,
    /// whether or not somebody still waits for it.
    async fn change<T: Send + 'static>(
        self: &Arc<Self>,
        change: impl FnOnce(&mut BTreeMap<KeyId, KeyRecord>) -> Result<T, KeyStoreError>
        + Send
        + 'static,
    ) -> Result<T, KeyStoreError> {
        let shared = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || {
            let _lock = disk::lock(&shared.path)
                .map_err(|error| unusable("lock", &shared.path).with_source(error))?;
            let _storing = shared.storing.lock().unwrap_or_else(PoisonError::into_inner);
            let mut content = read(&shared.path)?;
            let outcome = change(&mut content.records)?;
            let bytes = render(&content.records)?;
            if bytes.len() as u64 > FileKeys::MAX_FILE_BYTES {
                return Err(KeyStoreError::full(content.records.len() - 1));
            }
            disk::replace(&shared.path, &bytes)
                .map_err(|error| unusable("write", &shared.path).with_source(error))?;
            shared.current.store(Arc::new(Content { bytes, ..content }));
            Ok(outcome)
        });
        done.await
            .map_err(|error| KeyStoreError::unavailable("writing was cut off").with_source(error))?
    }
}

#[async_trait]
impl KeyStore for FileKeys {
    async fn get(&self, id: &KeyId) -> Result<Option<KeyRecord>, KeyStoreError> {
        Ok(self.shared.fresh().await.records.get(id).cloned())
    }

    async fn insert(&self, record: KeyRecord) -> Result<(), KeyStoreError> {
        check(&record)?;
        self.shared.change(|records| memory::insert(records, record, Self::MAX_KEYS)).await
    }

    async fn update(&self, record: KeyRecord) -> Result<u64, KeyStoreError> {
        check(&record)?;
        self.shared.change(|records| memory::update(records, record)).await
    }

    async fn list(
        &self,
        after: Option<KeyId>,
        limit: usize,
    ) -> Result<Vec<KeyRecord>, KeyStoreError> {
        Ok(memory::list(&self.shared.fresh().await.records, after, limit))
    }

    async fn note_uses(&self, uses: &[KeyUse]) -> Result<(), KeyStoreError> {
        let (shared, uses) = (Arc::clone(&self.shared), uses.to_vec());
        let done = tokio::task::spawn_blocking(move || {
            let _lock = disk::lock(&shared.path)
                .map_err(|error| unusable("lock", &shared.path).with_source(error))?;
            let _storing = shared.storing.lock().unwrap_or_else(PoisonError::into_inner);
            let mut content = read(&shared.path)?;
            for KeyUse { id, at } in uses {
                if let Some(record) = content.records.get_mut(&id) {
                    record.last_used_at = record.last_used_at.max(Some(at));
                }
            }
            let path = used_path(&shared.path);
            let bytes = render_uses(&content.records)?;
            disk::replace(&path, &bytes)
                .map_err(|error| unusable("write", &path).with_source(error))?;
            shared.current.store(Arc::new(content));
            Ok(())
        });
        done.await
            .map_err(|error| KeyStoreError::unavailable("writing was cut off").with_source(error))?
    }

    fn watch(&self) -> Option<Box<dyn KeyChanges>> {
        let (shared, seen) = (Arc::clone(&self.shared), self.shared.current.load_full());
        Some(Box::new(Watch { shared, seen, changed: Vec::new(), looks_at: next_look() }))
    }
}

impl fmt::Debug for FileKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileKeys({:?})", self.shared.path)
    }
}

struct Watch {
    shared: Arc<Shared>,
    seen: Arc<Content>,
    changed: Vec<KeyId>,
    /// Kept, so that whoever waits for less than a look, again and again, gets one all the same.
    looks_at: Instant,
}

fn next_look() -> Instant {
    Instant::now() + FileKeys::POLL
}

#[async_trait]
impl KeyChanges for Watch {
    async fn next(&mut self) -> Option<KeyChange> {
        loop {
            if let Some(id) = self.changed.pop() {
                return Some(KeyChange::Key(id));
            }
            tokio::time::sleep_until(self.looks_at).await;
            let now = self.shared.fresh().await;
            // Nothing is waited for from here on: no change is lost when this is dropped.
            self.looks_at = next_look();
            self.changed = differences(&self.seen.records, &now.records);
            self.seen = now;
        }
    }
}

/// The keys that are not the same in both, uses aside.
fn differences(
    before: &BTreeMap<KeyId, KeyRecord>,
    after: &BTreeMap<KeyId, KeyRecord>,
) -> Vec<KeyId> {
    let ids: HashSet<_> = before.keys().chain(after.keys()).copied().collect();
    let differs = |id: &KeyId| match (before.get(id), after.get(id)) {
        (Some(before), Some(after)) => {
            let last_used_at = before.last_used_at;
            *before != KeyRecord { last_used_at, ..after.clone() }
        }
        (before, after) => before.is_some() || after.is_some(),
    };
    ids.into_iter().filter(differs).collect()
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::record;
    use super::*;

    fn file(dir: &tempfile::TempDir) -> FileKeys {
        FileKeys::open_or_create(dir.path().join("keys.json")).expect("a file")
    }

    #[tokio::test]
    async fn what_was_written_is_read_by_the_next_one() {
        let dir = tempfile::tempdir().expect("a folder");
        file(&dir).insert(record()).await.expect("inserted");
        assert_eq!(file(&dir).get(&record().id).await.expect("read"), Some(record()));
        let left: Vec<_> = std::fs::read_dir(dir.path())
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        assert_eq!(left.len(), 2, "the file and its lock: {left:?}");
    }

    #[tokio::test]
    #[cfg(unix)]
    async fn only_the_owner_can_read_what_is_written() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("a folder");
        let keys = file(&dir);
        keys.insert(record()).await.expect("inserted");
        keys.note_uses(&[KeyUse { id: record().id, at: record().created_at }])
            .await
            .expect("noted");
        for path in [keys.path().to_owned(), used_path(keys.path())] {
            let mode = std::fs::metadata(path).expect("it is there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_file_that_is_not_what_it_should_be_is_refused_and_not_quoted() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("keys.json");
        let good = serde_json::to_string(&record()).expect("JSON");
        for (name, text) in [
            ("empty", String::new()),
            ("not JSON", "hunter2".to_owned()),
            ("another key", format!(r#"{{"keys":[{good}],"hunter2":1}}"#)),
            ("listed twice", format!(r#"{{"keys":[{good},{good}]}}"#)),
            (
                "a key for a hash",
                format!(
                    r#"{{"keys":[{}]}}"#,
                    good.replace("\"hash\":{", "\"hash\":{\"hunter2\":1,")
                ),
            ),
            (
                "a key for an ID",
                format!(r#"{{"keys":[{}]}}"#, good.replace("3kTMd9QaXw", "hunter2")),
            ),
            ("no scopes", format!(r#"{{"keys":[{}]}}"#, good.replace("\"orders:read\"", ""))),
        ] {
            std::fs::write(&path, text).expect("written");
            let error = FileKeys::open(&path).expect_err(name);
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{name}: {error:?}");
        }
        std::fs::write(&path, format!(r#"{{"keys":[{good}]}}"#)).expect("written");
        FileKeys::open(&path).expect("one good key");
    }

    #[tokio::test(start_paused = true)]
    async fn a_broken_file_leaves_the_last_good_one_in_place() {
        let dir = tempfile::tempdir().expect("a folder");
        let keys = file(&dir);
        keys.insert(record()).await.expect("inserted");
        let good = std::fs::read(keys.path()).expect("read");
        std::fs::write(keys.path(), "{").expect("written");
        tokio::time::advance(FileKeys::POLL).await;
        assert!(keys.get(&record().id).await.expect("known").is_some());
        let empty = String::from_utf8(good).expect("text").replace("3kTMd9QaXw", "3kTMd9QaXx");
        std::fs::write(keys.path(), empty).expect("written");
        assert!(keys.get(&record().id).await.expect("known").is_some(), "looked at within POLL");
        tokio::time::advance(FileKeys::POLL).await;
        assert!(keys.get(&record().id).await.expect("known").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_less_than_a_look_again_and_again_hears_of_changes() {
        let dir = tempfile::tempdir().expect("a folder");
        let keys = file(&dir);
        let mut changes = keys.watch().expect("a watch");
        let other = FileKeys::open(keys.path()).expect("the same file");
        other.insert(record()).await.expect("inserted");
        let patience = FileKeys::POLL.mul_f64(0.9);
        let mut heard = None;
        for _ in 0..3 {
            heard = heard.or(tokio::time::timeout(patience, changes.next()).await.ok());
        }
        assert!(matches!(heard, Some(Some(KeyChange::Key(id))) if id == record().id), "{heard:?}");
    }
}
