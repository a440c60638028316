use std::fmt;
use std::net::SocketAddr;

use http::Uri;
use http::uri::Scheme;

use super::FetchError;
use crate::identity::Authority;

/// An absolute URL that may be asked: https, or http on this machine alone.
///
/// Shown without its query, which may hold a secret.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Url {
    uri: Uri,
    authority: Authority,
    is_tls: bool,
}

impl Url {
    /// Reads it. Touches no network: whether `localhost` is this machine shows in
    /// [`may_dial`](Self::may_dial).
    pub(crate) fn parse(text: &str) -> Result<Self, FetchError> {
        let url = text.parse::<Uri>().ok().and_then(|uri| Self::try_from(&uri).ok());
        url.ok_or_else(|| FetchError::Url { url: shown_as_refused(text) })
    }

    pub(crate) fn uri(&self) -> &Uri {
        &self.uri
    }

    pub(super) fn authority(&self) -> &Authority {
        &self.authority
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.is_tls
    }

    pub(super) fn port(&self) -> u16 {
        self.authority.port().unwrap_or(if self.is_tls { 443 } else { 80 })
    }

    /// For messages.
    pub(crate) fn host_and_port(&self) -> String {
        match self.authority.port() {
            Some(_) => self.authority.to_string(),
            None => format!("{}:{}", self.authority, self.port()),
        }
    }

    /// Without TLS only an address of this machine, whatever the name says.
    pub(super) fn may_dial(&self, address: SocketAddr) -> bool {
        self.is_tls || address.ip().to_canonical().is_loopback()
    }

    pub(crate) fn refused(&self) -> FetchError {
        FetchError::Url { url: self.to_string() }
    }
}

impl TryFrom<&Uri> for Url {
    type Error = FetchError;

    fn try_from(uri: &Uri) -> Result<Self, FetchError> {
        let refused = || FetchError::Url { url: shown(&uri.to_string()) };
        // `Authority` knows no user information, so a URL with some ends here.
        let authority = uri
            .authority()
            .and_then(|authority| Authority::parse(authority.as_str()).ok())
            .ok_or_else(refused)?;
        let is_tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return Err(refused()),
        };
        let may_be_local = match authority.ip() {
            Some(address) => address.to_canonical().is_loopback(),
            None => authority.host().eq_ignore_ascii_case("localhost"),
        };
        if !is_tls && !may_be_local {
            return Err(refused());
        }
        Ok(Self { uri: uri.clone(), authority, is_tls })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(&self.uri.to_string()))
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&shown(&self.uri.to_string()), f)
    }
}

/// What may be shown of a text that should be a URL: no query, no user information, not all of a
/// long one.
fn shown(text: &str) -> String {
    let text = text.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (Some(scheme), rest),
        None => (None, text),
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let whole = match scheme {
        Some(scheme) => format!("{scheme}://{authority}{path}"),
        None => format!("{authority}{path}"),
    };
    whole.chars().take(256).collect()
}

/// The same of a text that is none. Of an `@` behind a `/`, `?` or `#` nobody can tell whether a
/// password goes before it.
fn shown_as_refused(text: &str) -> String {
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    let after_authority = rest.find(['/', '?', '#']).map_or("", |at| &rest[at..]);
    let is_in_schemes = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    match after_authority.contains('@') {
        false => shown(text),
        true if scheme.is_empty() || !scheme.chars().all(is_in_schemes) => "…".to_owned(),
        true => format!("{scheme}://…"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn https_is_asked_anywhere_and_http_on_this_machine() {
        for url in [
            "https://id.example/keys?tenant=1",
            "HTTPS://id.example:8443",
            "https://192.0.2.1/",
            "https://[2001:db8::1]:1/",
            "http://127.0.0.1:80/keys",
            "http://127.255.255.254/",
            "http://[::1]:8080/",
            "http://[::ffff:127.0.0.1]/",
            "http://localhost:1/",
            "http://LOCALHOST/",
        ] {
            assert!(Url::parse(url).is_ok(), "{url}");
        }
        for url in [
            "http://id.example/keys",
            "http://192.0.2.1/",
            "http://0.0.0.0/",
            "http://[::]/",
            "http://[::ffff:192.0.2.1]/",
            "http://localhost.example/",
            "http://sub.localhost/",
            "http://127.1/",
            "http://2130706433/",
            "http://localhost@id.example/",
            "http://id.example@localhost/",
            "https://user:word@id.example/",
            "https://@id.example/",
            "ftp://id.example/",
            "file:///etc/passwd",
            "//id.example/",
            "/keys",
            "id.example",
            "https://",
            "https:///keys",
            "https://id.example:99999/",
            "https://id example/",
            "",
        ] {
            assert!(Url::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn only_addresses_of_this_machine_are_dialled_without_tls() {
        let local: SocketAddr = "127.0.0.1:80".parse().expect("an address");
        let other: SocketAddr = "192.0.2.1:80".parse().expect("an address");
        let plain = Url::parse("http://localhost/").expect("a URL");
        assert!(plain.may_dial(local) && !plain.may_dial(other));
        let tls = Url::parse("https://localhost/").expect("a URL");
        assert!(tls.may_dial(local) && tls.may_dial(other));
        assert_eq!((plain.port(), tls.port()), (80, 443));
    }

    #[test]
    fn neither_query_nor_user_is_shown() {
        for url in [
            "http://me:hunter2@id.example/keys?token=hunter2#hunter2",
            "me:hunter2@id.example?hunter2",
            "https://a@hunter2@id.example/ keys?hunter2",
        ] {
            let error = Url::parse(url).expect_err("not to be asked");
            assert!(error.to_string().contains("id.example"), "{error}");
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
        for mark in ['/', '?', '#'] {
            let url = format!("https://me:hun{mark}ter2@id.example/keys");
            let error = Url::parse(&url).expect_err("not to be asked");
            assert!(error.to_string().contains("https://…"), "{error}");
            assert!(!format!("{error} {error:?}").contains("hun"), "{error}");
        }
        let url = Url::parse("https://id.example/keys?key=hunter2").expect("a URL");
        assert_eq!(url.to_string(), "https://id.example/keys");
        assert_eq!(format!("{url:?}"), r#""https://id.example/keys""#);
    }
}
