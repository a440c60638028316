use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::format::KeyId;
use super::hash::KeyHash;
use super::network::Network;
use super::timestamp;
use crate::authorization::Pattern;
use crate::identity::TokenClaims;

/// What is on record of an API key: whose it is, what it may do, and its hash.
///
/// Its JSON is what every store keeps. Times are whole seconds in UTC (RFC 3339).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct KeyRecord {
    /// The public ID.
    pub id: KeyId,
    /// What the whole key is compared with.
    pub hash: KeyHash,
    /// The principal in whose name the key calls. At most [`MAX_TEXT`](Self::MAX_TEXT) bytes.
    pub owner: String,
    /// The tenant that the owner belongs to, as the claim `tenant`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// What the key may be used for (RFC 6749 §3.3). A key without scopes is good for nothing.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// The methods that it may call, in the form of rules: `/orders.v1.Orders/Get*`. Empty: those
    /// that its owner may.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// Where it may be used from. Empty: anywhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<Network>,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// When it was made.
    #[serde(with = "timestamp")]
    pub created_at: SystemTime,
    /// By whom.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub created_by: String,
    /// From when on it is valid; `None`: from the beginning.
    #[serde(default, with = "timestamp::optional", skip_serializing_if = "Option::is_none")]
    pub not_before: Option<SystemTime>,
    /// Until when it is valid, exclusive; `None`: until it is revoked.
    #[serde(default, with = "timestamp::optional", skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<SystemTime>,
    /// When it was used last, to the minute and some seconds late. Stores keep it apart from the
    /// rest, so that a use changes no version.
    #[serde(default, with = "timestamp::optional", skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<SystemTime>,
    /// That it was taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Revocation>,
    /// The key that this one replaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotated_from: Option<KeyId>,
    /// The key that replaces this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotated_to: Option<KeyId>,
    /// Counts the changes, from 1. A store refuses a change to another version than it has.
    pub version: u64,
}

/// That a key was taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// When.
    #[serde(with = "timestamp")]
    pub at: SystemTime,
    /// Why, for people.
    pub reason: String,
}

/// What time and people have made of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyState {
    /// It may be used.
    Active,
    /// It was taken back.
    Revoked,
    /// It is past its end.
    Expired,
    /// It has not begun.
    NotYetValid,
}

/// Why a record cannot be used: the first thing that is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the record of a key cannot be used: {problem}")]
pub struct InvalidRecord {
    problem: String,
}

impl KeyRecord {
    /// The longest name or description, in bytes.
    pub const MAX_TEXT: usize = 512;

    /// The most scopes, methods or networks.
    pub const MAX_LIST: usize = 64;

    /// A record with nothing in it but what has to be.
    pub(super) fn new(id: KeyId, hash: KeyHash, owner: String, created_at: SystemTime) -> Self {
        Self {
            id,
            hash,
            owner,
            tenant: None,
            scopes: Vec::new(),
            methods: Vec::new(),
            networks: Vec::new(),
            description: String::new(),
            created_at: whole_seconds(created_at),
            created_by: String::new(),
            not_before: None,
            expires_at: None,
            last_used_at: None,
            revoked: None,
            rotated_from: None,
            rotated_to: None,
            version: 1,
        }
    }

    /// What it is at a time. What people decided comes first.
    pub fn state(&self, now: SystemTime) -> KeyState {
        if self.revoked.is_some() {
            KeyState::Revoked
        } else if self.expires_at.is_some_and(|end| end <= now) {
            KeyState::Expired
        } else if self.not_before.is_some_and(|begin| now < begin) {
            KeyState::NotYetValid
        } else {
            KeyState::Active
        }
    }

    /// Whether every text is of its form and every list within its limit.
    ///
    /// # Errors
    ///
    /// The first that is not.
    pub fn check(&self) -> Result<(), InvalidRecord> {
        self.patterns().map(drop)?;
        let text = |name: &str, text: &str| {
            let is_plain = text.len() <= Self::MAX_TEXT && !text.chars().any(char::is_control);
            ensure(is_plain, || format!("{name} is too long, or has control characters"))
        };
        let tenant = self.tenant.as_deref();
        ensure(!self.owner.is_empty(), || "it names no owner".to_owned())?;
        ensure(tenant != Some(""), || "its tenant is empty".to_owned())?;
        text("the owner", &self.owner)?;
        text("the tenant", tenant.unwrap_or_default())?;
        text("the description", &self.description)?;
        text("the creator", &self.created_by)?;
        text("the reason", self.revoked.as_ref().map_or("", |revoked| &revoked.reason))?;
        ensure(!self.scopes.is_empty(), || "it has no scopes".to_owned())?;
        let lengths = [self.scopes.len(), self.methods.len(), self.networks.len()];
        let within = lengths.iter().all(|length| *length <= Self::MAX_LIST);
        ensure(within, || format!("a list has more than {} entries", Self::MAX_LIST))?;
        for scope in &self.scopes {
            ensure(is_scope(scope), || {
                "a scope is 1 to 128 visible ASCII characters other than `\"` and `\\`".to_owned()
            })?;
        }
        ensure(self.version > 0, || "its version is zero".to_owned())
    }

    /// The methods, parsed.
    pub(super) fn patterns(&self) -> Result<Vec<Pattern>, InvalidRecord> {
        let parse = |text: &String| Pattern::parse(text);
        let parsed: Result<_, _> = self.methods.iter().map(parse).collect();
        parsed.map_err(|error| InvalidRecord { problem: error.to_string() })
    }

