//! Whole gates before whole services, with one server between them.

use countersign::quota::Quota;
use countersign::{Gate, Rules, ServerCredentials, StaticTokens};
use countersign_testkit::greeter::SAY_HELLO;
use tower_layer::Layer;

use super::support::{RawClient, Reached, Served, greeter, serve};
use super::*;

const ALICE: (&str, &str) = ("authorization", "Bearer alice-has-a-long-token");
const BOB: (&str, &str) = ("authorization", "Bearer bob-has-a-long-token-too");

async fn behind(store: ValkeyStore) -> (Served, Reached) {
    let tokens = StaticTokens::new()
        .with_token("alice", "alice-has-a-long-token".to_owned())
        .with_token("bob", "bob-has-a-long-token-too".to_owned());
    let quota = Quota::new().per_caller(a_year(30)).expect("a limit");
    let quota = quota.shared(gate(store, WhenDown::Refuse)).expect("a quota");
    let rules = Rules::new().authenticated(SAY_HELLO);
    let gate = Gate::builder().authenticate(tokens).authorize(rules).quota(quota);
    let reached = Reached::default();
    let incoming = ServerCredentials::insecure().bind("127.0.0.1:0").await.expect("bound");
    (serve(incoming, gate.build().expect("a gate").layer(greeter(&reached))), reached)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_of_two_admits_exactly_what_the_limit_says() {
    let server = Server::start(&[]).await;
    let one = behind(at(&server.over_tcp("localhost"))).await;
    let two = behind(at(&server.over_unix())).await;
    let callers: Vec<_> = [&one, &two, &one, &two]
        .map(|(served, _)| async {
            let mut client = RawClient::connect(served).await;
            for _ in 0..20 {
                client.call(SAY_HELLO, &[ALICE]).await;
            }
        })
        .into_iter()
        .collect();
    futures_util::future::join_all(callers).await;
    assert_eq!(one.1.count() + two.1.count(), 30, "of 80");
    for (served, reached) in [&one, &two] {
        let before = reached.count();
        let mut client = RawClient::connect(served).await;
        client.call(SAY_HELLO, &[ALICE]).await;
        assert_eq!(reached.count(), before);
        client.call(SAY_HELLO, &[BOB]).await;
        assert_eq!(reached.count(), before + 1, "somebody else");
    }
    let mut keys = server.keys();
    keys.sort_unstable();
    let key = |caller| {
        format!("{{countersign}}:limit=caller,authenticator=static-tokens,caller={caller}")
    };
    assert_eq!(keys, [key("alice"), key("bob")], "no token is in a key");
}
