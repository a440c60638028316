use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use countersign::credentials::{CallCredentialsError, CallCredentialsErrorKind};
use countersign::{CallError, ClientRequestExt};
use tonic::{Code, Status};

use super::{BOTH_WAYS, Fake, Stage, Way, greet, hello};

#[tokio::test]
async fn a_failure_keeps_its_code_and_text_unless_the_code_belongs_to_applications() {
    // CC-05, CC-06, gRFC A54. A failure that says OK, or a code that does not exist, is none.
    let stage = Stage::new().await;
    for code in (0..=16).chain([-1, 17, 99]) {
        let expected = match code {
            0 | 3 | 5 | 6 | 9 | 10 | 11 | 15 => Code::Internal,
            code => Code::from_i32(code),
        };
        for way in BOTH_WAYS {
            let kind = CallCredentialsErrorKind::Code(code);
            let status = stage.call(way, Fake::failing(kind, "this error")).await;
            let status = status.expect_err("it failed");
            assert_eq!(status.code(), expected, "{code}, {way:?}");
            match Code::from_i32(code) == expected {
                true => assert_eq!(status.message(), "this error", "{code}, {way:?}"),
                false => {
                    let was = format!("{:?}: this error", Code::from_i32(code));
                    assert!(status.message().ends_with(&was), "{code}: {}", status.message());
                }
            }
            let error = CallError::of(&status).expect("ours and not the server's");
            assert!(matches!(error, CallError::Credentials(_)), "{error:?}");
        }
    }
    assert_eq!(stage.reached.count(), 0);
}

#[tokio::test]
async fn a_failure_without_a_code_is_unavailable_or_unauthenticated_by_its_kind() {
    // CC-07; grpc-go answers by the place where the credentials were given.
    let stage = Stage::new().await;
    for way in BOTH_WAYS {
        for (kind, code, transient) in [
            (CallCredentialsErrorKind::Transient, Code::Unavailable, true),
            (CallCredentialsErrorKind::Permanent, Code::Unauthenticated, false),
            (CallCredentialsErrorKind::Code(14), Code::Unavailable, true),
        ] {
            let status = stage.call(way, Fake::failing(kind, "no token today")).await;
            let status = status.expect_err("it failed");
            assert_eq!((status.code(), status.message()), (code, "no token today"), "{way:?}");
            let Some(CallError::Credentials(error)) = CallError::of(&status) else {
                panic!("{status:?}")
            };
            assert_eq!((error.kind(), error.is_transient()), (kind, transient));
        }
    }
}

#[tokio::test]
async fn a_failure_made_from_a_status_keeps_it() {
    let stage = Stage::new().await;
    for (status, code) in [
        (Status::unavailable("this error is fine"), Code::Unavailable),
        (Status::not_found("this error is bad"), Code::Internal),
    ] {
        let text = status.message().to_owned();
        let credentials = Fake::new(move |_, _, _| Err(status.clone().into()));
        let failed = stage.call(Way::Call, credentials).await.expect_err("it failed");
        assert_eq!(failed.code(), code);
        assert!(failed.message().contains(&text), "{}", failed.message());
    }
}

#[tokio::test]
async fn a_failed_call_is_not_tried_again_and_the_next_one_asks_anew() {
    // CC-13 without a retry policy; §2.6: not even a call that waits for a connection waits.
    let stage = Stage::new().await;
    let first = AtomicUsize::new(0);
    let credentials = Fake::new(move |_, _, metadata| match first.fetch_add(1, Ordering::SeqCst) {
        0 | 1 => Err(CallCredentialsError::transient("try again")),
        _ => Ok(metadata.insert("authorization", "Bearer x")?),
    });
    let channel = stage.channel(stage.tls().with_call_credentials(credentials.clone())).await;
    for (asked, request) in [(1, hello()), (2, hello().wait_for_ready())] {
        let status = greet(&channel, request).await.expect_err("no token");
        assert_eq!((status.code(), credentials.asked()), (Code::Unavailable, asked));
    }
    greet(&channel, hello()).await.expect("a token");
    assert_eq!((credentials.asked(), stage.reached.count()), (3, 1));
}

#[tokio::test]
async fn a_call_that_waits_asks_again_when_the_credentials_say_so() {
    let stage = Stage::new().await;
    let failing = |error: fn() -> CallCredentialsError| {
        let first = AtomicUsize::new(0);
        Fake::new(move |_, _, metadata| match first.fetch_add(1, Ordering::SeqCst) {
            0..3 => Err(error()),
            _ => Ok(metadata.insert("authorization", "Bearer x")?),
        })
    };
    let soon = || CallCredentialsError::transient("try again").with_retry_after(Duration::ZERO);
    let credentials = failing(soon);
    let request = || hello().call_credentials(credentials.clone());
    let channel = stage.channel(stage.tls()).await;
    let status = greet(&channel, request()).await.expect_err("it does not wait");
    assert_eq!((status.code(), credentials.asked()), (Code::Unavailable, 1));
    greet(&channel, request().wait_for_ready()).await.expect("it waits");
    assert_eq!((credentials.asked(), stage.reached.count()), (4, 1));
    assert_eq!(stage.reached.last_values("authorization"), ["Bearer x"]);

    let hour = Duration::from_secs(3_600);
    for (name, credentials, code) in [
        (
            "after the deadline",
            failing(|| {
                let hour = Duration::from_secs(3_600);
                CallCredentialsError::transient("later").with_retry_after(hour)
            }),
            Code::Unavailable,
        ),
        (
            "permanent",
            failing(|| CallCredentialsError::permanent("no").with_retry_after(Duration::ZERO)),
            Code::Unauthenticated,
        ),
    ] {
        let mut request = hello().call_credentials(credentials.clone()).wait_for_ready();
        request.set_timeout(hour / 2);
        let status = greet(&channel, request).await.expect_err(name);
        assert_eq!((status.code(), credentials.asked()), (code, 1), "{name}");
        assert!(matches!(CallError::of(&status), Some(CallError::Credentials(_))), "{name}");
    }
}
