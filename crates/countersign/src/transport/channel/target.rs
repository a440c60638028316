//! Where a channel goes.

use std::fmt;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::path::PathBuf;

use super::error::{ConnectError, ConnectErrorKind};
use crate::credentials::ChannelSecurity;
use crate::identity::Authority;

/// A parsed target, checked against the credentials it is dialled with.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) text: String,
    pub(super) endpoint: Endpoint,
    pub(super) authority: Authority,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// To be resolved.
    Name { host: String, port: u16 },
    /// As written.
    Addresses(Vec<Address>),
}

/// One thing to dial.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Target {
    /// Reads `https://host[:port]`, `http://host[:port]`, `dns:///host[:port]`, `host:port`,
    /// `unix:path`, `unix:///path`, `ipv4:a:port,b:port` or `ipv6:[a]:port`.
    pub(super) fn parse(text: &str, security: &ChannelSecurity) -> Result<Self, ConnectError> {
        let invalid = |reason: &str| {
            let text = shown(text);
            ConnectError::new(
                ConnectErrorKind::InvalidTarget,
                &text,
                format!("{text:?} is not a target: {reason}"),
                "write https://host:port, dns:///host:port, unix:path or ipv4:address:port",
            )
        };
        let mismatch = |sentence: &str, help: &str| {
            ConnectError::new(ConnectErrorKind::SchemeMismatch, &shown(text), sentence, help)
        };
        let is_tls = matches!(security, ChannelSecurity::Tls(_));
        let default_port = if is_tls { 443 } else { 80 };

        if let Some(rest) = text.strip_prefix("https://") {
            if !is_tls {
                return Err(mismatch(
                    "an https:// target was given channel credentials without TLS",
                    "use `ChannelCredentials::tls`, or write http:// if plaintext is meant",
                ));
            }
            return Self::named(text, rest.strip_suffix('/').unwrap_or(rest), 443)
                .map_err(|reason| invalid(&reason));
        }
        if let Some(rest) = text.strip_prefix("http://") {
            if is_tls {
                return Err(mismatch(
                    "an http:// target was given TLS channel credentials",
                    "write https://",
                ));
            }
            return Self::named(text, rest.strip_suffix('/').unwrap_or(rest), 80)
                .map_err(|reason| invalid(&reason));
        }
        if let Some(rest) = text.strip_prefix("dns:") {
            let name = match rest.strip_prefix("//") {
                Some(rest) => rest
                    .strip_prefix('/')
                    .ok_or_else(|| invalid("a DNS server of one's own is not supported"))?,
                None => rest,
            };
            return Self::named(text, name, default_port).map_err(|reason| invalid(&reason));
        }
        if let Some(rest) = text.strip_prefix("unix:") {
            let path = match rest.strip_prefix("//") {
                Some(path) if path.starts_with('/') => path,
                Some(_) => return Err(invalid("after unix:// the path is absolute")),
                None => rest,
            };
            // An abstract socket has no owner and no permissions.
            if path.is_empty() || path.contains('\0') {
                return Err(invalid("the path is empty, or not a path"));
            }
            return Ok(Self {
                text: text.to_owned(),
                endpoint: Endpoint::Addresses(vec![Address::Unix(path.into())]),
                authority: Authority::parse("localhost").expect("a host name"),
            });
        }
        for scheme in ["ipv4:", "ipv6:"] {
            let Some(rest) = text.strip_prefix(scheme) else { continue };
            let is_v4 = scheme == "ipv4:";
            let addresses = rest
                .split(',')
                .map(|part| socket_address(part, default_port))
                .collect::<Option<Vec<_>>>()
                .filter(|all| all.iter().all(|address| address.is_ipv4() == is_v4))
                .ok_or_else(|| invalid("an address in it cannot be read"))?;
            let authority = Authority::parse(&addresses[0].to_string()).expect("an address");
            return Ok(Self {
                text: text.to_owned(),
                endpoint: Endpoint::Addresses(addresses.into_iter().map(Address::Tcp).collect()),
                authority,
            });
        }
        if text.contains("://") {
            return Err(invalid("the scheme is not known"));
        }
        Self::named(text, text, default_port).map_err(|reason| invalid(&reason))
    }

    fn named(text: &str, host_and_port: &str, default_port: u16) -> Result<Self, String> {
        let authority = Authority::parse(host_and_port)
            .map_err(|_| "it does not name a host with an optional port".to_owned())?;
        let port = authority.port().unwrap_or(default_port);
        if port == 0 {
            return Err("port 0 cannot be dialled".to_owned());
        }
        let endpoint = match authority.ip() {
            Some(ip) => Endpoint::Addresses(vec![Address::Tcp(SocketAddr::new(ip, port))]),
            None => Endpoint::Name { host: authority.host(), port },
        };
        Ok(Self { text: text.to_owned(), endpoint, authority })
    }
}

/// What may be shown of a text that should be a target: neither user information nor a query,
/// which targets do not have and where others keep passwords.
pub(super) fn shown(text: &str) -> String {
    let is_in_schemes = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    let scheme = match text.split_once("://") {
        Some((scheme, _)) if scheme.chars().all(is_in_schemes) => format!("{scheme}://"),
        _ => String::new(),
    };
    let (text, query) = text.split_at(text.find(['?', '#']).unwrap_or(text.len()));
    match text.rsplit_once('@') {
        // What was taken for a query may be the rest of a password, and the other way round.
        _ if query.contains('@') => format!("{scheme}…"),
        Some((_, rest)) => format!("{scheme}…@{rest}"),
        None => text.to_owned(),
    }
}

