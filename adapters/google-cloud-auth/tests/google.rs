//! Google's own builders against endpoints on this machine, and what our channel makes of them.

mod support;

use std::error::Error;

use countersign::credentials::{
    CallCredentialsError, CallDetails, CallMetadata, ChannelSecurityInfo,
};
use countersign::{CallCredentials, ChannelCredentials, SecurityLevel, ServerCredentials, connect};
use countersign_google_cloud_auth::GoogleCredentials;
use countersign_testkit::greeter::proto::HelloRequest;
use countersign_testkit::greeter::{GreeterClient, TestServer};
use google_cloud_auth::credentials::{
    CacheableResource, Credentials, CredentialsProvider, EntityTag, anonymous, api_key_credentials,
    external_account, mds, user_account,
};
use google_cloud_auth::errors::CredentialsError;
use google_cloud_gax::retry_policy::NeverRetry;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue};
use serde_json::json;
use tonic::{Code, Status};

use support::{Endpoint, TOKEN, WORDS, server};

/// The metadata server's, which are told where it is.
fn from_metadata(endpoint: &Endpoint) -> Credentials {
    let builder = mds::Builder::default().with_endpoint(endpoint.url());
    let builder = builder.with_quota_project_id("payer").with_retry_policy(NeverRetry);
    builder.build().expect("credentials")
}

async fn ask(
    credentials: &GoogleCredentials,
    authority: &str,
) -> Result<CallMetadata, CallCredentialsError> {
    let call = CallDetails::new(authority, "/google.pubsub.v1.Publisher/Publish");
    let security = ChannelSecurityInfo::new("tls", SecurityLevel::PrivacyAndIntegrity);
    let mut metadata = CallMetadata::default();
    assert!(!credentials.get_metadata_now(&call, &security, &mut metadata).expect("no failure"));
    credentials.get_metadata(&call, &security, &mut metadata).await?;
    Ok(metadata)
}

async fn greet(server: &TestServer, credentials: ChannelCredentials) -> Result<String, Status> {
    let channel = connect(server.https("localhost"), credentials).await.expect("connected");
    let request = HelloRequest { name: "you".to_owned() };
    GreeterClient::new(channel).say_hello(request).await.map(|reply| reply.into_inner().principal)
}

/// An error and all its causes.
fn chain(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        words = format!("{words}: {cause}");
        source = cause.source();
    }
    words
}

#[tokio::test]
async fn what_google_gives_is_sent_once_and_marked_sensitive() {
    let endpoint = Endpoint::start().await;
    let credentials = GoogleCredentials::new(from_metadata(&endpoint));
    let metadata = ask(&credentials, "pubsub.googleapis.com:443").await.expect("headers");
    let value =
        |key: &str| metadata.get(key).map(|value| String::from_utf8_lossy(value).into_owned());
    assert_eq!(value("authorization"), Some(format!("Bearer {TOKEN}")));
    assert_eq!(value("x-goog-user-project").as_deref(), Some("payer"));
    assert_eq!(metadata.len(), 2);
    assert!(metadata.iter().all(|(_, value)| value.is_sensitive()));

    let key = GoogleCredentials::new(api_key_credentials::Builder::new("a-key").build());
    let metadata = ask(&key, "pubsub.googleapis.com").await.expect("headers");
    assert_eq!((metadata.get("x-goog-api-key"), metadata.len()), (Some(&b"a-key"[..]), 1));
}

