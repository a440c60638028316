//! How a listener and its connections come to their end.

mod server_support;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use countersign::{
    Channel, ChannelCredentials, ClientTls, Drain, ServerCredentials, ServerLimits, connect,
};
use countersign_testkit::greeter::GreeterClient;
use countersign_testkit::greeter::proto::greeter_server::{Greeter, GreeterServer};
use countersign_testkit::greeter::proto::{
    HelloReply, HelloRequest, HelloStreamRequest, ResetReply, ResetRequest,
};
use countersign_testkit::pki::CertificateAuthority;
use countersign_testkit::wait::until;
use server_support::guests::Guests;
use server_support::ports::ClosedPort;
use server_support::time::{StoppedTime, settle, within};
use server_support::wire::{
    PREFACE, SETTINGS, begin_http2, client_config, dial, is_waiting, last_words, tls,
};
use server_support::{alive_tasks, roots, tls_credentials};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Request, Response, Status, Streaming};

const GRACE: Duration = Duration::from_secs(30);
/// Timers keep time to the millisecond.
const MOMENT: Duration = Duration::from_millis(2);
/// So long that it never comes.
const AGES: Duration = Duration::from_secs(1_000_000);

type Reply = Result<HelloReply, Status>;

/// Hands the test the writing end of each stream that it is asked for.
struct Held {
    streams: mpsc::UnboundedSender<mpsc::UnboundedSender<Reply>>,
}

#[tonic::async_trait]
impl Greeter for Held {
    async fn say_hello(&self, _: Request<HelloRequest>) -> Result<Response<HelloReply>, Status> {
        Ok(Response::new(HelloReply::default()))
    }

    type SayHelloStreamStream = UnboundedReceiverStream<Reply>;

    async fn say_hello_stream(
        &self,
        _: Request<HelloStreamRequest>,
    ) -> Result<Response<Self::SayHelloStreamStream>, Status> {
        let (writing, reading) = mpsc::unbounded_channel();
        self.streams.send(writing).map_err(|_| Status::aborted("the test is over"))?;
        Ok(Response::new(UnboundedReceiverStream::new(reading)))
    }

    async fn reset(&self, _: Request<ResetRequest>) -> Result<Response<ResetReply>, Status> {
        Err(Status::unimplemented("not in this test"))
    }
}

/// tonic's server on one of our listeners, as users run it.
struct Server {
    address: SocketAddr,
    /// Nobody else listens there afterwards.
    _port: ClosedPort,
    stop: Option<oneshot::Sender<()>>,
    drain: Drain,
    streams: mpsc::UnboundedReceiver<mpsc::UnboundedSender<Reply>>,
    served: JoinHandle<Result<(), tonic::transport::Error>>,
}

impl Server {
    fn start(credentials: &ServerCredentials, grace: Duration) -> Self {
        let port = ClosedPort::new();
        let incoming = credentials.accept(port.listen()).expect("a listener");
        let address = port.address();
        let (stop, stopped) = oneshot::channel::<()>();
        let drain = incoming.drain();
        let shutdown = drain.after(
            async {
                let _ = stopped.await;
            },
            grace,
        );
        let (asked, streams) = mpsc::unbounded_channel();
        let served = tokio::spawn(
            tonic::transport::Server::builder()
                .add_service(GreeterServer::new(Held { streams: asked }))
                .serve_with_incoming_shutdown(incoming, shutdown),
        );
        Self { address, _port: port, stop: Some(stop), drain, streams, served }
    }

    fn stop(&mut self) {
        drop(self.stop.take());
    }

    async fn ended(&mut self) {
        let served = within("the server ends", &mut self.served).await;
        served.expect("no panic").expect("served");
    }
}

async fn channel(server: &Server, ca: &CertificateAuthority) -> Channel {
    let tls = ClientTls::only_roots(roots(ca));
    let target = format!("https://localhost:{}", server.address.port());
    connect(target, ChannelCredentials::tls(tls)).await.expect("connected")
}

/// Both ends of a stream that has begun.
async fn begin_stream(
    server: &mut Server,
    channel: &Channel,
) -> (mpsc::UnboundedSender<Reply>, Streaming<HelloReply>) {
    let request = HelloStreamRequest { name: "you".to_owned(), count: 0 };
    let mut client = GreeterClient::new(channel.clone());
    let reading = client.say_hello_stream(request).await.expect("begun").into_inner();
    let writing = server.streams.recv().await.expect("it reached the handler");
    (writing, reading)
}

