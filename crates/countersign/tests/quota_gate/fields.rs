use std::time::Duration;

use countersign::quota::{Limit, Quota, SteadyClock};
use countersign_testkit::greeter::SAY_HELLO;
use tonic_types::StatusExt;

use super::support::RawClient;
use super::{ALICE, LIMITED, OPEN, PASSES, behind, builder, field, told, violation};

fn quota(clock: &SteadyClock) -> Quota {
    let second = Duration::from_secs(1);
    let a_second = Limit::new(10, second).expect("a limit").with_burst(2);
    let a_day = Limit::new(1_000, 86_400 * second).expect("a limit");
    Quota::new()
        .with_clock(clock.clone())
        .per_caller(a_second)
        .and_then(|quota| quota.per_caller(a_day))
        .and_then(|quota| quota.per_method("*", Limit::new(500, second)?))
        .expect("a quota")
}

#[tokio::test]
async fn a_refusal_says_which_limit_and_when_to_come_back() {
    let clock = SteadyClock::by_hand();
    let (server, _) = behind(builder().quota(quota(&clock))).await;
    let mut client = RawClient::connect(&server).await;
    for _ in 0..2 {
        let answer = client.call(SAY_HELLO, &[ALICE]).await;
        assert_eq!(told(&answer), PASSES);
        // Nothing is said unless it is wanted.
        assert_eq!([field(&answer, "ratelimit"), field(&answer, "ratelimit-policy")], [None, None]);
    }
    let answer = client.call(SAY_HELLO, &[ALICE]).await;
    assert_eq!(told(&answer), LIMITED);
    let policy = field(&answer, "ratelimit-policy");
    assert_eq!(policy.as_deref(), Some("\"caller\";q=10;w=1;countersign-burst=2"));
    assert_eq!(field(&answer, "ratelimit").as_deref(), Some("\"caller\";r=0;t=1"));
    let retry = answer.grpc().get_details_retry_info().expect("RetryInfo").retry_delay;
    assert_eq!(retry, Some(Duration::from_millis(100)));
    let (subject, description) = violation(&answer);
    assert_eq!((subject.as_str(), &*description), ("caller", "the limit \"caller\" is used up"));
    assert!(!answer.trailers.contains_key("ratelimit"), "no field of trailers");
}

#[tokio::test]
async fn where_it_is_wanted_every_response_says_what_is_left_of_the_callers_own() {
    let clock = SteadyClock::by_hand();
    let quota = quota(&clock).with_rate_limit_fields();
    let quota = quota.concurrent_streams_per_caller(4).expect("a quota");
    let (server, _) = behind(builder().quota(quota)).await;
    let mut client = RawClient::connect(&server).await;
    for left in [
        "\"caller\";r=1;t=1, \"caller#2\";r=999;t=86314",
        "\"caller\";r=0;t=1, \"caller#2\";r=998;t=86228",
    ] {
        let answer = client.call(SAY_HELLO, &[ALICE]).await;
        assert_eq!(told(&answer), PASSES);
        let told = field(&answer, "ratelimit").expect("a field");
        // The call itself is under way.
        assert_eq!(told, format!("{left}, \"streams\";r=3"));
        let policy = field(&answer, "ratelimit-policy").expect("a field");
        assert_eq!(
            policy,
            "\"caller\";q=10;w=1;countersign-burst=2, \
             \"caller#2\";q=1000;w=86400;countersign-burst=1000, \
             \"streams\";q=4;qu=\"concurrent-requests\""
        );
        assert!(!answer.trailers.contains_key("ratelimit"), "no field of trailers");
    }
    // Nobody in particular has nothing of its own.
    let answer = client.call(OPEN, &[]).await;
    assert_eq!(field(&answer, "ratelimit"), None);
}
