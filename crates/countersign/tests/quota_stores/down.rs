//! A store that is not there, or not well.

use std::num::NonZeroU32;

use countersign::quota::store::{DecidedBy, QuotaStoreErrorKind};
use countersign_testkit::logs::Logs;
use countersign_testkit::wait::until;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use super::proxy::Proxy;
use super::*;

const SHARE: WhenDown = WhenDown::Share { gates: NonZeroU32::new(5).expect("some") };

/// Asks until the store is the one that decides.
async fn is_back(gate: &SharedQuota) {
    for _ in 0..100_000 {
        if gate.take(&[of("probe", 1_000_000)]).await.by() == DecidedBy::Store {
            return;
        }
        let brief = || std::thread::park_timeout(Duration::from_millis(1));
        tokio::task::spawn_blocking(brief).await.expect("a pause");
    }
    panic!("the store does not come back");
}

#[tokio::test]
async fn a_server_that_dies_in_mid_run_leaves_it_to_the_choice_and_is_found_again() {
    for (when_down, passes) in [(WhenDown::Allow, 30), (WhenDown::Refuse, 0), (SHARE, 2)] {
        let mut server = Server::start(&[]).await;
        let gate = gate(at(&server.over_tcp("localhost")), when_down);
        for _ in 0..10 {
            let verdict = gate.take(&[of("alice", 10)]).await;
            assert_eq!((verdict.is_allowed(), verdict.by()), (true, DecidedBy::Store));
        }
        server.stop();
        let mut passed = 0;
        for _ in 0..30 {
            let verdict = gate.take(&[of("bob", 10)]).await;
            assert_eq!(verdict.by(), DecidedBy::WhenDown);
            passed += u32::from(verdict.is_allowed());
        }
        assert_eq!(passed, passes, "{when_down:?}");
        assert!(gate.is_down());
        let counters = gate.counters();
        assert_eq!(counters.in_fallback(), 30);
        assert_eq!(counters.refused_in_fallback(), u64::from(30 - passes));
        assert!(counters.failed() < 30, "it was left alone");

        // It has no keys and no scripts any more.
        server.start_again().await;
        is_back(&gate).await;
        let verdict = gate.take(&[of("alice", 10)]).await;
        assert_eq!((verdict.is_allowed(), verdict.by()), (true, DecidedBy::Store));
        assert!(!gate.is_down());
    }
}

#[tokio::test]
async fn a_script_that_the_server_has_forgotten_is_told_again() {
    let server = Server::start(&[]).await;
    let gate = gate(at(&server.over_tcp("localhost")), WhenDown::Refuse);
    for call in 1..=3 {
        server.ask(&["SCRIPT", "FLUSH"]);
        let verdict = gate.take(&[of("alice", 10)]).await;
        assert_eq!(verdict.allowances()[0].remaining, 10 - call);
        assert_eq!(server.times("eval"), call);
    }
    assert_eq!(gate.counters().failed(), 0);
}

#[tokio::test]
async fn a_server_that_falls_silent_costs_one_deadline_and_gets_a_new_connection() {
    let server = Server::start(&[]).await;
    let proxy = Proxy::to(server.address()).await;
    let store = at(&format!("valkey://{}", proxy.address()));
    let patient = gate(store.clone(), WhenDown::Refuse);
    assert!(patient.take(&[of("alice", 10)]).await.is_allowed());

    let quota = SharedQuota::new(store, WhenDown::Allow).deadline(Duration::from_millis(20));
    proxy.fall_silent();
    let begin = std::time::Instant::now();
    for _ in 0..1_000 {
        let verdict = quota.take(&[of("alice", 10)]).await;
        assert_eq!((verdict.is_allowed(), verdict.by()), (true, DecidedBy::WhenDown));
    }
    let counters = quota.counters();
    assert_eq!((counters.asked(), counters.failed()), (counters.asked(), counters.asked()));
    // After each deadline it is left alone for longer, so few fit in however long this took.
    let most = 2 + begin.elapsed().as_millis() / 100;
    assert!(u128::from(counters.asked()) <= most, "{counters:?}");

    proxy.speak();
    is_back(&quota).await;
    // Every answer may be too late for so short a deadline; one that the store gives is a no.
    let mut verdict = quota.take(&[of("alice", 1)]).await;
    while verdict.by() == DecidedBy::WhenDown {
        is_back(&quota).await;
        verdict = quota.take(&[of("alice", 1)]).await;
    }
    assert!(!verdict.is_allowed());
}

