//! API keys: long random texts that a store has the hashes of.
//!
//! A key is `{vendor}_{env}_{id}_{secret}{checksum}`, for instance
//! `cs_live_3kTMd9QaXw_…`: two to eight letters of the vendor's, `live` or `test`, ten base62
//! characters of public ID, 43 of secret (256 bits), and a CRC-32 of all of it in six. Scanners
//! find lost ones by
//!
//! ```text
//! [a-z]{2,8}_(live|test)_[0-9A-Za-z]{10}_[0-9A-Za-z]{49}
//! ```
//!
//! * [`ApiKeys`] is the authenticator.
//! * [`KeyIssuer`] makes keys, replaces them and takes them back.
//! * [`KeyStore`] is where records are kept: [`MemoryKeys`], [`FileKeys`], and behind features
//!   `SqliteKeys` and `PostgresKeys`.

mod authenticator;
mod builder;
mod cache;
mod checksum;
mod counters;
mod disk;
mod file;
mod format;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod hash;
mod hex;
mod issuer;
mod maintenance;
mod memory;
mod network;
#[cfg(feature = "postgres")]
mod postgres;
mod random;
mod record;
#[cfg(feature = "sqlite")]
mod sqlite;
mod store;
mod throttle;
mod timestamp;
mod uses;

#[cfg(test)]
mod tests;

pub use authenticator::ApiKeys;
pub use builder::ApiKeysBuilder;
pub use counters::KeyCounters;
pub use file::FileKeys;
pub use format::{Environment, InvalidKeyId, InvalidPrefix, KeyId, KeyPrefix};
pub use hash::{HashScheme, InvalidPepper, KeyHash, Peppers};
pub use issuer::{IssuedKey, Judgement, KeyIssuer, KeyIssuerError, NewKey};
pub use memory::MemoryKeys;
pub use network::{InvalidNetwork, Network};
#[cfg(feature = "postgres")]
pub use postgres::PostgresKeys;
pub use random::NoRandomness;
pub use record::{InvalidRecord, KeyRecord, KeyState, Revocation};
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteKeys;
pub use store::{KeyChange, KeyChanges, KeyStore, KeyStoreError, KeyStoreErrorKind, KeyUse};
pub use throttle::FailureLimit;
