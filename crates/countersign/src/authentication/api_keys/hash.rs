use std::collections::BTreeMap;
use std::fmt;

use aws_lc_rs::hmac;
use serde::{Deserialize, Serialize};

use super::hex;
use crate::digest::sha256;
use crate::secret::{Secret, constant_time_eq};

/// What is kept of a key: never the key.
///
/// HMAC-SHA-256 over the whole key with a pepper that the store does not have, else SHA-256. A
/// slow hash protects what can be guessed; 256 random bits cannot, and there it only lets
/// strangers burn our CPU.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyHash {
    scheme: HashScheme,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pepper: Option<String>,
    #[serde(with = "hex")]
    digest: [u8; 32],
}

/// How a hash was made, with the version of the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum HashScheme {
    /// SHA-256 of the whole key.
    #[serde(rename = "sha256-v1")]
    Sha256V1,
    /// HMAC-SHA-256 of the whole key, by a pepper.
    #[serde(rename = "hmac-sha256-v1")]
    HmacSha256V1,
}

impl KeyHash {
    /// How it was made.
    pub fn scheme(&self) -> HashScheme {
        self.scheme
    }

    /// The ID of the pepper that it was made with.
    pub fn pepper(&self) -> Option<&str> {
        self.pepper.as_deref()
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyHash({:?}", self.scheme)?;
        if let Some(pepper) = &self.pepper {
            write!(f, " by {pepper:?}")?;
        }
        f.write_str(")")
    }
}

/// Keys to the hashes, kept where the store is not: whoever can only read or write the store can
/// then neither test keys nor add any.
///
/// New hashes are made with the first pepper. Rotate by putting a new one in front and keeping
/// the old one until the last key that was hashed with it is gone.
#[derive(Clone)]
pub struct Peppers {
    by_id: BTreeMap<String, hmac::Key>,
    current: Option<String>,
    takes_unpeppered: bool,
}

/// A pepper that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidPepper {
    /// It has fewer than [`Peppers::MIN_BYTES`].
    #[error("a pepper has 32 bytes or more")]
    Short,
    /// The ID is not of the allowed form.
    #[error("the ID of a pepper is one to 32 letters, digits, `-`, `.` or `_`")]
    Id,
    /// There are two with the same ID.
    #[error("two peppers have the same ID")]
    Duplicate,
}

/// No pepper of ours made the hash, so nobody can tell.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CannotTell {
    #[error("the key's hash needs the pepper {0:?}, which is not configured")]
    UnknownPepper(String),
    #[error("the key's hash was made without a pepper, and here peppers are asked for")]
    Unpeppered,
    #[error("the key's hash has a scheme and a pepper that do not go together")]
    Contradiction,
}

impl Peppers {
    /// The shortest pepper, in bytes.
    pub const MIN_BYTES: usize = 32;

    /// No pepper: hashes are SHA-256. Whoever writes to the store can make keys.
    pub fn none() -> Self {
        Self { by_id: BTreeMap::new(), current: None, takes_unpeppered: true }
    }

    /// One pepper. Hashes without any are not accepted; see
    /// [`and_unpeppered`](Self::and_unpeppered).
    ///
    /// # Errors
    ///
    /// A pepper that is too short, or an ID that a record cannot hold.
    pub fn new(id: &str, pepper: Secret<Vec<u8>>) -> Result<Self, InvalidPepper> {
        let mut peppers = Self { takes_unpeppered: false, ..Self::none() };
        peppers.insert(id, &pepper)?;
        peppers.current = Some(id.to_owned());
        Ok(peppers)
    }

    /// Another one, for keys that were hashed before the first was in use.
    ///
    /// # Errors
    ///
    /// A pepper that is too short, or an ID that is taken or cannot be in a record.
    pub fn with_old(mut self, id: &str, pepper: Secret<Vec<u8>>) -> Result<Self, InvalidPepper> {
        self.insert(id, &pepper)?;
        Ok(self)
    }

    /// Accepts hashes that were made before there was a pepper. Until the last such key is gone,
    /// whoever writes to the store can make keys.
    #[must_use]
    pub fn and_unpeppered(mut self) -> Self {
        self.takes_unpeppered = true;
        self
    }

    fn insert(&mut self, id: &str, pepper: &Secret<Vec<u8>>) -> Result<(), InvalidPepper> {
        let in_id = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        if !(1..=32).contains(&id.len()) || !id.bytes().all(in_id) {
            return Err(InvalidPepper::Id);
        }
        if pepper.expose().len() < Self::MIN_BYTES {
            return Err(InvalidPepper::Short);
        }
        let key = hmac::Key::new(hmac::HMAC_SHA256, pepper.expose());
        match self.by_id.insert(id.to_owned(), key) {
            None => Ok(()),
            Some(_) => Err(InvalidPepper::Duplicate),
        }
    }

    /// Hashes a new key.
    pub(super) fn hash(&self, key: &str) -> KeyHash {
        match self.current.as_ref().and_then(|id| Some((id, self.by_id.get(id)?))) {
            Some((id, pepper)) => KeyHash {
                scheme: HashScheme::HmacSha256V1,
                pepper: Some(id.clone()),
                digest: hmac_sha256(pepper, key),
            },
            None => KeyHash {
                scheme: HashScheme::Sha256V1,
                pepper: None,
                digest: sha256(key.as_bytes()),
            },
        }
    }