#[tokio::test]
async fn our_gate_knows_whose_token_it_is_whatever_built_it() {
    let endpoint = Endpoint::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let subject = folder.path().join("subject");
    std::fs::write(&subject, "a-token-of-the-cluster").expect("written");
    let user = user_account::Builder::new(json!({
        "type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": "r",
    }));
    let federated = external_account::Builder::new(json!({
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": format!("{}/sts", endpoint.url()),
        "credential_source": { "file": subject },
    }));
    let (server, trust) = server().await;
    for (name, google) in [
        ("metadata server", from_metadata(&endpoint)),
        ("user", user.with_token_uri(endpoint.url()).build().expect("credentials")),
        ("workload identity", federated.build().expect("credentials")),
    ] {
        let google = GoogleCredentials::new(google)
            .and_authority(&format!("localhost:{}", server.address().port()))
            .expect("an authority");
        let with = ChannelCredentials::tls(trust.clone()).with_call_credentials(google);
        assert_eq!(greet(&server, with).await.expect(name), "alice", "{name}");
    }
    // The same call without them.
    let status = greet(&server, ChannelCredentials::tls(trust)).await.expect_err("nobody");
    assert_eq!(status.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn a_failure_says_whether_it_may_pass_and_not_what_the_endpoint_said() {
    for (answered, code, is_transient) in [
        (403, Code::Unauthenticated, false),
        (400, Code::Unauthenticated, false),
        (503, Code::Unavailable, true),
        (429, Code::Unavailable, true),
    ] {
        let endpoint = Endpoint::start().await;
        endpoint.answer_with(answered);
        let credentials = GoogleCredentials::new(from_metadata(&endpoint));
        let error = ask(&credentials, "pubsub.googleapis.com").await.expect_err("a failure");
        assert_eq!(error.is_transient(), is_transient, "{answered}: {error}");
        assert!(!error.to_string().contains(WORDS), "{error}");
        assert!(chain(&error).contains(&answered.to_string()), "{}", chain(&error));

        let (server, trust) = server().await;
        let google = credentials
            .and_authority(&format!("localhost:{}", server.address().port()))
            .expect("an authority");
        let with = ChannelCredentials::tls(trust).with_call_credentials(google);
        let status = greet(&server, with).await.expect_err("no token");
        assert_eq!(status.code(), code, "{answered}: {}", status.message());
        assert!(!status.message().contains(WORDS), "{}", status.message());
    }
}

#[tokio::test]
async fn a_token_of_googles_goes_to_google_unless_told_otherwise() {
    let endpoint = Endpoint::start().await;
    let google = GoogleCredentials::new(from_metadata(&endpoint))
        .and_authority("orders.example:8443")
        .and_then(|it| it.and_domain("apis.example"))
        .expect("hosts");
    for (authority, goes) in [
        ("pubsub.googleapis.com", true),
        ("orders.example:8443", true),
        ("pubsub.apis.example", true),
        ("orders.example", false),
        ("googleapis.com.evil.example", false),
        ("pubsub.googleapis.com:8443", false),
    ] {
        match (ask(&google, authority).await, goes) {
            (Ok(metadata), true) => assert_eq!(metadata.len(), 2, "{authority}"),
            (Err(error), false) => {
                assert!(!error.is_transient(), "{authority}");
                assert!(error.to_string().contains("are not meant for"), "{error}");
            }
            (asked, _) => panic!("{authority}: {asked:?}"),
        }
    }
}

#[tokio::test]
async fn over_plaintext_nothing_leaves() {
    let endpoint = Endpoint::start().await;
    let incoming = ServerCredentials::insecure().bind("127.0.0.1:0").await.expect("bound");
    let server = TestServer::start(incoming, None);
    let google = GoogleCredentials::new(from_metadata(&endpoint))
        .and_authority(&format!("localhost:{}", server.address().port()))
        .expect("an authority");
    let request = || HelloRequest { name: "you".to_owned() };
    let with = ChannelCredentials::local().with_call_credentials(google);
    let channel = connect(server.http("localhost"), with).await.expect("connected");
    let status = GreeterClient::new(channel).say_hello(request()).await.expect_err("withheld");
    assert_eq!(status.code(), Code::Unauthenticated, "{}", status.message());
    assert!(status.message().contains("NoSecurity"), "{}", status.message());

    // The server would have answered.
    let bare = connect(server.http("localhost"), ChannelCredentials::local()).await;
    let mut client = GreeterClient::new(bare.expect("connected"));
    client.say_hello(request()).await.expect("anybody may call");
}

/// Gives the headers that it is told to; without any, never answers.
#[derive(Clone, Debug)]
struct Told(Option<HeaderMap>);

impl CredentialsProvider for Told {
    async fn headers(
        &self,
        _extensions: Extensions,
    ) -> Result<CacheableResource<HeaderMap>, CredentialsError> {
        match self.0.clone() {
            Some(data) => Ok(CacheableResource::New { entity_tag: EntityTag::new(), data }),
            None => std::future::pending().await,
        }
    }

    async fn universe_domain(&self) -> Option<String> {
        None
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_does_not_wait_for_ever() {
    let begin = tokio::time::Instant::now();
    let google = GoogleCredentials::new(Told(None));
    let error = ask(&google, "pubsub.googleapis.com").await.expect_err("too long");
    assert!(error.is_transient(), "{error}");
    assert_eq!(begin.elapsed(), GoogleCredentials::TIMEOUT);
}

#[tokio::test]
async fn headers_that_no_call_may_have_are_refused() {
    let told = |headers: &[(&'static str, &'static str)]| {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        GoogleCredentials::new(Told(Some(map)))
    };
    let good = told(&[("authorization", "Bearer a"), ("x-goog-user-project", "p")]);
    assert_eq!(ask(&good, "pubsub.googleapis.com").await.expect("headers").len(), 2);
    for headers in [
        &[("authorization", "Bearer a"), ("authorization", "Bearer b")][..],
        &[("authorization", "Bearer a"), ("content-type", "text/plain")],
        &[("authorization", "Bearer a"), ("grpc-timeout", "1S")],
        &[],
    ] {
        let error = ask(&told(headers), "pubsub.googleapis.com").await.expect_err("refused");
        assert!(!error.to_string().contains("Bearer"), "{error}");
    }
    let none = GoogleCredentials::new(anonymous::Builder::new().build());
    ask(&none, "pubsub.googleapis.com").await.expect_err("nothing to send");
}

#[tokio::test]
async fn debug_shows_where_and_not_what() {
    let google = GoogleCredentials::new(api_key_credentials::Builder::new("hunter2").build());
    let shown = format!("{google:?}");
    assert!(shown.contains("googleapis.com") && !shown.contains("hunter2"), "{shown}");
}

#[tokio::test]
async fn no_process_wide_provider_is_installed() {
    let endpoint = Endpoint::start().await;
    ask(&GoogleCredentials::new(from_metadata(&endpoint)), "pubsub.googleapis.com")
        .await
        .expect("headers");
    assert!(rustls::crypto::CryptoProvider::get_default().is_none());
}
