//! `countersign policy coverage --reflect`: the real program against a server that tells its
//! methods.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use countersign::{Gate, Identity, Rules, ServerCredentials, StaticTokens};
use countersign_testkit::greeter::{FILE_DESCRIPTOR_SET, Greeter};
use countersign_testkit::pki::CertificateAuthority;
use serde_json::json;
use support::{Place, Run};
use tokio::net::TcpListener;
use tonic::codegen::tokio_stream::{Stream, StreamExt};
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::server_reflection_server::{
    ServerReflection, ServerReflectionServer,
};
use tonic_reflection::pb::v1::{
    FileDescriptorResponse, ListServiceResponse, ServerReflectionRequest, ServerReflectionResponse,
    ServiceResponse,
};
use tonic_reflection::server::Builder;

const TABLE: &str = "\
public           1   countersign.demo.v1.Greeter/SayHello   by hello
authenticated    1
no rule          1   countersign.demo.v1.Greeter/Reset   <- denied at run time
";

fn place() -> Place {
    let place = Place::new();
    let policy = json!({"name": "p", "allow_rules": [
        {"name": "hello", "request": {"paths": ["*/SayHello"]}},
        {"name": "stream", "source": {"principals": ["x"]}, "request": {"paths": ["*Stream"]}},
    ]});
    place.write("policy.json", policy.to_string());
    place
}

fn reflection() -> Builder<'static> {
    Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .include_reflection_service(false)
}

/// Runs the program elsewhere, so that the server goes on.
async fn run(place: Place, args: Vec<String>) -> (Place, Run) {
    tokio::task::spawn_blocking(move || {
        let mut all = vec!["policy", "coverage", "policy.json"];
        all.extend(args.iter().map(String::as_str));
        let run = place.run(&all);
        (place, run)
    })
    .await
    .expect("the program runs")
}

fn args(args: &[&str]) -> Vec<String> {
    args.iter().map(|&arg| arg.to_owned()).collect()
}

