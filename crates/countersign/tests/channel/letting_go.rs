//! What ends with the last handle, and what does not.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use countersign::{Channel, Resolve};
use countersign_testkit::pki::CertificateAuthority;
use countersign_testkit::wait::until;
use tokio::sync::watch;

use crate::support::{
    Answer, MuteServer, Proxy, Recorder, StoppedTime, Tasks, call, finishes, held, hello,
    plaintext, trusting,
};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn dropping_the_last_handle_ends_a_dial_and_leaves_nothing_behind() {
    // No timeout ends it.
    let _time = StoppedTime::hold();
    let ca = CertificateAuthority::new("test CA");
    for stage in ["tls", "http2"] {
        let server = MuteServer::silent().await;
        let tasks = Tasks::now();
        let channel = match stage {
            "tls" => Channel::builder(server.https(), trusting(&ca)),
            _ => plaintext(server.http()),
        };
        let channel = channel.connect_lazy().expect("a channel");
        let calling = tokio::spawn({
            let channel = channel.clone();
            async move { call(&channel, hello()).await }
        });
        server.dialled().await;
        calling.abort();
        assert!(calling.await.expect_err(stage).is_cancelled());
        assert_eq!(server.dials().await, 1, "{stage}: it dials as long as there is a handle");
        drop(channel);
        server.left(1).await;
        tasks.are_back().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_connect_that_is_cancelled_ends_its_dial_and_leaves_nothing_behind() {
    // No timeout ends it.
    let _time = StoppedTime::hold();
    let server = MuteServer::silent().await;
    let tasks = Tasks::now();
    let connecting = tokio::spawn(plaintext(server.http()).connect());
    server.dialled().await;
    connecting.abort();
    server.left(1).await;
    tasks.are_back().await;
}

#[tokio::test(start_paused = true)]
async fn dropping_the_last_handle_ends_the_dials_of_all_addresses() {
    let time = StoppedTime::hold();
    let (one, two) = (MuteServer::silent().await, MuteServer::silent().await);
    let tasks = Tasks::now();
    let target = format!("ipv4:{},{}", one.address(), two.address());
    let connecting = tokio::spawn(plaintext(target).connect());
    one.dialled().await;
    time.advance(SECOND).await;
    two.dialled().await;
    connecting.abort();
    one.left(1).await;
    two.left(1).await;
    tasks.are_back().await;
}

#[tokio::test(start_paused = true)]
async fn dropping_the_last_handle_drops_a_question_to_the_resolver() {
    // No timeout ends it.
    let _time = StoppedTime::hold();
    #[derive(Debug)]
    struct Lost(watch::Sender<Weak<()>>);

    #[countersign::async_trait]
    impl Resolve for Lost {
        async fn resolve(&self, _host: &str, _port: u16) -> std::io::Result<Vec<SocketAddr>> {
            let asking = Arc::new(());
            self.0.send_replace(Arc::downgrade(&asking));
            let () = std::future::pending().await;
            drop(asking);
            Ok(Vec::new())
        }
    }

    let tasks = Tasks::now();
    let (asking, asked) = watch::channel(Weak::new());
    let builder = plaintext("dns:///orders.example").resolver(Lost(asking));
    let connecting = tokio::spawn(builder.connect());
    until("the resolver is asked", || asked.borrow().strong_count() == 1).await;
    connecting.abort();
    until("the question is dropped", || asked.borrow().strong_count() == 0).await;
    tasks.are_back().await;
}

#[tokio::test]
async fn dropping_one_of_two_handles_ends_no_dial() {
    let server = Recorder::plaintext(Answer::Reply).await;
    let proxy = Proxy::to(server.address()).await;
    proxy.fall_silent();
    let channel = plaintext(proxy.http()).connect_lazy().expect("a channel");
    let other = channel.clone();
    let connecting = tokio::spawn(async move { channel.ready().await });
    proxy.dialled(1).await;
    connecting.abort();
    assert!(connecting.await.expect_err("cancelled").is_cancelled());
    proxy.speak();
    call(&other, hello()).await.expect("an answer");
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn dropping_the_last_handle_closes_an_idle_connection_and_leaves_nothing_behind() {
    let server = Recorder::plaintext(Answer::Reply).await;
    let tasks = Tasks::now();
    let channel = plaintext(server.http()).connect().await.expect("connected");
    call(&channel, hello()).await.expect("an answer");
    server.open(1).await;
    drop(channel);
    server.open(0).await;
    tasks.are_back().await;
}

#[tokio::test]
async fn a_call_in_flight_outlives_its_channel() {
    let server = Recorder::plaintext(Answer::Held).await;
    let tasks = Tasks::now();
    let channel = plaintext(server.http()).connect().await.expect("connected");
    let replies = held(&channel).await;
    drop(channel);
    server.release();
    finishes(replies).await;
    server.open(0).await;
    tasks.are_back().await;
}

#[tokio::test]
async fn a_call_that_is_dropped_is_cancelled_at_the_server() {
    for answer in [Answer::Nothing, Answer::Held] {
        let server = Recorder::plaintext(answer).await;
        let channel = plaintext(server.http()).connect().await.expect("connected");
        match answer {
            Answer::Held => drop(held(&channel).await),
            _ => {
                let calling = tokio::spawn(async move { call(&channel, hello()).await });
                server.called(1).await;
                calling.abort();
            }
        }
        until("the server notices", || server.cancelled() == 1).await;
    }
    let server = Recorder::plaintext(Answer::Held).await;
    let channel = plaintext(server.http()).connect().await.expect("connected");
    let replies = held(&channel).await;
    server.release();
    finishes(replies).await;
    drop(channel);
    server.open(0).await;
    assert_eq!(server.cancelled(), 0, "a call that finishes is not");
}
