//! What a listener lets in, what it keeps out, and what strangers can make it do.

mod server_support;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use countersign::tls::{HandshakeResult, Resumption};
use countersign::{
    ChannelCredentials, ClientTls, Incoming, ServerCredentials, ServerLimits, connect, danger,
};
use countersign_testkit::greeter::{GreeterClient, TestServer, proto::HelloRequest};
use countersign_testkit::logs::Logs;
use countersign_testkit::pki::CertificateAuthority;
use countersign_testkit::wait::until;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use server_support::guests::Guests;
use server_support::time::{StoppedTime, settle, within};
use server_support::wire::{
    ByteByByte, PREFACE, SETTINGS, begin_http2, client_config, dial, dial_from, is_waiting,
    last_words, tls, tls_and_http2,
};
use server_support::{alive_tasks, identity, roots, tls_credentials};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const DEADLINE: Duration = Duration::from_secs(10);
/// Timers keep time to the millisecond.
const MOMENT: Duration = Duration::from_millis(2);

fn plaintext(limits: ServerLimits) -> ServerCredentials {
    ServerCredentials::insecure().limits(limits)
}

fn limits() -> ServerLimits {
    ServerLimits::default()
}

fn warnings(logs: &Logs) -> Vec<String> {
    logs.lines_with("WARN")
}

// Connections.

#[tokio::test]
async fn a_connection_too_many_is_closed_and_let_in_again_when_one_is_gone() {
    let logs = Logs::collect();
    let mut guests = Guests::on_loopback(&plaintext(limits().max_connections(2))).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut io = dial(guests.address()).await;
        begin_http2(&mut io).await;
        held.push((guests.next().await, io));
    }
    let mut third = dial(guests.address()).await;
    assert_eq!(last_words(&mut third).await, b"");
    let warned = logs.lines_with("max_connections");
    assert_eq!(warned.len(), 1, "{}", logs.text());
    assert!(warned[0].contains("FULL") && warned[0].contains("most=2"), "{warned:?}");
    assert!(guests.nobody_else());

    held.pop();
    let mut third = dial(guests.address()).await;
    begin_http2(&mut third).await;
    guests.next().await;
}

#[tokio::test]
async fn the_place_of_a_client_that_leaves_is_free_for_another() {
    let ca = CertificateAuthority::new("test CA");
    let credentials = tls_credentials(&ca).limits(limits().max_connections(1));
    let server = TestServer::start(credentials.bind("127.0.0.1:0").await.expect("bound"), None);
    let config = Arc::new(client_config(&ca));
    let mut first = tls_and_http2(server.address(), &config).await.expect("the only place");
    assert!(first.read(&mut [0; 9]).await.expect("the server's SETTINGS") > 0);
    assert_eq!(last_words(&mut dial(server.address()).await).await, b"", "there is no other");

    drop(first);
    let tls = ClientTls::only_roots(roots(&ca));
    let mut refused = 0;
    // The server hears of the end when it hears of it.
    while connect(server.https("localhost"), ChannelCredentials::tls(tls.clone())).await.is_err() {
        refused += 1;
        assert!(refused < 1_000, "the place is never free");
    }
}

#[tokio::test]
async fn an_address_too_often_is_kept_out_and_another_address_is_not() {
    let logs = Logs::collect();
    let limits = limits().max_connections_per_address(1);
    let mut guests = Guests::on_loopback(&plaintext(limits)).await;
    let mut first = dial_from([127, 0, 0, 1], guests.address()).await;
    begin_http2(&mut first).await;
    let held = guests.next().await;

    let mut same = dial_from([127, 0, 0, 1], guests.address()).await;
    assert_eq!(last_words(&mut same).await, b"");
    let warned = logs.lines_with("max_connections_per_address");
    assert_eq!(warned.len(), 1, "{}", logs.text());
    assert!(warned[0].contains("peer=127.0.0.1:") && warned[0].contains("most=1"), "{warned:?}");

    let mut other = dial_from([127, 0, 0, 2], guests.address()).await;
    begin_http2(&mut other).await;
    let other = guests.next().await;
    assert_eq!(other.peer().address().ip(), Some([127, 0, 0, 2].into()));

    drop(held);
    let mut again = dial_from([127, 0, 0, 1], guests.address()).await;
    begin_http2(&mut again).await;
    guests.next().await;
}

