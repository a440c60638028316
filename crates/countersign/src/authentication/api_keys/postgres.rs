//! Keys in PostgreSQL.

mod tls;
mod watch;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use async_trait::async_trait;
use tokio::sync::Mutex;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Config, Connection, NoTls, Row, Socket};
use tokio_util::task::AbortOnDropHandle;

use self::tls::PostgresTls;
use super::format::KeyId;
use super::record::{KeyRecord, seconds};
use super::store::{KeyChanges, KeyStore, KeyStoreError, KeyUse};
use crate::tls::ClientTls;

/// Keys in PostgreSQL: for many gateways that share one source of truth. Needs the feature
/// `postgres`.
///
/// Connects when it is first asked, and again when the connection is lost. A database on this
/// machine (a Unix socket, a loopback address, `localhost`) is spoken to as it is; every other
/// one over TLS, and its name is verified. Changes are told by `NOTIFY`, so a revocation reaches
/// every gateway at once.
///
/// The tables are [`SCHEMA`](Self::SCHEMA); [`prepare`](Self::prepare) makes them. A gateway needs
/// `SELECT` on both, and `INSERT` and `UPDATE` on `countersign_api_key_uses`; whoever makes keys
/// needs them on both.
///
/// Cloning shares the connection.
#[derive(Clone)]
pub struct PostgresKeys {
    shared: Arc<Shared>,
}

struct Shared {
    config: Config,
    tls: Option<PostgresTls>,
    link: Mutex<Option<Arc<Link>>>,
}

/// A connection, and the task that drives it for as long as somebody has this.
struct Link {
    client: Client,
    _driver: AbortOnDropHandle<()>,
}

impl PostgresKeys {
    /// The tables. `COLLATE "C"`, so that the order is that of the bytes.
    pub const SCHEMA: &'static str = r#"
CREATE TABLE IF NOT EXISTS countersign_api_keys (
    id text COLLATE "C" PRIMARY KEY,
    owner text NOT NULL,
    version bigint NOT NULL,
    record jsonb NOT NULL
);
CREATE TABLE IF NOT EXISTS countersign_api_key_uses (
    id text COLLATE "C" PRIMARY KEY REFERENCES countersign_api_keys ON DELETE CASCADE,
    used_at bigint NOT NULL
);
"#;

    /// The channel that changes are told on; the payload is the key's ID.
    pub const CHANNEL: &'static str = "countersign_api_keys";

    /// How long connecting may take when the address does not say.
    const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

    /// A database at an address as libpq writes it: `postgres://user@host/db`, or
    /// `host=/run/postgresql user=gateway`. TLS, where it is needed, trusts the system's roots.
    ///
    /// Nothing is connected yet; with TLS, roots are read.
    ///
    /// # Errors
    ///
    /// The address cannot be read, or asks for no TLS to another machine.
    pub fn at(address: &str) -> Result<Self, KeyStoreError> {
        let config = parse(address)?;
        let tls = match is_local(&config) {
            true => None,
            false => Some(PostgresTls::new(&ClientTls::system_roots())?),
        };
        Self::new(config, tls)
    }

    /// The same over TLS as it is given here, wherever the database is.
    ///
    /// # Errors
    ///
    /// The address cannot be read, or asks for no TLS; or the settings of TLS cannot be used.
    pub fn with_tls(address: &str, tls: &ClientTls) -> Result<Self, KeyStoreError> {
        Self::new(parse(address)?, Some(PostgresTls::new(tls)?))
    }

    fn new(mut config: Config, tls: Option<PostgresTls>) -> Result<Self, KeyStoreError> {
        if tls.is_some() {
            if config.get_ssl_mode() == SslMode::Disable {
                return Err(KeyStoreError::unavailable(
                    "the address of the key database says `sslmode=disable`, and the database is \
                     on another machine",
                ));
            }
            config.ssl_mode(SslMode::Require);
        } else {
            config.ssl_mode(SslMode::Disable);
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(Self::CONNECT_TIMEOUT);
        }
        // A peer that is gone without a word is noticed within half a minute.
        config
            .keepalives(true)
            .keepalives_idle(Duration::from_secs(15))
            .keepalives_interval(Duration::from_secs(5))
            .keepalives_retries(3)
            .tcp_user_timeout(Duration::from_secs(15));
        Ok(Self { shared: Arc::new(Shared { config, tls, link: Mutex::new(None) }) })
    }

    /// Makes the tables where there are none. Needs the right to make tables.
    ///
    /// # Errors
    ///
    /// The database cannot be reached, or does not allow it.
    pub async fn prepare(&self) -> Result<(), KeyStoreError> {
        let link = self.shared.link().await?;
        // Two at the same time would trip over each other in the catalogue.
        let sql = format!(
            "BEGIN; SELECT pg_advisory_xact_lock(hashtext('{}')); {} COMMIT;",
            Self::CHANNEL,
            Self::SCHEMA
        );
        link.client.batch_execute(&sql).await.map_err(failed)
    }
}

