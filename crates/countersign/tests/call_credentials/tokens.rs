use std::time::Duration;

use countersign::credentials::{CallCredentialsErrorKind, CallMetadata};
use countersign::{ApiKey, BearerToken, CallCredentials};
use futures_util::FutureExt as _;
use tonic::Code;

#[cfg(unix)]
use super::pipe::Pipe;
use super::support::collect_logs;
use super::{BOTH_WAYS, Stage, TOKEN, details, given_by, greet, hello};

#[tokio::test]
async fn a_bearer_token_arrives_exactly_once_either_way() {
    // JW-02.
    let stage = Stage::new().await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("token");
    std::fs::write(&path, TOKEN).expect("written");
    for way in BOTH_WAYS {
        for token in [BearerToken::new(TOKEN).expect("a token"), BearerToken::from_file(&path)] {
            stage.call(way, token).await.expect("sent");
            let values = stage.reached.last_values("authorization");
            assert_eq!(values, [format!("Bearer {TOKEN}")], "{way:?}");
        }
    }
}

#[tokio::test]
async fn an_api_key_is_sent_under_its_own_key_or_another() {
    let stage = Stage::new().await;
    let key = || ApiKey::new(TOKEN).expect("a key");
    for way in BOTH_WAYS {
        stage.call(way, key()).await.expect("sent");
        assert_eq!(stage.reached.last_values("x-api-key"), [TOKEN], "{way:?}");
        stage.call(way, key().under("X-Orders-Key").expect("a name")).await.expect("sent");
        assert_eq!(stage.reached.last_values("x-orders-key"), [TOKEN], "{way:?}");
        assert_eq!(stage.reached.last_values("x-api-key"), [""; 0], "{way:?}");
        assert_eq!(stage.reached.last_values("authorization"), [""; 0], "{way:?}");
    }
    for name in ["content-type", ":path", "grpc-status", "a b", "", "ä", "x-orders-key-bin"] {
        let error = key().under(name).expect_err(name);
        assert_eq!(error.kind(), CallCredentialsErrorKind::Code(13), "{name:?}");
    }
}

#[test]
fn what_cannot_be_a_token_or_a_key_is_refused_when_it_is_given() {
    let longest = "t".repeat(BearerToken::MAX_BYTES);
    for text in ["", " ", "a b", "a\n", "\ta", "a\0", "tökén"] {
        let token = BearerToken::new(text).expect_err(text);
        let key = ApiKey::new(text).expect_err(text);
        for error in [token, key] {
            assert_eq!(error.kind(), CallCredentialsErrorKind::Permanent, "{text:?}");
        }
    }
    let error = BearerToken::new(format!("{longest}t")).expect_err("too long");
    assert_eq!(error.to_string(), "the token is longer than 16 KiB");
    BearerToken::new(longest).expect("just short enough");
    ApiKey::new(TOKEN).expect("a key");
}