// Handshakes that are under way.

#[tokio::test]
async fn the_oldest_silent_connection_makes_room_for_a_new_one() {
    let logs = Logs::collect();
    let mut guests = Guests::on_loopback(&plaintext(limits().max_pending_handshakes(2))).await;
    let mut oldest = dial(guests.address()).await;
    let second = dial(guests.address()).await;
    settle().await;
    assert!(is_waiting(&oldest) && is_waiting(&second), "two are allowed");

    let mut good = dial(guests.address()).await;
    assert_eq!(last_words(&mut oldest).await, b"");
    assert_eq!(warnings(&logs).len(), 1, "{}", logs.text());
    assert!(warnings(&logs)[0].contains("too many handshakes at once"), "{}", logs.text());
    begin_http2(&mut good).await;
    guests.next().await;
    assert!(is_waiting(&second), "only as many as needed are cut");
}

#[tokio::test]
async fn a_good_client_gets_in_among_sixty_silent_ones() {
    // Few enough for a limit of 256 open files, and the other tests beside it.
    const CAP: usize = 16;
    let ca = CertificateAuthority::new("test CA");
    // None of them is cut for its silence, however long all of this takes.
    let limits = limits().handshake_timeout(Duration::from_secs(3_600));
    let limits = limits.max_pending_handshakes(CAP).max_pending_handshakes_per_address(usize::MAX);
    let credentials = tls_credentials(&ca).limits(limits);
    let server = TestServer::start(credentials.bind("127.0.0.1:0").await.expect("bound"), None);
    let mut silent = Vec::new();
    for number in 0..60 {
        let mut io = dial(server.address()).await;
        if number % 2 == 0 {
            io.write_all(&[0x16, 3, 1, 2, 0]).await.expect("half a record");
        }
        silent.push(io);
    }
    let tls = ChannelCredentials::tls(ClientTls::only_roots(roots(&ca)));
    let channel = connect(server.https("localhost"), tls).await.expect("connected");
    let request = HelloRequest { name: "you".to_owned() };
    GreeterClient::new(channel).say_hello(request).await.expect("greeted");

    let cut = || silent.iter().filter(|io| !is_waiting(io)).count();
    until("the silent ones above the cap are cut", || cut() > 60 - CAP).await;
    assert_eq!(cut(), 60 - CAP + 1, "the good one needed a turn, and no more are cut");
}

#[tokio::test]
async fn an_address_with_too_many_handshakes_loses_its_own_oldest_and_nobody_elses() {
    let limits = limits().max_pending_handshakes_per_address(2);
    let guests = Guests::on_loopback(&plaintext(limits)).await;
    let elsewhere = dial_from([127, 0, 0, 2], guests.address()).await;
    let mut oldest = dial_from([127, 0, 0, 1], guests.address()).await;
    let second = dial_from([127, 0, 0, 1], guests.address()).await;
    settle().await;
    assert!(is_waiting(&oldest), "two are allowed");

    let third = dial_from([127, 0, 0, 1], guests.address()).await;
    assert_eq!(last_words(&mut oldest).await, b"");
    assert!(is_waiting(&elsewhere), "though it is older");
    assert!(is_waiting(&second) && is_waiting(&third));
}

// The deadline.

/// Dials, and waits until the listener has begun with the connection, so that its deadline runs.
async fn dial_and_be_taken_up(address: SocketAddr) -> TcpStream {
    settle().await;
    let tasks = alive_tasks();
    let io = dial(address).await;
    until("the handshake begins", || alive_tasks() > tasks).await;
    settle().await;
    io
}

/// Moves time to a moment before the end of `left`, and past it, and watches the connection.
async fn is_cut_after(time: &StoppedTime, left: Duration, io: &mut TcpStream) {
    time.advance(left - MOMENT).await;
    assert!(is_waiting(io), "it is cut too early");
    time.advance(2 * MOMENT).await;
    assert_eq!(last_words(io).await, b"");
}

