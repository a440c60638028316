//! The file of keys and the one of their uses, from bytes and to bytes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::FileKeys;
use crate::authentication::api_keys::format::KeyId;
use crate::authentication::api_keys::record::KeyRecord;
use crate::authentication::api_keys::store::KeyStoreError;
use crate::authentication::api_keys::{disk, timestamp};

/// The file as it was read, and what it says.
pub(super) struct Content {
    pub(super) bytes: Vec<u8>,
    pub(super) records: BTreeMap<KeyId, KeyRecord>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    keys: Vec<KeyRecord>,
}

#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Used(#[serde(with = "timestamp")] SystemTime);

pub(super) fn check(record: &KeyRecord) -> Result<(), KeyStoreError> {
    let refused =
        |error| KeyStoreError::unavailable("the file takes no such key").with_source(error);
    record.check().map_err(refused)
}

pub(super) fn unusable(verb: &str, path: &Path) -> KeyStoreError {
    KeyStoreError::unavailable(format!("cannot {verb} the key file `{}`", path.display()))
}

pub(super) fn used_path(path: &Path) -> PathBuf {
    disk::beside(path, ".used")
}

pub(super) fn read(path: &Path) -> Result<Content, KeyStoreError> {
    let bytes = disk::read(path, FileKeys::MAX_FILE_BYTES)
        .map_err(|error| unusable("read", path).with_source(error))?;
    let mut content = parse(path, bytes)?;
    for (id, used) in read_uses(path) {
        if let Some(record) = content.records.get_mut(&id) {
            record.last_used_at = record.last_used_at.max(Some(used));
        }
    }
    Ok(content)
}

pub(super) fn parse(path: &Path, bytes: Vec<u8>) -> Result<Content, KeyStoreError> {
    let invalid = |problem: String| {
        let path = path.display();
        KeyStoreError::unavailable(format!("the key file `{path}` cannot be used: {problem}"))
    };
    let file: KeyFile = serde_json::from_slice(&bytes).map_err(|error| invalid(clause(&error)))?;
    if file.keys.len() > FileKeys::MAX_KEYS {
        return Err(invalid(format!("it has more than {} keys", FileKeys::MAX_KEYS)));
    }
    let mut records = BTreeMap::new();
    for record in file.keys {
        let id = record.id;
        record.check().map_err(|error| invalid(format!("key {id}: {error}")))?;
        if records.insert(id, record).is_some() {
            return Err(invalid(format!("key {id} is listed twice")));
        }
    }
    Ok(Content { bytes, records })
}

/// When keys were used. Nothing depends on it, so a file that cannot be read says nothing.
fn read_uses(path: &Path) -> BTreeMap<KeyId, SystemTime> {
    let uses = disk::read(&used_path(path), FileKeys::MAX_FILE_BYTES).ok();
    let uses: Option<BTreeMap<String, Used>> =
        uses.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let parsed = uses.into_iter().flatten();
    parsed.filter_map(|(id, Used(at))| Some((id.parse().ok()?, at))).collect()
}

pub(super) fn render(records: &BTreeMap<KeyId, KeyRecord>) -> Result<Vec<u8>, KeyStoreError> {
    let unused = |record: &KeyRecord| KeyRecord { last_used_at: None, ..record.clone() };
    json(&KeyFile { keys: records.values().map(unused).collect() })
}

pub(super) fn render_uses(records: &BTreeMap<KeyId, KeyRecord>) -> Result<Vec<u8>, KeyStoreError> {
    let used = |record: &KeyRecord| Some((record.id.to_string(), Used(record.last_used_at?)));
    json(&records.values().filter_map(used).collect::<BTreeMap<_, _>>())
}

fn json(value: &impl Serialize) -> Result<Vec<u8>, KeyStoreError> {
    let mut bytes = serde_json::to_vec_pretty(value).map_err(|error| {
        KeyStoreError::unavailable("the keys cannot be written as JSON").with_source(error)
    })?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Where the fault is and of which kind: serde's own message quotes what it found, which is a key
/// when somebody put one where its hash belongs.
fn clause(error: &serde_json::Error) -> String {
    let what = match error.classify() {
        serde_json::error::Category::Data => {
            "it is not of the form { \"keys\": [{ \"id\": \"..\", \"hash\": { .. }, .. }] }"
        }
        _ => "it is not JSON",
    };
    format!("{what} (line {}, column {})", error.line(), error.column())
}
