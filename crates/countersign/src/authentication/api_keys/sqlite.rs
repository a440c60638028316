use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use async_trait::async_trait;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, TransactionBehavior, params};

use super::disk;
use super::format::KeyId;
use super::record::{KeyRecord, seconds};
use super::store::{KeyChange, KeyChanges, KeyStore, KeyStoreError, KeyUse};

/// Keys in an SQLite database: for one gateway, and whatever else runs beside it. Needs the
/// feature `sqlite`.
///
/// The database is in WAL mode and every change is on disk when it is answered. Changes by other
/// processes are noticed by polling `data_version`, at most [`POLL`](Self::POLL) late. Every
/// statement runs on the runtime's blocking threads, one that reads and one that writes at a time:
/// what waits for another process to write keeps no call from being looked up.
///
/// Cloning shares the connections.
#[derive(Clone)]
pub struct SqliteKeys {
    path: PathBuf,
    reads: Shared,
    writes: Shared,
}

type Shared = Arc<Mutex<Connection>>;

impl SqliteKeys {
    /// How often a watcher asks whether something changed.
    pub const POLL: Duration = Duration::from_secs(1);

    /// How long one process waits for another one's writing.
    const BUSY: Duration = Duration::from_secs(5);

    /// The form of the tables, in `user_version`.
    const FORM: i64 = 1;

    /// Opens a database, and makes one where there is none, with mode 0600. Blocks on the file
    /// system.
    ///
    /// In a file, always. What SQLite takes for something else than the path of one is refused: the
    /// empty path and `:memory:`, which are a database of each connection's own, and what begins
    /// with `file:`, which may be. [`MemoryKeys`](super::MemoryKeys) keeps keys in memory.
    ///
    /// # Errors
    ///
    /// It is no file's path, cannot be made or opened, is no such database, or is of a later form
    /// than this.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, KeyStoreError> {
        let path = path.as_ref().to_owned();
        let text = path.as_os_str().as_encoded_bytes();
        if text.is_empty() || text == b":memory:" || text.starts_with(b"file:") {
            return Err(KeyStoreError::unavailable(format!(
                "the key database `{}` is not the path of a file; `MemoryKeys` keeps keys in memory",
                path.display()
            )));
        }
        // SQLite gives the files beside it the mode of this one.
        match disk::create(&path, &[]) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(failed("make", &path)(error));
            }
            _ => {}
        }
        let mut connection = connect(&path).map_err(failed("open", &path))?;
        prepare(&mut connection).map_err(failed("prepare", &path))?;
        let form = form(&connection).map_err(failed("read", &path))?;
        if form != Self::FORM {
            return Err(KeyStoreError::unavailable(format!(
                "the key database `{}` has the form {form}, and {} is the one that is known",
                path.display(),
                Self::FORM
            )));
        }
        let reading = connect(&path).map_err(failed("open", &path))?;
        let [reads, writes] = [reading, connection].map(|one| Arc::new(Mutex::new(one)));
        Ok(Self { path, reads, writes })
    }

    /// Runs on a thread that may block. It happens whole or not at all, whether or not somebody
    /// still waits for it.
    async fn run<T: Send + 'static>(
        &self,
        on: &Shared,
        what: impl FnOnce(&mut Connection) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, KeyStoreError> {
        let (connection, path) = (Arc::clone(on), self.path.clone());
        let done = tokio::task::spawn_blocking(move || {
            let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            what(&mut connection).map_err(|problem| problem.at(&path))
        });
        done.await.map_err(|error| {
            KeyStoreError::unavailable("the database's thread ended").with_source(error)
        })?
    }
}

/// Opened for reading and writing, and never made: [`disk::create`] does that.
fn connect(path: &Path) -> rusqlite::Result<Connection> {
    use rusqlite::OpenFlags;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(SqliteKeys::BUSY)?;
    // A revocation that was answered survives a power cut.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "trusted_schema", false)?;
    Ok(connection)
}

