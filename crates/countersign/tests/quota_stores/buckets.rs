//! What is in the buckets, and how it is kept.

use std::time::Instant;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_gates_admit_exactly_the_limit_between_them() {
    let server = Server::start(&[]).await;
    let gates = [server.over_tcp("localhost"), server.over_unix()]
        .map(|address| gate(at(&address), WhenDown::Refuse));
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let gate = gates[task % 2].clone();
            tokio::spawn(async move {
                let mut passed = 0;
                for _ in 0..40 {
                    passed += u32::from(gate.take(&[of("alice", 100)]).await.is_allowed());
                }
                passed
            })
        })
        .collect();
    let mut passed = 0;
    for task in tasks {
        passed += task.await.expect("a count");
    }
    assert_eq!(passed, 100, "of 320");
    for gate in &gates {
        assert_eq!(gate.counters().failed(), 0);
        assert!(!gate.take(&[of("alice", 100)]).await.is_allowed());
        assert!(gate.take(&[of("bob", 100)]).await.is_allowed(), "somebody else");
    }
}

#[tokio::test]
async fn a_call_is_one_round_trip_and_what_is_known_is_none() {
    let server = Server::start(&[]).await;
    let gate = gate(at(&server.over_tcp("127.0.0.1")), WhenDown::Refuse);
    let buckets = || [of("alice", 21), of("shop", 100), of("all", 1_000)];
    assert!(gate.take(&buckets()).await.is_allowed());
    assert_eq!((server.times("evalsha"), server.times("eval")), (1, 1), "it learns the script");
    server.ask(&["CONFIG", "RESETSTAT"]);
    for call in 1..=20 {
        let verdict = gate.take(&buckets()).await;
        assert!(verdict.is_allowed());
        let left: Vec<u64> = verdict.allowances().iter().map(|said| said.remaining).collect();
        assert_eq!(left, [20 - call, 99 - call, 999 - call]);
    }
    assert_eq!((server.times("evalsha"), server.times("eval")), (20, 0));
    for _ in 0..50 {
        assert!(!gate.take(&buckets()).await.is_allowed());
    }
    assert_eq!(server.times("evalsha"), 21, "the first refusal was asked for");
    let commands = ["evalsha", "time", "get", "set"].map(|command| server.times(command));
    assert_eq!(commands, [21, 21, 63, 60], "and nothing was taken by it");
}

#[tokio::test]
async fn a_call_takes_from_all_buckets_or_from_none() {
    let server = Server::start(&[]).await;
    let store = at(&server.over_unix());
    let said = async |buckets: &[Bucket<'_>]| {
        let said = store.take(buckets).await.expect("an answer");
        said.iter().map(|one| (one.allowed, one.remaining)).collect::<Vec<_>>()
    };
    let (wide, narrow) = (of("tenant", 10), of("alice", 3));
    let both = |cost| [wide.clone().cost(cost), narrow.clone().cost(cost)];
    assert_eq!(said(&both(2)).await, [(true, 8), (true, 1)]);
    assert_eq!(said(&both(2)).await, [(true, 8), (false, 1)]);
    assert_eq!(said(&both(4)).await, [(true, 8), (false, 1)], "more than there ever is");
    assert_eq!(said(&both(0)).await, [(true, 8), (true, 1)], "asking costs nothing");
    assert_eq!(said(&both(1)).await, [(true, 7), (true, 0)]);
    store.take(&[wide.clone(), wide.clone()]).await.expect_err("twice the same");
    let never = store.take(&both(4)).await.expect("an answer");
    assert_eq!(never[1].retry_after(), None);
    assert!(never[0].retry_after().is_some());
}

#[tokio::test]
async fn buckets_fill_at_their_rate_by_the_servers_clock() {
    let server = Server::start(&[]).await;
    let store = at(&server.over_unix());
    // A third of 10 ms is no whole number of microseconds.
    let limit = Limit::new(3, Duration::from_millis(10)).expect("a limit").with_burst(2);
    let begin = Instant::now();
    let (mut passed, mut refused) = (0_u32, 0_u32);
    // On a slow machine a while may pass before one comes too early.
    for _ in 0..100_000 {
        if passed >= 32 && refused > 0 {
            break;
        }
        let said = store.take(&[Bucket::new(limit)]).await.expect("an answer");
        match said[0].allowed {
            true => passed += 1,
            false => {
                refused += 1;
                let wait = said[0].retry_after().expect("some time");
                assert!(wait > Duration::ZERO && wait <= Duration::from_micros(3_334), "{wait:?}");
            }
        }
    }
    assert!(passed >= 32 && refused > 0, "{passed} passed, {refused} refused");
    // Two at once, and all others after a third of 10 ms each.
    let least = (passed - 2) * Duration::from_micros(3_330);
    assert!(begin.elapsed() >= least, "{passed} in {:?}", begin.elapsed());
}