/// Takes connections, reads a little, says what it was told to, and no more.
async fn babbler(words: &'static [u8]) -> (String, AbortOnDropHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = format!("valkey://{}", listener.local_addr().expect("an address"));
    let task = tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut io, _)) = listener.accept().await {
            let _ = io.read(&mut [0; 4096]).await;
            let _ = io.write_all(words).await;
            open.push(io);
        }
    });
    (address, AbortOnDropHandle::new(task))
}

#[tokio::test]
async fn what_is_no_answer_lets_nobody_pass_but_by_choice() {
    for (name, words) in [
        ("another protocol", &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..]),
        ("another answer", b"+OK\r\n"),
        ("nothing", b"$-1\r\n"),
        ("a yes that is not ours", b"*4\r\n:1\r\n:0\r\n:9\r\n$1\r\n0\r\n"),
        ("a yes to too much", b"*2\r\n:1\r\n:1\r\n"),
        ("a number that is none", b"*4\r\n:1\r\n:-5\r\n:0\r\n:0\r\n"),
        ("an error", b"-OOM command not allowed when used memory > 'maxmemory'.\r\n"),
        ("a replica", b"-READONLY You can't write against a read only replica.\r\n"),
        ("a cluster", b"-MOVED 3999 127.0.0.1:6381\r\n"),
    ] {
        let (address, _task) = babbler(words).await;
        let store = at(&address);
        let error = store.take(&[of("alice", 10)]).await.expect_err(name);
        assert_eq!(error.kind(), QuotaStoreErrorKind::Answer, "{name}: {error}");
        for (when_down, allowed) in [(WhenDown::Allow, true), (WhenDown::Refuse, false)] {
            let (address, _task) = babbler(words).await;
            let verdict = gate(at(&address), when_down).take(&[of("alice", 10)]).await;
            assert_eq!((verdict.is_allowed(), verdict.by()), (allowed, DecidedBy::WhenDown));
        }
    }
}

#[tokio::test]
async fn an_outage_is_told_once_and_its_end_too() {
    let logs = Logs::collect();
    let mut server = Server::start(&[]).await;
    let address = server.over_tcp("localhost");
    server.stop();
    let gate = gate(at(&address), WhenDown::Refuse);
    for _ in 0..200 {
        gate.take(&[of("alice", 10)]).await;
    }
    server.start_again().await;
    is_back(&gate).await;
    let warnings = logs.lines_with("WARN");
    let [line] = &warnings[..] else { panic!("{}", logs.text()) };
    for part in ["cannot connect to the quota store", &address, "refused", "when_down=Refuse"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert_eq!(logs.lines_with("the quota store answers again").len(), 1);
}

#[tokio::test]
async fn the_last_handle_ends_the_connection_and_one_that_is_left_keeps_it() {
    let server = Server::start(&[]).await;
    let connections = || server.ask(&["CLIENT", "LIST", "TYPE", "normal"]).lines().count() - 1;
    let store = at(&server.over_tcp("localhost"));
    assert_eq!(connections(), 0, "nothing is connected before it is asked");
    let gate = gate(store.clone(), WhenDown::Refuse);
    let calls = (0..50).map(|_| {
        let gate = gate.clone();
        async move { gate.take(&[of("alice", 100)]).await }
    });
    assert!(futures_util::future::join_all(calls).await.iter().all(|it| it.is_allowed()));
    assert_eq!(connections(), 1, "all calls share one");
    drop(gate);
    assert_eq!(connections(), 1);
    drop(store);
    until("the connection is closed", || connections() == 0).await;
}