    /// Whether the key is the one that was hashed. The comparison takes the same time wherever
    /// the first difference is.
    pub(super) fn matches(&self, hash: &KeyHash, key: &str) -> Result<bool, CannotTell> {
        let digest = match (hash.scheme, &hash.pepper) {
            (HashScheme::Sha256V1, None) if self.takes_unpeppered => sha256(key.as_bytes()),
            (HashScheme::Sha256V1, None) => return Err(CannotTell::Unpeppered),
            (HashScheme::HmacSha256V1, Some(id)) => match self.by_id.get(id) {
                Some(pepper) => hmac_sha256(pepper, key),
                None => return Err(CannotTell::UnknownPepper(id.clone())),
            },
            _ => return Err(CannotTell::Contradiction),
        };
        Ok(constant_time_eq(&digest, &hash.digest))
    }

    /// Something to compare with where there is no record, so that it takes as long as if there
    /// were one. No key has this hash that anybody could find.
    pub(super) fn dummy(&self) -> KeyHash {
        KeyHash { digest: [0; 32], ..self.hash("") }
    }
}

impl Default for Peppers {
    fn default() -> Self {
        Self::none()
    }
}

impl fmt::Debug for Peppers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.by_id.keys()).finish()
    }
}

fn hmac_sha256(pepper: &hmac::Key, key: &str) -> [u8; 32] {
    let tag = hmac::sign(pepper, key.as_bytes());
    tag.as_ref().try_into().expect("HMAC-SHA-256 has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pepper(byte: u8) -> Secret<Vec<u8>> {
        Secret::new(vec![byte; 32])
    }

    fn one() -> Peppers {
        Peppers::new("p1", pepper(1)).expect("a pepper")
    }

    #[test]
    fn a_key_matches_its_own_hash_and_no_other() {
        for peppers in [Peppers::none(), one()] {
            let hash = peppers.hash("key");
            assert_eq!(peppers.matches(&hash, "key"), Ok(true));
            assert_eq!(peppers.matches(&hash, "kex"), Ok(false));
            assert_eq!(peppers.matches(&hash, ""), Ok(false));
            assert_eq!(peppers.matches(&peppers.dummy(), "key"), Ok(false));
            assert_eq!(peppers.matches(&peppers.dummy(), ""), Ok(false));
        }
    }

    #[test]
    fn the_hashes_are_the_published_functions() {
        let text = |hash: &KeyHash| serde_json::to_value(hash).expect("JSON");
        // FIPS 180-4's example, and RFC 4231's second case padded to our shortest pepper.
        let plain = text(&Peppers::none().hash("abc"));
        assert_eq!(
            plain["digest"],
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(plain["scheme"], "sha256-v1");
        // RFC 4231 §4.3: a key is padded with zeros, so 28 more of them change nothing.
        let mut jefe = b"Jefe".to_vec();
        jefe.resize(32, 0);
        let peppers = Peppers::new("p", Secret::new(jefe)).expect("a pepper");
        let hash = text(&peppers.hash("what do ya want for nothing?"));
        assert_eq!(
            hash["digest"],
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!((&hash["scheme"], &hash["pepper"]), (&"hmac-sha256-v1".into(), &"p".into()));
    }

    #[test]
    fn peppers_rotate_by_their_id() {
        let old = one().hash("key");
        let rotated = Peppers::new("p2", pepper(2)).and_then(|p| p.with_old("p1", pepper(1)));
        let rotated = rotated.expect("peppers");
        assert_eq!(rotated.matches(&old, "key"), Ok(true));
        assert_eq!(rotated.hash("key").pepper(), Some("p2"));
        let forgotten = Peppers::new("p2", pepper(2)).expect("a pepper");
        assert_eq!(forgotten.matches(&old, "key"), Err(CannotTell::UnknownPepper("p1".to_owned())));
        let other = Peppers::new("p1", pepper(3)).expect("a pepper");
        assert_eq!(other.matches(&old, "key"), Ok(false));
    }

    #[test]
    fn with_a_pepper_a_hash_without_one_counts_only_when_asked_for() {
        let plain = Peppers::none().hash("key");
        assert_eq!(one().matches(&plain, "key"), Err(CannotTell::Unpeppered));
        assert_eq!(one().and_unpeppered().matches(&plain, "key"), Ok(true));
        assert_eq!(one().and_unpeppered().matches(&plain, "kex"), Ok(false));
    }

    #[test]
    fn a_hash_that_contradicts_itself_matches_nothing() {
        let peppers = one().and_unpeppered();
        let hash = peppers.hash("key");
        for wrong in [
            KeyHash { pepper: None, ..hash.clone() },
            KeyHash { scheme: HashScheme::Sha256V1, ..hash },
        ] {
            assert_eq!(peppers.matches(&wrong, "key"), Err(CannotTell::Contradiction));
        }
    }

    #[test]
    fn a_pepper_that_protects_little_is_refused() {
        let short = Secret::new(vec![1; 31]);
        assert_eq!(Peppers::new("p", short).err(), Some(InvalidPepper::Short));
        for id in ["", "a b", "ä", &"p".repeat(33)] {
            assert_eq!(Peppers::new(id, pepper(1)).err(), Some(InvalidPepper::Id), "{id:?}");
        }
        assert_eq!(one().with_old("p1", pepper(2)).err(), Some(InvalidPepper::Duplicate));
    }

    #[test]
    fn peppers_and_digests_stay_hidden_in_debug_output() {
        let peppers = Peppers::new("p1", Secret::new(b"hunter2-hunter2-hunter2-hunter2-".to_vec()));
        assert_eq!(format!("{:?}", peppers.expect("a pepper")), r#"{"p1"}"#);
        assert_eq!(format!("{:?}", one().hash("key")), r#"KeyHash(HmacSha256V1 by "p1")"#);
    }
}
