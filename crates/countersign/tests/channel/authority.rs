//! What a call is addressed to, and who may answer for it.

use std::net::SocketAddr;

use countersign::{
    CallError, Channel, ChannelBuilder, ChannelCredentials, ClientRequestExt, Resolve,
    ServerCredentials,
};
use countersign_testkit::pki::CertificateAuthority;
use tonic::Code;

use crate::support::{Answer, Recorder, call, hello, showing, trusting};

/// All names lead to one address.
#[derive(Debug)]
struct To(SocketAddr);

#[countersign::async_trait]
impl Resolve for To {
    async fn resolve(&self, _host: &str, _port: u16) -> std::io::Result<Vec<SocketAddr>> {
        Ok(vec![self.0])
    }
}

/// Scheme and authority of a call as the server sees them.
async fn seen(server: &Recorder, builder: ChannelBuilder) -> (String, String) {
    let channel = builder.connect().await.expect("connected");
    call(&channel, hello()).await.expect("an answer");
    let seen = server.last();
    assert_eq!(seen.path, "/countersign.demo.v1.Greeter/SayHello");
    (seen.scheme, seen.authority)
}

fn told(scheme: &str, authority: &str) -> (String, String) {
    (scheme.to_owned(), authority.to_owned())
}

#[tokio::test]
async fn scheme_and_authority_are_the_targets() {
    let ca = CertificateAuthority::new("test CA");
    let certificate = ca.server(&["localhost", "orders.example"]);
    let plain = Recorder::plaintext(Answer::Reply).await;
    let secure = Recorder::bind(&showing(&certificate), Answer::Reply).await;

    let insecure = || ChannelCredentials::insecure();
    let port = plain.address().port();
    let builder = Channel::builder(format!("http://localhost:{port}"), insecure());
    assert_eq!(seen(&plain, builder).await, told("http", &format!("localhost:{port}")));
    let builder = Channel::builder(format!("ipv4:127.0.0.1:{port}"), insecure());
    assert_eq!(seen(&plain, builder).await, told("http", &format!("127.0.0.1:{port}")));
    let builder = Channel::builder("http://orders.example", insecure());
    let builder = builder.resolver(To(plain.address()));
    assert_eq!(seen(&plain, builder).await, told("http", "orders.example"));

    let port = secure.address().port();
    let builder = Channel::builder(secure.https("localhost"), trusting(&ca));
    assert_eq!(seen(&secure, builder).await, told("https", &format!("localhost:{port}")));
    let builder = Channel::builder("https://orders.example", trusting(&ca));
    let builder = builder.resolver(To(secure.address()));
    assert_eq!(seen(&secure, builder).await, told("https", "orders.example"));
}

#[cfg(unix)]
#[tokio::test]
async fn over_a_unix_socket_the_authority_is_localhost() {
    let folder = tempfile::tempdir().expect("a folder");
    let ca = CertificateAuthority::new("test CA");
    let (open, secure) = (folder.path().join("open"), folder.path().join("secure"));
    let incoming = ServerCredentials::local().bind_unix(&open).expect("bound");
    let server = Recorder::start(incoming, Answer::Reply);
    for target in [format!("unix:{}", open.display()), format!("unix://{}", open.display())] {
        let builder = Channel::builder(target, ChannelCredentials::local());
        assert_eq!(seen(&server, builder).await, told("http", "localhost"));
    }
    let incoming = showing(&ca.server(&["localhost"])).bind_unix(&secure).expect("bound");
    let server = Recorder::start(incoming, Answer::Reply);
    let builder = Channel::builder(format!("unix:{}", secure.display()), trusting(&ca));
    assert_eq!(seen(&server, builder).await, told("https", "localhost"));
}

