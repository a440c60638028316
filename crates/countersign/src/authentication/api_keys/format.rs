use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use super::checksum;
use super::random::{self, NoRandomness};
use crate::secret::Secret;

/// What is the same at the beginning of every key of a deployment: `cs_live`.
///
/// Scanners find lost keys by it, and a key of the test environment is told from one of the live
/// environment before anything is looked up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyPrefix {
    vendor: String,
    environment: Environment,
}

/// Where a key is for. A server of one takes no keys of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Environment {
    /// `live`
    Live,
    /// `test`
    Test,
}

impl Environment {
    fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Test => "test",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Live, Self::Test].into_iter().find(|one| one.as_str() == text)
    }
}

impl KeyPrefix {
    /// The prefix of live keys.
    ///
    /// # Errors
    ///
    /// The vendor has not two to eight lower-case letters.
    pub fn live(vendor: &str) -> Result<Self, InvalidPrefix> {
        Self::new(vendor, Environment::Live)
    }

    /// The prefix of test keys.
    ///
    /// # Errors
    ///
    /// The vendor has not two to eight lower-case letters.
    pub fn test(vendor: &str) -> Result<Self, InvalidPrefix> {
        Self::new(vendor, Environment::Test)
    }

    fn new(vendor: &str, environment: Environment) -> Result<Self, InvalidPrefix> {
        match is_vendor(vendor) {
            true => Ok(Self { vendor: vendor.to_owned(), environment }),
            false => Err(InvalidPrefix),
        }
    }

    /// The vendor's letters.
    pub fn vendor(&self) -> &str {
        &self.vendor
    }

    /// The environment.
    pub fn environment(&self) -> Environment {
        self.environment
    }

    /// Whether a text begins as this vendor's keys do, whatever the environment: enough to know
    /// whose business it is, and not that it is a key.
    pub(super) fn claims(&self, text: &str) -> bool {
        text.strip_prefix(self.vendor.as_str())
            .and_then(|rest| rest.strip_prefix('_'))
            .and_then(|rest| rest.split_once('_'))
            .is_some_and(|(environment, _)| Environment::parse(environment).is_some())
    }

    /// A new key: its public ID, and all of it.
    pub(super) fn generate(&self) -> Result<(KeyId, Secret<String>), NoRandomness> {
        let mut id = [0; KeyId::CHARACTERS];
        random::base62(&mut id)?;
        let id = KeyId(id);
        let mut secret = Zeroizing::new([0; SECRET_CHARACTERS]);
        random::base62(&mut *secret)?;
        let secret = std::str::from_utf8(&*secret).expect("ASCII");
        // Room for everything, since a text that grows leaves its old copy behind.
        let mut key = Zeroizing::new(String::with_capacity(PresentedKey::MAX_BYTES));
        for part in [&self.vendor, "_", self.environment.as_str(), "_", id.as_str(), "_", secret] {
            key.push_str(part);
        }
        let checksum = checksum::of(key.as_bytes());
        key.push_str(std::str::from_utf8(&checksum).expect("ASCII"));
        Ok((id, Secret::new(std::mem::take(&mut *key))))
    }
}

impl FromStr for KeyPrefix {
    type Err = InvalidPrefix;

    fn from_str(text: &str) -> Result<Self, InvalidPrefix> {
        let (vendor, environment) = text.split_once('_').ok_or(InvalidPrefix)?;
        Self::new(vendor, Environment::parse(environment).ok_or(InvalidPrefix)?)
    }
}

impl fmt::Display for KeyPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.vendor, self.environment.as_str())
    }
}

/// It is not a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a prefix is two to eight lower-case letters, and `_live` or `_test`")]
pub struct InvalidPrefix;

/// The public part of a key: ten base62 characters. Safe to log, to list and to talk about.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId([u8; Self::CHARACTERS]);

impl KeyId {
    /// How long an ID is.
    pub const CHARACTERS: usize = 10;

    /// The ID as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("ASCII by construction")
    }
}

impl FromStr for KeyId {
    type Err = InvalidKeyId;

    fn from_str(text: &str) -> Result<Self, InvalidKeyId> {
        let bytes: [u8; Self::CHARACTERS] = text.as_bytes().try_into().map_err(|_| InvalidKeyId)?;
        match bytes.iter().all(u8::is_ascii_alphanumeric) {
            true => Ok(Self(bytes)),
            false => Err(InvalidKeyId),
        }
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

impl Serialize for KeyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for KeyId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// It is not the ID of a key. The text is not quoted: it may be the whole key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ID of a key is ten letters and digits, what stands before the last `_` of the key")]
pub struct InvalidKeyId;

/// A text that has a key's form and the right checksum. Nothing is believed yet.
#[derive(Clone, Copy)]
pub(super) struct PresentedKey<'a> {
    pub(super) vendor: &'a str,
    pub(super) environment: Environment,
    pub(super) id: KeyId,
    /// What is hashed: all of it.
    pub(super) whole: &'a str,
}

/// The text is no key. Which part is wrong is nobody's business: it may be a key all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoKey;

impl<'a> PresentedKey<'a> {
    /// The longest key, in bytes: a vendor of eight letters.
    pub(super) const MAX_BYTES: usize = 8 + 4 + KeyId::CHARACTERS + TAIL + 3;

