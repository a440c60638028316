//! From a name to addresses, by a resolver of one's own.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use countersign::{
    Backoff, Balancing, Channel, ChannelBuilder, ChannelCredentials, ClientRequestExt,
    ConnectStage, Resolve,
};
use countersign_testkit::wait::until;
use tonic::Status;

use crate::support::{
    Answer, ClosedPort, MuteServer, Recorder, StoppedTime, call, connect_code, hello,
    kernel_has_its_turn,
};

/// Names that the test gives and changes.
#[derive(Clone, Debug)]
struct Names {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    answer: Result<Vec<SocketAddr>, &'static str>,
    asked: Vec<(String, u16)>,
}

impl Names {
    fn new(answer: Result<&[SocketAddr], &'static str>) -> Self {
        let answer = answer.map(<[_]>::to_vec);
        Self { inner: Arc::new(Mutex::new(Inner { answer, asked: Vec::new() })) }
    }

    fn now(&self, answer: Result<&[SocketAddr], &'static str>) {
        self.inner.lock().expect("never poisoned").answer = answer.map(<[_]>::to_vec);
    }

    fn asked(&self) -> usize {
        self.inner.lock().expect("never poisoned").asked.len()
    }

    fn last(&self) -> (String, u16) {
        self.inner.lock().expect("never poisoned").asked.last().cloned().expect("asked")
    }

    fn channel(&self) -> ChannelBuilder {
        let mut backoff = Backoff::between(Duration::from_secs(10), Duration::from_secs(10));
        backoff.jitter = 0.0;
        Channel::builder("dns:///orders.example", ChannelCredentials::insecure())
            .resolver(self.clone())
            .backoff(backoff)
    }
}

#[countersign::async_trait]
impl Resolve for Names {
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let mut inner = self.inner.lock().expect("never poisoned");
        inner.asked.push((host.to_owned(), port));
        inner.answer.clone().map_err(io::Error::other)
    }
}

async fn failing(channel: &Channel) -> Status {
    call(channel, hello()).await.expect_err("there is no server")
}

#[tokio::test]
async fn a_resolver_is_asked_for_the_targets_host_and_port() {
    let server = Recorder::plaintext(Answer::Reply).await;
    let names = Names::new(Ok(&[server.address()]));
    for (target, port, authority) in [
        ("dns:///orders.example:8443", 8443, "orders.example:8443"),
        ("http://orders.example", 80, "orders.example"),
        ("orders.example:1", 1, "orders.example:1"),
    ] {
        let builder = Channel::builder(target, ChannelCredentials::insecure());
        let channel = builder.resolver(names.clone()).connect().await.expect("connected");
        assert_eq!(names.last(), ("orders.example".to_owned(), port), "{target}");
        call(&channel, hello()).await.expect("an answer");
        assert_eq!(server.last().authority, authority, "{target}");
    }
    let asked = names.asked();
    let builder = Channel::builder(server.http(), ChannelCredentials::insecure());
    builder.resolver(names.clone()).connect().await.expect("connected");
    assert_eq!(names.asked(), asked, "an address is not asked for");
}