fn form(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Makes the tables where there are none.
fn prepare(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if form(&transaction)? == 0 {
        transaction.execute_batch(
            "CREATE TABLE api_keys (
                id TEXT PRIMARY KEY,
                owner TEXT NOT NULL,
                version INTEGER NOT NULL,
                change INTEGER NOT NULL UNIQUE,
                record TEXT NOT NULL
            ) STRICT, WITHOUT ROWID;
            CREATE TABLE api_key_uses (
                id TEXT PRIMARY KEY REFERENCES api_keys (id),
                used_at INTEGER NOT NULL
            ) STRICT, WITHOUT ROWID;",
        )?;
        transaction.pragma_update(None, "user_version", SqliteKeys::FORM)?;
    }
    transaction.commit()
}

/// Read with the time of the last use, in the columns that [`record`] reads.
const SELECT: &str = "SELECT api_keys.version, api_keys.record, api_key_uses.used_at
    FROM api_keys LEFT JOIN api_key_uses USING (id)";

/// The number of the next change: `change` grows with every one.
const NEXT: &str = "(SELECT coalesce(max(change), 0) + 1 FROM api_keys)";

#[async_trait]
impl KeyStore for SqliteKeys {
    async fn get(&self, id: &KeyId) -> Result<Option<KeyRecord>, KeyStoreError> {
        let id = *id;
        self.run(&self.reads, move |connection| {
            let mut statement = connection.prepare(&format!("{SELECT} WHERE id = ?1"))?;
            let found = statement.query_row([id.as_str()], row).optional()?;
            found.map(record).transpose()
        })
        .await
    }

    async fn insert(&self, record: KeyRecord) -> Result<(), KeyStoreError> {
        self.run(&self.writes, move |connection| {
            let record = KeyRecord { version: 1, ..record };
            let sql = format!("INSERT INTO api_keys VALUES (?1, ?2, 1, {NEXT}, ?3)");
            let values = params![record.id.as_str(), record.owner, text(&record)?];
            match connection.execute(&sql, values) {
                Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
                    Err(KeyStoreError::already_exists(&record.id).with_source(error).into())
                }
                done => Ok(done.map(drop)?),
            }
        })
        .await
    }

    async fn update(&self, record: KeyRecord) -> Result<u64, KeyStoreError> {
        self.run(&self.writes, move |connection| {
            let (id, read_as) = (record.id, record.version);
            let record = KeyRecord { version: read_as + 1, ..record };
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let sql = format!(
                "UPDATE api_keys SET owner = ?3, version = version + 1, change = {NEXT}, record = ?4
                WHERE id = ?1 AND version = ?2"
            );
            let values = params![id.as_str(), read_as.cast_signed(), record.owner, text(&record)?];
            if transaction.execute(&sql, values)? == 0 {
                let sql = "SELECT 1 FROM api_keys WHERE id = ?1";
                let is_there = transaction.query_row(sql, [id.as_str()], |_| Ok(())).optional()?;
                return Err(match is_there {
                    Some(()) => KeyStoreError::conflict(&id).into(),
                    None => KeyStoreError::not_found(&id).into(),
                });
            }
            transaction.commit()?;
            Ok(record.version)
        })
        .await
    }

    async fn list(
        &self,
        after: Option<KeyId>,
        limit: usize,
    ) -> Result<Vec<KeyRecord>, KeyStoreError> {
        self.run(&self.reads, move |connection| {
            let sql = format!("{SELECT} WHERE id > ?1 ORDER BY id LIMIT ?2");
            let mut statement = connection.prepare(&sql)?;
            let after = after.as_ref().map_or("", KeyId::as_str);
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let rows = statement.query_map(params![after, limit], row)?;
            rows.map(|row| record(row?)).collect()
        })
        .await
    }

    async fn note_uses(&self, uses: &[KeyUse]) -> Result<(), KeyStoreError> {
        let uses = uses.to_vec();
        self.run(&self.writes, move |connection| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let mut statement = transaction.prepare(
                "INSERT INTO api_key_uses SELECT id, ?2 FROM api_keys WHERE id = ?1
                ON CONFLICT (id) DO UPDATE SET used_at = max(used_at, excluded.used_at)",
            )?;
            for KeyUse { id, at } in uses {
                statement.execute(params![id.as_str(), seconds(at).cast_signed()])?;
            }
            drop(statement);
            Ok(transaction.commit()?)
        })
        .await
    }

    fn watch(&self) -> Option<Box<dyn KeyChanges>> {
        let path = self.path.clone();
        let poll = Poll { path, position: None, changed: Vec::new() };
        Some(Box::new(Watch { poll: Arc::new(Mutex::new(poll)), is_lost: false }))
    }
}

