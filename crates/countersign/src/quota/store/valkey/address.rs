use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use http::Uri;

use crate::identity::Authority;
use crate::quota::store::error::{QuotaStoreError, QuotaStoreErrorKind};

/// Where a server is, and which of its databases.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) at: At,
    pub(super) database: u32,
}

#[derive(Clone, PartialEq, Eq)]
pub(super) enum At {
    /// The host is without brackets.
    Tcp {
        host: String,
        port: u16,
        tls: bool,
    },
    Unix(PathBuf),
}

impl Address {
    const PORT: u16 = 6379;

    /// Reads it. Errors do not quote it: it may hold a password, though it must not.
    pub(super) fn parse(text: &str) -> Result<Self, QuotaStoreError> {
        if let Some(rest) = text.strip_prefix("unix:") {
            return Self::socket(rest.strip_prefix("//").unwrap_or(rest)).ok_or_else(unreadable);
        }
        let uri: Uri = text.parse().map_err(|_| unreadable())?;
        let tls = match uri.scheme_str() {
            Some("valkeys" | "rediss") => true,
            Some("valkey" | "redis") => false,
            _ => return Err(unreadable()),
        };
        let authority = uri.authority().ok_or_else(unreadable)?;
        if authority.as_str().contains('@') {
            return Err(setting(
                "the address of the quota store has a user in it: `with_user` takes user and \
                 password",
            ));
        }
        let authority = Authority::parse(authority.as_str()).map_err(|_| unreadable())?;
        let database = match uri.path().trim_start_matches('/') {
            "" => 0,
            number => number.parse().map_err(|_| unreadable())?,
        };
        if uri.query().is_some() {
            return Err(unreadable());
        }
        let host = authority.host();
        if !tls && !is_local(&host) {
            return Err(setting(
                "the quota store is on another machine, and its address asks for no TLS: write \
                 `valkeys://` or `rediss://`",
            ));
        }
        let port = authority.port().unwrap_or(Self::PORT);
        Ok(Self { at: At::Tcp { host, port, tls }, database })
    }

    fn socket(text: &str) -> Option<Self> {
        let (path, database) = match text.split_once('?') {
            Some((path, query)) => (path, query.strip_prefix("db=")?.parse().ok()?),
            None => (text, 0),
        };
        path.starts_with('/').then(|| Self { at: At::Unix(path.into()), database })
    }

    pub(super) fn is_tls(&self) -> bool {
        matches!(self.at, At::Tcp { tls: true, .. })
    }
}

impl At {
    /// Without TLS only an address of this machine, whatever the name says.
    pub(super) fn may_dial(&self, address: SocketAddr) -> bool {
        match self {
            Self::Tcp { tls, .. } => *tls || address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => false,
        }
    }
}

/// A name counts only if it is `localhost`.
fn is_local(host: &str) -> bool {
    match host.parse::<std::net::IpAddr>() {
        Ok(ip) => ip.to_canonical().is_loopback(),
        Err(_) => host == "localhost",
    }
}

fn unreadable() -> QuotaStoreError {
    setting(
        "the address of the quota store is not of the form `valkeys://host:6379`, \
         `valkey://localhost:6379` or `unix:///path`",
    )
}

fn setting(what: &str) -> QuotaStoreError {
    QuotaStoreError::new(QuotaStoreErrorKind::Setting, what)
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.at {
            At::Tcp { host, port, tls } => {
                let s = if *tls { "s" } else { "" };
                let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
                write!(f, "valkey{s}://{host}:{port}/{}", self.database)
            }
            At::Unix(path) => write!(f, "unix://{}?db={}", path.display(), self.database),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_they_are_written_elsewhere() {
        for (text, expected) in [
            ("valkey://localhost", "valkey://localhost:6379/0"),
            ("redis://127.0.0.1:1", "valkey://127.0.0.1:1/0"),
            ("redis://[::1]:1/3", "valkey://[::1]:1/3"),
            ("rediss://quota.example", "valkeys://quota.example:6379/0"),
            ("valkeys://quota.example:7/2", "valkeys://quota.example:7/2"),
            ("unix:///run/valkey.sock", "unix:///run/valkey.sock?db=0"),
            ("unix:/run/valkey.sock?db=4", "unix:///run/valkey.sock?db=4"),
        ] {
            assert_eq!(format!("{:?}", Address::parse(text).expect(text)), expected);
        }
    }

    #[test]
    fn another_machine_is_spoken_to_over_tls_alone() {
        for text in [
            "redis://quota.example",
            "redis://192.0.2.1",
            "redis://localhost.example",
            "redis://user@localhost",
            "http://localhost",
            "localhost:6379",
            "redis://localhost/nought",
            "redis://localhost?db=1",
            "unix:run/valkey.sock",
            "unix:///run/valkey.sock?database=1",
            "",
        ] {
            let error = Address::parse(text).expect_err(text);
            assert_eq!(error.kind(), QuotaStoreErrorKind::Setting);
        }
        let local = Address::parse("redis://localhost").expect("an address");
        assert!(local.at.may_dial(([127, 0, 0, 1], 1).into()));
        assert!(!local.at.may_dial(([192, 0, 2, 1], 1).into()), "what a resolver may say of it");
        let far = Address::parse("rediss://quota.example").expect("an address");
        assert!(far.at.may_dial(([192, 0, 2, 1], 1).into()));
    }
}
