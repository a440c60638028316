//! A request as cases and flags write it, put to a policy as the server's gate would.

use std::net::IpAddr;
use std::time::SystemTime;

use countersign::Principal;
use countersign::authorization::{CertificateFacts, PeerFacts, PolicyRequest};
use countersign::identity::{MethodPath, TokenClaims};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Deserializer};

/// One call.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Request {
    pub(crate) path: String,
    #[serde(default, deserialize_with = "or_null")]
    pub(crate) headers: Vec<(String, String)>,
    #[serde(default, deserialize_with = "or_null")]
    pub(crate) peer: Peer,
    /// Those who were proven by something other than the certificate; ours.
    #[serde(default, deserialize_with = "or_null")]
    pub(crate) callers: Vec<Caller>,
    /// RFC 3339; ours.
    #[serde(default)]
    pub(crate) time: Option<String>,
}

/// The other end of the connection. Unknown means least: no TLS, no certificate, no address.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Peer {
    #[serde(default, deserialize_with = "or_null")]
    pub(crate) transport: Transport,
    #[serde(default)]
    pub(crate) certificate: Option<Certificate>,
    #[serde(default)]
    pub(crate) address: Option<IpAddr>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Transport {
    #[default]
    Insecure,
    Tls,
}

/// A certificate whose chain was verified.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Certificate {
    #[serde(default, deserialize_with = "or_null")]
    pub(crate) uri_sans: Vec<String>,
    #[serde(default, deserialize_with = "or_null")]
    pub(crate) dns_sans: Vec<String>,
    #[serde(default, deserialize_with = "or_null")]
    pub(crate) subject: String,
}

/// Someone who was proven for the call.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Caller {
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) authenticator: String,
    /// The claims of the token that proved it, if one did.
    #[serde(default)]
    pub(crate) claims: Option<serde_json::Map<String, serde_json::Value>>,
}

/// Null is as good as nothing: programs in Go write an empty list so.
fn or_null<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

impl Caller {
    fn principal(&self) -> Principal {
        match &self.claims {
            Some(claims) => Principal::with_token(
                &*self.name,
                &*self.authenticator,
                TokenClaims::from_object(claims.clone()),
            ),
            None => Principal::new(&*self.name, &*self.authenticator),
        }
    }
}

impl Request {
    /// Hands over the request as policies want it, or says why no policy would be asked.
    pub(crate) fn ask<T>(
        &self,
        now: SystemTime,
        ask: impl FnOnce(&PolicyRequest<'_>) -> T,
    ) -> Result<T, String> {
        let path = MethodPath::parse(&self.path).map_err(|error| error.to_string())?;
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            // What a transport reads itself, as `:path`, never comes as a header.
            if name.starts_with(':') {
                continue;
            }
            let name = HeaderName::from_bytes(name.to_ascii_lowercase().as_bytes())
                .map_err(|_| format!("{name:?} is no header name"))?;
            let value = HeaderValue::from_bytes(value.as_bytes())
                .map_err(|_| format!("header {name} has a character that none may have"))?;
            headers
                .try_append(name, value)
                .map_err(|_| "there are more headers than any server takes".to_owned())?;
        }
        let now = match &self.time {
            Some(text) => time_of(text)?,
            None => now,
        };
        let callers: Vec<_> = self.callers.iter().map(Caller::principal).collect();
        let request = PolicyRequest::new(path, &headers, self.peer.facts(), now);
        Ok(ask(&request.with_assumed_callers(&callers)))
    }
}

impl Peer {
    fn facts(&self) -> PeerFacts<'_> {
        let facts = match self.transport {
            Transport::Insecure => PeerFacts::plaintext(),
            Transport::Tls => PeerFacts::tls(self.certificate.as_ref().map(Certificate::facts)),
        };
        match self.address {
            Some(address) => facts.at(address),
            None => facts,
        }
    }
}

impl Certificate {
    fn facts(&self) -> CertificateFacts<'_> {
        CertificateFacts { uris: &self.uri_sans, dns_names: &self.dns_sans, subject: &self.subject }
    }
}

pub(crate) fn time_of(text: &str) -> Result<SystemTime, String> {
    let format = &time::format_description::well_known::Rfc3339;
    time::OffsetDateTime::parse(text, format)
        .map(SystemTime::from)
        .map_err(|error| format!("{text:?} is no time of RFC 3339: {error}"))
}