#[tokio::test]
async fn a_client_that_never_speaks_is_cut_at_the_deadline_and_not_before() {
    let ca = CertificateAuthority::new("test CA");
    for (credentials, counted) in
        [(tls_credentials(&ca), 1), (ServerCredentials::insecure(), 0_u64)]
    {
        let logs = Logs::collect();
        let guests = Guests::on_loopback(&credentials).await;
        let time = StoppedTime::begin();
        let mut io = dial_and_be_taken_up(guests.address()).await;
        is_cut_after(&time, DEADLINE, &mut io).await;
        assert_eq!(warnings(&logs).len(), 1, "{}", logs.text());
        assert!(warnings(&logs)[0].contains("HANDSHAKE_TIMEOUT"), "{}", logs.text());
        assert!(warnings(&logs)[0].contains("said nothing for 10s"), "{}", logs.text());
        let counters = credentials.handshakes();
        assert_eq!(counters.get(HandshakeResult::HandshakeTimeout), counted, "{counters:?}");
    }
}

#[tokio::test]
async fn a_client_silent_after_tls_is_cut_at_the_same_deadline() {
    let ca = CertificateAuthority::new("test CA");
    let logs = Logs::collect();
    let credentials = tls_credentials(&ca);
    let mut guests = Guests::on_loopback(&credentials).await;
    let time = StoppedTime::begin();
    let io = dial_and_be_taken_up(guests.address()).await;

    // What TLS takes is taken from the time for the preface.
    time.advance(DEADLINE / 2).await;
    let mut io = tls(io, &Arc::new(client_config(&ca)), "localhost").await.expect("TLS");
    until("the server is done too", || credentials.handshakes().get(HandshakeResult::Success) == 1)
        .await;
    time.advance(DEADLINE / 2 - MOMENT).await;
    assert!(logs.lines_with("NO_HTTP2_PREFACE").is_empty(), "{}", logs.text());
    time.advance(2 * MOMENT).await;
    assert_eq!(last_words(&mut io).await, b"");
    assert_eq!(logs.lines_with("NO_HTTP2_PREFACE").len(), 1, "{}", logs.text());
    assert!(guests.nobody_else());
}

#[tokio::test]
async fn a_client_that_speaks_just_in_time_gets_in() {
    let ca = CertificateAuthority::new("test CA");
    let mut guests = Guests::on_loopback(&tls_credentials(&ca)).await;
    let time = StoppedTime::begin();
    let io = dial_and_be_taken_up(guests.address()).await;
    time.advance(DEADLINE / 2).await;
    let mut io = tls(io, &Arc::new(client_config(&ca)), "localhost").await.expect("TLS");
    time.advance(DEADLINE / 2 - MOMENT).await;
    begin_http2(&mut io).await;
    guests.next().await;
}

#[tokio::test]
async fn a_client_that_sends_its_preface_and_no_settings_is_cut_at_the_deadline() {
    let logs = Logs::collect();
    let mut guests = Guests::on_loopback(&ServerCredentials::insecure()).await;
    let time = StoppedTime::begin();
    let mut io = dial_and_be_taken_up(guests.address()).await;
    io.write_all(PREFACE).await.expect("written");
    is_cut_after(&time, DEADLINE, &mut io).await;
    assert_eq!(logs.lines_with("NO_HTTP2_PREFACE").len(), 1, "{}", logs.text());

    let mut io = dial_and_be_taken_up(guests.address()).await;
    io.write_all(PREFACE).await.expect("written");
    time.advance(DEADLINE - MOMENT).await;
    io.write_all(SETTINGS).await.expect("written");
    guests.next().await;
}

