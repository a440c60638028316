//! Where Google's credentials may go.

use countersign::identity::{Authority, InvalidAuthority};

/// Hosts on the https port under some domains, and authorities by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hosts {
    domains: Vec<String>,
    authorities: Vec<String>,
}

impl Hosts {
    pub(crate) fn add_domain(&mut self, domain: &str) -> Result<(), InvalidAuthority> {
        let authority = Authority::parse(domain)?;
        match authority.ip().is_none() && authority.port().is_none() {
            true => self.domains.push(authority.host().to_ascii_lowercase()),
            // Nothing is under an address or a port.
            false => self.authorities.push(without_https_port(&authority)),
        }
        Ok(())
    }

    pub(crate) fn add_authority(&mut self, authority: &str) -> Result<(), InvalidAuthority> {
        self.authorities.push(without_https_port(&Authority::parse(authority)?));
        Ok(())
    }

    /// Whether a call to this host is one of them. The host comes with its port unless that is
    /// 443.
    pub(crate) fn include(&self, host: &str) -> bool {
        let under = |domain: &String| {
            let Some(at) = host.len().checked_sub(domain.len()) else { return false };
            let Some((head, tail)) = host.split_at_checked(at) else { return false };
            tail.eq_ignore_ascii_case(domain) && (head.is_empty() || head.ends_with('.'))
        };
        self.domains.iter().any(under)
            || self.authorities.iter().any(|authority| host.eq_ignore_ascii_case(authority))
    }
}

fn without_https_port(authority: &Authority) -> String {
    let text = authority.as_str();
    text.strip_suffix(":443").unwrap_or(text).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_what_was_named_and_what_is_under_it() {
        let mut hosts = Hosts::default();
        hosts.add_domain("googleapis.com").expect("a domain");
        hosts.add_authority("Orders.example:8443").expect("an authority");
        hosts.add_authority("billing.example:443").expect("an authority");
        for (host, goes) in [
            ("googleapis.com", true),
            ("pubsub.googleapis.com", true),
            ("PubSub.GoogleAPIs.com", true),
            ("europe-west1-pubsub.googleapis.com", true),
            ("orders.example:8443", true),
            ("billing.example", true),
            ("pubsub.googleapis.com:8443", false),
            ("evilgoogleapis.com", false),
            ("googleapis.com.evil.example", false),
            ("pubsub.googleapis.com.", false),
            ("orders.example", false),
            ("a.orders.example:8443", false),
            ("billing.example:8443", false),
            ("é", false),
            ("", false),
        ] {
            assert_eq!(hosts.include(host), goes, "{host}");
        }
        assert!(!Hosts::default().include("googleapis.com"));
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for text in ["", "https://googleapis.com", "*.googleapis.com", "a b"] {
            Hosts::default().add_domain(text).expect_err(text);
            Hosts::default().add_authority(text).expect_err(text);
        }
    }
}
