//! One runtime per core: shared gate, shared limits, and an end that all reach together.

#[path = "support/ports.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod ports;

use std::collections::HashSet;
use std::convert::Infallible;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use countersign::{
    BearerToken, Channel, ChannelCredentials, ClientTls, Gate, Identity, RootCertificates, Rules,
    ServerCredentials, ServerLimits, StaticTokens, Worker, WorkerError, Workers, connect,
};
use countersign_testkit::greeter::proto::{HelloRequest, HelloStreamRequest};
use countersign_testkit::greeter::{GREETER, Greeter, GreeterClient};
use countersign_testkit::pki::CertificateAuthority;
use countersign_testkit::wait::until;
use ports::ClosedPort;
use tonic::Code;

fn two() -> NonZeroUsize {
    NonZeroUsize::new(2).expect("not zero")
}

struct Stage {
    ca: CertificateAuthority,
    /// Nobody else listens there afterwards.
    _port: ClosedPort,
    workers: Workers,
    /// The threads in which calls were served.
    threads: Arc<Mutex<HashSet<std::thread::ThreadId>>>,
}

/// A greeter on two cores, for whoever has the token.
fn stage(limits: ServerLimits) -> Stage {
    let ca = CertificateAuthority::new("test CA");
    let server = ca.server(&["localhost"]);
    let credentials =
        ServerCredentials::tls(Identity::from_pem(server.chain_pem(), server.key_pem()))
            .build()
            .expect("server credentials")
            .limits(limits);
    let gate = Gate::builder()
        .authenticate(StaticTokens::new().with_token("alice", "right"))
        .authorize(Rules::new().authenticated(GREETER))
        .build()
        .expect("a gate");
    let threads = Arc::new(Mutex::new(HashSet::new()));
    let seen = Arc::clone(&threads);
    let port = ClosedPort::new();
    let workers = credentials
        .bind_per_core(port.address(), two())
        .expect("bound")
        .serve(move |worker| serve(worker, gate.clone(), Arc::clone(&seen)))
        .expect("started");
    Stage { ca, _port: port, workers, threads }
}

async fn serve(
    worker: Worker,
    gate: Gate,
    threads: Arc<Mutex<HashSet<std::thread::ThreadId>>>,
) -> Result<(), tonic::transport::Error> {
    let (incoming, shutdown) = worker.into_parts();
    let note = move |request: tonic::Request<()>| {
        threads.lock().expect("not poisoned").insert(std::thread::current().id());
        Ok(request)
    };
    tonic::transport::Server::builder()
        .layer(gate)
        .add_service(tonic::service::interceptor::InterceptedService::new(Greeter.service(), note))
        .serve_with_incoming_shutdown(incoming, shutdown)
        .await
}

impl Stage {
    async fn channel(&self, token: &str) -> Result<Channel, countersign::ConnectError> {
        let roots = RootCertificates::from_pem(self.ca.certificate_pem());
        let credentials = ChannelCredentials::tls(ClientTls::only_roots(roots))
            .with_call_credentials(BearerToken::new(token).expect("a token"));
        connect(format!("https://localhost:{}", self.workers.local_addr().port()), credentials)
            .await
    }
}

async fn greet(channel: Channel) -> Result<String, tonic::Status> {
    let request = HelloRequest { name: "you".to_owned() };
    Ok(GreeterClient::new(channel).say_hello(request).await?.into_inner().principal)
}

#[tokio::test]
async fn both_cores_serve_behind_one_gate() {
    let stage = stage(ServerLimits::default());
    // The kernel spreads connections by their ports: of so many, some reach either.
    for _ in 0..64 {
        let channel = stage.channel("right").await.expect("connected");
        assert_eq!(greet(channel).await.expect("greeted"), "alice");
    }
    assert_eq!(stage.threads.lock().expect("not poisoned").len(), 2);
    let channel = stage.channel("wrong").await.expect("connected");
    assert_eq!(greet(channel).await.expect_err("refused").code(), Code::Unauthenticated);
    stage.workers.shutdown(Duration::from_secs(1));
    stage.workers.wait().await.expect("a good end");
}

#[tokio::test]
async fn limits_hold_for_all_cores_together() {
    let stage = stage(ServerLimits::default().max_connections(3));
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(stage.channel("right").await.expect("room"));
    }
    for _ in 0..8 {
        stage.channel("right").await.expect_err("no room on either core");
    }
    drop(held);
    stage.workers.shutdown(Duration::ZERO);
    stage.workers.wait().await.expect("a good end");
}

#[tokio::test]
async fn shutdown_lets_a_stream_finish_within_the_grace_and_leaves_nothing_listening() {
    let stage = stage(ServerLimits::default());
    let channel = stage.channel("right").await.expect("connected");
    let request = HelloStreamRequest { name: "you".to_owned(), count: 3 };
    let mut replies =
        GreeterClient::new(channel).say_hello_stream(request).await.expect("begun").into_inner();
    replies.message().await.expect("no error").expect("a reply");
    stage.workers.shutdown(Duration::from_secs(30));
    for _ in 0..2 {
        replies.message().await.expect("no error").expect("a reply");
    }
    assert!(replies.message().await.expect("no error").is_none());
    drop(replies);
    let address = stage.workers.local_addr();
    stage.workers.wait().await.expect("a good end");
    until("nobody listens", || std::net::TcpStream::connect(address).is_err()).await;
}

#[tokio::test]
async fn a_worker_that_fails_takes_the_others_with_it() {
    let workers = ServerCredentials::insecure()
        .bind_per_core("127.0.0.1:0", two())
        .expect("bound")
        .serve(|worker| async move {
            if worker.core() == 0 {
                return Err("core 0 has had enough");
            }
            let (_incoming, shutdown) = worker.into_parts();
            shutdown.await;
            Ok(())
        })
        .expect("started");
    match workers.wait().await {
        Err(WorkerError::Failed(error)) => assert_eq!(error.to_string(), "core 0 has had enough"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_worker_that_panics_or_leaves_early_is_reported() {
    let bound =
        || ServerCredentials::insecure().bind_per_core("127.0.0.1:0", two()).expect("bound");
    let panicking = bound()
        .serve(|worker| async move {
            assert_ne!(worker.core(), 1, "core 1 is the one that panics");
            let (_incoming, shutdown) = worker.into_parts();
            shutdown.await;
            Ok::<_, Infallible>(())
        })
        .expect("started");
    assert!(matches!(panicking.wait().await, Err(WorkerError::Panicked)));
    let leaving = bound().serve(|_| async { Ok::<_, Infallible>(()) }).expect("started");
    assert!(matches!(leaving.wait().await, Err(WorkerError::EndedEarly)));
}

#[tokio::test]
async fn dropping_the_workers_ends_them() {
    let stage = stage(ServerLimits::default());
    let channel = stage.channel("right").await.expect("connected");
    let address = stage.workers.local_addr();
    drop(stage.workers);
    until("nobody listens", || std::net::TcpStream::connect(address).is_err()).await;
    greet(channel).await.expect_err("the connection is cut and nobody takes another");
}

#[test]
fn a_taken_port_is_an_error_unless_it_is_shared() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = taken.local_addr().expect("an address");
    ServerCredentials::insecure().bind_per_core(address, two()).expect_err("taken");
}
