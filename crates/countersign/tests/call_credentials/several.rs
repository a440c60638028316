use countersign::SecurityLevel::{IntegrityOnly, NoSecurity, PrivacyAndIntegrity};
use countersign::credentials::CallCredentialsErrorKind;
use countersign::{
    ApiKey, BearerToken, CallCredentials, ChannelCredentials, ClientRequestExt,
    CompositeCallCredentials, ServerCredentials, connect,
};
use tonic::Code;

use super::{BOTH_WAYS, Fake, Stage, TOKEN, Way, given_by, greet, hello, is_insecure, plaintext};

#[tokio::test]
async fn several_credentials_are_asked_in_order_and_all_arrive() {
    let stage = Stage::new().await;
    let (call, key) = (Fake::sending("third", "3"), ApiKey::new(TOKEN).expect("a key"));
    let composite = CompositeCallCredentials::new(
        BearerToken::new(TOKEN).expect("a token"),
        CompositeCallCredentials::new(Fake::sending("second", "2"), call),
    )
    .and(key);
    let metadata = given_by(&composite).await.expect("all of them");
    let keys = r#"["authorization", "second", "third", "x-api-key"]"#;
    assert_eq!(format!("{metadata:?}"), keys);
    for way in BOTH_WAYS {
        stage.call(way, composite.clone()).await.expect("sent");
        let bearer = format!("Bearer {TOKEN}");
        for (key, value) in
            [("authorization", &*bearer), ("second", "2"), ("third", "3"), ("x-api-key", TOKEN)]
        {
            assert_eq!(stage.reached.last_values(key), [value], "{way:?}");
        }
    }
}

#[tokio::test]
async fn the_first_failure_of_several_ends_it() {
    let stage = Stage::new().await;
    let failing = Fake::failing(CallCredentialsErrorKind::Transient, "not now");
    let (before, after) = (Fake::sending("before", "1"), Fake::sending("after", "2"));
    let composite = CompositeCallCredentials::new(before.clone(), failing).and(after.clone());
    let status = stage.call(Way::Channel, composite).await.expect_err("one of them failed");
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "not now"));
    assert_eq!((before.asked(), after.asked(), stage.reached.count()), (1, 0, 0));
}

#[tokio::test]
async fn two_credentials_that_write_one_key_fail_the_call() {
    // grpc-go lets the last one win.
    let stage = Stage::new().await;
    let token = || BearerToken::new(TOKEN).expect("a token");
    for (name, composite) in [
        ("another", CompositeCallCredentials::new(token(), Fake::sending("Authorization", "x"))),
        ("itself", CompositeCallCredentials::new(token(), token())),
    ] {
        let status = stage.call(Way::Call, composite).await.expect_err(name);
        assert_eq!(status.code(), Code::Internal, "{name}");
        assert!(status.message().contains("\"authorization\""), "{}", status.message());
    }
    assert_eq!(stage.reached.count(), 0);
    let differ = CompositeCallCredentials::new(token(), Fake::sending("authorization2", "x"));
    stage.call(Way::Call, differ).await.expect("two keys");
}

#[tokio::test]
async fn several_credentials_need_what_the_neediest_of_them_needs() {
    // The composite's level is the highest of theirs (gRFC L62).
    let fake = |need| Fake::sending("authorization", "x").needing(need);
    for (first, second, both) in [
        (NoSecurity, NoSecurity, NoSecurity),
        (NoSecurity, IntegrityOnly, IntegrityOnly),
        (PrivacyAndIntegrity, NoSecurity, PrivacyAndIntegrity),
        (IntegrityOnly, PrivacyAndIntegrity, PrivacyAndIntegrity),
    ] {
        let composite = CompositeCallCredentials::new(fake(first), fake(second));
        assert_eq!(composite.minimum_channel_security_level(), both);
        let three = CompositeCallCredentials::new(fake(NoSecurity), composite);
        assert_eq!(three.minimum_channel_security_level(), both);
    }
    let (tcp, reached) = plaintext(ServerCredentials::local(), "127.0.0.1:0").await;
    let (harmless, secret) = (fake(NoSecurity), fake(PrivacyAndIntegrity));
    let composite = CompositeCallCredentials::new(harmless.clone(), secret.clone());
    let credentials = ChannelCredentials::local().with_call_credentials(composite);
    let channel = connect(tcp.address().to_string(), credentials).await.expect("connected");
    let status = greet(&channel, hello()).await.expect_err("too little protection");
    assert!(is_insecure(&status), "{status:?}");
    assert_eq!((harmless.asked(), secret.asked(), reached.count()), (0, 0, 0));
    greet(&channel, hello().call_credentials(harmless)).await.expect("by itself it may");
}