fn socket_address(text: &str, default_port: u16) -> Option<SocketAddr> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(address);
    }
    if let Ok(address) = text.parse::<Ipv6Addr>() {
        return Some(SocketAddrV6::new(address, default_port, 0, 0).into());
    }
    text.parse().ok().map(|ip| SocketAddr::new(ip, default_port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::ClientTls;

    fn tls() -> ChannelSecurity {
        ChannelSecurity::Tls(ClientTls::system_roots())
    }

    fn name(host: &str, port: u16) -> Endpoint {
        Endpoint::Name { host: host.to_owned(), port }
    }

    fn tcp(addresses: &[&str]) -> Endpoint {
        Endpoint::Addresses(
            addresses.iter().map(|text| Address::Tcp(text.parse().expect("address"))).collect(),
        )
    }

    #[test]
    fn targets_are_read_in_all_their_forms() {
        for (text, endpoint, authority) in [
            ("https://orders.example", name("orders.example", 443), "orders.example"),
            ("https://orders.example:8443/", name("orders.example", 8443), "orders.example:8443"),
            ("dns:///orders.example:8443", name("orders.example", 8443), "orders.example:8443"),
            ("dns:orders.example", name("orders.example", 443), "orders.example"),
            ("orders.example:8443", name("orders.example", 8443), "orders.example:8443"),
            ("https://127.0.0.1:1", tcp(&["127.0.0.1:1"]), "127.0.0.1:1"),
            ("https://[::1]:1", tcp(&["[::1]:1"]), "[::1]:1"),
            ("ipv4:127.0.0.1:1,127.0.0.2:2", tcp(&["127.0.0.1:1", "127.0.0.2:2"]), "127.0.0.1:1"),
            ("ipv6:[::1]:1", tcp(&["[::1]:1"]), "[::1]:1"),
            ("ipv6:::1", tcp(&["[::1]:443"]), "[::1]:443"),
            (
                "unix:/run/a.sock",
                Endpoint::Addresses(vec![Address::Unix("/run/a.sock".into())]),
                "localhost",
            ),
            (
                "unix:///run/a.sock",
                Endpoint::Addresses(vec![Address::Unix("/run/a.sock".into())]),
                "localhost",
            ),
            ("unix:a.sock", Endpoint::Addresses(vec![Address::Unix("a.sock".into())]), "localhost"),
        ] {
            let target = Target::parse(text, &tls()).expect(text);
            assert_eq!(target.endpoint, endpoint, "{text}");
            assert_eq!(target.authority.as_str(), authority, "{text}");
        }
    }

    #[test]
    fn anything_else_is_an_invalid_target() {
        for text in [
            "",
            "ftp://host",
            "https://",
            "https://host/path",
            "https://user@host",
            "https://host:0",
            "unix:",
            "unix://relative",
            "unix:\0abstract",
            "ipv4:[::1]:1",
            "ipv6:127.0.0.1:1",
            "ipv4:",
            "dns://8.8.8.8/host",
        ] {
            let error = Target::parse(text, &tls()).expect_err(text);
            assert_eq!(error.kind(), ConnectErrorKind::InvalidTarget, "{text}");
        }
    }

    #[test]
    fn no_part_of_a_password_is_shown_whatever_is_in_it() {
        for (text, is_shown) in [
            ("https://caller:hunter2@host/x", "https://…@host/x"),
            ("https://caller:hun@ter2@host/x", "https://…@host/x"),
            ("https://caller:hun/ter2@host/x", "https://…@host/x"),
            ("caller:hunter2@host/x", "…@host/x"),
            ("https://host/x?hunter2#caller", "https://host/x"),
            // An `@` behind the others belongs to a password or to a query, and who knows which.
            ("https://caller:hun#ter2@host", "https://…"),
            ("https://caller:hun?ter2@host", "https://…"),
            ("https://caller:hun@ter2?@host", "https://…"),
            ("https://host/x?caller@hunter2", "https://…"),
            ("caller:hun#ter2@host", "…"),
            ("caller:hun://ter2@host/x", "…@host/x"),
            ("caller:hun://ter?2@host/x", "…"),
        ] {
            let error = Target::parse(text, &tls()).expect_err(text);
            let words = format!("{error} {error:?}");
            assert!(words.contains(is_shown), "{text}: {words}");
            let builder = super::super::Channel::builder(
                text,
                crate::credentials::ChannelCredentials::insecure(),
            );
            let all = format!("{words} {builder:?}");
            for part in ["caller", "hun", "ter2"] {
                assert!(!all.contains(part), "{text}: {all}");
            }
        }
    }

    #[test]
    fn the_scheme_has_to_fit_the_credentials() {
        let kind = |text, security: &ChannelSecurity| {
            Target::parse(text, security).map(|_| ()).map_err(|error| error.kind())
        };
        let mismatch = Err(ConnectErrorKind::SchemeMismatch);
        assert_eq!(kind("https://a", &tls()), Ok(()));
        assert_eq!(kind("https://a", &ChannelSecurity::Insecure), mismatch);
        assert_eq!(kind("https://a", &ChannelSecurity::Local), mismatch);
        assert_eq!(kind("http://a", &ChannelSecurity::Insecure), Ok(()));
        assert_eq!(kind("http://a", &tls()), mismatch);
    }
}
