use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// The `:authority` a call is addressed to: a host and, unless it is the scheme's own, a port.
///
/// Without user information, which RFC 9113 §8.3.1 forbids in `:authority`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Authority {
    host: Host,
    port: Option<u16>,
    text: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Host {
    Name(String),
    Ip(IpAddr),
}

impl Authority {
    /// Reads `host`, `host:port`, `192.0.2.1:port` or `[2001:db8::1]:port`.
    ///
    /// # Errors
    ///
    /// [`InvalidAuthority`] names the text that is none of these.
    pub fn parse(text: &str) -> Result<Self, InvalidAuthority> {
        let invalid = || InvalidAuthority { text: text.chars().take(256).collect() };
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (address, after) = rest.split_once(']').ok_or_else(invalid)?;
            let address: Ipv6Addr = address.parse().map_err(|_| invalid())?;
            let port = match after {
                "" => None,
                _ => Some(after.strip_prefix(':').ok_or_else(invalid)?),
            };
            (Host::Ip(IpAddr::V6(address)), port)
        } else {
            let (host, port) = match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            };
            match host.parse::<IpAddr>() {
                Ok(address) => (Host::Ip(address), port),
                Err(_) if is_host_name(host) => (Host::Name(host.to_owned()), port),
                Err(_) => return Err(invalid()),
            }
        };
        let port = match port {
            // `u16::from_str` takes a leading plus sign, the grammar does not.
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                Some(digits.parse::<u16>().map_err(|_| invalid())?)
            }
            Some(_) => return Err(invalid()),
            None => None,
        };
        Ok(Self { host, port, text: text.to_owned() })
    }

    /// The host without port and brackets.
    pub fn host(&self) -> String {
        match &self.host {
            Host::Name(name) => name.clone(),
            Host::Ip(address) => address.to_string(),
        }
    }

    /// The address, when the host is one.
    pub fn ip(&self) -> Option<IpAddr> {
        match &self.host {
            Host::Ip(address) => Some(*address),
            Host::Name(_) => None,
        }
    }

    /// The port, when one is written.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// The text as it goes into `:authority`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The text without `:443`, which is what an audience is made of (`https` is implied there).
    pub(crate) fn without_https_port(&self) -> &str {
        self.text.strip_suffix(":443").unwrap_or(&self.text)
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The text is not a host with an optional port.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a host with an optional port")]
pub struct InvalidAuthority {
    text: String,
}

/// Letters, digits, `-`, `_`, `.`: what resolvers and certificates know. Internationalised names
/// are written in their `xn--` form.
fn is_host_name(host: &str) -> bool {
    !host.is_empty()
        && host.len() <= 253
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && !host.starts_with('.')
        && !host.contains("..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_are_told_apart() {
        for (text, host, port) in [
            ("orders.example", "orders.example", None),
            ("orders.example:8443", "orders.example", Some(8443)),
            ("192.0.2.1:443", "192.0.2.1", Some(443)),
            ("[2001:db8::1]:443", "2001:db8::1", Some(443)),
            ("[::1]", "::1", None),
        ] {
            let authority = Authority::parse(text).expect(text);
            assert_eq!((authority.host().as_str(), authority.port()), (host, port), "{text}");
            assert_eq!(authority.as_str(), text);
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            ":443",
            "a b",
            "user@host",
            "host:",
            "host:99999",
            "host:+1",
            "::1",
            "[::1",
            "[::1]443",
            "[zz]",
            "host/path",
            "a..b",
            ".a",
        ] {
            assert!(Authority::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_https_port_is_left_out_of_an_audience() {
        let with = |text| Authority::parse(text).expect(text).without_https_port().to_owned();
        assert_eq!(with("api.example:443"), "api.example");
        assert_eq!(with("[::1]:443"), "[::1]");
        assert_eq!(with("api.example:8443"), "api.example:8443");
    }
}
