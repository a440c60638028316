use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use crate::identity::{ClaimNames, Principal};

/// What tells the tenants of a [`Quota`](super::Quota) apart, named as in a configuration file.
///
/// | Text | Tenant |
/// |---|---|
/// | `claim:org` | the token's claim `org`: text, number or truth value |
/// | `claim:/realm/org` | the same, found by a JSON pointer (RFC 6901) |
/// | `issuer` | the token's issuer |
/// | `client` | the client that the token was issued to |
/// | `owner` | the owner of an API key |
///
/// An API key's tenant is its claim `tenant`. Callers that have none of it share one bucket as
/// if they were one tenant; with [`or_unlimited`](Self::or_unlimited), in text a `?` at the end,
/// the limit is not for them.
///
/// ```
/// use countersign::quota::Tenant;
///
/// # fn main() -> Result<(), countersign::quota::InvalidTenant> {
/// assert_eq!("claim:org".parse::<Tenant>()?, Tenant::claim("org"));
/// assert_eq!("client?".parse::<Tenant>()?, Tenant::client().or_unlimited());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    by: By,
    unlimited_without: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum By {
    Claim(String),
    Issuer,
    Client,
    Owner,
}

/// The text names no [`Tenant`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} tells no tenants apart: write claim:<name>, issuer, client or owner")]
pub struct InvalidTenant {
    text: String,
}

impl Tenant {
    /// By a claim, or a JSON pointer to one where the name begins with a slash.
    pub fn claim(name: impl Into<String>) -> Self {
        Self::by(By::Claim(name.into()))
    }

    /// By the token's issuer.
    pub fn issuer() -> Self {
        Self::by(By::Issuer)
    }

    /// By the client that the token was issued to.
    pub fn client() -> Self {
        Self::by(By::Client)
    }

    /// By the owner of an API key.
    pub fn owner() -> Self {
        Self::by(By::Owner)
    }

    fn by(by: By) -> Self {
        Self { by, unlimited_without: false }
    }

    /// Leaves callers alone that have no tenant. Default: they share one bucket.
    #[must_use]
    pub fn or_unlimited(mut self) -> Self {
        self.unlimited_without = true;
        self
    }

    /// A caller's tenant. `None`: the limit is not for it; `Some(None)`: it has none.
    pub(super) fn of<'a>(&self, caller: &'a Principal) -> Option<Option<Cow<'a, str>>> {
        let token = caller.token();
        let found = match &self.by {
            By::Claim(name) => token
                .and_then(|token| ClaimNames::look_up(token.object(), name))
                .and_then(|value| match value {
                    Value::String(text) => Some(Cow::Borrowed(text.as_str())),
                    Value::Number(_) | Value::Bool(_) => Some(Cow::Owned(value.to_string())),
                    // Several are not one, and which would be for the caller to choose.
                    Value::Null | Value::Array(_) | Value::Object(_) => None,
                }),
            By::Issuer => token.and_then(|token| token.issuer()).map(Cow::Borrowed),
            By::Client => token.and_then(|token| token.client()).map(Cow::Borrowed),
            By::Owner => (caller.authenticator() == API_KEYS).then(|| caller.name().into()),
        };
        (found.is_some() || !self.unlimited_without).then_some(found)
    }
}

const API_KEYS: &str = "api-keys";

impl FromStr for Tenant {
    type Err = InvalidTenant;

    fn from_str(text: &str) -> Result<Self, InvalidTenant> {
        let (what, unlimited) = match text.strip_suffix('?') {
            Some(what) => (what, true),
            None => (text, false),
        };
        let by = match what.split_once(':') {
            None if what == "issuer" => By::Issuer,
            None if what == "client" => By::Client,
            None if what == "owner" => By::Owner,
            Some(("claim", name)) if !name.is_empty() => By::Claim(name.to_owned()),
            _ => return Err(InvalidTenant { text: text.to_owned() }),
        };
        Ok(Self { by, unlimited_without: unlimited })
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.by {
            By::Claim(name) => write!(f, "claim:{name}")?,
            By::Issuer => f.write_str("issuer")?,
            By::Client => f.write_str("client")?,
            By::Owner => f.write_str("owner")?,
        }
        f.write_str(if self.unlimited_without { "?" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::TokenClaims;

    fn with_claims(json: &str, authenticator: &str) -> Principal {
        let object = serde_json::from_str(json).expect("an object");
        Principal::with_token("alice", authenticator, TokenClaims::from_object(object))
    }

    #[test]
    fn a_tenant_is_told_or_it_is_not() {
        let claims = r#"{"org": "acme", "number": 7, "list": ["acme"], "realm": {"org": "deep"},
            "iss": "https://id.example", "client_id": "web", "nothing": null}"#;
        let token = with_claims(claims, "jwt");
        for (by, told) in [
            ("claim:org", Some("acme")),
            ("claim:number", Some("7")),
            ("claim:/realm/org", Some("deep")),
            ("claim:list", None),
            ("claim:nothing", None),
            ("claim:absent", None),
            ("issuer", Some("https://id.example")),
            ("client", Some("web")),
            ("owner", None),
        ] {
            let tenant: Tenant = by.parse().expect(by);
            let found = tenant.of(&token).expect("for everybody");
            assert_eq!(found.as_deref(), told, "{by}");
            assert_eq!(tenant.or_unlimited().of(&token).is_some(), told.is_some(), "{by}");
        }
        let key = with_claims("{}", "api-keys");
        assert_eq!(Tenant::owner().of(&key), Some(Some("alice".into())));
        let certificate = Principal::new("spiffe://example/web", "mutual-tls");
        assert_eq!(Tenant::issuer().of(&certificate), Some(None));
    }

    #[test]
    fn texts_are_read_back_as_they_are_written() {
        for text in ["claim:org", "claim:/a/b?", "claim:a:b", "issuer", "client?", "owner"] {
            assert_eq!(text.parse::<Tenant>().expect(text).to_string(), text);
        }
        for text in ["", "claim", "claim:", "claim:?", "org", "Issuer", "issuer:x", "?"] {
            assert!(text.parse::<Tenant>().is_err(), "{text:?}");
        }
    }
}
