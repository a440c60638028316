//! API keys in front of a service, over real sockets; and the stores that every build has.

#[path = "support/reached.rs"]
mod support;

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use countersign::authentication::api_keys::{
    ApiKeys, FileKeys, IssuedKey, KeyIssuer, KeyPrefix, KeyState, KeyStore, MemoryKeys, NewKey,
    Peppers,
};
use countersign::authentication::{Authenticator, CallEvidence, Evidence};
use countersign::identity::PeerIdentity;
use countersign::{
    ApiKey, Channel, ChannelCredentials, ClientRequestExt, Gate, GateBuilder, Rules, Secret,
    ServerCredentials, ServerRequestExt, StaticTokens, connect,
};
use countersign_testkit::clock::ManualClock;
use countersign_testkit::greeter::proto::HelloRequest;
use countersign_testkit::greeter::{GREETER, GreeterClient, SAY_HELLO};
use countersign_testkit::key_store::conforms;
use countersign_testkit::logs::Logs;
use countersign_testkit::pki::CertificateAuthority;
use countersign_testkit::wait::until;
use support::{
    RawClient, Reached, Served, collect_logs, greeter, identity, reason_of, serve, trusting,
};
use tonic::{Code, Request, Status};
use tower_layer::Layer;

const PEPPER: &str = "planted-pepper-correct-horse-battery-staple";

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

/// Keys, whoever makes them, and a server that takes them over TLS.
struct Stage {
    clock: ManualClock,
    issuer: KeyIssuer,
    keys: ApiKeys,
    reached: Reached,
    channel: Channel,
    logs: Logs,
    _server: Served,
}

impl Stage {
    async fn set(store: impl KeyStore + Clone) -> Self {
        Self::set_with(store, |gate| gate).await
    }

    async fn set_with(
        store: impl KeyStore + Clone,
        more: impl FnOnce(GateBuilder) -> GateBuilder,
    ) -> Self {
        let logs = collect_logs();
        let clock = ManualClock::new(now());
        let pepper = || Secret::new(PEPPER.as_bytes().to_vec());
        let peppers = || Peppers::new("p1", pepper()).expect("a pepper");
        let issuer =
            KeyIssuer::new(store.clone()).with_peppers(peppers()).with_clock(clock.clone());
        let keys = ApiKeys::builder(store).peppers(peppers()).clock(clock.clone()).build();
        let rules = Rules::new().authenticated(GREETER);
        let gate = more(Gate::builder().authenticate(keys.clone()).authorize(rules));
        let gate = gate.build().expect("a gate");
        let ca = CertificateAuthority::new("test CA");
        let reached = Reached::default();
        let incoming = ServerCredentials::tls(identity(&ca.server(&["localhost"])))
            .build()
            .expect("server credentials")
            .bind("127.0.0.1:0")
            .await
            .expect("bound");
        let server = serve(incoming, gate.layer(greeter(&reached)));
        let credentials = ChannelCredentials::tls(trusting(&ca));
        let channel = connect(server.https("localhost"), credentials).await.expect("connected");
        Self { clock, issuer, keys, reached, channel, logs, _server: server }
    }

    async fn issue(&self, new: NewKey) -> IssuedKey {
        self.issuer.create(new).await.expect("a key")
    }

    /// Calls with metadata: as whom the handler knows the caller, or the status.
    async fn call(&self, name: &'static str, value: &str) -> Result<String, Status> {
        let mut request = hello();
        request.metadata_mut().append(name, value.parse().expect("ASCII"));
        let reply = GreeterClient::new(self.channel.clone()).say_hello(request).await?;
        Ok(reply.into_inner().principal)
    }

    async fn with_key(&self, key: &str) -> String {
        told(self.call("x-api-key", key).await)
    }

    async fn with_bearer(&self, key: &str) -> String {
        told(self.call("authorization", &format!("Bearer {key}")).await)
    }
}

fn hello() -> Request<HelloRequest> {
    Request::new(HelloRequest { name: "you".to_owned() })
}

fn told(outcome: Result<String, Status>) -> String {
    match outcome {
        Ok(principal) => principal,
        Err(status) => format!("{:?} {}", status.code(), reason_of(&status)),
    }
}

fn ci() -> NewKey {
    NewKey::new("ci").scope("greet")
}

/// A key of the right form that nobody made.
async fn stranger() -> String {
    let issuer = KeyIssuer::new(MemoryKeys::new());
    issuer.create(ci()).await.expect("a key").key().expose().clone()
}