#[tokio::test]
async fn a_token_file_is_trimmed_and_fails_by_what_is_wrong_with_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    let token = || BearerToken::from_file(&file);
    let longest = "t".repeat(BearerToken::MAX_BYTES);

    // JW-01, JW-06: no error before there is a call.
    let error = given_by(&token()).await.expect_err("there is no file");
    assert_eq!(error.kind(), CallCredentialsErrorKind::Transient);
    assert!(error.to_string().contains(&file.display().to_string()), "{error}");
    assert!(std::error::Error::source(&error).is_some(), "what the system says");

    use CallCredentialsErrorKind::Permanent;
    let over = format!("{longest}t");
    for (name, contents, expected) in [
        ("as it is", TOKEN.as_bytes(), Ok(TOKEN)),
        ("newline at the end (JW-13)", b"abc\n", Ok("abc")),
        ("white space around it (JW-13)", b" \r\n\tabc\t\r\n\r\n", Ok("abc")),
        // Opaque tokens are tokens too: nothing is asked of its parts.
        ("two parts (JW-08)", b"invalid.jwt", Ok("invalid.jwt")),
        ("longest", longest.as_bytes(), Ok(&longest)),
        ("empty (JW-07)", b"", Err(Permanent)),
        ("white space (JW-07)", b"   \n\t  ", Err(Permanent)),
        ("two words (JW-08)", b"bad contents", Err(Permanent)),
        ("two lines", b"abc\ndef\n", Err(Permanent)),
        ("not ASCII", "tökén".as_bytes(), Err(Permanent)),
        ("not text at all", b"\xff\xfe\x00", Err(Permanent)),
        ("too long", over.as_bytes(), Err(Permanent)),
    ] {
        std::fs::write(&file, contents).expect("written");
        let outcome = given_by(&token()).await;
        match (outcome, expected) {
            (Ok(metadata), Ok(token)) => {
                let value = format!("Bearer {token}");
                assert_eq!(metadata.get("authorization"), Some(value.as_bytes()), "{name}");
            }
            (Err(error), Err(kind)) => {
                assert_eq!(error.kind(), kind, "{name}");
                let said = error.to_string();
                assert!(said.contains(&file.display().to_string()), "{name}: {said}");
            }
            (outcome, _) => panic!("{name}: {outcome:?}"),
        }
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_token_file_decides_the_calls_status() {
    let stage = Stage::new().await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    let token = BearerToken::from_file(&file);
    let channel = stage.channel(stage.tls().with_call_credentials(token)).await;
    let code = || async { greet(&channel, hello()).await.err().map(|status| status.code()) };
    assert_eq!(code().await, Some(Code::Unavailable), "missing (JW-06)");
    std::fs::write(&file, "\n").expect("written");
    assert_eq!(code().await, Some(Code::Unauthenticated), "empty (JW-07)");
    std::fs::write(&file, format!("{TOKEN}\n")).expect("written");
    assert_eq!(code().await, None, "as soon as it is there");
    assert_eq!(stage.reached.last_values("authorization"), [format!("Bearer {TOKEN}")]);
    assert_eq!(stage.reached.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_token_file_is_read_again_after_a_minute_and_not_before() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    let token = BearerToken::from_file(&file);
    let shared = token.clone();
    let sent = |token: &BearerToken| {
        let token = token.clone();
        async move {
            let metadata = given_by(&token).await.expect("a token");
            String::from_utf8(metadata.get("authorization").expect("it").to_vec()).expect("ASCII")
        }
    };
    let is_known = || {
        let (call, security) = details();
        token.get_metadata_now(&call, &security, &mut CallMetadata::default()).expect("no error")
    };
    let minute = BearerToken::REREAD_AFTER;
    let instant = Duration::from_millis(1);
    assert_eq!(minute, Duration::from_secs(60));

    assert!(!is_known(), "nothing is read before the first call");
    std::fs::write(&file, "one").expect("written");
    assert_eq!(sent(&token).await, "Bearer one");
    std::fs::write(&file, "two").expect("written");
    tokio::time::advance(minute - instant).await;
    assert!(is_known());
    assert_eq!(sent(&token).await, "Bearer one");
    tokio::time::advance(instant).await;
    assert!(!is_known(), "its minute is over");
    assert_eq!(sent(&token).await, "Bearer two");
    assert_eq!(sent(&shared).await, "Bearer two", "clones share what was read");

    // What happens to the file takes nothing from the calls, and is looked at once a minute.
    for (name, damage) in
        [("gone", None), ("emptied", Some("")), ("half written", Some("two words"))]
    {
        match damage {
            None => std::fs::remove_file(&file).expect("removed"),
            Some(contents) => std::fs::write(&file, contents).expect("written"),
        }
        tokio::time::advance(minute).await;
        assert_eq!(sent(&token).await, "Bearer two", "{name}");
        assert!(is_known(), "{name}: not read again by every call");
        std::fs::write(&file, "too early").expect("written");
        assert_eq!(sent(&token).await, "Bearer two", "{name}");
    }
    std::fs::write(&file, "three").expect("written");
    tokio::time::advance(minute).await;
    assert_eq!(sent(&token).await, "Bearer three");
}

#[tokio::test(start_paused = true)]
async fn the_log_says_that_a_token_file_cannot_be_read_any_more() {
    let logs = collect_logs();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    std::fs::write(&file, TOKEN).expect("written");
    let token = BearerToken::from_file(&file);
    given_by(&token).await.expect("a token");
    assert_eq!(logs.lines_with("WARN").len(), 0, "{}", logs.text());
    std::fs::remove_file(&file).expect("removed");
    tokio::time::advance(BearerToken::REREAD_AFTER).await;
    given_by(&token).await.expect("the last one");
    given_by(&token).await.expect("the last one");
    let warnings = logs.lines_with("WARN");
    let [warning] = &warnings[..] else { panic!("{}", logs.text()) };
    assert!(warning.contains("keeping the last token"), "{warning}");
    assert!(warning.contains(&file.display().to_string()), "{warning}");
}

#[cfg(unix)]
#[test]
fn a_token_file_that_hangs_holds_up_one_thread_and_no_call_that_has_a_token() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .max_blocking_threads(2)
        .build()
        .expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let (file, pipe) = (folder.path().join("token"), Pipe::new(folder.path().join("pipe")));
    let hangs = BearerToken::from_file(pipe.path());
    let known = BearerToken::from_file(&file);
    let sent = |metadata: CallMetadata| {
        String::from_utf8(metadata.get("authorization").expect("it").to_vec()).expect("ASCII")
    };
    runtime.block_on(async {
        std::fs::write(&file, "one").expect("written");
        assert_eq!(sent(given_by(&known).await.expect("a token")), "Bearer one");
        std::fs::remove_file(&file).expect("removed");
        std::os::unix::fs::symlink(pipe.path(), &file).expect("linked");
        // Without a token calls wait, and give up under their own deadlines.
        for _ in 0..10 {
            assert!(given_by(&hangs).now_or_never().is_none());
        }
        let other = tokio::task::spawn_blocking(|| "other work");
        assert_eq!(other.await.expect("no panic"), "other work");
        let waits = tokio::spawn({
            let hangs = hangs.clone();
            async move { given_by(&hangs).await.map(|_| ()) }
        });
        tokio::task::yield_now().await;
        tokio::time::advance(Duration::from_secs(10)).await;
        let error = waits.await.expect("no panic").expect_err("there is no token");
        assert_eq!(error.kind(), CallCredentialsErrorKind::Transient);
        assert!(error.to_string().contains("does not come back"), "{error}");
        // With one, whoever reads waits, and nobody else.
        tokio::time::advance(BearerToken::REREAD_AFTER).await;
        let reads = tokio::spawn({
            let known = known.clone();
            async move { given_by(&known).await.map(sent) }
        });
        tokio::task::yield_now().await;
        let others = given_by(&known).now_or_never().expect("at once").expect("the last one");
        assert_eq!(sent(others), "Bearer one");
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(reads.await.expect("no panic").expect("the last one"), "Bearer one");
        tokio::time::advance(BearerToken::REREAD_AFTER).await;
        let next = given_by(&known).now_or_never().expect("at once").expect("the last one");
        assert_eq!(sent(next), "Bearer one", "and the reading that hangs is not begun again");
    });
}
