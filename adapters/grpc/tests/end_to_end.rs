//! Calls of the official client, with our call credentials, to our server and its gate.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use countersign::credentials::{
    CachedToken, FetchedToken, PerAuthority, TokenError, TokenRequest, TokenSource,
};
use countersign::{
    BearerToken, CallCredentials, CompositeCallCredentials, Secret, ServerCredentials, async_trait,
};
use countersign_grpc::ForGrpc;
use countersign_testkit::greeter::TestServer;
use countersign_testkit::pki::CertificateAuthority;
use grpc::StatusCodeError;
use grpc::client::{Channel, ChannelOptions};
use grpc::credentials::{CompositeChannelCredentials, LocalChannelCredentials};

use support::{TOKEN, gate, identity, say_hello, tls};

/// Gives the token that the server knows, or fails, and counts how often it was asked.
#[derive(Clone, Debug, Default)]
struct Source {
    asked: Arc<AtomicUsize>,
    fails: Option<TokenError>,
}

#[async_trait]
impl TokenSource for Source {
    async fn fetch(&self, _: &TokenRequest) -> Result<FetchedToken, TokenError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        match &self.fails {
            Some(error) => Err(error.clone()),
            None => {
                Ok(FetchedToken::bearer(Secret::from(TOKEN)).expires_in(Duration::from_secs(3600)))
            }
        }
    }

    fn name(&self) -> &'static str {
        "test"
    }
}

