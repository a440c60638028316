//! Which of several addresses gets a call.

use std::time::Duration;

use countersign::{Backoff, Balancing, Channel, ChannelBuilder, ChannelCredentials};
use tonic::Code;

use crate::support::{
    Answer, ClosedPort, MuteServer, Recorder, StoppedTime, call, connect_code, hello,
};

fn channel_to(addresses: &[std::net::SocketAddr]) -> ChannelBuilder {
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let target = format!("ipv4:{}", addresses.join(","));
    let mut backoff = Backoff::between(Duration::from_secs(10), Duration::from_secs(10));
    backoff.jitter = 0.0;
    Channel::builder(target, ChannelCredentials::insecure()).backoff(backoff)
}

/// So many calls, all of them answered.
async fn calls(channel: &Channel, count: usize) {
    for _ in 0..count {
        call(channel, hello()).await.expect("an answer");
    }
}

#[tokio::test]
async fn pick_first_goes_over_to_the_second_address_when_the_first_is_dead() {
    let (dead, alive) = (ClosedPort::new(), Recorder::plaintext(Answer::Reply).await);
    let builder = channel_to(&[dead.address(), alive.address()]);
    calls(&builder.connect().await.expect("connected"), 5).await;
    assert_eq!((alive.connections(), alive.calls().len()), (1, 5));
}

#[tokio::test]
async fn pick_first_fails_with_the_error_that_came_furthest_when_all_are_dead() {
    let (dead, mute) = (ClosedPort::new(), MuteServer::hanging_up().await);
    for addresses in [[dead.address(), mute.address()], [mute.address(), dead.address()]] {
        let outcome = channel_to(&addresses).connect().await;
        let error = outcome.map(|_| "connected").expect_err("all are dead");
        assert_eq!(error.code(), "HTTP2_CLOSED_EARLY", "{error}");
        assert_eq!(error.address(), Some(mute.address().to_string().as_str()));
    }
}

#[tokio::test]
async fn pick_first_sticks_to_one_address() {
    let first = Recorder::plaintext(Answer::Reply).await;
    let second = Recorder::plaintext(Answer::Reply).await;
    let builder = channel_to(&[first.address(), second.address()]);
    calls(&builder.connect_lazy().expect("a channel"), 20).await;
    assert_eq!((first.connections(), first.calls().len()), (1, 20));
    assert_eq!(second.connections(), 0);
}

#[tokio::test]
async fn pick_first_stays_with_the_second_address_when_the_first_returns() {
    let port = ClosedPort::new();
    let first = Recorder::on(port.listen(), Answer::Reply);
    let second = Recorder::plaintext(Answer::Reply).await;
    let builder = channel_to(&[port.address(), second.address()]);
    let channel = builder.connect().await.expect("connected");
    calls(&channel, 5).await;
    first.stop().await;
    calls(&channel, 5).await;
    let first = Recorder::on(port.listen(), Answer::Reply);
    calls(&channel, 5).await;
    assert_eq!((first.connections(), second.calls().len()), (0, 10));
}

#[tokio::test(start_paused = true)]
async fn pick_first_tries_the_second_address_while_the_first_says_nothing() {
    let time = StoppedTime::hold();
    let silent = MuteServer::silent().await;
    let alive = Recorder::plaintext(Answer::Reply).await;
    let builder = channel_to(&[silent.address(), alive.address()]);
    let channel = builder.connect_lazy().expect("a channel");
    let calling = tokio::spawn(async move {
        calls(&channel, 1).await;
        channel
    });
    silent.dialled().await;
    time.advance(Duration::from_millis(249)).await;
    assert_eq!(alive.connections(), 0);
    time.advance(Duration::from_millis(1)).await;
    let channel = calling.await.expect("joined");
    // The loser is let go.
    silent.left(1).await;
    calls(&channel, 5).await;
    assert_eq!((alive.connections(), alive.calls().len()), (1, 6));
}