#[tokio::test]
async fn an_authority_of_the_channels_own_is_sent_and_verified_instead_of_the_targets() {
    let ca = CertificateAuthority::new("test CA");
    let server = Recorder::bind(&showing(&ca.server(&["orders.example"])), Answer::Reply).await;
    let builder = || Channel::builder(server.https("127.0.0.1"), trusting(&ca));

    let own = builder().authority("orders.example");
    assert_eq!(seen(&server, own).await, told("https", "orders.example"));
    let own = builder().authority("orders.example:8443");
    assert_eq!(seen(&server, own).await, told("https", "orders.example:8443"));

    for wrong in [builder(), builder().authority("billing.example")] {
        let error = wrong.connect().await.map(|_| "connected").expect_err("another name");
        assert_eq!(error.code(), "TLS_NAME_MISMATCH", "{error}");
    }

    let plain = Recorder::plaintext(Answer::Reply).await;
    let own = Channel::builder(plain.http(), ChannelCredentials::insecure());
    let own = own.authority("orders.example");
    assert_eq!(seen(&plain, own).await, told("http", "orders.example"));
}

/// A server with a wildcard certificate whose intermediate has a name of its own, and a channel
/// that trusts the root.
async fn wildcard() -> (Recorder, Channel) {
    let root = CertificateAuthority::new("test CA");
    let middle = root.issue().common_name("middle CA").dns("middle.example").as_ca().build();
    let middle = CertificateAuthority::from_pem(&middle.chain_pem(), &middle.key_pem());
    let leaf = middle.expect("an intermediate").server(&["*.test.example.com"]);
    assert_eq!(leaf.chain_der().len(), 2);
    let server = Recorder::bind(&showing(&leaf), Answer::Reply).await;
    let channel = Channel::builder("https://orders.test.example.com", trusting(&root))
        .resolver(To(server.address()))
        .connect()
        .await
        .expect("connected");
    (server, channel)
}

/// Rows AU-A1 and AU-A3 of grpc-go's table: what is allowed.
#[tokio::test]
async fn a_call_may_go_to_every_authority_that_the_connection_vouches_for() {
    let plain = Recorder::plaintext(Answer::Reply).await;
    let insecure = Channel::builder(plain.http(), ChannelCredentials::insecure());
    let local = Channel::builder(plain.http(), ChannelCredentials::local());
    let (secure, over_tls) = wildcard().await;
    for (name, server, channel) in [
        ("insecure", &plain, insecure.connect().await.expect("connected")),
        ("local", &plain, local.connect().await.expect("connected")),
        ("tls", &secure, over_tls),
    ] {
        for authority in
            ["auth.test.example.com", "auth.test.example.com:8010", "AUTH.test.example.com"]
        {
            call(&channel, hello().authority(authority)).await.expect(name);
            assert_eq!(server.last().authority, authority, "{name}");
        }
        call(&channel, hello()).await.expect(name);
        assert!(!server.last().authority.starts_with("auth"), "{name}: for one call only");
    }
}

/// Rows AU-A2 and AU-A3: what is not.
#[tokio::test]
async fn a_call_to_another_authority_fails_and_is_not_sent() {
    let (server, channel) = wildcard().await;
    for authority in [
        "auth.example.com",
        "auth.example.com:8443",
        "a.b.test.example.com",
        "test.example.com",
        "middle.example",
        "middle CA",
        "test CA",
        "127.0.0.1",
        "user@auth.test.example.com",
        "",
    ] {
        let outcome = call(&channel, hello().authority(authority)).await;
        let status = outcome.expect_err(authority);
        assert_eq!(status.code(), Code::Unavailable, "{authority}: {status:?}");
        match CallError::of(&status) {
            Some(CallError::Authority { authority: named }) => assert_eq!(named, authority),
            other => panic!("{authority}: {other:?}"),
        }
    }
    assert_eq!(server.calls().len(), 0);
    let status = call(&channel, hello().authority("auth.example.com")).await.expect_err("denied");
    assert!(status.message().contains("does not vouch for"), "{status:?}");
    assert!(status.message().contains("auth.example.com"), "{status:?}");
}
