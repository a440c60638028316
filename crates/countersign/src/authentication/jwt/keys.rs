use std::fmt;
use std::str::FromStr;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::ParsedPublicKey;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::jose::{Algorithm, KeyKind, json};

/// An issuer's public keys (RFC 7517, "JWK Set"), parsed once.
///
/// A key that cannot be used is passed over and [reported](Self::skipped): one bad key does not
/// take the good ones with it. Usable are RSA keys of 2,048 to 8,192 bits with an odd exponent
/// from 3 to 2³²−1, P-256, P-384, P-521 and Ed25519, for signatures; symmetric keys never are.
#[derive(Clone, Default)]
pub struct KeySet {
    keys: Vec<Key>,
    skipped: Vec<SkippedKey>,
}

/// A key of a set that is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedKey {
    /// Its place in the set, from 0.
    pub index: usize,
    /// Its `kid`, if it has one.
    pub kid: Option<String>,
    /// Why it is not used.
    pub reason: &'static str,
}

/// A text is not a key set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a key set: {0}")]
pub struct InvalidKeySet(String);

#[derive(Clone)]
pub(super) struct Key {
    kid: Option<String>,
    /// Ready for each algorithm that it may be used with.
    ready: Vec<(Algorithm, ParsedPublicKey)>,
}

/// What keys a set is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyUse {
    /// `use` is `sig` or absent.
    Signature,
    /// `use` is `jwt-svid` (SPIFFE trust domain and bundle, §4.2.2).
    JwtSvid,
}

impl KeySet {
    /// The largest set that is read, in bytes.
    pub const MAX_BYTES: usize = 512 * 1024;

    /// The most keys that are read.
    pub const MAX_KEYS: usize = 100;

    /// The longest `kid` that is known, in bytes.
    pub const MAX_KID_BYTES: usize = 256;

    /// Reads a JWK Set.
    ///
    /// # Errors
    ///
    /// [`InvalidKeySet`] when it is not one, or larger than the limits. A set without a usable
    /// key is no error here.
    pub fn from_json(json: &str) -> Result<Self, InvalidKeySet> {
        Self::read(json, KeyUse::Signature)
    }

    /// Reads the JWT part of a SPIFFE bundle (SPIFFE Trust Domain and Bundle §4): the keys with
    /// `use` `jwt-svid`.
    ///
    /// # Errors
    ///
    /// As [`from_json`](Self::from_json).
    pub fn from_spiffe_bundle(json: &str) -> Result<Self, InvalidKeySet> {
        Self::read(json, KeyUse::JwtSvid)
    }

    pub(super) fn read(json: &str, key_use: KeyUse) -> Result<Self, InvalidKeySet> {
        if json.len() > Self::MAX_BYTES {
            return Err(InvalidKeySet("it is larger than 512 KiB".to_owned()));
        }
        let set =
            json::object(json.as_bytes()).map_err(|error| InvalidKeySet(error.to_string()))?;
        let Some(Value::Array(keys)) = set.get("keys") else {
            return Err(InvalidKeySet("it has no array `keys`".to_owned()));
        };
        if keys.len() > Self::MAX_KEYS {
            return Err(InvalidKeySet("it has more than 100 keys".to_owned()));
        }
        let mut read = Self::default();
        for (index, key) in keys.iter().enumerate() {
            let kid = key.get("kid").and_then(Value::as_str).map(str::to_owned);
            let parsed = match key {
                Value::Object(key) => Key::parse(key, key_use),
                _ => Err("it is not an object"),
            };
            match parsed {
                Ok(key) => read.keys.push(key),
                Err(reason) => read.skipped.push(SkippedKey { index, kid, reason }),
            }
        }
        Ok(read)
    }

    /// How many keys can be used.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether no key can be used.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The keys that are not used, and why.
    pub fn skipped(&self) -> &[SkippedKey] {
        &self.skipped
    }

    /// The key for a token. Without `kid`, the only one that fits the algorithm: several would
    /// mean to try, and whoever may choose by trial chooses among all.
    pub(super) fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Found<'_> {
        let mut named =
            self.keys.iter().filter(|key| kid.is_none() || key.kid.as_deref() == kid).peekable();
        if named.peek().is_none() {
            return Found::Unknown;
        }
        let mut fitting = named.filter_map(|one| {
            one.ready_for(algorithm).map(|key| Found::Key { key, kid: one.kid.as_deref() })
        });
        match (fitting.next(), fitting.next()) {
            (Some(found), None) => found,
            // Two keys of one `kid` that fit one algorithm are as unclear as two without.
            (Some(_), Some(_)) => Found::Unclear,
            (None, _) if kid.is_none() => Found::Unknown,
            (None, _) => Found::Unfit,
        }
    }
}

/// What a set has for a token.
#[derive(Debug)]
pub(super) enum Found<'a> {
    /// The one key, and its own `kid`, which a token need not name.
    Key { key: &'a ParsedPublicKey, kid: Option<&'a str> },
    /// No such key; a newer set may have it.
    Unknown,
    /// There is a key of that `kid`, and it is not for the algorithm.
    Unfit,
    /// Several keys fit.
    Unclear,
}