#[tokio::test]
async fn a_client_that_speaks_byte_by_byte_gets_in() {
    let ca = CertificateAuthority::new("test CA");
    let mut guests = Guests::on_loopback(&ServerCredentials::insecure()).await;
    begin_http2(&mut ByteByByte::new(dial(guests.address()).await)).await;
    let mut io = guests.next().await;
    let mut all = vec![0; PREFACE.len() + SETTINGS.len()];
    io.read_exact(&mut all).await.expect("what was read ahead is read again");
    assert_eq!(all, [PREFACE, SETTINGS].concat());

    let mut guests = Guests::on_loopback(&tls_credentials(&ca)).await;
    let slow = ByteByByte::new(dial(guests.address()).await);
    let mut slow = tls(slow, &Arc::new(client_config(&ca)), "localhost").await.expect("TLS");
    for byte in [PREFACE, SETTINGS].concat() {
        slow.write_all(&[byte]).await.expect("written");
        slow.flush().await.expect("flushed");
    }
    let mut io = guests.next().await;
    io.read_exact(&mut all).await.expect("what was read ahead is read again");
    assert_eq!(all, [PREFACE, SETTINGS].concat());
}

// What the operator reads.

#[tokio::test]
async fn who_connects_and_leaves_without_a_word_is_no_warning() {
    let ca = CertificateAuthority::new("test CA");
    for credentials in [tls_credentials(&ca), ServerCredentials::insecure()] {
        // Health checks hang up in order, or by a reset so as not to linger.
        for reset in [false, true] {
            let logs = Logs::collect();
            let guests = Guests::on_loopback(&credentials).await;
            let io = dial(guests.address()).await;
            if reset {
                let socket = socket2::SockRef::from(&io);
                socket.set_linger(Some(Duration::ZERO)).expect("no linger");
            }
            drop(io);
            until("it is logged", || !logs.lines_with("left without a word").is_empty()).await;
            assert_eq!(logs.lines_with("DEBUG").len(), 1, "{}", logs.text());
            assert_eq!(warnings(&logs), [""; 0], "{credentials:?} {reset}");
        }
        let logs = Logs::collect();
        let guests = Guests::on_loopback(&credentials).await;
        dial(guests.address()).await.write_all(&[0x16]).await.expect("one byte");
        until("one byte is a word", || !warnings(&logs).is_empty()).await;
    }
}

#[tokio::test]
async fn two_hundred_failures_are_a_dozen_lines_and_the_rest_is_counted() {
    let ca = CertificateAuthority::new("test CA");
    let logs = Logs::collect();
    let credentials = tls_credentials(&ca);
    let guests = Guests::on_loopback(&credentials).await;
    let time = StoppedTime::begin();
    for _ in 0..200 {
        let mut io = dial(guests.address()).await;
        io.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("written");
        assert!(last_words(&mut io).await.starts_with(b"HTTP/1.1 400"));
    }
    assert_eq!(warnings(&logs).len(), 10, "{}", logs.text());
    assert!(warnings(&logs).iter().all(|line| line.contains("withheld=0")), "{}", logs.text());

    time.advance(Duration::from_secs(2)).await;
    for _ in 0..3 {
        let mut io = dial(guests.address()).await;
        io.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("written");
        last_words(&mut io).await;
    }
    assert_eq!(warnings(&logs).len(), 12, "{}", logs.text());
    assert!(warnings(&logs)[10].contains("withheld=190"), "{}", logs.text());
    assert!(warnings(&logs)[11].contains("withheld=0"), "{}", logs.text());
}

// Out of descriptors.

/// A listener in a process of its own: this very test, told to be the child.
#[cfg(target_os = "linux")]
mod child {
    use std::fs;
    use std::io::{BufRead, BufReader, Read};
    use std::net::SocketAddr;
    use std::process::{self, ChildStderr, Command, Stdio};
    use std::time::Duration;

    use countersign::{ServerCredentials, ServerLimits};
    use countersign_testkit::greeter::TestServer;

    const IS_CHILD: &str = "COUNTERSIGN_TEST_IS_CHILD";
    const LISTENS: &str = "listens on ";

    /// Ends with this value, or with this process.
    pub(super) struct Child {
        process: process::Child,
        said: BufReader<ChildStderr>,
    }

    impl Child {
        pub(super) fn start(test: &str, descriptors: usize) -> Self {
            let limited = format!("ulimit -n {descriptors} && exec \"$0\" \"$@\"");
            let mut process = Command::new("sh")
                .args(["-c", &limited])
                .arg(std::env::current_exe().expect("this test's program"))
                .args(["--exact", test, "--nocapture"])
                .env(IS_CHILD, "1")
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .expect("started");
            let said = BufReader::new(process.stderr.take().expect("it is piped"));
            Self { process, said }
        }

