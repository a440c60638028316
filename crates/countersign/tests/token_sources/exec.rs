//! Tokens from a program.

#![cfg(all(unix, feature = "exec"))]

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use countersign::credentials::{CachedToken, ExecPlugin};
use countersign_testkit::wait::until;

use crate::stage::{call, chain};
use crate::time::StoppedTime;

struct Program {
    folder: tempfile::TempDir,
}

impl Program {
    fn new(script: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("plugin");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("written");
        let permissions = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(&path, permissions).expect("executable");
        Self { folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("plugin")
    }

    fn plugin(&self) -> ExecPlugin {
        // Run by the shell: a file that was written a moment ago may still be open for writing
        // in a child of another test, and then cannot be executed.
        ExecPlugin::new("/bin/sh").arg(self.path()).env("PATH", "/usr/bin:/bin")
    }
}

fn printing(status: &str) -> Program {
    Program::new(&format!(
        r#"echo '{{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{status}}}'"#
    ))
}

#[tokio::test]
async fn a_program_gives_a_token_and_says_how_long() {
    let program =
        printing(r#"{"token":"from-a-program","expirationTimestamp":"2999-01-01T00:00:00Z"}"#);
    let credentials = CachedToken::new(program.plugin());
    assert_eq!(call(&credentials).await.expect("a token"), "from-a-program");
    assert_eq!(call(&credentials).await.expect("a token"), "from-a-program");
    assert_eq!(credentials.telemetry().refreshed, 1);
    let program = printing(r#"{"token":"old","expirationTimestamp":"2001-01-01T00:00:00Z"}"#);
    let error = call(&CachedToken::new(program.plugin())).await.expect_err("ended");
    assert!(!error.is_transient());
    let program = printing(r#"{"token":"open"}"#);
    let credentials = CachedToken::new(program.plugin());
    call(&credentials).await.expect("a token");
    let left = credentials.telemetry().time_to_expiry.expect("an end");
    assert!(left <= Duration::from_secs(300), "{left:?}");
}

#[tokio::test]
async fn a_program_gets_its_arguments_and_its_environment_and_nothing_of_ours() {
    let program = Program::new(
        r#"printf '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential",'
printf '"status":{"token":"%s|%s|%s|%s"}}' "$1" "$GIVEN" "${CARGO_MANIFEST_DIR:-none}" "${KUBERNETES_EXEC_INFO:+told}""#,
    );
    assert!(option_env!("CARGO_MANIFEST_DIR").is_some(), "it is in the environment of tests");
    let plugin = program.plugin().arg("$(hunter2);x").env("GIVEN", "yes");
    assert_eq!(format!("{plugin:?}"), "the program `/bin/sh`");
    assert_eq!(
        call(&CachedToken::new(plugin)).await.expect("a token"),
        "$(hunter2);x|yes|none|told"
    );
}

#[tokio::test]
async fn what_is_no_credential_is_an_error() {
    for (script, words) in [
        ("echo hunter2", "printed no ExecCredential"),
        ("true", "printed no ExecCredential"),
        ("head -c 70000 /dev/zero", "printed more than 64 KiB"),
        (r#"echo '{"apiVersion":"v1","kind":"ExecCredential"}'"#, "printed no ExecCredential of"),
    ] {
        let program = Program::new(script);
        let error = call(&CachedToken::new(program.plugin())).await.expect_err(words);
        assert!(chain(&error).contains(words), "{script}: {}", chain(&error));
        assert!(!error.is_transient() && !chain(&error).contains("hunter2"));
    }
    for status in ["{}", r#"{"token":""}"#, r#"{"token":"t","expirationTimestamp":"soon"}"#] {
        let program = printing(status);
        call(&CachedToken::new(program.plugin())).await.expect_err(status);
    }
}

#[tokio::test]
async fn a_program_that_fails_is_told_with_its_words() {
    let program = Program::new("echo 'log in first' >&2; exit 3");
    let error = call(&CachedToken::new(program.plugin())).await.expect_err("it failed");
    assert!(error.is_transient());
    assert_eq!(error.to_string(), "the program `/bin/sh` ended with exit status: 3: log in first");
    let missing = CachedToken::new(ExecPlugin::new("/no/such/program"));
    let error = call(&missing).await.expect_err("there is none");
    assert!(!error.is_transient());
    assert_eq!(error.to_string(), "cannot start the program `/no/such/program`");
}

#[tokio::test(start_paused = true)]
async fn a_program_is_killed_when_its_time_is_over_or_nobody_wants_its_token() {
    let time = StoppedTime::hold();
    let forever = "echo $$ > \"$1\"; exec tail -f /dev/null";
    let program = Program::new(forever);
    let pid_file = program.folder.path().join("pid");
    let pid = || std::fs::read_to_string(&pid_file).unwrap_or_default().trim().to_owned();
    let runs = |pid: &str| std::path::Path::new("/proc").join(pid).join("status").exists();

    let limit = Duration::from_millis(500);
    let credentials = CachedToken::new(program.plugin().arg(&pid_file).timeout(limit));
    let calling = tokio::spawn(async move { call(&credentials).await });
    until("it runs", || pid().parse::<u32>().is_ok()).await;
    let first = pid();
    time.advance(limit - Duration::from_millis(1)).await;
    assert!(runs(&first) && !calling.is_finished());
    time.advance(Duration::from_millis(1)).await;
    let error = calling.await.expect("joined").expect_err("no token in time");
    assert!(error.is_transient(), "{error}");
    until("it is gone", || !runs(&first)).await;

    std::fs::remove_file(&pid_file).expect("removed");
    let credentials = CachedToken::new(program.plugin().arg(&pid_file));
    crate::stage::call_now(&credentials).expect("it is under way");
    until("it runs", || pid().parse::<u32>().is_ok()).await;
    let second = pid();
    assert!(runs(&second));
    drop(credentials);
    until("it is gone", || !runs(&second)).await;
}