#[tokio::test]
async fn keys_have_an_end_and_a_length_and_vanish_when_buckets_are_full() {
    let server = Server::start(&[]).await;
    let store = at(&server.over_unix());
    let brief = Limit::new(1, Duration::from_millis(20)).expect("a limit").with_burst(3);
    store.take(&[Bucket::new(brief).entry("caller", "alice")]).await.expect("an answer");
    countersign_testkit::wait::until("the bucket is full", || server.keys().is_empty()).await;

    let long = "very-".repeat(1_000);
    let strange = "{tag} \r\nFLUSHALL \"ä*";
    for caller in ["alice", strange, &long] {
        let an_hour = Limit::new(10, Duration::from_secs(3600)).expect("a limit");
        let bucket = Bucket::new(an_hour).entry("caller", caller);
        store.take(&[bucket]).await.expect("an answer");
    }
    let keys = server.keys();
    assert_eq!(keys.len(), 3, "{keys:?}");
    for key in &keys {
        assert!(key.starts_with("{countersign}:") && key.len() <= 224, "{key}");
        let lasts: u64 = server.ask(&["PTTL", key]).parse().expect("milliseconds");
        assert!((300_000..=360_001).contains(&lasts), "{key} {lasts}");
    }
    assert!(keys.contains(&"{countersign}:caller=alice".to_owned()), "{keys:?}");
    assert!(keys.iter().any(|key| key.contains("sha256=")), "{keys:?}");
}

#[tokio::test]
async fn prefixes_and_databases_keep_services_apart() {
    let server = Server::start(&[]).await;
    let orders = at(&server.over_unix()).with_prefix("{orders}:").expect("a prefix");
    let users = at(&server.over_unix()).with_prefix("{users}:").expect("a prefix");
    let second = at(&format!("{}/2", server.over_tcp("localhost")));
    let second = second.with_prefix("{orders}:").expect("a prefix");
    for store in [&orders, &users, &second] {
        let passes = store.take(&[of("alice", 1)]).await.expect("an answer")[0].allowed;
        assert!(passes, "{store:?}");
        let refused = !store.take(&[of("alice", 1)]).await.expect("an answer")[0].allowed;
        assert!(refused, "{store:?}");
    }
}

/// Clocks are set back, limits are changed while they are in use, and people make mistakes.
#[tokio::test]
async fn what_a_key_should_not_hold_makes_nobody_wait_for_ever_and_lets_nobody_pass() {
    let server = Server::start(&[]).await;
    let store = at(&server.over_unix());
    let limit = Limit::new(10, Duration::from_secs(10)).expect("a limit");
    let bucket = [Bucket::new(limit).entry("caller", "alice")];
    let key = "{countersign}:caller=alice";
    server.ask(&["SET", key, "9000000000000000 0"]);
    let said = store.take(&bucket).await.expect("an answer");
    assert_eq!((said[0].allowed, said[0].remaining), (false, 0));
    assert_eq!(said[0].retry_after(), Some(Duration::from_secs(1)), "it is empty, and not more");

    for garbage in ["", "soon", "1", "-1 0", "1e400 0"] {
        server.ask(&["SET", key, garbage]);
        let error = store.take(&bucket).await.expect_err(garbage);
        let text = format!("{error}: {:?}", std::error::Error::source(&error));
        assert!(text.contains("is something else"), "{text}");
    }
    server.ask(&["DEL", key]);
    server.ask(&["LPUSH", key, "1"]);
    store.take(&bucket).await.expect_err("a list");
    server.ask(&["DEL", key]);
    assert!(store.take(&bucket).await.expect("an answer")[0].allowed);

    // Parts of a microsecond that another limit has left.
    server.ask(&["SET", key, "0 4503599627370495"]);
    assert!(store.take(&bucket).await.expect("an answer")[0].allowed);
    let too_long = Limit::new(1, Duration::from_secs(1)).expect("a limit").with_burst(1 << 40);
    store.accepts(too_long).expect_err("more than Lua counts");
    let error = store.take(&[Bucket::new(too_long)]).await.expect_err("more than Lua counts");
    assert_eq!(error.kind(), countersign::quota::store::QuotaStoreErrorKind::Limit);
}