impl Shared {
    async fn link(&self) -> Result<Arc<Link>, KeyStoreError> {
        let mut link = self.link.lock().await;
        if let Some(link) = link.as_ref().filter(|link| !link.client.is_closed()) {
            return Ok(Arc::clone(link));
        }
        let new = Arc::new(self.connect().await?);
        *link = Some(Arc::clone(&new));
        Ok(new)
    }

    async fn connect(&self) -> Result<Link, KeyStoreError> {
        let (client, driver) = match &self.tls {
            Some(tls) => {
                let (client, connection) =
                    self.config.connect(tls.clone()).await.map_err(unreachable)?;
                (client, tokio::spawn(drive(connection)))
            }
            None => {
                let (client, connection) = self.config.connect(NoTls).await.map_err(unreachable)?;
                (client, tokio::spawn(drive(connection)))
            }
        };
        Ok(Link { client, _driver: AbortOnDropHandle::new(driver) })
    }

    async fn query(
        &self,
        sql: &str,
        values: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Vec<Row>, KeyStoreError> {
        self.link().await?.client.query_typed(sql, values).await.map_err(failed)
    }
}

/// Until the connection ends. Its error is also that of whatever was asked over it.
async fn drive<T>(connection: Connection<Socket, T>)
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    if let Err(error) = connection.await {
        tracing::debug!(%error, "the connection to the key database ended");
    }
}

/// Read with the time of the last use, in the columns that [`record`] reads.
const SELECT: &str = "SELECT k.version, k.record::text, u.used_at
    FROM countersign_api_keys k LEFT JOIN countersign_api_key_uses u USING (id)";

// Each change is one statement, and so happens whole or not at all; it is told when it can be
// seen, and not before.

const INSERT: &str = "WITH changed AS (
        INSERT INTO countersign_api_keys (id, owner, version, record)
        VALUES ($1, $2, 1, $3::jsonb) ON CONFLICT (id) DO NOTHING RETURNING id
    ) SELECT pg_notify('countersign_api_keys', id) FROM changed";

const UPDATE: &str = "WITH changed AS (
        UPDATE countersign_api_keys SET owner = $2, version = version + 1, record = $3::jsonb
        WHERE id = $1 AND version = $4 RETURNING id
    ) SELECT pg_notify('countersign_api_keys', id) FROM changed";

const NOTE_USES: &str = "INSERT INTO countersign_api_key_uses AS known (id, used_at)
    SELECT k.id, max(u.used_at)
    FROM unnest($1::text[], $2::bigint[]) AS u (id, used_at)
    JOIN countersign_api_keys k ON k.id = u.id COLLATE \"C\" GROUP BY k.id
    ON CONFLICT (id) DO UPDATE SET used_at = greatest(known.used_at, excluded.used_at)";

#[async_trait]
impl KeyStore for PostgresKeys {
    async fn get(&self, id: &KeyId) -> Result<Option<KeyRecord>, KeyStoreError> {
        let sql = format!("{SELECT} WHERE k.id = $1");
        let rows = self.shared.query(&sql, &[(&id.as_str(), Type::TEXT)]).await?;
        rows.first().map(record).transpose()
    }

    async fn insert(&self, record: KeyRecord) -> Result<(), KeyStoreError> {
        let record = KeyRecord { version: 1, ..record };
        let values: [(&(dyn ToSql + Sync), Type); 3] = [
            (&record.id.as_str(), Type::TEXT),
            (&record.owner, Type::TEXT),
            (&text(&record)?, Type::TEXT),
        ];
        match self.shared.query(INSERT, &values).await?.is_empty() {
            false => Ok(()),
            true => Err(KeyStoreError::already_exists(&record.id)),
        }
    }

    async fn update(&self, record: KeyRecord) -> Result<u64, KeyStoreError> {
        let read_as = record.version.cast_signed();
        let record = KeyRecord { version: record.version + 1, ..record };
        let values: [(&(dyn ToSql + Sync), Type); 4] = [
            (&record.id.as_str(), Type::TEXT),
            (&record.owner, Type::TEXT),
            (&text(&record)?, Type::TEXT),
            (&read_as, Type::INT8),
        ];
        if !self.shared.query(UPDATE, &values).await?.is_empty() {
            return Ok(record.version);
        }
        Err(match self.get(&record.id).await? {
            Some(_) => KeyStoreError::conflict(&record.id),
            None => KeyStoreError::not_found(&record.id),
        })
    }