#[tokio::test]
async fn round_robin_gives_every_server_the_same_share() {
    let servers = [
        Recorder::plaintext(Answer::Reply).await,
        Recorder::plaintext(Answer::Reply).await,
        Recorder::plaintext(Answer::Reply).await,
    ];
    let builder = channel_to(&servers.each_ref().map(Recorder::address));
    let channel = builder.balancing(Balancing::RoundRobin).connect().await.expect("connected");
    for server in &servers {
        server.open(1).await;
    }
    spread(&channel, &servers.each_ref()).await;
    assert_eq!(servers.each_ref().map(Recorder::connections), [1; 3]);
}

/// Calls until every server, once connected, has the same share of thirty calls.
async fn spread(channel: &Channel, servers: &[&Recorder]) {
    // The channel may learn a moment later than the server that they are connected.
    for _ in 0..1_000 {
        let before: Vec<usize> = servers.iter().map(|server| server.calls().len()).collect();
        calls(channel, 30).await;
        let share = 30 / servers.len();
        if servers.iter().zip(before).all(|(server, had)| server.calls().len() == had + share) {
            return;
        }
    }
    panic!("the calls are not spread evenly");
}

#[tokio::test(start_paused = true)]
async fn round_robin_leaves_a_dead_server_out_and_takes_it_back() {
    let time = StoppedTime::hold();
    let alive =
        [Recorder::plaintext(Answer::Reply).await, Recorder::plaintext(Answer::Reply).await];
    let dead = ClosedPort::new();
    let addresses = [alive[0].address(), dead.address(), alive[1].address()];
    let builder = channel_to(&addresses).balancing(Balancing::RoundRobin);
    let channel = builder.connect().await.expect("connected");
    for server in &alive {
        server.open(1).await;
    }
    calls(&channel, 30).await;
    assert_eq!(alive.each_ref().map(Recorder::connections), [1; 2]);
    assert!(alive.iter().all(|server| server.calls().len() >= 10), "both are called");

    let back = Recorder::on(dead.listen(), Answer::Reply);
    calls(&channel, 30).await;
    assert_eq!(back.connections(), 0, "it is left alone until the delay is over");
    time.advance(Duration::from_secs(10)).await;
    calls(&channel, 3).await;
    back.open(1).await;
    spread(&channel, &[&alive[0], &back, &alive[1]]).await;
    assert_eq!(back.connections(), 1);
}

#[tokio::test(start_paused = true)]
async fn round_robin_does_not_dial_a_dead_server_with_every_call() {
    let _time = StoppedTime::hold();
    let (alive, dead) = (Recorder::plaintext(Answer::Reply).await, MuteServer::hanging_up().await);
    let builder = channel_to(&[alive.address(), dead.address()]);
    let builder = builder.balancing(Balancing::RoundRobin);
    calls(&builder.connect().await.expect("connected"), 30).await;
    assert_eq!((alive.calls().len(), dead.dials().await), (30, 1));
}

#[tokio::test(start_paused = true)]
async fn round_robin_loses_no_call_when_a_server_says_goodbye_and_later_returns() {
    let time = StoppedTime::hold();
    let stays = Recorder::plaintext(Answer::Reply).await;
    let port = ClosedPort::new();
    let goes = Recorder::on(port.listen(), Answer::Reply);
    let builder = channel_to(&[stays.address(), port.address()]);
    let channel = builder.balancing(Balancing::RoundRobin).connect().await.expect("connected");
    for server in [&stays, &goes] {
        server.open(1).await;
    }
    spread(&channel, &[&stays, &goes]).await;
    goes.stop().await;
    calls(&channel, 10).await;

    let returns = Recorder::on(port.listen(), Answer::Reply);
    time.advance(Duration::from_secs(10)).await;
    calls(&channel, 3).await;
    returns.open(1).await;
    spread(&channel, &[&stays, &returns]).await;
    assert_eq!((stays.connections(), returns.connections()), (1, 1));
}

#[tokio::test]
async fn round_robin_fails_when_all_are_dead() {
    let (dead, mute) = (ClosedPort::new(), MuteServer::hanging_up().await);
    let builder = channel_to(&[dead.address(), mute.address()]);
    let channel = builder.balancing(Balancing::RoundRobin).connect_lazy().expect("a channel");
    let status = call(&channel, hello()).await.expect_err("all are dead");
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(connect_code(&status), "HTTP2_CLOSED_EARLY", "the one that came furthest");
}