struct Watch {
    poll: Arc<Mutex<Poll>>,
    /// Whether it was told that nothing can be seen.
    is_lost: bool,
}

/// What a watcher knows. It has a connection of its own, since `data_version` tells a connection
/// of every writing but its own.
struct Poll {
    path: PathBuf,
    position: Option<Position>,
    /// Kept here and not by whoever waits: it may be gone when a look is over.
    changed: Vec<KeyChange>,
}

struct Position {
    connection: Connection,
    data_version: i64,
    change: i64,
}

#[async_trait]
impl KeyChanges for Watch {
    async fn next(&mut self) -> Option<KeyChange> {
        loop {
            let is_begun = {
                let mut poll = self.poll.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(change) = poll.changed.pop() {
                    return Some(change);
                }
                poll.position.is_some()
            };
            // At the beginning it looks at once.
            if is_begun {
                tokio::time::sleep(SqliteKeys::POLL).await;
            }
            let poll = Arc::clone(&self.poll);
            let looked = tokio::task::spawn_blocking(move || {
                poll.lock().unwrap_or_else(PoisonError::into_inner).look()
            });
            match looked.await.ok()? {
                Ok(()) => {
                    if std::mem::take(&mut self.is_lost) {
                        tracing::info!("changes of API keys can be seen again");
                    }
                }
                Err(error) => {
                    // It is tried each second, and told once.
                    if !std::mem::replace(&mut self.is_lost, true) {
                        tracing::warn!(
                            %error,
                            "cannot see whether API keys changed; a revocation now takes effect \
                             within 30 s"
                        );
                    }
                    tokio::time::sleep(SqliteKeys::POLL).await;
                }
            }
        }
    }
}

impl Poll {
    /// Adds what changed since the last look. When it cannot be told, the next look begins anew.
    fn look(&mut self) -> rusqlite::Result<()> {
        let position = match self.position.take() {
            None => {
                let connection = connect(&self.path)?;
                // In this order: what changes in between is told once too often.
                let data_version = data_version(&connection)?;
                let sql = "SELECT coalesce(max(change), 0) FROM api_keys";
                let change = connection.query_row(sql, [], |row| row.get(0))?;
                self.changed = vec![KeyChange::Any];
                Position { connection, data_version, change }
            }
            Some(mut position) => {
                self.changed.extend(position.look()?);
                position
            }
        };
        self.position = Some(position);
        Ok(())
    }
}

impl Position {
    fn look(&mut self) -> rusqlite::Result<Vec<KeyChange>> {
        let data_version = data_version(&self.connection)?;
        if data_version == self.data_version {
            return Ok(Vec::new());
        }
        let mut changed = Vec::new();
        let mut last = self.change;
        let sql = "SELECT id, change FROM api_keys WHERE change > ?1 ORDER BY change";
        let mut statement = self.connection.prepare(sql)?;
        let mut rows = statement.query([self.change])?;
        while let Some(row) = rows.next()? {
            let id: String = row.get(0)?;
            last = row.get(1)?;
            changed.push(id.parse().map_or(KeyChange::Any, KeyChange::Key));
        }
        (self.data_version, self.change) = (data_version, last);
        Ok(changed)
    }
}