#[tokio::test]
async fn calls_are_spread_over_the_addresses_of_a_name_and_each_is_dialled_once() {
    let one = Recorder::plaintext(Answer::Reply).await;
    let two = Recorder::plaintext(Answer::Reply).await;
    let names = Names::new(Ok(&[one.address(), two.address(), one.address()]));
    let builder = names.channel().balancing(Balancing::RoundRobin);
    let channel = builder.connect().await.expect("connected");
    one.open(1).await;
    two.open(1).await;
    for _ in 0..20 {
        call(&channel, hello()).await.expect("an answer");
    }
    assert!(one.calls().len() >= 9 && two.calls().len() >= 9);
    assert_eq!((one.connections(), two.connections()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_name_that_cannot_be_resolved_is_asked_for_again_after_the_delay() {
    let time = StoppedTime::hold();
    let server = Recorder::plaintext(Answer::Reply).await;
    for (name, answer, code) in [
        ("error", Err("the name server is out to lunch"), "RESOLVE_FAILED"),
        ("empty", Ok(&[][..]), "RESOLVE_EMPTY"),
    ] {
        let names = Names::new(answer);
        let channel = names.channel().connect_lazy().expect("a channel");
        for _ in 0..10 {
            let status = failing(&channel).await;
            assert_eq!(connect_code(&status), code, "{name}: {status:?}");
            assert!(status.message().contains("orders.example"), "{name}: {status:?}");
            if let Err(reason) = answer {
                assert!(status.message().contains(reason), "{name}: {status:?}");
            }
        }
        assert_eq!(names.asked(), 1, "{name}");

        names.now(Ok(&[server.address()]));
        time.advance(Duration::from_millis(9_999)).await;
        assert_eq!(connect_code(&failing(&channel).await), code, "{name}");
        time.advance(Duration::from_millis(1)).await;
        call(&channel, hello()).await.expect(name);
        assert_eq!(names.asked(), 2, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_resolver_that_never_answers_is_given_up_on_after_the_connect_timeout() {
    #[derive(Debug)]
    struct Lost;

    #[countersign::async_trait]
    impl Resolve for Lost {
        async fn resolve(&self, _host: &str, _port: u16) -> io::Result<Vec<SocketAddr>> {
            std::future::pending().await
        }
    }

    let time = StoppedTime::hold();
    let builder = Channel::builder("dns:///orders.example", ChannelCredentials::insecure());
    let builder = builder.resolver(Lost).connect_timeout(Duration::from_secs(5));
    let connecting = tokio::spawn(builder.connect());
    time.settle().await;
    time.advance(Duration::from_millis(4_999)).await;
    assert!(!connecting.is_finished());
    time.advance(Duration::from_millis(1)).await;
    let error = connecting.await.expect("joined").map(|_| "connected").expect_err("no answer");
    assert_eq!((error.code(), error.stage()), ("RESOLVE_FAILED", ConnectStage::Resolve));
    assert!(error.to_string().contains("within 5s"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_resolver_that_panics_fails_the_call_and_is_asked_again() {
    #[derive(Clone, Debug)]
    struct Broken(Names);

    #[countersign::async_trait]
    impl Resolve for Broken {
        async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
            Ok(self.0.resolve(host, port).await.expect("a bug in somebody's resolver"))
        }
    }

    let time = StoppedTime::hold();
    let server = Recorder::plaintext(Answer::Reply).await;
    let names = Names::new(Err("nothing"));
    let builder = names.channel().resolver(Broken(names.clone()));
    let channel = builder.connect_lazy().expect("a channel");
    let mut request = hello();
    request.set_timeout(Duration::from_secs(1));
    let calling = tokio::spawn({
        let channel = channel.clone();
        async move { call(&channel, request).await }
    });
    time.settle().await;
    time.advance(Duration::from_secs(1)).await;
    let status = calling.await.expect("joined").expect_err("the resolver is broken");
    assert_eq!(connect_code(&status), "RESOLVE_FAILED", "{status:?}");

    names.now(Ok(&[server.address()]));
    time.advance(Duration::from_secs(10)).await;
    call(&channel, hello()).await.expect("an answer");
}

#[tokio::test(start_paused = true)]
async fn a_name_is_resolved_again_after_a_loss_and_not_before_thirty_seconds() {
    let time = StoppedTime::hold();
    let port = ClosedPort::new();
    let old = Recorder::on(port.listen(), Answer::Reply);
    let new = Recorder::plaintext(Answer::Reply).await;
    let names = Names::new(Ok(&[old.address()]));
    let channel = names.channel().connect().await.expect("connected");
    names.now(Ok(&[new.address()]));
    old.stop().await;

    for pause in [Duration::ZERO, Duration::from_secs(15), Duration::from_millis(14_999)] {
        time.advance(pause).await;
        assert_eq!(connect_code(&failing(&channel).await), "DIAL_REFUSED");
        assert_eq!(names.asked(), 1);
    }
    time.advance(Duration::from_millis(1)).await;
    call(&channel, hello().wait_for_ready()).await.expect("an answer");
    assert_eq!((names.asked(), new.calls().len()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_name_is_not_resolved_again_while_its_connection_lasts() {
    let time = StoppedTime::hold();
    let server = Recorder::plaintext(Answer::Reply).await;
    let names = Names::new(Ok(&[server.address()]));
    let channel = names.channel().connect().await.expect("connected");
    for _ in 0..10 {
        time.advance(Duration::from_secs(30)).await;
        call(&channel, hello()).await.expect("an answer");
    }
    assert_eq!((names.asked(), server.connections()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn addresses_that_stay_keep_their_connection_when_others_come() {
    let time = StoppedTime::hold();
    let stays = Recorder::plaintext(Answer::Reply).await;
    let comes = Recorder::plaintext(Answer::Reply).await;
    let dead = ClosedPort::new();
    let names = Names::new(Ok(&[stays.address(), dead.address()]));
    let builder = names.channel().balancing(Balancing::RoundRobin);
    let channel = builder.connect().await.expect("connected");
    call(&channel, hello()).await.expect("an answer");

    names.now(Ok(&[comes.address(), stays.address()]));
    time.advance(Duration::from_secs(30)).await;
    for _ in 0..1_000 {
        call(&channel, hello()).await.expect("an answer");
        if !comes.calls().is_empty() {
            break;
        }
    }
    assert_eq!((stays.connections(), comes.connections(), names.asked()), (1, 1, 2));
}

#[tokio::test(start_paused = true)]
async fn pick_first_keeps_its_connection_as_long_as_its_address_is_among_the_others() {
    let time = StoppedTime::hold();
    let one = Recorder::plaintext(Answer::Reply).await;
    let two = Recorder::plaintext(Answer::Reply).await;
    let (first, second) = (one.address(), two.address());
    for (name, before, after, is_kept) in [
        ("another order", &[first, second][..], &[second, first][..], true),
        ("one more before it", &[first], &[second, first], true),
        ("one less behind it", &[first, second], &[first], true),
        ("gone", &[first], &[second], false),
    ] {
        let port = ClosedPort::new();
        let goes = Recorder::on(port.listen(), Answer::Reply);
        let names = Names::new(Ok(&[&[goes.address()], before].concat()));
        let channel = names.channel().connect().await.expect("connected");
        // A loss, so that the name is asked for again.
        goes.stop().await;
        call(&channel, hello()).await.expect(name);
        let (connections, calls) = (one.connections(), one.calls().len());

        names.now(Ok(after));
        time.advance(Duration::from_secs(30)).await;
        call(&channel, hello()).await.expect(name);
        until("the name is asked for again", || names.asked() == 2).await;
        kernel_has_its_turn().await;
        for _ in 0..5 {
            call(&channel, hello()).await.expect(name);
        }
        assert_eq!(one.connections(), connections, "{name}");
        assert_eq!(one.calls().len() == calls + 6, is_kept, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_addresses_in_another_order_do_not_cut_a_delay_short() {
    let time = StoppedTime::hold();
    let one = MuteServer::hanging_up().await;
    let two = MuteServer::hanging_up().await;
    let names = Names::new(Ok(&[one.address(), two.address()]));
    let mut backoff = Backoff::between(Duration::from_secs(100), Duration::from_secs(100));
    backoff.jitter = 0.0;
    let channel = names.channel().backoff(backoff).connect_lazy().expect("a channel");
    failing(&channel).await;

    names.now(Ok(&[two.address(), one.address()]));
    for (pause, asked, dials) in [(30, 2, 1), (69, 2, 1), (1, 2, 2)] {
        time.advance(Duration::from_secs(pause)).await;
        failing(&channel).await;
        until("the name is asked for again", || names.asked() >= asked).await;
        kernel_has_its_turn().await;
        failing(&channel).await;
        assert_eq!((one.dials().await, two.dials().await), (dials, dials), "after {pause} s more");
    }
}
