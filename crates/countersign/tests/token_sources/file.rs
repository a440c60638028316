//! Token files (gRFC A97), with Kubernetes' symbolic links.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use countersign::CallCredentials;
use countersign::credentials::{CachedToken, FileToken};
use countersign_testkit::wait::until;
use tokio::time::advance;

use crate::stage::{BEGIN, Wall, call, call_now, chain, jwt, seconds};

struct Stage {
    _folder: tempfile::TempDir,
    path: PathBuf,
    credentials: CachedToken<FileToken>,
}

impl Stage {
    fn new(text: Option<&str>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        if let Some(text) = text {
            std::fs::write(&path, text).expect("written");
        }
        let source = FileToken::jwt(&path).expect("a path");
        let credentials = CachedToken::builder(source).with_clock(Wall::new()).build();
        Self { _folder: folder, path, credentials }
    }

    fn write(&self, text: &str) {
        std::fs::write(&self.path, text).expect("written");
    }

    fn readings(&self) -> u64 {
        let it = self.credentials.telemetry();
        it.refreshed + it.unchanged + it.failed_transiently + it.failed_permanently
    }

    /// Waits until this many readings have come back.
    async fn read(&self, readings: u64) {
        until("the file is read", || self.readings() >= readings).await;
    }
}

fn alive_tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

#[test]
fn jw_01_an_empty_path_is_refused_and_a_missing_file_is_not() {
    FileToken::jwt("").expect_err("no path");
    FileToken::new("").expect_err("no path");
    FileToken::jwt("/no/such/file").expect("a path");
}

#[tokio::test(start_paused = true)]
async fn jw_06_a_missing_file_is_unavailable() {
    let stage = Stage::new(None);
    let error = call(&stage.credentials).await.expect_err("no file");
    assert!(error.is_transient());
    let words = chain(&error);
    assert!(words.starts_with("cannot read the token file `"), "{words}");
    assert!(words.contains("o such file"), "{words}");
}

