//! What is made of key sets that are not quite right, and of files.

use std::fs;
use std::path::Path;
use std::time::Duration;

use countersign_testkit::logs::Logs;
use serde_json::json;
use tokio::time::sleep;

use super::super::super::Algorithm;
use super::super::super::keys::Found;
use super::super::{KeySource, Keys, KeysError, Missing};
use super::fake::{Answer, Fake, ISSUER, KEYS, key, set};

#[tokio::test(start_paused = true)]
async fn one_bad_key_does_not_take_the_others_with_it_and_is_told_once() {
    let logs = Logs::collect();
    let good = key("good");
    let mut keys_text = set(&[&good]);
    let list = keys_text["keys"].as_array_mut().expect("keys");
    list.push(json!({ "kty": "EC", "crv": "P-256", "kid": "short", "x": "AA", "y": "AA" }));
    list.push(
        json!({ "kty": "RSA", "kid": "for-encryption", "use": "enc", "n": "AA", "e": "AQAB" }),
    );
    list.push(json!({ "kty": "oct", "kid": "shared", "k": "AA" }));
    list.push(json!(7));
    let fake = Fake::new();
    fake.answer(KEYS, Answer::Body(keys_text.to_string()));
    let keys = fake.keys();
    keys.warm_up().await;
    let report = keys.report();
    assert_eq!((report.keys, report.skipped.len(), report.last_error), (1, 4, None));
    assert_eq!(report.skipped[1].kid.as_deref(), Some("for-encryption"));
    let told = || logs.lines_with("a key of an issuer is not used").len();
    assert_eq!(told(), 4);
    sleep(Duration::from_secs(3600)).await;
    assert!(fake.asked() > 4);
    assert_eq!(told(), 4, "not at every fetch");
}

#[tokio::test(start_paused = true)]
async fn two_keys_of_one_name_are_no_key_and_one_without_a_name_is() {
    let (one, two) = (key("a"), key("a"));
    let fake = Fake::with(&[&one, &two]);
    let keys = fake.keys();
    keys.warm_up().await;
    let seen = keys.snapshot();
    let held = seen.keys.as_ref().expect("keys");
    assert!(matches!(held.find(Some("a"), Algorithm::ES256), Found::Unclear));

    let nameless = key("a").unnamed();
    let fake = Fake::with(&[&nameless]);
    let keys = fake.keys();
    keys.warm_up().await;
    let seen = keys.snapshot();
    let held = seen.keys.as_ref().expect("keys");
    assert!(matches!(held.find(None, Algorithm::ES256), Found::Key { .. }));
    assert!(matches!(held.find(Some("a"), Algorithm::ES256), Found::Unknown));
    assert!(matches!(held.find(None, Algorithm::RS256), Found::Unknown));
    // A key for another algorithm may have been added: one fetch finds out, and no more.
    assert_eq!(keys.missing(&seen, None), Missing::Wait);
    assert!(keys.refetched_for(&seen, None).await.is_ok());
    assert_eq!((fake.asked(), keys.missing(&seen, None)), (2, Missing::Final));
}