fn reply(message: &str) -> Reply {
    Ok(HelloReply { message: message.to_owned(), ..Default::default() })
}

async fn next(reading: &mut Streaming<HelloReply>) -> Result<Option<String>, Status> {
    let message = within("the stream goes on or ends", reading.message()).await?;
    Ok(message.map(|reply| reply.message))
}

/// Whether anybody listens.
async fn is_refused(address: SocketAddr) -> bool {
    match TcpStream::connect(address).await {
        Ok(_) => false,
        Err(error) => error.kind() == ErrorKind::ConnectionRefused,
    }
}

// Streams in flight.

#[tokio::test]
async fn a_stream_that_finishes_within_the_grace_arrives_whole() {
    let ca = CertificateAuthority::new("test CA");
    let mut server = Server::start(&tls_credentials(&ca), GRACE);
    let channel = channel(&server, &ca).await;
    let (writing, mut reading) = begin_stream(&mut server, &channel).await;
    let time = StoppedTime::begin();
    server.stop();
    time.advance(GRACE - MOMENT).await;
    writing.send(reply("last")).expect("the stream is open");
    drop(writing);
    assert_eq!(next(&mut reading).await.expect("no error").as_deref(), Some("last"));
    assert_eq!(next(&mut reading).await.expect("a good end"), None);
    server.ended().await;
}

#[tokio::test]
async fn a_stream_that_does_not_finish_is_cut_when_the_grace_is_over_and_not_before() {
    let ca = CertificateAuthority::new("test CA");
    let mut server = Server::start(&tls_credentials(&ca), GRACE);
    let channel = channel(&server, &ca).await;
    let (writing, mut reading) = begin_stream(&mut server, &channel).await;
    let time = StoppedTime::begin();
    server.stop();
    time.advance(GRACE - MOMENT).await;
    assert!(!server.served.is_finished());
    writing.send(reply("still here")).expect("the stream is open");
    assert_eq!(next(&mut reading).await.expect("no error").as_deref(), Some("still here"));

    time.advance(2 * MOMENT).await;
    next(&mut reading).await.expect_err("it is cut");
    server.ended().await;
    assert!(writing.is_closed(), "the handler's stream is dropped");
}

#[tokio::test]
async fn a_later_word_brings_the_end_nearer_and_never_puts_it_off() {
    let ca = CertificateAuthority::new("test CA");
    let time = StoppedTime::begin();
    for (first, second) in [(AGES, GRACE), (GRACE, AGES)] {
        let mut server = Server::start(&tls_credentials(&ca), first);
        let channel = channel(&server, &ca).await;
        let (_writing, mut reading) = begin_stream(&mut server, &channel).await;
        server.stop();
        settle().await;
        server.drain.start(second);
        time.advance(GRACE - MOMENT).await;
        assert!(!server.served.is_finished(), "{first:?} {second:?}");
        time.advance(2 * MOMENT).await;
        next(&mut reading).await.expect_err("it is cut");
        server.ended().await;
    }
}

#[tokio::test]
async fn a_stop_without_grace_cuts_at_once() {
    let ca = CertificateAuthority::new("test CA");
    let mut server = Server::start(&tls_credentials(&ca), Duration::ZERO);
    let channel = channel(&server, &ca).await;
    let (_writing, mut reading) = begin_stream(&mut server, &channel).await;
    server.stop();
    next(&mut reading).await.expect_err("it is cut");
    server.ended().await;
}

// Handshakes and the listener.

#[tokio::test]
async fn a_shutdown_cuts_every_handshake_at_once_and_leaves_calls_their_grace() {
    let ca = CertificateAuthority::new("test CA");
    let forever = ServerLimits::default().handshake_timeout(AGES);
    let credentials = tls_credentials(&ca).limits(forever);
    let mut server = Server::start(&credentials, AGES);
    let channel = channel(&server, &ca).await;
    let (writing, mut reading) = begin_stream(&mut server, &channel).await;

    let _time = StoppedTime::begin();
    let mut silent = dial(server.address).await;
    let mut half_a_hello = dial(server.address).await;
    half_a_hello.write_all(&[0x16, 3, 1, 2, 0]).await.expect("written");
    let mut no_preface =
        tls(dial(server.address).await, &Arc::new(client_config(&ca)), "localhost")
            .await
            .expect("TLS");
    settle().await;
    assert!(is_waiting(&silent) && is_waiting(&half_a_hello));

    server.stop();
    // TL-16: time stands still, so it is not a deadline that ends them.
    assert_eq!(last_words(&mut silent).await, b"");
    assert_eq!(last_words(&mut half_a_hello).await, b"");
    assert_eq!(last_words(&mut no_preface).await, b"");
    assert!(is_refused(server.address).await, "nobody listens");

    writing.send(reply("undisturbed")).expect("the stream is open");
    assert_eq!(next(&mut reading).await.expect("no error").as_deref(), Some("undisturbed"));
    drop(writing);
    assert_eq!(next(&mut reading).await.expect("a good end"), None);
    server.ended().await;
}