async fn plaintext(routes: Routes) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let target = format!("http://{}", listener.local_addr().expect("bound"));
    let served = tonic::transport::Server::builder()
        .add_routes(routes)
        .serve_with_incoming(TcpIncoming::from(listener));
    tokio::spawn(served);
    target
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_asked_over_tls_with_a_token() {
    let ca = CertificateAuthority::new("ca");
    let certificate = ca.server(&["localhost"]);
    let tls =
        ServerCredentials::tls(Identity::from_pem(certificate.chain_pem(), certificate.key_pem()))
            .build()
            .expect("credentials");
    let incoming = tls.bind("127.0.0.1:0").await.expect("a port");
    let port = incoming.local_addr().expect("TCP").port();
    let tokens = StaticTokens::new().with_token("ci", "the-right-token-of-ci");
    let gate = Gate::builder()
        .authenticate(tokens)
        .authorize(Rules::new().reflection_is_authenticated())
        .build()
        .expect("a gate");
    let served = tonic::transport::Server::builder()
        .layer(gate)
        .add_service(reflection().build_v1().expect("reflection"))
        .add_service(Greeter.service())
        .serve_with_incoming(incoming);
    tokio::spawn(served);

    let place = place();
    place.write("ca.pem", ca.certificate_pem());
    place.write("other.pem", CertificateAuthority::new("other").certificate_pem());
    place.write("token", "the-right-token-of-ci\n");
    place.write("wrong", "another-token-of-nobody\n");
    let target = format!("https://localhost:{port}");
    let ask = |more: &[&str]| args(&[&["--reflect", &target], more].concat());
    let (place, done) = run(place, ask(&["--ca", "ca.pem", "--token-file", "token"])).await;
    assert_eq!((done.code, done.stdout.as_str()), (0, TABLE), "{}", done.stderr);
    let strict = ask(&["--ca", "ca.pem", "--token-file", "token", "--strict"]);
    let (place, done) = run(place, strict).await;
    assert_eq!(done.code, 1);

    let (place, done) = run(place, ask(&["--ca", "ca.pem"])).await;
    assert_eq!(done.code, 6, "{}", done.stderr);
    assert!(done.stderr.contains("--token-file"), "{}", done.stderr);
    let (place, done) = run(place, ask(&["--ca", "ca.pem", "--token-file", "wrong"])).await;
    assert_eq!(done.code, 6, "{}", done.stderr);
    let (place, done) = run(place, ask(&["--ca", "other.pem", "--token-file", "token"])).await;
    assert_eq!(done.code, 5, "{}", done.stderr);
    let (_, done) = run(place, ask(&["--ca", "absent.pem"])).await;
    assert_eq!(done.code, 3, "{}", done.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_server_is_asked_in_the_older_version() {
    let older = Routes::new(reflection().build_v1alpha().expect("reflection"));
    let target = plaintext(older).await;
    let (place, done) = run(place(), args(&["--reflect", &target])).await;
    assert_eq!((done.code, done.stdout.as_str()), (0, TABLE), "{}", done.stderr);
    // No secret goes where everybody can read it.
    place.write("token", "t");
    let (_, done) = run(place, args(&["--reflect", &target, "--token-file", "token"])).await;
    assert_eq!(done.code, 2, "{}", done.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_does_not_tell_is_a_failure_and_no_empty_table() {
    let target = plaintext(Routes::new(Greeter.service())).await;
    let (place, done) = run(place(), args(&["--reflect", &target])).await;
    assert_eq!((done.code, done.stdout.as_str()), (4, ""), "{}", done.stderr);
    assert!(done.stderr.contains("Unimplemented"), "{}", done.stderr);

    let nothing = Builder::configure().include_reflection_service(false);
    let target = plaintext(Routes::new(nothing.build_v1().expect("reflection"))).await;
    let (place, done) = run(place, args(&["--reflect", &target])).await;
    assert_eq!((done.code, done.stdout.as_str()), (4, ""), "{}", done.stderr);
    assert!(done.stderr.contains("lists no method"), "{}", done.stderr);

    // One that takes the connection and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let target = format!("http://{}", silent.local_addr().expect("bound"));
    let begin = tokio::time::Instant::now();
    let asked = args(&["--reflect", &target, "--timeout", "1"]);
    let (place, done) = run(place, asked).await;
    assert_eq!(done.code, 4, "{}", done.stderr);
    assert!(begin.elapsed() < Duration::from_secs(30));
    drop(silent);
    let (place, done) = run(place, args(&["--reflect", &target])).await;
    assert_eq!(done.code, 4, "nobody is there: {}", done.stderr);
    let (_, done) = run(place, args(&["--reflect", &target, "--descriptor", "x"])).await;
    assert_eq!(done.code, 2, "one or the other: {}", done.stderr);
}

/// Lists services and answers each question with megabytes.
struct Flood(Arc<AtomicUsize>);

#[tonic::async_trait]
impl ServerReflection for Flood {
    type ServerReflectionInfoStream =
        Box<dyn Stream<Item = Result<ServerReflectionResponse, Status>> + Send + Unpin>;

    async fn server_reflection_info(
        &self,
        request: Request<Streaming<ServerReflectionRequest>>,
    ) -> Result<Response<Self::ServerReflectionInfoStream>, Status> {
        let sent = Arc::clone(&self.0);
        let answer = move |question: Result<ServerReflectionRequest, Status>| {
            let message = match question?.message_request {
                Some(MessageRequest::ListServices(_)) => {
                    let service = |n| ServiceResponse { name: format!("flood.v1.Flood{n}") };
                    let service = (0..60).map(service).collect();
                    MessageResponse::ListServicesResponse(ListServiceResponse { service })
                }
                _ => {
                    sent.fetch_add(1, Ordering::Relaxed);
                    // An unknown field of 4 MiB, which is a file without services.
                    let file = [&[0xfa, 0x3e, 0x80, 0x80, 0x80, 0x02][..], &vec![0; 4 << 20]];
                    let file_descriptor_proto = vec![file.concat()];
                    let files = FileDescriptorResponse { file_descriptor_proto };
                    MessageResponse::FileDescriptorResponse(files)
                }
            };
            let message_response = Some(message);
            Ok(ServerReflectionResponse { message_response, ..ServerReflectionResponse::default() })
        };
        Ok(Response::new(Box::new(request.into_inner().map(answer))))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_tells_too_much_is_not_listened_to_for_long() {
    let sent = Arc::new(AtomicUsize::new(0));
    let flood = ServerReflectionServer::new(Flood(Arc::clone(&sent)));
    let flood = flood.max_encoding_message_size(16 << 20);
    let target = plaintext(Routes::new(flood)).await;
    let (_, done) = run(place(), args(&["--reflect", &target, "--timeout", "60"])).await;
    assert_eq!((done.code, done.stdout.as_str()), (4, ""), "{}", done.stderr);
    assert!(done.stderr.contains("longer than 64 MiB"), "{}", done.stderr);
    let sent = sent.load(Ordering::Relaxed);
    assert!(sent < 40, "{sent} of 60 answers were taken in");
}

/// Refuses in words that would move the cursor.
struct Painter;

#[tonic::async_trait]
impl ServerReflection for Painter {
    type ServerReflectionInfoStream = <Flood as ServerReflection>::ServerReflectionInfoStream;

    async fn server_reflection_info(
        &self,
        _: Request<Streaming<ServerReflectionRequest>>,
    ) -> Result<Response<Self::ServerReflectionInfoStream>, Status> {
        Err(Status::internal("\u{1b}[2Jall is well"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_server_says_does_not_move_the_cursor() {
    let target = plaintext(Routes::new(ServerReflectionServer::new(Painter))).await;
    let (_, done) = run(place(), args(&["--reflect", &target])).await;
    assert_eq!((done.code, done.stdout.as_str()), (4, ""), "{}", done.stderr);
    assert!(done.stderr.contains("\\u{1b}[2Jall is well"), "{:?}", done.stderr);
    assert!(!done.stderr.contains("\u{1b}[2J"), "{:?}", done.stderr);
}