#[tokio::test(start_paused = true)]
async fn what_is_no_key_set_leaves_the_last_one_in_place() {
    let nothing_usable = json!({ "keys": [{ "kty": "oct", "k": "AA" }] }).to_string();
    for (name, text) in [
        ("empty", ""),
        ("HTML", "<html>maintenance</html>"),
        ("another object", r#"{"error":"down"}"#),
        ("no array", r#"{"keys":{}}"#),
        ("no keys", r#"{"keys":[]}"#),
        ("twice", r#"{"keys":[],"keys":[]}"#),
        ("nothing usable", nothing_usable.as_str()),
    ] {
        let fake = Fake::with(&[&key("a")]);
        let keys = fake.keys();
        keys.warm_up().await;
        let generation = keys.generation().now();
        fake.answer(KEYS, Answer::Body(text.to_owned()));
        sleep(Duration::from_secs(700)).await;
        let error = keys.last_error().expect(name);
        let told = matches!(*error, KeysError::NotKeys { .. } | KeysError::NoUsableKey { .. });
        assert!(told, "{name}: {error:?}");
        assert!(keys.is_ready() && keys.report().last_error.is_some(), "{name}");
        assert_eq!(keys.generation().now(), generation, "{name}");

        // And where there is none yet, it makes none.
        let fake = Fake::new();
        fake.answer(KEYS, Answer::Body(text.to_owned()));
        let keys = fake.keys();
        keys.warm_up().await;
        assert!(!keys.is_ready(), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_kid_of_any_length_costs_nothing() {
    let fake = Fake::with(&[&key("a")]);
    let keys = fake.keys();
    keys.warm_up().await;
    let seen = keys.snapshot();
    assert_eq!(keys.missing(&seen, Some(&"k".repeat(257))), Missing::Final);
    assert_eq!(keys.missing(&seen, Some(&"k".repeat(256))), Missing::Wait);
    assert_eq!(fake.asked(), 1);
}

fn from_file(path: &Path) -> Keys {
    let settings = Fake::new().settings();
    Keys::new(KeySource::file(path), ISSUER, settings).expect("a key source")
}

/// Time stands still while a file is being read, so the reading is done when this is.
async fn next_reading() {
    sleep(Duration::from_secs(2)).await;
}

fn count(keys: &Keys) -> usize {
    keys.snapshot().keys.map_or(0, |keys| keys.len())
}

#[tokio::test(start_paused = true)]
async fn a_file_is_read_again_when_it_is_another_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("keys.json");
    let (a, b) = (key("a"), key("b"));
    fs::write(&path, set(&[&a]).to_string()).expect("written");
    let keys = from_file(&path);
    keys.warm_up().await;
    assert_eq!(count(&keys), 1);
    let generation = keys.generation().now();
    sleep(Duration::from_secs(10)).await;
    assert_eq!(keys.generation().now(), generation, "the same text is no change");

    fs::write(&path, set(&[&a, &b]).to_string()).expect("written");
    next_reading().await;
    assert_eq!(count(&keys), 2);
    assert_eq!(keys.generation().now(), generation + 1);

    // Half of one, and none: the last good one stays.
    for broken in [Some("{\"keys\":["), None] {
        match broken {
            Some(text) => fs::write(&path, text).expect("written"),
            None => fs::remove_file(&path).expect("removed"),
        }
        next_reading().await;
        let is_told = matches!(
            (broken, keys.last_error().as_deref()),
            (Some(_), Some(KeysError::NotKeys { .. })) | (None, Some(KeysError::File { .. }))
        );
        assert!(is_told, "{broken:?}: {:?}", keys.last_error());
        assert_eq!(count(&keys), 2);
    }
    fs::write(&path, set(&[&b]).to_string()).expect("written");
    next_reading().await;
    assert_eq!(count(&keys), 1);
    assert!(keys.last_error().is_none());
}

#[cfg(unix)]
#[tokio::test(start_paused = true)]
async fn a_kubernetes_volume_changes_by_its_link() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    for (name, keys) in [("..1", vec![key("a")]), ("..2", vec![key("b"), key("c")])] {
        fs::create_dir(at(name)).expect("a folder");
        let keys: Vec<_> = keys.iter().collect();
        fs::write(at(name).join("keys.json"), set(&keys).to_string()).expect("written");
    }
    symlink("..1", at("..data")).expect("a link");
    symlink("..data/keys.json", at("keys.json")).expect("a link");
    let keys = from_file(&at("keys.json"));
    keys.warm_up().await;
    assert_eq!(count(&keys), 1);
    symlink("..2", at("..data_tmp")).expect("a link");
    fs::rename(at("..data_tmp"), at("..data")).expect("renamed");
    next_reading().await;
    assert_eq!(count(&keys), 2);
}

#[tokio::test]
async fn what_is_no_file_or_too_large_is_not_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let keys = from_file(folder.path());
    keys.warm_up().await;
    assert!(matches!(*keys.last_error().expect("an error"), KeysError::File { .. }));

    let path = folder.path().join("keys.json");
    let large = format!(r#"{{"keys":[],"x":"{}"}}"#, "x".repeat(1024 * 1024));
    fs::write(&path, large).expect("written");
    let keys = from_file(&path);
    keys.warm_up().await;
    assert!(matches!(*keys.last_error().expect("an error"), KeysError::NotKeys { .. }));
}
