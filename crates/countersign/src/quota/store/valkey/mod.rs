//! Buckets in Valkey or Redis.

mod address;
mod link;
mod script;
mod ticks;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use redis::{Cmd, ErrorKind, ServerErrorKind, Value};

use self::address::Address;
use self::link::{Connector, Link, Settings};
use self::script::Script;
use self::ticks::Count;
use super::error::{QuotaStoreError, QuotaStoreErrorKind};
use super::{Allowance, Bucket, Limit, QuotaStore};
use crate::secret::Secret;
use crate::tls::ClientTls;

/// Buckets in a Valkey or Redis server, for a fleet of gates. Needs the feature `valkey`.
///
/// A script takes from all of a call's buckets in one round trip, by the server's clock, so that
/// those of the gates do not matter. It counts as [`Meter`](crate::quota::Meter) does, without
/// rounding, in steps of the server's microseconds. A key is a bucket that is not full, and
/// expires when it is.
///
/// Connects when it is first asked, and again when the connection is lost; all calls share one
/// connection. A server on this machine (a Unix socket, a loopback address, `localhost`) may be
/// spoken to as it is; every other one over TLS, and its name is verified.
///
/// Needs Redis 6 or later, or any Valkey. Its user needs
/// `resetkeys ~{countersign}:* nocommands +evalsha +eval +time +get +set`, where
/// `{countersign}:` is the [prefix](Self::with_prefix).
///
/// Cloning shares the connection.
#[derive(Clone)]
pub struct ValkeyStore {
    connector: Arc<Connector>,
    prefix: Arc<str>,
    script: Arc<Script>,
}

impl ValkeyStore {
    /// What keys begin with, unless said otherwise.
    pub const PREFIX: &'static str = "{countersign}:";

    /// A server at an address: `valkeys://host:6379` or `rediss://…` with TLS, which trusts the
    /// system's roots; `valkey://localhost:6379` or `redis://…` without it, on this machine;
    /// `unix:///run/valkey.sock`. A database other than 0 stands behind the port or, for a
    /// socket, in the query: `/2`, `?db=2`. User and password are no part of it; see
    /// [`with_user`](Self::with_user).
    ///
    /// Nothing is connected yet; with TLS, roots are read.
    ///
    /// # Errors
    ///
    /// The address cannot be read, or has a password in it, or asks for no TLS to another machine.
    pub fn at(address: &str) -> Result<Self, QuotaStoreError> {
        let address = Address::parse(address)?;
        match address.is_tls() {
            true => Self::over_tls(address, &ClientTls::system_roots()),
            false => Ok(Self::new(Settings { address, tls: None, user: None })),
        }
    }

    /// The same over TLS as it is given here, wherever the server is. Files are read now, and not
    /// again.
    ///
    /// # Errors
    ///
    /// The address cannot be read, or asks for no TLS; or the settings of TLS cannot be used.
    pub fn with_tls(address: &str, tls: &ClientTls) -> Result<Self, QuotaStoreError> {
        let address = Address::parse(address)?;
        match address.is_tls() {
            true => Self::over_tls(address, tls),
            false => Err(QuotaStoreError::new(
                QuotaStoreErrorKind::Setting,
                "the address of the quota store is for no TLS: write `valkeys://` or `rediss://`",
            )),
        }
    }

    fn over_tls(address: Address, tls: &ClientTls) -> Result<Self, QuotaStoreError> {
        let loaded = tls.load().map_err(|error| {
            let what = "TLS to the quota store cannot be used";
            QuotaStoreError::new(QuotaStoreErrorKind::Setting, what).with_source(error)
        })?;
        let tls = loaded.for_protocol(&[]);
        Ok(Self::new(Settings { address, tls: Some(tls), user: None }))
    }

    fn new(settings: Settings) -> Self {
        Self {
            connector: Arc::new(Connector::new(settings)),
            prefix: Self::PREFIX.into(),
            script: Arc::new(Script::new()),
        }
    }

    /// Who we are to the server. With an empty name, its default user with a password. Clones
    /// that were made before are not changed.
    #[must_use]
    pub fn with_user(self, name: &str, password: impl Into<Secret<String>>) -> Self {
        let user = Some((name.to_owned(), password.into()));
        let settings = Settings { user, ..self.connector.settings().clone() };
        Self { connector: Arc::new(Connector::new(settings)), ..self }
    }

    /// What keys begin with. Default: `{countersign}:`. Services with limits of their own need
    /// prefixes of their own.
    ///
    /// What stands in braces is the hash tag: in a cluster all keys with one tag are on one node,
    /// which a call's buckets have to be. This store talks to one server and follows no
    /// redirections, so in a cluster its address is that node's.
    ///
    /// # Errors
    ///
    /// The prefix is longer than 64 bytes, or has other characters than letters, digits and
    /// `-._:/{}`.
    pub fn with_prefix(self, prefix: &str) -> Result<Self, QuotaStoreError> {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"-._:/{}".contains(&b);
        if prefix.len() > 64 || !prefix.bytes().all(fits) {
            let what = format!(
                "the prefix {prefix:?} is not of up to 64 letters, digits and the characters \
                 `-._:/{{}}`"
            );
            return Err(QuotaStoreError::new(QuotaStoreErrorKind::Setting, what));
        }
        Ok(Self { prefix: prefix.into(), ..self })
    }