#[tokio::test]
async fn a_key_passes_by_either_header_and_its_twins_do_not() {
    let stage = Stage::set(MemoryKeys::new()).await;
    let issued = stage.issue(ci().tenant("acme")).await;
    let key = issued.key().expose().as_str();
    assert_eq!(stage.with_key(key).await, "ci");
    assert_eq!(stage.with_bearer(key).await, "ci");
    let request = stage.reached.last_request();
    let principal = request.principal().expect("a caller");
    let claims = principal.token().expect("claims");
    assert_eq!(principal.authenticator(), ApiKeys::NAME);
    assert_eq!((claims.id(), claims.subject()), (Some(issued.record().id.as_str()), Some("ci")));
    assert!(claims.has_scope("greet") && claims.get("tenant") == Some(&"acme".into()));
    assert!(stage.reached.last_values("x-api-key").is_empty(), "no handler sees a key");
    assert!(stage.reached.last_values("authorization").is_empty());

    let passed = stage.reached.count();
    let (invalid, malformed) =
        ("Unauthenticated TOKEN_INVALID", "Unauthenticated CREDENTIALS_MALFORMED");
    for (name, key, outcome) in [
        ("nobody's", stranger().await.as_str(), invalid),
        ("cut short", &key[..key.len() - 1], malformed),
        ("one letter off", &key.replace("cs_live_", "ct_live_"), malformed),
        ("garbage", "cs_live_hunter2", malformed),
    ] {
        assert_eq!(stage.with_key(key).await, outcome, "{name}");
        if key.starts_with("cs_") {
            assert_eq!(stage.with_bearer(key).await, outcome, "{name}");
        }
    }
    assert_eq!(stage.reached.count(), passed);
}

#[tokio::test]
async fn tokens_of_another_kind_are_left_to_the_authenticator_beside() {
    let tokens = StaticTokens::new().with_token("robot", "a-token-of-another-kind");
    let stage = Stage::set_with(MemoryKeys::new(), |gate| gate.authenticate(tokens)).await;
    assert_eq!(stage.with_bearer("a-token-of-another-kind").await, "robot");
    let refused = stage.with_bearer("another-token-of-another-kind").await;
    assert_eq!(refused, "Unauthenticated TOKEN_INVALID");
}