impl Source {
    fn count(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

/// A server behind TLS whose gate knows one token, and whom to trust for it.
async fn server() -> (TestServer, CertificateAuthority) {
    let ca = CertificateAuthority::new("test CA");
    let credentials = ServerCredentials::tls(identity(&ca, "localhost")).build();
    let incoming = credentials.expect("credentials").bind("127.0.0.1:0").await.expect("bound");
    (TestServer::start(incoming, Some(gate())), ca)
}

/// A channel of theirs over TLS, with these call credentials.
fn channel(
    server: &TestServer,
    ca: &CertificateAuthority,
    credentials: impl CallCredentials,
) -> Channel {
    let both = CompositeChannelCredentials::new(tls(ca), ForGrpc::new_arc(credentials));
    let (target, options) = to(server);
    Channel::new(target, Arc::new(both), options)
}

/// The address, and the name that the certificate is for.
fn to(server: &TestServer) -> (String, ChannelOptions) {
    let address = server.address();
    let name = format!("localhost:{}", address.port());
    (format!("dns:///{address}"), ChannelOptions::default().override_authority(name))
}

#[tokio::test]
async fn our_gate_knows_whose_token_it_is() {
    let (server, ca) = server().await;
    let token = |text: &str| BearerToken::new(text).expect("a token");
    let reply = say_hello(&channel(&server, &ca, token(TOKEN))).await.expect("accepted");
    assert_eq!(reply.principal, "alice");

    let wrong = say_hello(&channel(&server, &ca, token("another"))).await.expect_err("refused");
    assert_eq!(wrong.code(), StatusCodeError::Unauthenticated, "{}", wrong.message());
    let (target, options) = to(&server);
    let bare = Channel::new(target, Arc::new(tls(&ca)), options);
    let none = say_hello(&bare).await.expect_err("refused");
    assert_eq!(none.code(), StatusCodeError::Unauthenticated, "{}", none.message());
}

#[tokio::test]
async fn a_token_is_fetched_once_for_many_calls() {
    let (server, ca) = server().await;
    let source = Source::default();
    let token = CachedToken::new(source.clone());
    let channel = channel(&server, &ca, token.clone());
    let (one, another) = tokio::join!(say_hello(&channel), say_hello(&channel));
    for reply in [one, another, say_hello(&channel).await] {
        assert_eq!(reply.expect("accepted").principal, "alice");
    }
    assert_eq!((source.count(), token.telemetry().refreshed), (1, 1));
}

#[tokio::test]
async fn over_plaintext_nothing_leaves_and_no_source_is_asked() {
    let incoming = ServerCredentials::insecure().bind("127.0.0.1:0").await.expect("bound");
    let server = TestServer::start(incoming, None);
    let source = Source::default();
    let credentials = ForGrpc::new_arc(CachedToken::new(source.clone()));
    let local = CompositeChannelCredentials::new(LocalChannelCredentials::new(), credentials);
    let (target, options) = to(&server);
    let status = say_hello(&Channel::new(target, Arc::new(local), options)).await;
    let status = status.expect_err("withheld");
    assert_eq!(status.code(), StatusCodeError::Unauthenticated, "{}", status.message());
    assert_eq!(source.count(), 0);

    // The server would have answered.
    let (target, options) = to(&server);
    let bare = Channel::new(target, LocalChannelCredentials::new_arc(), options);
    say_hello(&bare).await.expect("anybody may call");
}

#[cfg(unix)]
#[tokio::test]
async fn over_a_unix_socket_the_token_goes() {
    // The path of a socket has 107 bytes at most.
    let folder = tempfile::tempdir_in("/tmp").or_else(|_| tempfile::tempdir()).expect("a folder");
    let path = folder.path().join("socket");
    let incoming = ServerCredentials::local().bind_unix(&path).expect("bound");
    let _server = TestServer::start(incoming, Some(gate()));
    let local = |token: &str| {
        let token = ForGrpc::new_arc(BearerToken::new(token).expect("a token"));
        let both = CompositeChannelCredentials::new(LocalChannelCredentials::new(), token);
        let target = format!("unix://{}", path.display());
        Channel::new(target, Arc::new(both), ChannelOptions::default())
    };
    assert_eq!(say_hello(&local(TOKEN)).await.expect("accepted").principal, "alice");
    let status = say_hello(&local("another")).await.expect_err("refused");
    assert_eq!(status.code(), StatusCodeError::Unauthenticated, "{}", status.message());
}

#[tokio::test]
async fn a_token_goes_to_its_authority_and_to_no_other() {
    let (server, ca) = server().await;
    for (authority, goes) in [
        (format!("localhost:{}", server.address().port()), true),
        ("localhost".to_owned(), false),
        ("orders.example".to_owned(), false),
    ] {
        let source = Source::default();
        let bound = PerAuthority::new().with(&authority, CachedToken::new(source.clone()));
        let said = say_hello(&channel(&server, &ca, bound.expect("an authority"))).await;
        assert_eq!((said.is_ok(), source.count()), (goes, usize::from(goes)), "{authority}");
        if let Err(status) = said {
            assert_eq!(status.code(), StatusCodeError::Unauthenticated);
            assert!(status.message().contains("no call credentials for"), "{}", status.message());
        }
    }
}

#[tokio::test]
async fn a_failing_source_fails_the_call_with_its_kind() {
    let (server, ca) = server().await;
    for (fails, code) in [
        (TokenError::transient("the issuer is away"), StatusCodeError::Unavailable),
        (TokenError::permanent("the client is not known"), StatusCodeError::Unauthenticated),
    ] {
        let source = Source { fails: Some(fails), ..Source::default() };
        let status = say_hello(&channel(&server, &ca, CachedToken::new(source))).await;
        assert_eq!(status.expect_err("no token").code(), code);
    }
}

#[tokio::test]
async fn two_authorizations_are_none() {
    let (server, ca) = server().await;
    let token = || BearerToken::new(TOKEN).expect("a token");
    let ours = CompositeCallCredentials::new(token(), token());
    let status = say_hello(&channel(&server, &ca, ours)).await.expect_err("two in one");
    assert_eq!(status.code(), StatusCodeError::Internal, "{}", status.message());

    let one = CompositeChannelCredentials::new(tls(&ca), ForGrpc::new_arc(token()));
    let two = CompositeChannelCredentials::new(one, ForGrpc::new_arc(token()));
    let (target, options) = to(&server);
    let theirs = Channel::new(target, Arc::new(two), options);
    let status = say_hello(&theirs).await.expect_err("two beside each other");
    assert_eq!(status.code(), StatusCodeError::Internal, "{}", status.message());
}