        /// The next line that it writes with `part` in it.
        pub(super) fn says(&mut self, part: &str) -> String {
            loop {
                let mut line = String::new();
                let read = self.said.read_line(&mut line).expect("a line");
                assert!(read > 0, "it ended and never said {part:?}");
                if line.contains(part) {
                    return line;
                }
            }
        }

        pub(super) fn address(&mut self) -> SocketAddr {
            let line = self.says(LISTENS);
            let (_, address) = line.split_once(LISTENS).expect("it was looked for");
            address.trim().parse().expect("an address")
        }

        /// How long it has kept a processor busy (proc_pid_stat(5): `utime` and `stime`).
        pub(super) fn processor_time(&self) -> Duration {
            const TICK: Duration = Duration::from_millis(10);
            let path = format!("/proc/{}/stat", self.process.id());
            let stat = fs::read_to_string(path).expect("a process that runs");
            let (_, after_name) = stat.rsplit_once(')').expect("a name in parentheses");
            let fields: Vec<_> = after_name.split_whitespace().collect();
            let ticks = |index: usize| fields[index].parse::<u32>().expect("a number");
            TICK * (ticks(11) + ticks(12))
        }
    }

    impl Drop for Child {
        fn drop(&mut self) {
            // It may have ended by itself.
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }

    #[allow(clippy::disallowed_methods, reason = "a child is told what it is by its environment")]
    pub(super) fn is_this() -> bool {
        std::env::var_os(IS_CHILD).is_some()
    }