    /// What the record says, as if a token had said it.
    pub(super) fn claims(&self) -> TokenClaims {
        let mut claims = Map::new();
        let mut say = |name: &str, value: Value| claims.insert(name.to_owned(), value);
        say("sub", json!(self.owner));
        say("jti", json!(self.id.as_str()));
        say("client_id", json!(self.id.as_str()));
        say("scope", json!(self.scopes.join(" ")));
        say("iat", json!(seconds(self.created_at)));
        if let Some(tenant) = &self.tenant {
            say("tenant", json!(tenant));
        }
        if let Some(begin) = self.not_before {
            say("nbf", json!(seconds(begin)));
        }
        if let Some(end) = self.expires_at {
            say("exp", json!(seconds(end)));
        }
        if let Some(successor) = &self.rotated_to {
            say("rotated_to", json!(successor.as_str()));
        }
        TokenClaims::from_object(claims)
    }
}

fn ensure(holds: bool, problem: impl FnOnce() -> String) -> Result<(), InvalidRecord> {
    if holds { Ok(()) } else { Err(InvalidRecord { problem: problem() }) }
}

/// RFC 6749 §3.3, with a limit.
fn is_scope(text: &str) -> bool {
    let in_scope = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    (1..=128).contains(&text.len()) && text.bytes().all(in_scope)
}

pub(super) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Records count in whole seconds.
pub(super) fn whole_seconds(time: SystemTime) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds(time))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::hash::Peppers;
    use super::*;

    pub(in super::super) fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
    }

    pub(in super::super) fn record() -> KeyRecord {
        let id = "3kTMd9QaXw".parse().expect("an ID");
        let mut record = KeyRecord::new(id, Peppers::none().hash("key"), "ci".to_owned(), at(0));
        record.scopes = vec!["orders:read".to_owned()];
        record
    }

    #[test]
    fn a_record_comes_back_from_json_as_it_was() {
        let mut full = record();
        full.tenant = Some("acme".to_owned());
        full.methods = vec!["/orders.v1.Orders/Get*".to_owned()];
        full.networks = vec!["10.0.0.0/8".parse().expect("a network")];
        full.description = "the nightly build".to_owned();
        full.created_by = "alice".to_owned();
        full.not_before = Some(at(1));
        full.expires_at = Some(at(2));
        full.last_used_at = Some(at(60));
        full.revoked = Some(Revocation { at: at(3), reason: "leaked".to_owned() });
        full.rotated_from = Some("aaaaaaaaaa".parse().expect("an ID"));
        full.rotated_to = Some("bbbbbbbbbb".parse().expect("an ID"));
        for record in [record(), full] {
            record.check().expect("it can be used");
            let text = serde_json::to_string(&record).expect("JSON");
            assert_eq!(serde_json::from_str::<KeyRecord>(&text).expect("a record"), record);
        }
    }

    #[test]
    fn the_state_is_what_time_and_people_made_of_it() {
        let mut key = record();
        assert_eq!(key.state(at(0)), KeyState::Active);
        key.not_before = Some(at(10));
        key.expires_at = Some(at(20));
        for (now, state) in [
            (at(9), KeyState::NotYetValid),
            (at(10), KeyState::Active),
            (at(19), KeyState::Active),
            (at(20), KeyState::Expired),
        ] {
            assert_eq!(key.state(now), state);
        }
        key.revoked = Some(Revocation { at: at(1), reason: String::new() });
        for now in [at(0), at(15), at(30)] {
            assert_eq!(key.state(now), KeyState::Revoked);
        }
    }

    #[test]
    fn what_is_out_of_form_or_bounds_is_refused() {
        let long = "x".repeat(KeyRecord::MAX_TEXT + 1);
        let many = |text: &str| vec![text.to_owned(); KeyRecord::MAX_LIST + 1];
        type Change<'a> = &'a dyn Fn(&mut KeyRecord);
        let changes: [(&str, Change<'_>); 12] = [
            ("no owner", &|key| key.owner.clear()),
            ("long owner", &|key| key.owner = long.clone()),
            ("line break", &|key| key.owner = "ci\nroot".to_owned()),
            ("empty tenant", &|key| key.tenant = Some(String::new())),
            ("long description", &|key| key.description = long.clone()),
            ("no scopes", &|key| key.scopes.clear()),
            ("a scope of two words", &|key| key.scopes = vec!["a b".to_owned()]),
            ("an empty scope", &|key| key.scopes = vec![String::new()]),
            ("many scopes", &|key| key.scopes = many("a")),
            ("a bad method", &|key| key.methods = vec!["Get".to_owned()]),
            ("many methods", &|key| key.methods = many("/a.B/*")),
            ("version zero", &|key| key.version = 0),
        ];
        for (name, change) in changes {
            let mut key = record();
            key.check().expect("it can be used before");
            change(&mut key);
            assert!(key.check().is_err(), "{name}");
        }
    }

    #[test]
    fn claims_say_what_the_record_says() {
        let mut key = record();
        key.tenant = Some("acme".to_owned());
        key.scopes.push("orders:write".to_owned());
        key.expires_at = Some(at(5));
        key.rotated_to = Some("bbbbbbbbbb".parse().expect("an ID"));
        let claims = key.claims();
        assert_eq!(claims.subject(), Some("ci"));
        assert_eq!((claims.id(), claims.client()), (Some("3kTMd9QaXw"), Some("3kTMd9QaXw")));
        assert_eq!(claims.scopes(), ["orders:read", "orders:write"]);
        assert_eq!(claims.issued_at(), Some(at(0)));
        assert_eq!(claims.expires_at(), Some(at(5)));
        assert_eq!(claims.get("tenant"), Some(&json!("acme")));
        assert_eq!(claims.get("rotated_to"), Some(&json!("bbbbbbbbbb")));
        assert_eq!(record().claims().get("tenant"), None);
    }
}
