//! `countersign key`, the real program: what it writes, prints and returns.

mod support;

use std::fs;
use std::ops::Deref;

use serde_json::Value;

use support::Run;

const STORE: &str = ".countersign/keys.json";

/// A directory to run `countersign key` in.
struct Place(support::Place);

impl Deref for Place {
    type Target = support::Place;

    fn deref(&self) -> &support::Place {
        &self.0
    }
}

impl Run {
    fn everything(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

impl Place {
    fn new() -> Self {
        Self(support::Place::new())
    }

    fn run(&self, args: &[&str]) -> Run {
        self.0.run(&[&["key"], args].concat())
    }

    /// A run that must succeed.
    fn ok(&self, args: &[&str]) -> Run {
        self.0.ok(&[&["key"], args].concat())
    }

    fn json(&self, args: &[&str]) -> Value {
        self.ok(&[args, &["--json"]].concat()).json()
    }

    /// A new key and its ID.
    fn create(&self, more: &[&str]) -> (String, String) {
        let created = self.json(&[&["create", "--owner", "ci", "--scope", "read"], more].concat());
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        (text(&created["key"]), text(&created["record"]["id"]))
    }

    fn verify(&self, key: &str) -> Run {
        self.feed(&["key", "verify"], key.as_bytes())
    }
}

#[test]
fn a_key_is_shown_once_and_described_to_people() {
    let place = Place::new();
    let run = place.ok(&["create", "--owner", "ci", "--scope", "orders:read", "--expires", "90d"]);
    let key = run.stdout.trim_end();
    assert!(key.starts_with("cs_live_") && key.len() == 68, "{key}");
    assert_eq!(run.stdout.lines().count(), 1, "data is the key alone");
    let id = key.split('_').nth(2).expect("an ID");
    assert!(run.stderr.starts_with("shown once: only its hash is kept\n"), "{}", run.stderr);
    let facts = format!("id {id} · owner ci · scopes orders:read · expires ");
    assert!(run.stderr.contains(&facts), "{}", run.stderr);
    assert!(!run.stderr.contains(key));
    let secret = &key[19..];
    for shown in [
        place.read(STORE),
        place.ok(&["list"]).everything(),
        place.ok(&["show", id]).everything(),
        place.ok(&["list", "--json"]).stdout,
    ] {
        assert!(shown.contains(id) && !shown.contains(secret), "{shown}");
    }
}

#[test]
#[cfg(unix)]
fn what_is_written_only_the_owner_can_read() {
    let place = Place::new();
    let run = place.ok(&["create", "--owner", "ci", "--scope", "a", "--out", "key.txt"]);
    assert_eq!(run.stdout, "key.txt\n");
    assert_eq!(support::mode(&place.path("key.txt")), 0o600);
    assert_eq!(support::mode(&place.path(STORE)), 0o600);
    assert_eq!(support::mode(&place.path(".countersign")), 0o700);
    let key = place.read("key.txt");
    assert!(!run.everything().contains(&key));
    assert_eq!(place.verify(&key).code, 0);
}

#[test]
fn a_file_that_is_there_is_kept_and_no_key_is_made_for_nothing() {
    let place = Place::new();
    fs::write(place.path("key.txt"), "precious").expect("written");
    let create = ["create", "--owner", "ci", "--scope", "a", "--out", "key.txt"];
    let run = place.run(&create);
    assert_eq!(run.code, 3, "{}", run.stderr);
    assert_eq!(place.read("key.txt"), "precious");
    assert!(!place.path(STORE).exists(), "no key was made");
    place.ok(&[&create[..], &["--force"]].concat());
    assert_eq!(place.verify(&place.read("key.txt")).code, 0);
}

#[test]
fn what_a_key_must_not_be_is_refused() {
    let place = Place::new();
    let create = ["create", "--owner", "ci", "--scope", "a"];
    for (name, args) in [
        ("no owner", vec!["create", "--scope", "a"]),
        ("no scope", vec!["create", "--owner", "ci"]),
        ("never, unasked", [&create[..], &["--expires", "never"]].concat()),
        ("at once", [&create[..], &["--expires", "0d"]].concat()),
        ("no unit", [&create[..], &["--expires", "90"]].concat()),
        ("no network", [&create[..], &["--network", "10.1.2.3/8"]].concat()),
        ("no method", [&create[..], &["--method", "Get"]].concat()),
        ("no prefix", [&create[..], &["--prefix", "CS_live"]].concat()),
        ("two words", vec!["create", "--owner", "ci", "--scope", "a b"]),
        ("force without a file", [&create[..], &["--force"]].concat()),
    ] {
        let run = place.run(&args);
        assert_eq!(run.code, 2, "{name}: {}", run.everything());
    }
    let never = place.json(&[&create[..], &["--expires", "never", "--force-never"]].concat());
    assert_eq!(never["record"]["expires_at"], Value::Null);
    assert_eq!(place.json(&["list"])["keys"].as_array().map(Vec::len), Some(1));
}

#[test]
fn a_key_verifies_and_its_twins_do_not() {
    let place = Place::new();
    let (key, id) = place.create(&[]);
    let (revoked, revoked_id) = place.create(&[]);
    place.ok(&["revoke", &revoked_id]);
    let elsewhere = Place::new().create(&[]).0;
    let test = Place::new().create(&["--prefix", "cs_test"]).0;
    for (name, key, code, reason) in [
        ("good", key.clone(), 0, "active"),
        ("with a line end", format!("{key}\n"), 0, "active"),
        ("revoked", revoked, 1, "revoked"),
        ("nobody's", elsewhere, 1, "unknown"),
        ("of another environment", test, 1, "other prefix"),
        ("garbage", "hunter2".to_owned(), 1, "malformed"),
        ("nothing", String::new(), 1, "malformed"),
    ] {
        let run = place.feed(&["key", "verify", "--json"], key.as_bytes());
        assert_eq!(run.code, code, "{name}: {}", run.stderr);
        assert_eq!(run.json()["reason"], reason, "{name}");
        let run = place.verify(&key);
        let answer = if code == 0 { "yes" } else { "no" };
        assert!(run.stdout.starts_with(answer) && run.stdout.contains(reason), "{name}");
        assert!(key.len() < 7 || !run.everything().contains(&key), "{name}: it is not quoted");
    }
    let run = place.feed(&["key", "verify", "--json"], key.as_bytes());
    assert_eq!(run.json()["record"]["id"], id.as_str());
    assert_eq!(run.json()["record"]["hash"]["digest"], Value::Null);
}

#[test]
fn a_rotated_key_has_a_successor_and_an_end() {
    let place = Place::new();
    let (old, old_id) = place.create(&["--tenant", "acme"]);
    let rotated = place.json(&["rotate", &old_id]);
    let new = rotated["key"].as_str().expect("a key");
    assert_eq!(rotated["record"]["rotated_from"], old_id.as_str());
    assert_eq!(rotated["record"]["tenant"], "acme");
    assert_eq!((place.verify(&old).code, place.verify(new).code), (0, 0), "both for a while");
    let shown = place.json(&["show", &old_id]);
    assert_eq!(shown["record"]["rotated_to"], rotated["record"]["id"]);
    let again = place.run(&["rotate", &old_id]);
    assert_eq!(again.code, 1, "{}", again.stderr);

    let new_id = rotated["record"]["id"].as_str().expect("an ID");
    let last = place.json(&["rotate", new_id, "--now"]);
    assert_eq!(place.verify(new).code, 1, "no overlap");
    assert_eq!(place.verify(last["key"].as_str().expect("a key")).code, 0);
}

#[test]
fn a_leaked_key_is_revoked_and_its_last_use_told() {
    let place = Place::new();
    let (key, id) = place.create(&[]);
    let run = place.ok(&["revoke", &id, "--leaked"]);
    assert!(run.stderr.contains(&format!("no use of {id} is on record")), "{}", run.stderr);
    assert!(run.stdout.contains(": leaked"), "{}", run.stdout);
    assert_eq!(place.verify(&key).code, 1);
    let used = format!(r#"{{"{id}":"2026-11-22T11:20:00Z"}}"#);
    fs::write(place.path(&format!("{STORE}.used")), used).expect("written");
    let run = place.ok(&["revoke", &id, "--leaked"]);
    assert!(run.stderr.contains("was used last on 2026-11-22 11:20 UTC, as ci"), "{}", run.stderr);
}

#[test]
fn an_id_that_is_none_is_answered_without_quoting_a_key() {
    let place = Place::new();
    let (key, id) = place.create(&[]);
    for verb in ["show", "rotate", "revoke"] {
        let run = place.run(&[verb, &key]);
        assert_eq!(run.code, 2, "{verb}");
        assert!(run.stderr.contains(&format!("the ID is `{id}`")), "{}", run.stderr);
        assert!(!run.everything().contains(&key));
        assert_eq!(place.run(&[verb, "zzzzzzzzzz"]).code, 1, "{verb}: there is no such key");
    }
    assert_eq!(place.verify(&key).code, 0, "nothing happened");
}

#[test]
fn a_list_can_be_narrowed() {
    let place = Place::new();
    let (_, kept) = place.create(&[]);
    let (_, lost) = place.create(&[]);
    place.ok(&["create", "--owner", "cd", "--scope", "a"]);
    place.ok(&["revoke", &lost]);
    let count = |args: &[&str]| place.json(args)["keys"].as_array().map(Vec::len);
    assert_eq!(count(&["list"]), Some(3));
    assert_eq!(count(&["list", "--owner", "ci"]), Some(2));
    let active = place.json(&["list", "--owner", "ci", "--active"]);
    assert_eq!(active["keys"][0]["id"], kept.as_str());
    assert_eq!(active["keys"].as_array().map(Vec::len), Some(1));
    let table = place.ok(&["list"]).stdout;
    assert!(table.starts_with("ID          OWNER  STATE"), "{table}");
}

#[test]
fn a_pepper_is_needed_again_to_tell() {
    let place = Place::new();
    fs::write(place.path("p1.txt"), "p".repeat(64)).expect("written");
    fs::write(place.path("p2.txt"), "q".repeat(64)).expect("written");
    fs::write(place.path("short.txt"), "p".repeat(31)).expect("written");
    let (key, _) = place.create(&["--pepper-file", "p1.txt"]);
    let verify = |args: &[&str]| place.feed(&[&["key", "verify"], args].concat(), key.as_bytes());
    assert_eq!(verify(&["--pepper-file", "p1.txt"]).code, 0);
    assert_eq!(verify(&["--pepper-file", "p2.txt", "--pepper-file", "p1.txt"]).code, 0);
    assert_eq!(verify(&["--pepper-file", "p1=p2.txt"]).code, 1, "another pepper of that name");
    assert_eq!(verify(&[]).code, 7, "nobody can tell");
    let short = verify(&["--pepper-file", "short.txt"]);
    assert_eq!(short.code, 3);
    assert!(!short.everything().contains(&"p".repeat(31)));
}

#[test]
fn a_store_that_cannot_be_used_is_named() {
    let place = Place::new();
    let run = place.run(&["list"]);
    assert_eq!(run.code, 3);
    assert!(
        run.stderr.contains("there is no key store `.countersign/keys.json`"),
        "{}",
        run.stderr
    );
    fs::write(place.path("keys.json"), "hunter2").expect("written");
    let run = place.run(&["list", "--store", "file:keys.json", "--json"]);
    assert_eq!((run.code, run.json()["error"]["exit_code"].clone()), (3, 3.into()));
    assert!(!run.everything().contains("hunter2"));
    assert_eq!(place.run(&["list", "--store", "keys.json"]).code, 2);
}

#[test]
#[cfg(not(feature = "sqlite"))]
fn a_store_that_was_not_built_in_is_named() {
    let run = Place::new().run(&["list", "--store", "sqlite:keys.db"]);
    assert_eq!(run.code, 3);
    assert!(run.stderr.contains("built without `sqlite`"), "{}", run.stderr);
}

#[test]
#[cfg(feature = "sqlite")]
fn keys_can_live_in_sqlite() {
    let place = Place::new();
    let store = ["--store", "sqlite:keys.db"];
    assert_eq!(place.run(&[&["list"], &store[..]].concat()).code, 3, "it is not there yet");
    let (key, id) = place.create(&store);
    let verify = [&["key", "verify"], &store[..]].concat();
    assert_eq!(place.feed(&verify, key.as_bytes()).code, 0);
    place.ok(&[&["revoke", &*id], &store[..]].concat());
    assert_eq!(place.feed(&verify, key.as_bytes()).code, 1);
}

#[test]
#[cfg(feature = "postgres")]
fn a_database_out_of_reach_is_told_without_its_password() {
    let place = Place::new();
    let url = "postgres://gateway:hunter2@127.0.0.1:1/keys";
    fs::write(place.path("url.txt"), format!("{url}\n")).expect("written");
    for store in [url, &format!("postgres:{url}"), "postgres:@url.txt"] {
        let create = ["create", "--owner", "ci", "--scope", "a", "--store", store];
        let run = place.run(&create);
        assert_eq!(run.code, 4, "{store}: {}", run.stderr);
        assert!(!run.everything().contains("hunter2"), "{}", run.stderr);
        let run =
            place.feed(&["key", "verify", "--store", store], Place::new().create(&[]).0.as_bytes());
        assert_eq!(run.code, 7, "{store}: {}", run.stderr);
    }
}