    async fn list(
        &self,
        after: Option<KeyId>,
        limit: usize,
    ) -> Result<Vec<KeyRecord>, KeyStoreError> {
        let sql = format!("{SELECT} WHERE k.id > $1 ORDER BY k.id LIMIT $2");
        let after = after.as_ref().map_or("", KeyId::as_str);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let values: [(&(dyn ToSql + Sync), Type); 2] = [(&after, Type::TEXT), (&limit, Type::INT8)];
        self.shared.query(&sql, &values).await?.iter().map(record).collect()
    }

    async fn note_uses(&self, uses: &[KeyUse]) -> Result<(), KeyStoreError> {
        let ids: Vec<&str> = uses.iter().map(|one| one.id.as_str()).collect();
        let times: Vec<i64> = uses.iter().map(|one| seconds(one.at).cast_signed()).collect();
        let values: [(&(dyn ToSql + Sync), Type); 2] =
            [(&ids, Type::TEXT_ARRAY), (&times, Type::INT8_ARRAY)];
        self.shared.query(NOTE_USES, &values).await.map(drop)
    }

    fn watch(&self) -> Option<Box<dyn KeyChanges>> {
        Some(Box::new(watch::Watch::new(Arc::clone(&self.shared))))
    }
}

fn record(row: &Row) -> Result<KeyRecord, KeyStoreError> {
    let version: i64 = row.try_get(0).map_err(failed)?;
    let text: String = row.try_get(1).map_err(failed)?;
    let used_at: Option<i64> = row.try_get(2).map_err(failed)?;
    // serde's own message quotes what it found.
    let mut record: KeyRecord = serde_json::from_str(&text).map_err(|_| {
        KeyStoreError::unavailable("a record in the key database is not what it should be")
    })?;
    record.version = version.cast_unsigned();
    let used = |at: i64| UNIX_EPOCH.checked_add(Duration::from_secs(at.try_into().ok()?));
    record.last_used_at = used_at.and_then(used);
    Ok(record)
}

fn text(record: &KeyRecord) -> Result<String, KeyStoreError> {
    let unused = KeyRecord { last_used_at: None, ..record.clone() };
    serde_json::to_string(&unused).map_err(|error| {
        KeyStoreError::unavailable("the key cannot be written as JSON").with_source(error)
    })
}

fn parse(address: &str) -> Result<Config, KeyStoreError> {
    // Not quoted, and neither is what it says of it: it may hold a password.
    address.parse().map_err(|_| {
        KeyStoreError::unavailable(
            "the address of the key database is not of the form postgres://user@host/database",
        )
    })
}

/// Whether every host is this machine. A name counts only if it is `localhost`.
fn is_local(config: &Config) -> bool {
    let hosts = config.get_hosts().iter().all(|host| match host {
        #[cfg(unix)]
        Host::Unix(_) => true,
        Host::Tcp(name) => match name.parse::<std::net::IpAddr>() {
            Ok(ip) => ip.is_loopback(),
            Err(_) => name == "localhost",
        },
    });
    hosts && config.get_hostaddrs().iter().all(std::net::IpAddr::is_loopback)
}

fn unreachable(error: tokio_postgres::Error) -> KeyStoreError {
    KeyStoreError::unavailable("cannot connect to the key database").with_source(error)
}

fn failed(error: tokio_postgres::Error) -> KeyStoreError {
    KeyStoreError::unavailable("the key database did not do what it was asked").with_source(error)
}

impl fmt::Debug for PostgresKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresKeys")
            .field("hosts", &self.shared.config.get_hosts())
            .field("database", &self.shared.config.get_dbname())
            .field("tls", &self.shared.tls.is_some())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_machine_is_spoken_to_over_tls_alone() {
        for (address, local) in [
            ("host=/run/postgresql user=a", true),
            ("postgres://a@localhost/b", true),
            ("postgres://a@127.0.0.1/b", true),
            ("postgres://a@[::1]/b", true),
            ("postgres://a@db.example/b", false),
            ("postgres://a@192.0.2.1/b", false),
            ("postgres://a@localhost,db.example/b", false),
            ("host=localhost hostaddr=192.0.2.1 user=a", false),
            ("host=localhost.db.example user=a", false),
        ] {
            assert_eq!(is_local(&parse(address).expect(address)), local, "{address}");
        }
        let roots = ClientTls::only_roots(crate::tls::RootCertificates::from_pem("nothing"));
        assert!(PostgresKeys::with_tls("postgres://a@db.example/b", &roots).is_err(), "no roots");
        PostgresKeys::at("postgres://a@db.example/b?sslmode=disable").expect_err("plaintext");
    }

    #[test]
    fn a_password_stays_hidden() {
        let keys = PostgresKeys::at("postgres://a:hunter2@localhost/b").expect("an address");
        let error =
            PostgresKeys::at("postgres://a:hunter2@local host:x/b?y").expect_err("no address");
        let shown = format!("{keys:?} {error} {error:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