    /// Serves until the parent is gone.
    pub(super) fn run() {
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::WARN)
            .with_ansi(false)
            .with_writer(std::io::stderr)
            .init();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let forever = ServerLimits::default().handshake_timeout(Duration::from_secs(3_600));
            let credentials = ServerCredentials::insecure().limits(forever);
            let incoming = credentials.bind("127.0.0.1:0").await.expect("bound");
            let server = TestServer::start(incoming, None);
            eprintln!("{LISTENS}{}", server.address());
            let parent_ends =
                tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
            parent_ends.await.expect("no panic").expect("the end of a pipe");
        });
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_listener_without_descriptors_says_so_leaves_the_processor_alone_and_goes_on_later() {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::time::Instant;

    const NAME: &str =
        "a_listener_without_descriptors_says_so_leaves_the_processor_alone_and_goes_on_later";
    const COMPLAINT: &str = "cannot accept connections";
    const PING: &[u8] = &[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    const PONG: &[u8] = &[0, 0, 8, 6, 1, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    if child::is_this() {
        return child::run();
    }
    let mut child = child::Child::start(NAME, 32);
    let address = child.address();
    let dial = || {
        let io = TcpStream::connect(address).expect("the kernel answers for it");
        io.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
        io
    };
    let served = |mut io: &TcpStream| {
        let mut said = Vec::new();
        while !said.ends_with(PONG) {
            let mut byte = [0];
            io.read_exact(&mut byte).expect("an answer");
            said.extend(byte);
        }
    };
    let mut first = dial();
    first.write_all(&[PREFACE, SETTINGS, PING].concat()).expect("written");
    served(&first);

    // More than it has descriptors for, and fewer than the kernel holds for it besides (128).
    // Before the first of its pauses can have begun: what it says may be read much later.
    let (begin, busy) = (Instant::now(), child.processor_time());
    let crowd: Vec<_> = (0..48).map(|_| dial()).collect();
    let complaint = child.says(COMPLAINT);
    assert!(complaint.contains("raise the limit on open files"), "{complaint}");
    for _ in 0..8 {
        child.says(COMPLAINT);
    }
    let (wall, busy) = (begin.elapsed(), child.processor_time() - busy);
    assert!(wall > Duration::from_secs(1), "it asked 9 times within {wall:?}");
    assert!(busy < wall / 4, "{busy:?} of {wall:?} on a processor");
    first.write_all(PING).expect("written");
    served(&first);

    drop(crowd);
    let mut again = dial();
    again.write_all(&[PREFACE, SETTINGS, PING].concat()).expect("written");
    served(&again);
}

// The wrong protocol for the port.

#[derive(Debug)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Frame {
    const SETTINGS: u8 = 4;
    const GOAWAY: u8 = 7;
}

/// HTTP/2 frames (RFC 9113 §4.1).
fn frames(mut bytes: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let Some((&[a, b, c, kind, flags, ref stream @ ..], rest)) =
        bytes.split_first_chunk::<9>()
    {
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        assert!(rest.len() >= length, "half a frame");
        let (payload, rest) = rest.split_at(length);
        let (stream, payload) = (u32::from_be_bytes(*stream), payload.to_vec());
        frames.push(Frame { kind, flags, stream, payload });
        bytes = rest;
    }
    assert_eq!(bytes, b"", "half a frame");
    frames
}

const NO_ERROR: [u8; 4] = [0; 4];

#[tokio::test]
async fn plaintext_http2_on_a_tls_port_is_told_so_in_http2() {
    let ca = CertificateAuthority::new("test CA");
    let mut guests = Guests::on_loopback(&tls_credentials(&ca)).await;
    let mut io = dial(guests.address()).await;
    begin_http2(&mut io).await;
    io.shutdown().await.expect("nothing more is said");
    let told = frames(&last_words(&mut io).await);
    let (first, last) = (&told[0], &told[told.len() - 1]);
    assert_eq!((first.kind, first.flags, first.stream), (Frame::SETTINGS, 0, 0), "{told:?}");
    assert_eq!((last.kind, last.stream), (Frame::GOAWAY, 0), "{told:?}");
    assert_eq!(last.payload[..4], [0; 4], "no stream was looked at");
    assert_eq!(last.payload[4..8], NO_ERROR);
    let sentence = "this port speaks TLS: connect with TLS credentials (https://)";
    assert_eq!(String::from_utf8_lossy(&last.payload[8..]), sentence);
    assert!(guests.nobody_else());
}

#[tokio::test]
async fn http1_on_a_plaintext_grpc_port_is_told_in_http1() {
    let logs = Logs::collect();
    let mut guests = Guests::on_loopback(&ServerCredentials::insecure()).await;
    let mut io = dial(guests.address()).await;
    io.write_all(b"POST /a.B/C HTTP/1.1\r\nhost: localhost\r\n\r\n").await.expect("written");
    let told = String::from_utf8(last_words(&mut io).await).expect("text");
    let (head, body) = told.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{told}");
    assert!(head.contains("connection: close"), "{told}");
    assert!(head.contains(&format!("content-length: {}", body.len())), "{told}");
    assert_eq!(body, "this port speaks gRPC, which needs HTTP/2\n");
    assert_eq!(logs.lines_with("HTTP/1 on a gRPC port").len(), 1, "{}", logs.text());
    assert!(guests.nobody_else());
}

#[tokio::test]
async fn garbage_is_told_nothing_and_closed_without_waiting_for_more() {
    let ca = CertificateAuthority::new("test CA");
    let mut almost = PREFACE.to_vec();
    almost[20] ^= 1;
    let ping_first = [PREFACE, &[0, 0, 8, 6, 0, 0, 0, 0, 0], &[0; 8]].concat();
    for (name, garbage) in [
        ("another protocol", b"SSH-2.0-OpenSSH_9.6\r\n".as_slice()),
        ("zeros", &[0; 64]),
        ("almost the preface", &[&almost, SETTINGS].concat()),
        ("a PING first", &ping_first),
    ] {
        let mut guests = Guests::on_loopback(&ServerCredentials::insecure()).await;
        let _time = StoppedTime::begin();
        let mut io = dial(guests.address()).await;
        io.write_all(garbage).await.expect("written");
        assert_eq!(last_words(&mut io).await, b"", "{name}");
        assert!(guests.nobody_else(), "{name}");
    }
    for (name, garbage) in [
        ("another protocol", b"SSH-2.0-OpenSSH_9.6\r\n".as_slice()),
        ("a record of no known type", &[0x7f, 3, 3, 0, 1, 0]),
        ("an empty handshake record", &[0x16, 3, 1, 0, 0]),
        ("a record that is too long", &[0x16, 3, 1, 0xff, 0xff, 1, 0, 0, 0]),
    ] {
        let mut guests = Guests::on_loopback(&tls_credentials(&ca)).await;
        let _time = StoppedTime::begin();
        let mut io = dial(guests.address()).await;
        io.write_all(garbage).await.expect("written");
        let words = last_words(&mut io).await;
        // An alert record (RFC 8446 §6), or nothing.
        assert!(matches!(words.as_slice(), [] | [0x15, ..]), "{name}: {words:?}");
        assert!(guests.nobody_else(), "{name}");
    }
}

// HTTP/1, and other servers than tonic's.

/// Serves each connection with hyper, in the protocol that it speaks.
fn serve_with_hyper(mut incoming: Incoming) -> Server {
    let address = incoming.local_addr().expect("an address");
    let task = tokio::spawn(async move {
        loop {
            let io = incoming.next_connection().await;
            let peer = io.peer().clone();
            let answer =
                hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
                    let said = format!("{:?} {}", request.version(), peer.security_level());
                    async move { Ok::<_, Infallible>(http::Response::new(said)) }
                });
            tokio::spawn(async move {
                let server = auto::Builder::new(TokioExecutor::new());
                // A client that goes away is none of this test's business.
                let _ = server.serve_connection(TokioIo::new(io), answer).await;
            });
        }
    });
    Server { address, task }
}