impl FromStr for KeySet {
    type Err = InvalidKeySet;

    fn from_str(json: &str) -> Result<Self, InvalidKeySet> {
        Self::from_json(json)
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySet")
            .field("kids", &self.keys.iter().map(|key| &key.kid).collect::<Vec<_>>())
            .field("skipped", &self.skipped)
            .finish()
    }
}

impl Key {
    pub(super) fn ready_for(&self, algorithm: Algorithm) -> Option<&ParsedPublicKey> {
        self.ready.iter().find(|(known, _)| *known == algorithm).map(|(_, key)| key)
    }

    pub(super) fn parse(key: &Map<String, Value>, key_use: KeyUse) -> Result<Self, &'static str> {
        let text = |name: &str| match key.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            Some(_) => Err("a member that should be text is not"),
        };
        let kid = text("kid")?;
        if kid.is_some_and(|kid| kid.len() > KeySet::MAX_KID_BYTES) {
            return Err("its `kid` is longer than 256 bytes");
        }
        match (key_use, text("use")?) {
            (KeyUse::Signature, None | Some("sig")) | (KeyUse::JwtSvid, Some("jwt-svid")) => {}
            _ => return Err("it is for another use"),
        }
        if let Some(operations) = key.get("key_ops") {
            let verifies = operations
                .as_array()
                .is_some_and(|all| all.iter().any(|one| one.as_str() == Some("verify")));
            if !verifies {
                return Err("its `key_ops` have no `verify`");
            }
        }
        let member = |name: &str| {
            text(name)?
                .and_then(|text| URL_SAFE_NO_PAD.decode(text).ok())
                .filter(|bytes| !bytes.is_empty())
                .ok_or("a member of the key is missing or not base64url")
        };
        let (kind, bytes) = match text("kty")? {
            Some("RSA") => (KeyKind::Rsa, rsa(member("n")?, member("e")?)?),
            Some("EC") => {
                let (kind, size) = match text("crv")? {
                    Some("P-256") => (KeyKind::P256, 32),
                    Some("P-384") => (KeyKind::P384, 48),
                    Some("P-521") => (KeyKind::P521, 66),
                    _ => return Err("its curve is not known"),
                };
                (kind, point(&member("x")?, &member("y")?, size)?)
            }
            Some("OKP") => match text("crv")? {
                Some("Ed25519") => (KeyKind::Ed25519, member("x")?),
                _ => return Err("its curve is not known"),
            },
            Some("oct") => return Err("symmetric keys do not belong into a key set"),
            _ => return Err("its `kty` is not known"),
        };
        // RFC 7517 §4.4: `alg` binds the key to one algorithm.
        let bound = match text("alg")? {
            None => None,
            Some(name) => Some(Algorithm::from_name(name).ok_or("its `alg` is not known")?),
        };
        let ready = Algorithm::ALL
            .into_iter()
            .filter(|algorithm| algorithm.key_kind() == kind)
            .filter(|algorithm| bound.is_none_or(|bound| bound == *algorithm))
            .map(|algorithm| {
                ParsedPublicKey::new(algorithm.verification(), &bytes)
                    .map(|key| (algorithm, key))
                    .map_err(|_| "the key itself is not valid")
            })
            .collect::<Result<Vec<_>, _>>()?;
        if ready.is_empty() {
            return Err("its `alg` does not fit its `kty`");
        }
        Ok(Self { kid: kid.map(str::to_owned), ready })
    }
}

fn rsa(n: Vec<u8>, e: Vec<u8>) -> Result<Vec<u8>, &'static str> {
    let stripped = |bytes: Vec<u8>| {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        bytes[zeros..].to_vec()
    };
    let (n, e) = (stripped(n), stripped(e));
    let bits = n.len() * 8 - n.first().map_or(0, |byte| byte.leading_zeros() as usize);
    if !(2048..=8192).contains(&bits) {
        return Err("an RSA key has 2048 to 8192 bits");
    }
    // RFC 8017 §3.1 wants an odd exponent of at least 3; one of more than 32 bits only makes
    // verification slow.
    let exponent = match e.len() {
        1..=4 => e.iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte)),
        _ => 0,
    };
    if exponent < 3 || exponent % 2 == 0 {
        return Err("its RSA exponent is not sane");
    }
    let der: Result<PublicKeyX509Der<'_>, _> = PublicKeyComponents { n, e }.as_der();
    der.map(|der| der.as_ref().to_vec()).map_err(|_| "the key itself is not valid")
}

/// An uncompressed point. Both coordinates have the field's full size (RFC 7518 §6.2.1.2).
fn point(x: &[u8], y: &[u8], size: usize) -> Result<Vec<u8>, &'static str> {
    if x.len() != size || y.len() != size {
        return Err("a coordinate has not the size of its curve");
    }
    Ok([&[4], x, y].concat())
}