#[tokio::test]
async fn a_shutdown_with_nothing_but_silent_clients_is_over_at_once() {
    let ca = CertificateAuthority::new("test CA");
    let mut server = Server::start(&tls_credentials(&ca), AGES);
    let _time = StoppedTime::begin();
    let tasks = alive_tasks();
    let mut silent = dial(server.address).await;
    until("its handshake begins", || alive_tasks() > tasks).await;
    server.stop();
    server.ended().await;
    assert_eq!(last_words(&mut silent).await, b"");
}

#[tokio::test]
async fn nothing_is_left_behind() {
    let ca = CertificateAuthority::new("test CA");
    settle().await;
    let before = alive_tasks();
    let mut server = Server::start(&tls_credentials(&ca), Duration::ZERO);
    let streaming = channel(&server, &ca).await;
    let (writing, reading) = begin_stream(&mut server, &streaming).await;
    let idle = channel(&server, &ca).await;
    let silent = dial(server.address).await;
    let config = Arc::new(client_config(&ca));
    let no_preface = tls(dial(server.address).await, &config, "localhost").await.expect("TLS");
    assert!(alive_tasks() > before);

    server.stop();
    server.ended().await;
    assert!(is_refused(server.address).await, "nobody listens");
    // Only the server's tasks end by themselves; the clients' do with their channels.
    drop((writing, reading, streaming, idle, silent, no_preface));
    until("every task has ended", || alive_tasks() == before).await;
}

#[tokio::test]
async fn a_dropped_listener_closes_and_cuts_handshakes_while_connections_go_on() {
    let forever = ServerLimits::default().handshake_timeout(AGES);
    let credentials = ServerCredentials::insecure().limits(forever);
    let port = ClosedPort::new();
    let mut guests = Guests::of(credentials.accept(port.listen()).expect("a listener"));
    let _time = StoppedTime::begin();
    let mut client = dial(guests.address()).await;
    begin_http2(&mut client).await;
    let mut io = guests.next().await;
    let mut silent = dial(guests.address()).await;
    settle().await;
    assert!(is_waiting(&silent));

    guests.close().await;
    assert_eq!(last_words(&mut silent).await, b"");
    assert!(is_refused(guests.address()).await, "nobody listens");

    let mut begin = vec![0; PREFACE.len() + SETTINGS.len()];
    io.read_exact(&mut begin).await.expect("what was read ahead");
    client.write_all(b"ping").await.expect("written");
    let mut four = [0; 4];
    within("it arrives", io.read_exact(&mut four)).await.expect("read");
    io.write_all(b"pong").await.expect("written");
    within("it arrives", client.read_exact(&mut four)).await.expect("read");
    assert_eq!(&four, b"pong");
}

#[tokio::test]
async fn a_drain_cuts_the_connections_of_a_listener_that_was_dropped() {
    let incoming = ServerCredentials::insecure().bind("127.0.0.1:0").await.expect("bound");
    let drain = incoming.drain();
    let mut guests = Guests::of(incoming);
    let mut client = dial(guests.address()).await;
    begin_http2(&mut client).await;
    let mut io = guests.next().await;
    guests.close().await;
    let mut begin = vec![0; PREFACE.len() + SETTINGS.len()];
    io.read_exact(&mut begin).await.expect("what was read ahead");
    io.write_all(b"before").await.expect("written");

    let reading = tokio::spawn(async move {
        let read = io.read(&mut [0]).await;
        (read, io)
    });
    settle().await;
    assert!(!reading.is_finished(), "nothing is cut yet");
    drain.start(Duration::ZERO);
    let (read, mut io) = within("it is woken", reading).await.expect("no panic");
    assert_eq!(read.expect_err("cut").kind(), ErrorKind::ConnectionAborted);
    assert_eq!(io.write(b"after").await.expect_err("cut").kind(), ErrorKind::ConnectionAborted);
    assert_eq!(io.flush().await.expect_err("cut").kind(), ErrorKind::ConnectionAborted);
    io.shutdown().await.expect("there is nothing more to do");
    drop(io);
    assert_eq!(last_words(&mut client).await, b"before");
}

