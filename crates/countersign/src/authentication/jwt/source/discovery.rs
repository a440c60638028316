//! An issuer's metadata (RFC 8414): whose it is, and where the keys are.

use serde_json::Value;

use super::{KeySourceError, KeysError};
use crate::fetch::Url;
use crate::jose::json;

/// Where an issuer's metadata may be, in the order in which it is asked for.
#[derive(Clone, Debug)]
pub(super) struct MetadataUrls {
    pub(super) urls: [Url; 2],
    /// Whether the issuer is on this machine and may name keys there.
    is_local: bool,
}

impl MetadataUrls {
    pub(super) fn of(issuer: &str) -> Result<Self, KeySourceError> {
        let refused = || KeySourceError::Issuer { issuer: issuer.to_owned() };
        // A fragment would be lost in parsing.
        if issuer.contains(['?', '#']) {
            return Err(refused());
        }
        let url = Url::parse(issuer).map_err(|_| refused())?;
        let (scheme, rest) = issuer.split_once("://").ok_or_else(refused)?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let path = path.trim_end_matches('/');
        let parse = |text: String| Url::parse(&text).map_err(|_| refused());
        Ok(Self {
            urls: [
                parse(format!(
                    "{scheme}://{authority}/.well-known/oauth-authorization-server{path}"
                ))?,
                parse(format!("{scheme}://{authority}{path}/.well-known/openid-configuration"))?,
            ],
            is_local: !url.is_tls(),
        })
    }

    /// Reads what was found at one of them.
    pub(super) fn keys_url(
        &self,
        issuer: &str,
        url: &Url,
        document: &[u8],
    ) -> Result<Url, KeysError> {
        let unusable = |reason: String| KeysError::Metadata { url: url.to_string(), reason };
        let metadata = json::object(document).map_err(|error| unusable(error.to_string()))?;
        let text = |name: &str| match metadata.get(name) {
            Some(Value::String(text)) => Ok(text.as_str()),
            _ => Err(unusable(format!("it has no text `{name}`"))),
        };
        // Byte for byte (RFC 8414 §3.3, §4): who may speak for one issuer may not for another.
        let found = text("issuer")?;
        if found != issuer {
            let found = found.chars().take(256).collect();
            return Err(KeysError::OtherIssuer { url: url.to_string(), found });
        }
        let refused = |source| KeysError::KeysUrl { url: url.to_string(), source };
        let keys = Url::parse(text("jwks_uri")?).map_err(refused)?;
        // An issuer elsewhere has no business on this machine's ports.
        match keys.is_tls() || self.is_local {
            true => Ok(keys),
            false => Err(refused(keys.refused())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(issuer: &str) -> Option<[String; 2]> {
        MetadataUrls::of(issuer).ok().map(|found| found.urls.map(|url| url.to_string()))
    }

    #[test]
    fn metadata_is_before_the_path_and_then_after_it() {
        for (issuer, before, after) in [
            (
                "https://id.example",
                "https://id.example/.well-known/oauth-authorization-server",
                "https://id.example/.well-known/openid-configuration",
            ),
            (
                "https://id.example/",
                "https://id.example/.well-known/oauth-authorization-server",
                "https://id.example/.well-known/openid-configuration",
            ),
            (
                "https://id.example:8443/realms/one/",
                "https://id.example:8443/.well-known/oauth-authorization-server/realms/one",
                "https://id.example:8443/realms/one/.well-known/openid-configuration",
            ),
        ] {
            assert_eq!(urls(issuer), Some([before.to_owned(), after.to_owned()]), "{issuer}");
        }
        for issuer in [
            "https://id.example?tenant=1",
            "https://id.example/#x",
            "http://id.example",
            "accounts.example",
            "",
        ] {
            assert_eq!(urls(issuer), None, "{issuer}");
        }
    }

    fn keys_url(issuer: &str, document: &str) -> Result<String, KeysError> {
        let urls = MetadataUrls::of(issuer).expect("an issuer");
        let url = urls.urls[0].clone();
        urls.keys_url(issuer, &url, document.as_bytes()).map(|url| url.to_string())
    }

    #[test]
    fn only_the_metadata_of_the_very_issuer_counts() {
        let issuer = "https://id.example/one";
        let right = r#"{"issuer":"https://id.example/one","jwks_uri":"https://keys.example/k"}"#;
        assert_eq!(keys_url(issuer, right).expect("a URL"), "https://keys.example/k");
        for other in [
            "https://id.example/one/",
            "https://id.example/ONE",
            "https://ID.example/one",
            "https://id.example/two",
            "https://id.example",
            "",
        ] {
            let document = right.replace(issuer, other);
            let error = keys_url(issuer, &document).expect_err(other);
            assert!(matches!(error, KeysError::OtherIssuer { .. }), "{other}: {error}");
        }
    }

    #[test]
    fn metadata_that_is_not_clear_is_not_used() {
        let issuer = "https://id.example";
        for document in [
            "",
            "[]",
            "<html>",
            r#"{"jwks_uri":"https://id.example/k"}"#,
            r#"{"issuer":["https://id.example"],"jwks_uri":"https://id.example/k"}"#,
            r#"{"issuer":"https://id.example"}"#,
            r#"{"issuer":"https://id.example","jwks_uri":7}"#,
            r#"{"issuer":"https://id.example","issuer":"https://id.example","jwks_uri":"https://id.example/k"}"#,
        ] {
            let error = keys_url(issuer, document).expect_err(document);
            assert!(matches!(error, KeysError::Metadata { .. }), "{document}: {error}");
        }
    }

    #[test]
    fn keys_are_not_fetched_where_metadata_has_no_business() {
        let document = |issuer: &str, keys: &str| {
            serde_json::json!({ "issuer": issuer, "jwks_uri": keys }).to_string()
        };
        for keys in [
            "http://id.example/k",
            "http://127.0.0.1:1/k",
            "http://169.254.169.254/latest",
            "file:///etc/passwd",
            "https://me@id.example/k",
            "/k",
        ] {
            let issuer = "https://id.example";
            let error = keys_url(issuer, &document(issuer, keys)).expect_err(keys);
            assert!(matches!(error, KeysError::KeysUrl { .. }), "{keys}: {error}");
        }
        let local = "http://127.0.0.1:8080";
        assert!(keys_url(local, &document(local, "http://127.0.0.1:1/k")).is_ok());
        assert!(keys_url(local, &document(local, "https://id.example/k")).is_ok());
        assert!(keys_url(local, &document(local, "http://id.example/k")).is_err());
    }
}
