use countersign::{CallError, ChannelCredentials, ClientRequestExt, ServerCredentials, connect};
use countersign_testkit::pki::CertificateAuthority;
use tonic::Code;

use super::support::{Reached, greeter, identity, serve, trusting};
use super::{Fake, Stage, greet, hello, local, plaintext};

#[tokio::test]
async fn a_call_may_be_addressed_to_what_the_servers_certificate_vouches_for() {
    // AU-A1, AU-A2, AU-A3.
    let stage = Stage::new().await;
    let channel = stage.channel(stage.tls()).await;
    let credentials = Fake::sending("authorization", "Bearer x");
    let addressed = |authority: &str| {
        let request = hello().authority(authority).call_credentials(credentials.clone());
        let channel = channel.clone();
        async move { greet(&channel, request).await }
    };
    for authority in [
        "auth.test.example.com",
        "auth.test.example.com:8010",
        "orders.example",
        "AUTH.test.example.com",
    ] {
        addressed(authority).await.expect(authority);
        let uri = stage.reached.last().uri;
        assert_eq!(uri.authority().map(|it| it.as_str()), Some(authority));
    }
    let (asked, reached) = (credentials.asked(), stage.reached.count());
    for authority in [
        "auth.example.com",
        "auth.example.com:8443",
        "a.b.test.example.com",
        "test.example.com",
        "127.0.0.1",
        "user@orders.example",
        "",
    ] {
        let status = addressed(authority).await.expect_err(authority);
        assert_eq!(status.code(), Code::Unavailable, "{authority}");
        let error = CallError::of(&status).expect("ours");
        assert!(matches!(error, CallError::Authority { .. }), "{error:?}");
    }
    assert_eq!((credentials.asked(), stage.reached.count()), (asked, reached));
    greet(&channel, hello()).await.expect("the channel is as good as before");
}

#[tokio::test]
async fn an_intermediates_name_is_nobodys_authority() {
    // AU-A3.
    let root = CertificateAuthority::new("root.example");
    let issuing = root.intermediate("issuing.example");
    let reached = Reached::default();
    let incoming = ServerCredentials::tls(identity(&issuing.server(&["localhost", "*.a.example"])))
        .build()
        .expect("server credentials")
        .bind("127.0.0.1:0")
        .await
        .expect("bound");
    let server = serve(incoming, greeter(&reached));
    let channel = connect(server.https("localhost"), ChannelCredentials::tls(trusting(&root)));
    let channel = channel.await.expect("connected");
    greet(&channel, hello().authority("x.a.example")).await.expect("the leaf's wildcard");
    for authority in ["issuing.example", "root.example"] {
        let status = greet(&channel, hello().authority(authority)).await.expect_err(authority);
        assert_eq!((status.code(), reached.count()), (Code::Unavailable, 1), "{authority}");
    }
}

#[tokio::test]
async fn without_tls_a_call_may_be_addressed_to_anything() {
    // AU-A1 for local and insecure credentials: there is nothing that could be proven.
    let folder = tempfile::tempdir().expect("a folder");
    let (_unix, unix_reached, unix) = local(folder.path());
    let (plain, plain_reached) = plaintext(ServerCredentials::insecure(), "127.0.0.1:0").await;
    let local_channel = connect(unix, ChannelCredentials::local()).await.expect("connected");
    let insecure = connect(plain.http("localhost"), ChannelCredentials::insecure());
    let insecure = insecure.await.expect("connected");
    for (channel, reached) in [(local_channel, unix_reached), (insecure, plain_reached)] {
        for authority in ["auth.test.example.com", "auth.test.example.com:8010"] {
            greet(&channel, hello().authority(authority)).await.expect("sent");
            let uri = reached.last().uri;
            assert_eq!(uri.authority().map(|it| it.as_str()), Some(authority));
        }
        let status = greet(&channel, hello().authority("a b")).await.expect_err("no authority");
        assert_eq!((status.code(), reached.count()), (Code::Unavailable, 2));
    }
}