    pub(super) fn parse(text: &'a str) -> Result<Self, NoKey> {
        if text.len() > Self::MAX_BYTES || !text.is_ascii() {
            return Err(NoKey);
        }
        let mut parts = text.split('_');
        let mut next = || parts.next().ok_or(NoKey);
        let (vendor, environment, id, tail) = (next()?, next()?, next()?, next()?);
        if parts.next().is_some() || !is_vendor(vendor) {
            return Err(NoKey);
        }
        let environment = Environment::parse(environment).ok_or(NoKey)?;
        let id = id.parse().map_err(|_| NoKey)?;
        if tail.len() != TAIL || !tail.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(NoKey);
        }
        let (before, checksum) = text.split_at(text.len() - checksum::CHARACTERS);
        match checksum::of(before.as_bytes()) == checksum.as_bytes() {
            true => Ok(Self { vendor, environment, id, whole: text }),
            false => Err(NoKey),
        }
    }

    pub(super) fn has_prefix(&self, prefix: &KeyPrefix) -> bool {
        self.vendor == prefix.vendor && self.environment == prefix.environment
    }
}

impl fmt::Debug for PresentedKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PresentedKey({})", self.id)
    }
}

/// 256 bits: 62^43 is more than 2^256.
const SECRET_CHARACTERS: usize = 43;

/// The secret and the checksum.
const TAIL: usize = SECRET_CHARACTERS + checksum::CHARACTERS;

fn is_vendor(text: &str) -> bool {
    (2..=8).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn prefix() -> KeyPrefix {
        KeyPrefix::live("cs").expect("a prefix")
    }

    fn key() -> String {
        prefix().generate().expect("random").1.expose().clone()
    }

    #[test]
    fn a_new_key_has_the_form_that_scanners_look_for() {
        for prefix in ["cs_live", "cs_test", "abcdefgh_live"] {
            let prefix: KeyPrefix = prefix.parse().expect("a prefix");
            let (id, key) = prefix.generate().expect("random");
            let parsed = PresentedKey::parse(key.expose()).expect("a key");
            assert_eq!(parsed.id, id);
            assert!(parsed.has_prefix(&prefix));
            assert_eq!(parsed.whole, key.expose());
            let parts: Vec<_> = key.expose().split('_').map(str::len).collect();
            assert_eq!(parts, [prefix.vendor().len(), 4, 10, 49]);
        }
    }

    #[test]
    fn no_two_keys_have_a_part_in_common() {
        let keys: Vec<_> = (0..1_000).map(|_| key()).collect();
        for part in [2, 3] {
            let seen: HashSet<_> = keys.iter().filter_map(|key| key.split('_').nth(part)).collect();
            assert_eq!(seen.len(), keys.len());
        }
    }

    #[test]
    fn what_is_not_exactly_a_key_is_none() {
        let key = key();
        let with_checksum = |text: &str| {
            let checksum = checksum::of(text.as_bytes());
            format!("{text}{}", std::str::from_utf8(&checksum).expect("ASCII"))
        };
        let (id, secret) = ("a".repeat(10), "b".repeat(43));
        let good = with_checksum(&format!("cs_live_{id}_{secret}"));
        assert!(PresentedKey::parse(&good).is_ok(), "the forger of this table forges well");
        for (name, text) in [
            ("empty", String::new()),
            ("cut short", key[..key.len() - 1].to_owned()),
            ("longer", format!("{key}a")),
            ("a space after it", format!("{key} ")),
            ("vendor of one letter", with_checksum(&format!("c_live_{id}_{secret}"))),
            ("vendor of nine letters", with_checksum(&format!("abcdefghi_live_{id}_{secret}"))),
            ("vendor in capitals", with_checksum(&format!("CS_live_{id}_{secret}"))),
            ("another environment", with_checksum(&format!("cs_prod_{id}_{secret}"))),
            ("environment in capitals", with_checksum(&format!("cs_LIVE_{id}_{secret}"))),
            ("short ID", with_checksum(&format!("cs_live_{}_{secret}", &id[1..]))),
            ("long ID", with_checksum(&format!("cs_live_a{id}_{}", &secret[1..]))),
            ("short secret", with_checksum(&format!("cs_live_{id}_{}", &secret[1..]))),
            ("a sign in the secret", with_checksum(&format!("cs_live_{id}_{}-", &secret[1..]))),
            ("not ASCII", with_checksum(&format!("cs_live_{id}_{}ä", &secret[2..]))),
            ("five parts", with_checksum(&format!("cs_live_{id}_{}_a", &secret[2..]))),
            ("three parts", with_checksum(&format!("cs_live_{id}{secret}"))),
            ("very long", "a".repeat(1 << 20)),
        ] {
            assert_eq!(PresentedKey::parse(&text).map(|key| key.id), Err(NoKey), "{name}");
        }
    }

    #[test]
    fn one_wrong_character_anywhere_is_noticed() {
        let key = key();
        for at in 0..key.len() {
            let mut bytes = key.clone().into_bytes();
            bytes[at] = if bytes[at] == b'x' { b'y' } else { b'x' };
            let wrong = String::from_utf8(bytes).expect("ASCII");
            assert!(PresentedKey::parse(&wrong).is_err(), "character {at}");
        }
    }

    #[test]
    fn a_prefix_claims_what_begins_like_its_keys_and_nothing_else() {
        for (text, claimed) in [
            ("cs_live_", true),
            ("cs_test_x", true),
            ("cs_live", false),
            ("cs_prod_x", false),
            ("css_live_x", false),
            ("eyJhbGciOiJFUzI1NiJ9.e30.c2ln", false),
            ("", false),
        ] {
            assert_eq!(prefix().claims(text), claimed, "{text}");
        }
    }

    #[test]
    fn a_presented_key_stays_hidden_in_debug_output() {
        let key = key();
        let parsed = PresentedKey::parse(&key).expect("a key");
        assert_eq!(format!("{parsed:?}"), format!("PresentedKey({})", parsed.id));
    }
}