#[tokio::test(start_paused = true)]
async fn jw_07_and_08_what_is_no_token_is_unauthenticated() {
    let good = jwt("good", BEGIN + 3_600);
    let [header, claims, signature] = good.split('.').collect::<Vec<_>>()[..] else {
        unreachable!("three parts")
    };
    let parts = |claims: &str| format!("{header}.{claims}.{signature}");
    let encoded = |claims: &str| {
        use base64::Engine;
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(claims)
    };
    for (name, text) in [
        ("empty", String::new()),
        ("white space", "   \n\t  ".to_owned()),
        ("no JWT", "bad contents".to_owned()),
        ("two parts", "invalid.jwt".to_owned()),
        ("four parts", format!("{good}.more")),
        ("no base64", parts("invalid_base64!@#")),
        ("no JSON", parts(&encoded("not json"))),
        ("no object", parts(&encoded("[1]"))),
        ("no exp", parts(&encoded("{}"))),
        ("exp that is text", parts(&encoded(r#"{"exp":"1900000000"}"#))),
        ("ended", jwt("old", BEGIN - 1)),
        ("ends now", jwt("old", BEGIN)),
        ("not UTF-8", String::from("\u{fffd}")),
    ] {
        let stage = Stage::new(Some(&text));
        let error = call(&stage.credentials).await.expect_err(name);
        assert!(!error.is_transient(), "{name}: {error}");
        assert!(!chain(&error).contains(claims), "{name}: {error}");
    }
    assert_eq!(call(&Stage::new(Some(&good)).credentials).await.expect("a token"), good);
    let fraction = parts(&encoded(&format!(r#"{{"exp":{BEGIN}99.5}}"#)));
    call(&Stage::new(Some(&fraction)).credentials).await.expect("RFC 7519 allows a fraction");
}

#[tokio::test(start_paused = true)]
async fn jw_09_a_new_file_waits_for_its_turn() {
    let (old, new) = (jwt("old", BEGIN + 3_600), jwt("new", BEGIN + 7_200));
    let stage = Stage::new(Some(&old));
    assert_eq!(call(&stage.credentials).await.expect("a token"), old);
    stage.write(&new);
    advance(seconds(3_600 - 91)).await;
    assert_eq!(call(&stage.credentials).await.expect("a token"), old);
    assert_eq!(stage.readings(), 1);
}

#[tokio::test(start_paused = true)]
async fn jw_10_calls_wait_for_a_new_token_from_thirty_seconds_before_the_end() {
    let (old, new) = (jwt("old", BEGIN + 7_200), jwt("new", BEGIN + 14_400));
    let stage = Stage::new(Some(&old));
    call(&stage.credentials).await.expect("a token");
    advance(seconds(7_200 - 30)).await;
    stage.write(&new);
    assert_eq!(call_now(&stage.credentials).expect("no error"), None, "it has to wait");
    assert_eq!(call(&stage.credentials).await.expect("a token"), new);
    // grpc-go gives the old one up now; ours uses it to its end if there is no other.
    let stage = Stage::new(Some(&old));
    call(&stage.credentials).await.expect("a token");
    advance(seconds(7_200 - 30)).await;
    std::fs::remove_file(&stage.path).expect("removed");
    assert_eq!(call(&stage.credentials).await.expect("still good"), old);
    advance(seconds(30)).await;
    assert!(call(&stage.credentials).await.expect_err("ended").is_transient());
}

#[tokio::test(start_paused = true)]
async fn jw_11_near_its_end_a_token_is_replaced_and_no_call_waits() {
    let (old, new) = (jwt("old", BEGIN + 80), jwt("new", BEGIN + 3_600));
    let stage = Stage::new(Some(&old));
    assert_eq!(call(&stage.credentials).await.expect("call 1"), old);
    stage.write(&new);
    assert_eq!(call_now(&stage.credentials).expect("call 2").as_deref(), Some(&old[..]));
    stage.read(2).await;
    assert_eq!(call_now(&stage.credentials).expect("call 3").as_deref(), Some(&new[..]));
    assert_eq!(stage.readings(), 2);
}

#[tokio::test(start_paused = true)]
async fn jw_12_a_missing_file_is_looked_for_as_the_back_off_allows() {
    let stage = Stage::new(None);
    assert!(call(&stage.credentials).await.expect_err("call 1").is_transient());
    assert!(call_now(&stage.credentials).expect_err("call 2, cached").is_transient());
    assert_eq!(stage.readings(), 1);
    advance(seconds(2)).await;
    assert!(call(&stage.credentials).await.expect_err("call 3").is_transient());
    assert_eq!(stage.readings(), 2);
    let token = jwt("found", BEGIN + 3_600);
    stage.write(&token);
    assert!(call_now(&stage.credentials).expect_err("call 4, cached").is_transient());
    assert_eq!(stage.readings(), 2);
    advance(seconds(2)).await;
    assert_eq!(call(&stage.credentials).await.expect("call 5"), token);
    // The next failure begins with one second again.
    std::fs::remove_file(&stage.path).expect("removed");
    advance(seconds(3_600)).await;
    call(&stage.credentials).await.expect_err("gone");
    advance(std::time::Duration::from_millis(1_201)).await;
    stage.write(&jwt("again", BEGIN + 9_000));
    call(&stage.credentials).await.expect("a second is over");
}

#[tokio::test(start_paused = true)]
async fn jw_13_white_space_around_a_token_is_left_out() {
    let token = jwt("padded", BEGIN + 3_600);
    let stage = Stage::new(Some(&format!(" \r\n\t{token}\n\n")));
    assert_eq!(call(&stage.credentials).await.expect("a token"), token);
}

#[tokio::test(start_paused = true)]
async fn jw_14_a_file_that_is_gone_in_the_last_minute_is_looked_for_a_few_times() {
    let token = jwt("last", BEGIN + 3_600);
    let stage = Stage::new(Some(&token));
    call(&stage.credentials).await.expect("a token");
    advance(seconds(3_600 - 90)).await;
    std::fs::remove_file(&stage.path).expect("removed");
    // A thousand calls a second, for 59 s of the last 90.
    let idle = alive_tasks();
    for _ in 0..59_000 {
        let sent = call_now(&stage.credentials).expect("no error");
        assert_eq!(sent.as_deref(), Some(&token[..]), "old token used, nobody waits");
        // What a reading takes in real time is no time here.
        if alive_tasks() > idle {
            until("the file is looked for", || alive_tasks() <= idle).await;
        }
        advance(std::time::Duration::from_millis(1)).await;
    }
    let asked = stage.readings() - 1;
    assert!((5..=10).contains(&asked), "{asked} readings in a minute");
}

/// A pipe that nobody writes to stands for a file system that hangs.
#[cfg(unix)]
#[tokio::test]
async fn jw_15_a_deadline_ends_a_call_whose_file_hangs_and_others_go_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("token");
    let made = std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo");
    assert!(made.success());
    let credentials = CachedToken::new(FileToken::new(&path).expect("a path"));
    let deadline = std::time::Duration::from_millis(20);
    tokio::time::timeout(deadline, call(&credentials)).await.expect_err("the call's deadline");
    let waiting = Arc::new(credentials.clone());
    let other = tokio::spawn(async move { call(&*waiting).await });
    // Whoever waits gets the token when it comes: the reading was never given up.
    let writing = tokio::task::spawn_blocking(move || std::fs::write(path, "late"));
    assert_eq!(other.await.expect("no panic").expect("a token"), "late");
    writing.await.expect("no panic").expect("written");
    assert_eq!(credentials.telemetry().refreshed, 1);
}

#[tokio::test(start_paused = true)]
async fn a_permanent_failure_ends_when_the_file_changes() {
    let stage = Stage::new(Some("bad contents"));
    assert!(!call(&stage.credentials).await.expect_err("no JWT").is_transient());
    advance(seconds(2)).await;
    call(&stage.credentials).await.expect_err("nothing changed");
    assert_eq!(stage.readings(), 1);
    let token = jwt("good", BEGIN + 3_600);
    stage.write(&token);
    advance(seconds(2)).await;
    assert_eq!(call(&stage.credentials).await.expect("it changed"), token);
}

#[tokio::test(start_paused = true)]
async fn any_other_text_is_a_token_and_read_again_every_minute() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("token");
    std::fs::write(&path, "opaque-1\n").expect("written");
    let credentials = CachedToken::new(FileToken::new(&path).expect("a path"));
    assert_eq!(call(&credentials).await.expect("a token"), "opaque-1");
    std::fs::write(&path, "opaque-2\n").expect("written");
    advance(seconds(59)).await;
    assert_eq!(call(&credentials).await.expect("a token"), "opaque-1");
    advance(seconds(1)).await;
    assert_eq!(call(&credentials).await.expect("a token"), "opaque-1");
    until("it is read", || credentials.telemetry().refreshed == 2).await;
    assert_eq!(call(&credentials).await.expect("a token"), "opaque-2");
    std::fs::write(&path, "x".repeat(16 * 1024 + 1)).expect("written");
    let fresh = CachedToken::new(FileToken::new(&path).expect("a path"));
    assert!(!call(&fresh).await.expect_err("too long").is_transient());
}

/// What a kubelet does: `token -> ..data/token`, `..data -> ..<time>`, and `..data` is exchanged
/// by a rename.
#[cfg(unix)]
fn project(folder: &Path, generation: u32, token: &str) {
    let version = format!("..2026_{generation}");
    std::fs::create_dir(folder.join(&version)).expect("a folder");
    std::fs::write(folder.join(&version).join("token"), token).expect("written");
    std::os::unix::fs::symlink(&version, folder.join("..data_tmp")).expect("a link");
    std::fs::rename(folder.join("..data_tmp"), folder.join("..data")).expect("exchanged");
    if generation == 0 {
        std::os::unix::fs::symlink("..data/token", folder.join("token")).expect("a link");
    } else {
        let last = folder.join(format!("..2026_{}", generation - 1));
        std::fs::remove_dir_all(last).expect("removed");
    }
}

#[cfg(unix)]
#[tokio::test(start_paused = true)]
async fn a_projected_token_is_exchanged_under_a_thousand_calls_a_second_and_none_fails() {
    let folder = tempfile::tempdir().expect("a folder");
    let lifetime = 600;
    let token = |generation: u32| {
        jwt(&format!("g{generation}"), BEGIN + u64::from(generation) * 480 + lifetime)
    };
    project(folder.path(), 0, &token(0));
    let source = FileToken::jwt(folder.path().join("token")).expect("a path");
    let credentials = CachedToken::builder(source).with_clock(Wall::new()).build();
    assert_eq!(call(&credentials).await.expect("a token"), token(0));
    let mut seen = vec![token(0)];
    // The kubelet writes a new one at 80 % of the lifetime.
    for generation in 1..=5 {
        advance(seconds(if generation == 1 { 480 } else { 450 })).await;
        project(folder.path(), generation, &token(generation));
        for _ in 0..30_000 {
            let sent = call_now(&credentials).expect("no failed call").expect("no call waits");
            if seen.last() != Some(&sent) {
                seen.push(sent);
            }
            advance(std::time::Duration::from_millis(1)).await;
        }
        let wanted = token(generation);
        until("the new one is used", || {
            let sent = call_now(&credentials).expect("no failed call").expect("no call waits");
            seen.push(sent.clone());
            sent == wanted
        })
        .await;
    }
    seen.dedup();
    assert_eq!(seen, (0..=5).map(token).collect::<Vec<_>>());
    assert!(credentials.can_replace());
}
