//! Sources through a real channel: once, over TLS alone.

use std::sync::Arc;

use countersign::credentials::oauth::{ClientAuthentication, ClientCredentials, TokenEndpoint};
use countersign::credentials::{
    CachedToken, CallCredentialsError, CallDetails, CallMetadata, ChannelSecurityInfo, FileToken,
    PerAuthority,
};
use countersign::{
    CallCredentials, CallError, ChannelCredentials, ClientRequestExt, SecurityLevel,
    ServerCredentials, async_trait, connect,
};
use countersign_testkit::greeter::GreeterClient;
use countersign_testkit::greeter::proto::HelloRequest;
use countersign_testkit::pki::CertificateAuthority;
use tonic::{Code, Request};

use crate::stage::{ENDPOINT, Http, Told, good, jwt};
use crate::support::{Reached, greeter, identity, serve, trusting};

fn hello() -> Request<HelloRequest> {
    Request::new(HelloRequest { name: "you".to_owned() })
}

#[tokio::test]
async fn jw_02_a_token_arrives_exactly_once_either_way() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("token");
    let token = jwt("me", 4_000_000_000);
    std::fs::write(&path, &token).expect("written");
    let credentials = CachedToken::new(FileToken::jwt(&path).expect("a path"));

    let ca = CertificateAuthority::new("test CA");
    let reached = Reached::default();
    let incoming = ServerCredentials::tls(identity(&ca.server(&["localhost"])))
        .build()
        .expect("server credentials")
        .bind("127.0.0.1:0")
        .await;
    let server = serve(incoming.expect("bound"), greeter(&reached));
    let tls = || ChannelCredentials::tls(trusting(&ca));
    let with = tls().with_call_credentials(credentials.clone());
    let of_the_channel = connect(server.https("localhost"), with).await.expect("connected");
    let bare = connect(server.https("localhost"), tls()).await.expect("connected");
    for (channel, request) in
        [(of_the_channel, hello()), (bare, hello().call_credentials(credentials.clone()))]
    {
        GreeterClient::new(channel).say_hello(request).await.expect("sent");
        assert_eq!(reached.last_values("authorization"), [format!("Bearer {token}")]);
    }
    assert_eq!(credentials.telemetry().refreshed, 1);
}

#[tokio::test]
async fn a_calls_status_says_why_there_is_no_token() {
    let ca = CertificateAuthority::new("test CA");
    let reached = Reached::default();
    let incoming = ServerCredentials::tls(identity(&ca.server(&["localhost"])))
        .build()
        .expect("server credentials")
        .bind("127.0.0.1:0")
        .await;
    let server = serve(incoming.expect("bound"), greeter(&reached));
    let client = ClientAuthentication::none("me");
    let endpoint = TokenEndpoint::new(ENDPOINT, client, Http::new([Told::Unreachable]));
    let grant = CachedToken::new(ClientCredentials::new(endpoint.expect("a URL")));
    let credentials = ChannelCredentials::tls(trusting(&ca)).with_call_credentials(grant);
    let channel = connect(server.https("localhost"), credentials).await.expect("connected");
    let status = GreeterClient::new(channel).say_hello(hello()).await.expect_err("no token");
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert_eq!(
        status.message(),
        "there is no answer from the token endpoint https://id.example/token: cannot reach \
         id.example: connection reset"
    );
    assert_eq!(reached.count(), 0);
}

/// JW-03, JW-05, ST-06, ID-07. JW-04 does not compile: see the example of
/// `ChannelCredentials::insecure`.
#[tokio::test]
async fn over_plaintext_nothing_leaves_and_no_source_is_asked() {
    let reached = Reached::default();
    let incoming = ServerCredentials::insecure().bind("127.0.0.1:0").await.expect("bound");
    let server = serve(incoming, greeter(&reached));
    let http = Http::new([good("t1")]);
    let client = ClientAuthentication::none("me");
    let endpoint = TokenEndpoint::new(ENDPOINT, client, http.clone()).expect("a URL");
    let grant = CachedToken::new(ClientCredentials::new(endpoint));
    let file = CachedToken::new(FileToken::jwt("/no/such/file").expect("a path"));
    let all: [Arc<dyn CallCredentials>; 2] = [Arc::new(grant), Arc::new(file)];
    let insecure = ChannelCredentials::insecure();
    let channel = connect(server.http("localhost"), insecure).await.expect("connected");
    for credentials in all {
        let need = credentials.minimum_channel_security_level();
        assert_eq!(need, SecurityLevel::PrivacyAndIntegrity);
        let request = hello().call_credentials(credentials);
        let status = GreeterClient::new(channel.clone()).say_hello(request).await.expect_err("no");
        assert_eq!(status.code(), Code::Unauthenticated);
        assert!(matches!(CallError::of(&status), Some(CallError::Insecure { .. })));
    }
    assert_eq!((reached.count(), http.count()), (0, 0));
}

/// Needs this level, and sends nothing.
#[derive(Debug)]
struct Needing(SecurityLevel);

#[async_trait]
impl CallCredentials for Needing {
    async fn get_metadata(
        &self,
        _call: &CallDetails,
        _security: &ChannelSecurityInfo,
        _metadata: &mut CallMetadata,
    ) -> Result<(), CallCredentialsError> {
        Ok(())
    }

    fn minimum_channel_security_level(&self) -> SecurityLevel {
        self.0
    }
}

/// With levels that none of our connections has; what they have is in `call_credentials`. Who
/// does not say a level has the least, which grpc-go lets pass.
#[tokio::test]
async fn sl_01_to_05_a_level_passes_where_it_is_enough() {
    use SecurityLevel::{IntegrityOnly, NoSecurity, PrivacyAndIntegrity};
    let call = CallDetails::new("orders.example", "/orders.v1.Orders/Get");
    for (have, need, passes) in [
        (PrivacyAndIntegrity, PrivacyAndIntegrity, true),
        (IntegrityOnly, PrivacyAndIntegrity, false),
        (IntegrityOnly, NoSecurity, true),
        (SecurityLevel::default(), IntegrityOnly, false),
        (SecurityLevel::default(), PrivacyAndIntegrity, false),
        (SecurityLevel::default(), NoSecurity, true),
    ] {
        let credentials = PerAuthority::new().with("orders.example", Needing(need));
        let credentials = credentials.expect("an authority");
        assert_eq!(credentials.minimum_channel_security_level(), need);
        let security = ChannelSecurityInfo::new("some", have);
        let told = credentials.get_metadata(&call, &security, &mut CallMetadata::default()).await;
        assert_eq!(told.is_ok(), passes, "{have} for {need}");
        assert!(told.is_ok() || !told.expect_err("refused").is_transient());
    }
}