fn data_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "data_version", |row| row.get(0))
}

/// What a row of [`SELECT`] holds.
type Found = (i64, String, Option<i64>);

fn row(row: &Row<'_>) -> rusqlite::Result<Found> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
}

fn record((version, text, used_at): Found) -> Result<KeyRecord, Problem> {
    let mut record: KeyRecord = serde_json::from_str(&text)?;
    record.version = version.cast_unsigned();
    let used = |at: i64| UNIX_EPOCH.checked_add(Duration::from_secs(at.try_into().ok()?));
    record.last_used_at = used_at.and_then(used);
    Ok(record)
}

fn text(record: &KeyRecord) -> Result<String, Problem> {
    Ok(serde_json::to_string(&KeyRecord { last_used_at: None, ..record.clone() })?)
}

fn failed<E>(verb: &str, path: &Path) -> impl FnOnce(E) -> KeyStoreError
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let what = format!("cannot {verb} the key database `{}`", path.display());
    move |error| KeyStoreError::unavailable(what).with_source(error)
}

/// What went wrong with a statement, before it is known where.
enum Problem {
    Told(KeyStoreError),
    Database(rusqlite::Error),
    /// A record is not what it should be. serde quotes what it found, and so it is left out.
    Record,
}

impl Problem {
    fn at(self, path: &Path) -> KeyStoreError {
        match self {
            Self::Told(error) => error,
            Self::Database(error) => failed("use", path)(error),
            Self::Record => KeyStoreError::unavailable(format!(
                "a record in the key database `{}` is not what it should be",
                path.display()
            )),
        }
    }
}

impl From<KeyStoreError> for Problem {
    fn from(error: KeyStoreError) -> Self {
        Self::Told(error)
    }
}

impl From<rusqlite::Error> for Problem {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

impl From<serde_json::Error> for Problem {
    fn from(_: serde_json::Error) -> Self {
        Self::Record
    }
}

impl fmt::Debug for SqliteKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SqliteKeys({:?})", self.path)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::record::tests::record;
    use super::*;

    #[test]
    fn what_is_no_file_is_refused_and_a_file_of_that_name_is_not() {
        for path in ["", ":memory:", "file::memory:", "file:keys.db?mode=memory"] {
            let error = SqliteKeys::open(path).expect_err("no file").to_string();
            assert!(error.contains("`MemoryKeys` keeps keys in memory"), "{path:?}: {error}");
            assert!(!Path::new(path).exists(), "{path:?}");
        }
        let folder = tempfile::tempdir().expect("a folder");
        SqliteKeys::open(folder.path().join(":memory:")).expect("a file in a folder");
    }

    /// A database in WAL mode is read while somebody writes, for as long as that takes.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn who_waits_to_write_keeps_nobody_from_reading() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("keys.db");
        let store = SqliteKeys::open(&path).expect("a database");
        let record = record();
        store.insert(record.clone()).await.expect("inserted");
        for somebody_writes in [false, true] {
            let mut other = connect(&path).expect("another process");
            let behaviour = TransactionBehavior::Immediate;
            let held =
                somebody_writes.then(|| other.transaction_with_behavior(behaviour).expect("begun"));
            let noting = {
                let (store, id) = (store.clone(), record.id);
                let uses = [KeyUse { id, at: UNIX_EPOCH }];
                tokio::spawn(async move { store.note_uses(&uses).await })
            };
            while somebody_writes && store.writes.try_lock().is_ok() {
                tokio::task::yield_now().await;
            }
            let begun = Instant::now();
            assert_eq!(
                store.get(&record.id).await.expect("read").expect("it is there").owner,
                "ci"
            );
            assert_eq!(store.list(None, 1).await.expect("listed").len(), 1);
            assert!(begun.elapsed() < SqliteKeys::BUSY / 2, "{somebody_writes}");
            drop(held);
            noting.await.expect("a task").expect("noted in the end");
        }
    }
}