#[tokio::test]
async fn a_cut_wakes_the_task_that_reads_and_the_task_that_writes() {
    let incoming = ServerCredentials::insecure().bind("127.0.0.1:0").await.expect("bound");
    let drain = incoming.drain();
    let mut guests = Guests::of(incoming);
    let _client = stubborn(guests.address()).await;
    let (mut reading, mut writing) = tokio::io::split(guests.next().await);
    let reader = tokio::spawn(async move {
        let mut all = Vec::new();
        reading.read_to_end(&mut all).await
    });
    // Much more than the kernel takes for a client that does not read.
    let writer = tokio::spawn(async move { writing.write_all(&vec![0; 64 << 20]).await });
    settle().await;
    assert!(!reader.is_finished() && !writer.is_finished());
    drain.start(Duration::ZERO);
    let read = within("the reader is woken", reader).await.expect("no panic");
    assert_eq!(read.expect_err("cut").kind(), ErrorKind::ConnectionAborted);
    let written = within("the writer is woken", writer).await.expect("no panic");
    assert_eq!(written.expect_err("cut").kind(), ErrorKind::ConnectionAborted);
}

#[tokio::test]
async fn after_the_cut_not_even_what_has_arrived_is_read() {
    for grace in [Duration::ZERO, AGES] {
        let incoming = ServerCredentials::insecure().bind("127.0.0.1:0").await.expect("bound");
        let drain = incoming.drain();
        let mut guests = Guests::of(incoming);
        let mut client = dial(guests.address()).await;
        begin_http2(&mut client).await;
        let mut io = guests.next().await;
        client.write_all(&[0; 4096]).await.expect("written");
        drain.start(grace);
        let read = io.read(&mut [0; 4096]).await.map_err(|error| error.kind());
        match grace {
            Duration::ZERO => assert_eq!(read, Err(ErrorKind::ConnectionAborted)),
            _ => assert!(read.is_ok_and(|read| read > 0)),
        }
    }
}

// Peers that would rather not end.

/// A connection to a plaintext server, with HTTP/2 begun and the kernel's buffers small.
async fn stubborn(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("set");
    let mut io = socket.connect(address).await.expect("connected");
    begin_http2(&mut io).await;
    io
}

#[tokio::test]
async fn a_peer_that_asks_and_never_reads_the_answers_is_cut_too() {
    const PING: [u8; 17] = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    let mut server = Server::start(&ServerCredentials::insecure(), Duration::ZERO);
    let io = stubborn(server.address).await;
    let pings = PING.repeat(1_000);
    let (mut sent, mut quiet) = (0, 0);
    // The server stops reading once its answers do not get out; then we cannot write either.
    until("the server is stuck", || {
        let before = sent;
        while let Ok(written) = io.try_write(&pings[sent % pings.len()..]) {
            sent += written;
        }
        quiet = if sent == before { quiet + 1 } else { 0 };
        sent > 0 && quiet == 100
    })
    .await;
    server.stop();
    server.ended().await;
}

#[tokio::test]
async fn a_peer_that_never_stops_sending_is_cut_too() {
    use std::io::Write;
    // An answer to a question that nobody asked: the server only reads.
    const PONG: [u8; 17] = [0, 0, 8, 6, 1, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    let mut server = Server::start(&ServerCredentials::insecure(), Duration::ZERO);
    let mut io = stubborn(server.address).await;
    within("it is let in", io.read_exact(&mut [0; 9])).await.expect("the server's SETTINGS");
    let mut io = io.into_std().expect("a socket");
    io.set_nonblocking(false).expect("set");
    let flood = std::thread::spawn(move || {
        let pongs = PONG.repeat(10_000);
        while io.write_all(&pongs).is_ok() {}
    });
    settle().await;
    server.stop();
    server.ended().await;
    until("the flood hears of it", || flood.is_finished()).await;
}
