//! Names that go into certificates, checked where they come in.

use std::net::IpAddr;

use rustls_pki_types::DnsName;

/// X.520's upper bound on a common name (RFC 5280, appendix A.1). Some peers enforce it.
pub(super) const MAX_COMMON_NAME_CHARS: usize = 64;

/// The longest SPIFFE ID that everyone has to support (SPIFFE-ID §2.3).
const MAX_SPIFFE_ID_BYTES: usize = 2048;

/// The longest trust domain (SPIFFE-ID §2.1).
const MAX_TRUST_DOMAIN_BYTES: usize = 255;

/// Checks a subject alternative name. `Err` says what is wrong with it, and what to write.
pub(super) fn alternative(name: &str) -> Result<String, String> {
    if let Some(id) = name.strip_prefix("spiffe://") {
        spiffe_id(id)?;
    } else if name.contains("://") {
        uri(name)?;
    } else if name.contains('@') {
        email(name)?;
    } else if name.parse::<IpAddr>().is_err() {
        dns(name)?;
    }
    Ok(name.to_owned())
}

/// Checks a common name.
pub(super) fn common(name: &str) -> Result<String, String> {
    if name.trim().is_empty() {
        Err("a common name is not empty".to_owned())
    } else if name.chars().count() > MAX_COMMON_NAME_CHARS {
        Err(format!("a common name has at most {MAX_COMMON_NAME_CHARS} characters"))
    } else if name.chars().any(char::is_control) {
        Err("a common name has no control characters".to_owned())
    } else {
        Ok(name.to_owned())
    }
}

fn dns(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("a name is not empty".to_owned());
    }
    if name.contains(',') || name.contains(char::is_whitespace) {
        return Err("this looks like several names; repeat `--san` for each".to_owned());
    }
    if !name.is_ascii() {
        return Err("a certificate holds the ASCII form of a DNS name (`xn--…`)".to_owned());
    }
    if let Some(address) = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return Err(format!("an address has no brackets here; write `{address}`"));
    }
    if let Some((host, port)) = name.rsplit_once(':')
        && port.bytes().all(|byte| byte.is_ascii_digit())
    {
        return Err(format!("a name in a certificate has no port; write `{host}`"));
    }
    if let Some(relative) = name.strip_suffix('.') {
        return Err(format!("a name in a certificate has no final dot; write `{relative}`"));
    }
    let host = name.strip_prefix("*.").unwrap_or(name);
    match DnsName::try_from(host) {
        Ok(_) => Ok(()),
        Err(_) => Err("this is no DNS name, IP address, URI or e-mail address".to_owned()),
    }
}

fn uri(name: &str) -> Result<(), String> {
    let (scheme, rest) = name.split_once("://").unwrap_or((name, ""));
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    if !is_scheme || rest.is_empty() || !rest.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("this is no URI (RFC 3986)".to_owned());
    }
    Ok(())
}

fn email(name: &str) -> Result<(), String> {
    let (local, domain) = name.split_once('@').unwrap_or((name, ""));
    let is_local = !local.is_empty() && local.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_local || DnsName::try_from(domain).is_err() {
        return Err("this is no e-mail address (RFC 5280 §4.2.1.6)".to_owned());
    }
    Ok(())
}

/// SPIFFE-ID §2: a trust domain in lower case and a path of plain segments, nothing else.
fn spiffe_id(id: &str) -> Result<(), String> {
    let (domain, path) = match id.split_once('/') {
        Some((domain, path)) => (domain, Some(path)),
        None => (id, None),
    };
    let in_domain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
    if domain.is_empty() || domain.len() > MAX_TRUST_DOMAIN_BYTES || !domain.bytes().all(in_domain)
    {
        return Err("a SPIFFE trust domain holds a-z, 0-9, `.`, `-` and `_` only".to_owned());
    }
    let in_path = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    let is_segment = |segment: &str| {
        !segment.is_empty() && !matches!(segment, "." | "..") && segment.bytes().all(in_path)
    };
    if path.is_some_and(|path| !path.split('/').all(is_segment)) {
        return Err("a SPIFFE path has segments of A-Z, a-z, 0-9, `.`, `-` and `_`, \
                    and no `/` at its end"
            .to_owned());
    }
    if "spiffe://".len() + id.len() > MAX_SPIFFE_ID_BYTES {
        return Err(format!("a SPIFFE ID has at most {MAX_SPIFFE_ID_BYTES} bytes"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_peers_can_match_are_accepted() {
        for name in [
            "localhost",
            "api.example.org",
            "*.example.org",
            "xn--bcher-kva.example",
            "127.0.0.1",
            "::1",
            "spiffe://dev/alice",
            "spiffe://dev.example.org/ns/default/sa/web_1",
            "spiffe://dev",
            "https://example.org/x?y#z",
            "alice@example.org",
        ] {
            assert_eq!(alternative(name), Ok(name.to_owned()));
        }
    }

    #[test]
    fn names_that_no_peer_can_match_are_refused() {
        for name in [
            "",
            "localhost:8443",
            "[::1]",
            "localhost.",
            "a,b",
            "a b",
            "bücher.example",
            "*",
            "api.*.org",
            "127.0.0.256",
            "spiffe://",
            "spiffe:///alice",
            "spiffe://Dev/alice",
            "spiffe://dev:8080/alice",
            "spiffe://dev/alice/",
            "spiffe://dev//alice",
            "spiffe://dev/../alice",
            "spiffe://dev/alice?x",
            "://x",
            "1http://x",
            "http://",
            "http://a b",
            "@example.org",
            "alice@",
            "alice@exa mple",
        ] {
            assert!(alternative(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_refusal_says_what_to_write_instead() {
        let said = |name| alternative(name).unwrap_err();
        assert_eq!(
            said("localhost:8443"),
            "a name in a certificate has no port; write `localhost`"
        );
        assert_eq!(said("[::1]"), "an address has no brackets here; write `::1`");
        assert_eq!(said("a,b"), "this looks like several names; repeat `--san` for each");
    }

    #[test]
    fn a_common_name_ends_at_64_characters() {
        assert!(common(&"é".repeat(64)).is_ok());
        assert!(common(&"é".repeat(65)).is_err());
        assert!(common(" ").is_err());
        assert!(common("a\u{7}").is_err());
    }
}