struct Server {
    address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

/// The body of an HTTP/2 answer over `io`.
async fn get_over_http2<S>(io: S) -> String
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(io)).await.expect("HTTP/2");
    tokio::spawn(connection);
    let request = http::Request::get("http://localhost/").body(Empty::<&[u8]>::new());
    let answer = within("an answer", sender.send_request(request.expect("a request"))).await;
    let body = answer.expect("an answer").into_body().collect().await.expect("a body");
    String::from_utf8(body.to_bytes().into()).expect("text")
}

#[tokio::test]
async fn hypers_own_server_takes_our_connections() {
    let ca = CertificateAuthority::new("test CA");
    let server = serve_with_hyper(tls_credentials(&ca).bind("127.0.0.1:0").await.expect("bound"));
    let config = Arc::new(client_config(&ca));
    let io = tls(dial(server.address).await, &config, "localhost").await.expect("TLS");
    assert_eq!(get_over_http2(io).await, "HTTP/2.0 PrivacyAndIntegrity");

    let server =
        serve_with_hyper(ServerCredentials::insecure().bind("127.0.0.1:0").await.expect("bound"));
    assert_eq!(get_over_http2(dial(server.address).await).await, "HTTP/2.0 NoSecurity");
}

#[tokio::test]
async fn http1_is_served_over_tls_where_it_is_allowed_and_refused_in_the_handshake_where_not() {
    let ca = CertificateAuthority::new("test CA");
    let mut config = client_config(&ca);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let config = Arc::new(config);

    let allowed = tls_credentials(&ca).allow_http1();
    let server = serve_with_hyper(allowed.bind("127.0.0.1:0").await.expect("bound"));
    let mut io = tls(dial(server.address).await, &config, "localhost").await.expect("TLS");
    assert_eq!(io.get_ref().1.alpn_protocol(), Some(b"http/1.1".as_slice()));
    io.write_all(GET).await.expect("written");
    let told = String::from_utf8(last_words(&mut io).await).expect("text");
    assert!(told.starts_with("HTTP/1.1 200 OK\r\n"), "{told}");
    assert!(told.ends_with("\r\n\r\nHTTP/1.1 PrivacyAndIntegrity"), "{told}");
    // HTTP/2 stays, and is what a client that offers both gets.
    let mut both = client_config(&ca);
    both.alpn_protocols = vec![b"http/1.1".to_vec(), b"h2".to_vec()];
    let io = tls(dial(server.address).await, &Arc::new(both), "localhost").await.expect("TLS");
    assert_eq!(io.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    assert_eq!(get_over_http2(io).await, "HTTP/2.0 PrivacyAndIntegrity");

    let only_http2 = tls_credentials(&ca);
    let server = serve_with_hyper(only_http2.bind("127.0.0.1:0").await.expect("bound"));
    let error = tls(dial(server.address).await, &config, "localhost").await.expect_err("refused");
    assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
    assert_eq!(only_http2.handshakes().get(HandshakeResult::NoApplicationProtocol), 1);
}

#[tokio::test]
async fn http1_in_plaintext_is_served_where_it_is_allowed() {
    let allowed = ServerCredentials::insecure().allow_http1();
    let server = serve_with_hyper(allowed.bind("127.0.0.1:0").await.expect("bound"));
    let mut io = dial(server.address).await;
    io.write_all(GET).await.expect("written");
    let told = String::from_utf8(last_words(&mut io).await).expect("text");
    assert!(told.starts_with("HTTP/1.1 200 OK\r\n"), "{told}");
    assert!(told.ends_with("\r\n\r\nHTTP/1.1 NoSecurity"), "{told}");
    assert_eq!(get_over_http2(dial(server.address).await).await, "HTTP/2.0 NoSecurity");

    let server =
        serve_with_hyper(ServerCredentials::insecure().bind("127.0.0.1:0").await.expect("bound"));
    let mut io = dial(server.address).await;
    io.write_all(GET).await.expect("written");
    assert!(last_words(&mut io).await.starts_with(b"HTTP/1.1 400 "));
}

#[tokio::test]
async fn a_client_that_offers_no_protocol_is_refused_unless_it_is_let_in_by_name() {
    let ca = CertificateAuthority::new("test CA");
    let mut config = client_config(&ca);
    config.alpn_protocols.clear();
    let config = Arc::new(config);

    let credentials = tls_credentials(&ca);
    let mut guests = Guests::on_loopback(&credentials).await;
    let mut io = tls_and_http2(guests.address(), &config).await.expect("TLS itself succeeds");
    io.shutdown().await.expect("nothing more is said");
    let told = frames(&last_words(&mut io).await);
    let last = &told[told.len() - 1];
    assert_eq!((told[0].kind, last.kind), (Frame::SETTINGS, Frame::GOAWAY), "{told:?}");
    let sentence = "this port speaks gRPC: offer h2 by ALPN";
    assert_eq!(String::from_utf8_lossy(&last.payload[8..]), sentence);
    assert!(guests.nobody_else());
    let counters = credentials.handshakes();
    assert_eq!(counters.get(HandshakeResult::NoApplicationProtocol), 1, "{counters:?}");
    assert_eq!(counters.get(HandshakeResult::Success), 0, "{counters:?}");

    let tolerant = ServerCredentials::tls(identity(&ca.server(&["localhost"])));
    let tolerant = danger::allow_clients_without_alpn(tolerant).build().expect("credentials");
    let mut guests = Guests::on_loopback(&tolerant).await;
    let _io = tls_and_http2(guests.address(), &config).await.expect("TLS");
    let io = guests.next().await;
    assert_eq!(io.peer().tls().expect("TLS").application_protocol, None);
}

// Counters.

#[tokio::test]
async fn handshakes_are_counted_as_full_or_resumed_by_all_listeners_of_the_credentials() {
    let ca = CertificateAuthority::new("test CA");
    let credentials = tls_credentials(&ca);
    let (mut first, mut second) =
        (Guests::on_loopback(&credentials).await, Guests::on_loopback(&credentials).await);
    let config = Arc::new(client_config(&ca));
    let mut resumed = Vec::new();
    for guests in [&mut first, &mut second] {
        let mut client = tls_and_http2(guests.address(), &config).await.expect("TLS");
        let mut io = guests.next().await;
        resumed.push(io.peer().tls().expect("TLS").resumed);
        // The ticket comes with the first bytes that the client reads.
        io.write_all(b"!").await.expect("written");
        io.flush().await.expect("flushed");
        client.read_exact(&mut [0]).await.expect("read");
    }
    assert_eq!(resumed, [false, true]);
    assert_eq!(
        credentials.handshakes().snapshot(),
        [
            (HandshakeResult::Success, Resumption::FullHandshake, 1),
            (HandshakeResult::Success, Resumption::ResumedHandshake, 1)
        ]
    );
}