#[tokio::test]
async fn our_client_sends_what_our_server_takes() {
    let stage = Stage::set(MemoryKeys::new()).await;
    let issued = stage.issue(ci()).await;
    let mut client = GreeterClient::new(stage.channel.clone());
    let key = ApiKey::new(issued.key().expose().clone()).expect("a key");
    let reply = client.say_hello(hello().call_credentials(key)).await.expect("passes");
    assert_eq!(reply.into_inner().principal, "ci");
    let key = ApiKey::new(stranger().await).expect("a key");
    let status = client.say_hello(hello().call_credentials(key)).await.expect_err("refused");
    assert_eq!(status.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn a_key_and_a_token_together_are_no_credential() {
    let logs = collect_logs();
    let keys = ApiKeys::from_store(MemoryKeys::new());
    let gate = Gate::builder().authenticate(keys).authorize(Rules::new().authenticated(GREETER));
    let reached = Reached::default();
    let incoming = ServerCredentials::insecure().bind("127.0.0.1:0").await.expect("bound");
    let server = serve(incoming, gate.build().expect("a gate").layer(greeter(&reached)));
    let key = stranger().await;
    let both = [("authorization", format!("Bearer {key}")), ("x-api-key", key.clone())];
    let both = both.each_ref().map(|(name, value)| (*name, value.as_str()));
    let answer = RawClient::connect(&server).await.call(SAY_HELLO, &both).await;
    assert_eq!(reason_of(&answer.grpc()), "CREDENTIALS_MALFORMED");
    assert_eq!(reached.count(), 0);
    assert!(!logs.text().contains(&key));
}

#[tokio::test]
async fn a_revocation_ends_a_key_at_once_where_changes_are_told() {
    let stage = Stage::set(MemoryKeys::new()).await;
    let maintenance = tokio::spawn(stage.keys.maintenance());
    let (lost, kept) = (stage.issue(ci()).await, stage.issue(NewKey::new("cd").scope("a")).await);
    let (lost_key, kept_key) = (lost.key().expose(), kept.key().expose());
    assert_eq!(stage.with_key(lost_key).await, "ci");
    assert_eq!(stage.with_key(kept_key).await, "cd");
    let lease = lease_of(&stage.keys, lost_key).await;
    stage.issuer.revoke(&lost.record().id, "lost").await.expect("revoked");
    until("the change is heard of", || !lease.is_current()).await;
    assert_eq!(stage.with_key(lost_key).await, "Unauthenticated CREDENTIALS_REVOKED");
    assert_eq!(stage.with_key(kept_key).await, "cd");
    assert!(stage.keys.counters().used_after_revocation() > 0);
    maintenance.abort();
}

async fn lease_of(keys: &ApiKeys, key: &str) -> countersign::authentication::Lease {
    let peer = PeerIdentity::unknown();
    let evidence = Evidence::new(&peer, CallEvidence::ApiKey(key));
    let caller = keys.authenticate(&evidence).await.expect("accepted").expect("a caller");
    caller.lease().expect("leased").clone()
}

#[tokio::test]
async fn a_key_ends_by_itself() {
    let stage = Stage::set(MemoryKeys::new()).await;
    let issued = stage.issue(ci().lifetime(Duration::from_secs(3_600))).await;
    let key = issued.key().expose();
    assert_eq!(stage.with_key(key).await, "ci");
    stage.clock.advance(Duration::from_secs(3_599));
    assert_eq!(stage.with_key(key).await, "ci");
    stage.clock.advance(Duration::from_secs(1));
    assert_eq!(stage.with_key(key).await, "Unauthenticated TOKEN_EXPIRED");
    let later = stage.issue(ci().not_before(stage.clock.now() + Duration::from_secs(60))).await;
    let early = stage.with_key(later.key().expose()).await;
    assert_eq!(early, "Unauthenticated TOKEN_NOT_YET_VALID");
}

#[tokio::test]
async fn a_key_for_a_network_is_refused_from_another() {
    let stage = Stage::set(MemoryKeys::new()).await;
    let here = stage.issue(ci().network("127.0.0.0/8".parse().expect("a network"))).await;
    let elsewhere = stage.issue(ci().network("10.0.0.0/8".parse().expect("a network"))).await;
    assert_eq!(stage.with_key(here.key().expose()).await, "ci");
    let refused = stage.with_key(elsewhere.key().expose()).await;
    assert_eq!(refused, "Unauthenticated TOKEN_INVALID");
}

#[tokio::test]
async fn who_fails_often_is_held_up() {
    let stage = Stage::set(MemoryKeys::new()).await;
    let (wrong, right) = (stranger().await, stage.issue(ci()).await);
    for _ in 0..20 {
        assert_eq!(stage.with_key(&wrong).await, "Unauthenticated TOKEN_INVALID");
    }
    assert_eq!(stage.with_key(&wrong).await, "ResourceExhausted RATE_LIMITED");
    let first = stage.with_key(right.key().expose()).await;
    assert_eq!(first, "ResourceExhausted RATE_LIMITED", "nobody here has proved it before");
    stage.clock.advance(Duration::from_secs(60));
    assert_eq!(stage.with_key(right.key().expose()).await, "ci");
}

#[tokio::test]
async fn keys_of_the_test_environment_stay_out_of_the_live_one() {
    let stage = Stage::set(MemoryKeys::new()).await;
    let test = KeyPrefix::test("cs").expect("a prefix");
    let issuer = stage.issuer.clone().with_prefix(test);
    let issued = issuer.create(ci()).await.expect("a key");
    let refused = stage.with_key(issued.key().expose()).await;
    assert_eq!(refused, "Unauthenticated TOKEN_INVALID");
    let live = stage.issue(ci()).await;
    assert_eq!(stage.with_key(live.key().expose()).await, "ci");
}

#[tokio::test]
async fn when_a_key_was_used_is_written_when_nobody_is_left() {
    let store = MemoryKeys::new();
    let clock = ManualClock::new(now() + Duration::from_secs(61));
    let issuer = KeyIssuer::new(store.clone()).with_clock(clock.clone());
    let (used, unused) = (issuer.create(ci()).await, issuer.create(ci()).await);
    let (used, unused) = (used.expect("a key"), unused.expect("a key"));
    let keys = ApiKeys::builder(store.clone()).clock(clock).build();
    let maintenance = tokio::spawn(keys.maintenance());
    lease_of(&keys, used.key().expose()).await;
    drop(keys);
    maintenance.await.expect("it ends");
    let read = |issued: &IssuedKey| (store.clone(), issued.record().id);
    let (of_used, of_unused) = (read(&used), read(&unused));
    let record = of_used.0.get(&of_used.1).await.expect("read").expect("there");
    assert_eq!(record.last_used_at, Some(now() + Duration::from_secs(60)), "to the minute");
    assert_eq!(record.version, 1);
    let record = of_unused.0.get(&of_unused.1).await.expect("read").expect("there");
    assert_eq!(record.last_used_at, None);
}

#[tokio::test(start_paused = true)]
async fn uses_are_written_while_calls_go_on() {
    let store = MemoryKeys::new();
    let issued = KeyIssuer::new(store.clone()).create(ci()).await.expect("a key");
    let keys = ApiKeys::from_store(store.clone());
    let maintenance = tokio::spawn(keys.maintenance());
    lease_of(&keys, issued.key().expose()).await;
    let id = issued.record().id;
    let mut waited = Duration::ZERO;
    while store.get(&id).await.expect("read").expect("there").last_used_at.is_none() {
        assert!(waited <= ApiKeys::NOTE_USES_EVERY, "written in time");
        tokio::time::sleep(Duration::from_secs(1)).await;
        waited += Duration::from_secs(1);
    }
    maintenance.abort();
}

#[tokio::test]
async fn secrets_are_in_no_log_no_error_and_no_debug_output() {
    let stage = Stage::set(MemoryKeys::new()).await;
    let issued = stage.issue(ci()).await;
    let revoked = stage.issue(ci()).await;
    stage.issuer.revoke(&revoked.record().id, "lost").await.expect("revoked");
    let keys = [issued.key(), revoked.key(), &Secret::from(stranger().await)].map(|key| {
        let key = key.expose().clone();
        (key.clone(), key[19..].to_owned())
    });
    for (key, _) in &keys {
        stage.with_key(key).await;
        stage.with_bearer(key).await;
        stage.with_key(&key[..key.len() - 1]).await;
    }
    let mut shown = vec![
        ("the log", stage.logs.text()),
        ("ApiKeys", format!("{:#?}", stage.keys)),
        ("KeyIssuer", format!("{:?}", stage.issuer)),
        ("IssuedKey", format!("{issued:?} {revoked:?}")),
        ("KeyRecord as JSON", serde_json::to_string(issued.record()).expect("JSON")),
    ];
    let peer = PeerIdentity::unknown();
    for (key, _) in &keys[1..] {
        let evidence = Evidence::new(&peer, CallEvidence::ApiKey(key));
        let error = stage.keys.authenticate(&evidence).await.expect_err("refused");
        let source = error.source().map(ToString::to_string);
        shown.push(("an error", format!("{error} {error:?} {source:?}")));
    }
    assert!(shown[0].1.contains(&revoked.record().id.to_string()), "IDs are there to be found");
    for (what, text) in &shown {
        assert!(!text.contains(PEPPER), "the pepper is in {what}");
        for (key, secret) in &keys {
            assert!(!text.contains(key) && !text.contains(secret), "a key is in {what}: {text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_in_memory_conform_to_what_is_asked_of_a_store() {
    let keys = MemoryKeys::new();
    conforms(|| async { Arc::new(keys.clone()) as Arc<dyn KeyStore> }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_in_a_file_conform_to_what_is_asked_of_a_store() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("keys.json");
    let open = || FileKeys::open_or_create(&path).expect("a file");
    conforms(|| async { Arc::new(open()) as Arc<dyn KeyStore> }).await;
}

#[tokio::test]
async fn a_revocation_in_the_file_takes_effect_while_the_server_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("keys.json");
    let stage = Stage::set(FileKeys::open_or_create(&path).expect("a file")).await;
    let maintenance = tokio::spawn(stage.keys.maintenance());
    let (lost, kept) = (stage.issue(ci()).await, stage.issue(ci()).await);
    assert_eq!(stage.with_key(lost.key().expose()).await, "ci");
    let lease = lease_of(&stage.keys, lost.key().expose()).await;

    // As an operator does it: another program, the same file.
    let elsewhere = KeyIssuer::new(FileKeys::open(&path).expect("the file"));
    let revoked = elsewhere.revoke(&lost.record().id, "lost").await.expect("revoked");
    assert_eq!(revoked.state(now()), KeyState::Revoked);
    until("the file is read again", || !lease.is_current()).await;
    // The watch begins with everything forgotten; the revocation itself follows within a second.
    let mut outcome = stage.with_key(lost.key().expose()).await;
    while outcome == "ci" {
        let again = lease_of(&stage.keys, lost.key().expose());
        match tokio::time::timeout(Duration::from_secs(20), again).await {
            Ok(lease) => until("the file is read again", || !lease.is_current()).await,
            Err(_) => panic!("the store does not answer"),
        }
        outcome = stage.with_key(lost.key().expose()).await;
    }
    assert_eq!(outcome, "Unauthenticated CREDENTIALS_REVOKED");
    assert_eq!(stage.with_key(kept.key().expose()).await, "ci");
    maintenance.abort();
}