    async fn run(&self, link: &Link, command: &str, script: &str, rest: &[Vec<u8>]) -> Reply {
        let mut cmd = Cmd::new();
        cmd.arg(command).arg(script);
        for argument in rest {
            cmd.arg(argument.as_slice());
        }
        link.send(&cmd).await.and_then(Value::extract_error)
    }
}

type Reply = Result<Value, redis::RedisError>;

#[async_trait]
impl QuotaStore for ValkeyStore {
    async fn take(&self, buckets: &[Bucket<'_>]) -> Result<Vec<Allowance>, QuotaStoreError> {
        let counts: Vec<Count> = buckets
            .iter()
            .map(|bucket| Count::new(bucket.limit(), bucket.taken()))
            .collect::<Option<_>>()
            .ok_or_else(|| {
                let bad = buckets.iter().find(|one| Count::new(one.limit(), 1).is_none());
                QuotaStoreError::limit(bad.map_or(buckets[0].limit(), Bucket::limit))
            })?;
        let keys: Vec<String> =
            buckets.iter().map(|bucket| format!("{}{}", self.prefix, bucket.name())).collect();
        if (1..keys.len()).any(|at| keys[..at].contains(&keys[at])) {
            // Each would be taken from as if the other were not.
            let what = "a call takes from one bucket twice";
            return Err(QuotaStoreError::new(QuotaStoreErrorKind::Setting, what));
        }
        let arguments = Script::arguments(keys.into_iter(), &counts);
        let link = self.connector.link().await?;
        let by_hash = self.run(&link, "EVALSHA", self.script.hash(), &arguments).await;
        let reply = match by_hash {
            // The server has been started again, or has not met us yet.
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.run(&link, "EVAL", Script::TEXT, &arguments).await
            }
            reply => reply,
        };
        Script::answer(&reply.map_err(said_no)?, &counts).ok_or_else(|| {
            let what = "the quota store's answer is not one of our script's";
            QuotaStoreError::new(QuotaStoreErrorKind::Answer, what)
        })
    }

    fn accepts(&self, limit: Limit) -> Result<(), QuotaStoreError> {
        Count::new(limit, 0).map(drop).ok_or_else(|| QuotaStoreError::limit(limit))
    }
}

const RIGHTS: &str = "the quota store's user may not do what is needed: +evalsha +eval +time +get \
                      +set on the prefix's keys";

/// What a script may not do has no code of its own. Redis 6 to 7.0, and what came after them.
fn forbidden_in_script(error: &redis::RedisError) -> bool {
    let texts = ["executing the script can't run", "ACL failure in script"];
    error.detail().is_some_and(|detail| texts.iter().any(|text| detail.contains(text)))
}

/// What an error of the server, or of the connection to it, means here.
fn said_no(error: redis::RedisError) -> QuotaStoreError {
    use QuotaStoreErrorKind::{Answer, NotAllowed, Unreachable};
    let code = error.code().unwrap_or_default().to_owned();
    let (kind, what) = match (error.kind(), code.as_str()) {
        (ErrorKind::AuthenticationFailed, _) | (_, "WRONGPASS") => {
            (NotAllowed, "the quota store does not accept the user or the password")
        }
        (_, "NOAUTH") => (NotAllowed, "the quota store asks for a user and a password"),
        (ErrorKind::Server(ServerErrorKind::NoPerm), _) => (NotAllowed, RIGHTS),
        _ if forbidden_in_script(&error) => (NotAllowed, RIGHTS),
        (ErrorKind::Server(ServerErrorKind::ReadOnly), _) => {
            (Answer, "the quota store is a replica, which takes no writes")
        }
        (ErrorKind::Server(ServerErrorKind::Moved | ServerErrorKind::Ask), _) => {
            (Answer, "the quota store is a cluster, and another node has the prefix's keys")
        }
        (ErrorKind::Io, _) => (Unreachable, "the connection to the quota store was lost"),
        (ErrorKind::Parse, _) => (Answer, "what is at the quota store's address speaks no RESP"),
        _ => (Answer, "the quota store answered with an error"),
    };
    QuotaStoreError::new(kind, what).with_source(error)
}

impl fmt::Debug for ValkeyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = self.connector.settings();
        f.debug_struct("ValkeyStore")
            .field("address", &settings.address)
            .field("user", &settings.user.as_ref().map(|(name, _)| name))
            .field("prefix", &self.prefix)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_stays_hidden() {
        let store = ValkeyStore::at("valkey://localhost").expect("an address");
        let store = store.with_user("gate", "hunter2".to_owned());
        let error = ValkeyStore::at("valkey://gate:hunter2@localhost").expect_err("a password");
        let bad = ValkeyStore::at("valkey://gate:hunter2@local host").expect_err("no address");
        let shown = format!("{store:?} {store:#?} {error} {error:?} {bad} {bad:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(error.to_string().contains("with_user"), "{error}");
    }

    #[test]
    fn a_prefix_is_short_and_plain() {
        let store = || ValkeyStore::at("valkey://localhost").expect("an address");
        for (prefix, fits) in [
            ("{orders}:", true),
            ("", true),
            ("a b", false),
            ("a\r\nFLUSHALL", false),
            (&"x".repeat(65), false),
        ] {
            assert_eq!(store().with_prefix(prefix).is_ok(), fits, "{prefix:?}");
        }
    }
}
