use countersign::quota::{Quota, SteadyClock, Tenant};
use countersign_testkit::greeter::SAY_HELLO;

use super::support::RawClient;
use super::{
    ALICE, ALICE_AGAIN, BAD, BOB, DENIED, INVALID, LIMITED, MISSING, OPEN, PASSES, RESET, an_hour,
    behind, builder, told, violation,
};

const UNKNOWN_METHOD: &str = "Unimplemented ";

#[tokio::test]
async fn a_fresh_token_on_another_connection_fills_no_bucket() {
    let quota = Quota::new().per_caller(an_hour(6)).expect("a quota");
    let (server, reached) = behind(builder().quota(quota)).await;
    let mut one = RawClient::connect(&server).await;
    let mut two = RawClient::connect(&server).await;
    // Each connection remembers its caller after the first call, and has its meter at hand.
    for _ in 0..3 {
        assert_eq!(told(&one.call(SAY_HELLO, &[ALICE]).await), PASSES);
        assert_eq!(told(&two.call(SAY_HELLO, &[ALICE_AGAIN]).await), PASSES);
    }
    assert_eq!(told(&one.call(SAY_HELLO, &[ALICE]).await), LIMITED);
    assert_eq!(told(&two.call(SAY_HELLO, &[ALICE_AGAIN]).await), LIMITED);
    drop((one, two));
    let mut three = RawClient::connect(&server).await;
    assert_eq!(told(&three.call(SAY_HELLO, &[ALICE]).await), LIMITED);
    assert_eq!(told(&three.call(SAY_HELLO, &[BOB]).await), PASSES);
    assert_eq!(reached.count(), 7);
}

#[tokio::test]
async fn a_limit_refuses_until_time_has_gone_by_on_its_clock() {
    let clock = SteadyClock::by_hand();
    let quota = Quota::new().with_clock(clock.clone()).per_caller(an_hour(1)).expect("a quota");
    let (server, _) = behind(builder().quota(quota)).await;
    let mut client = RawClient::connect(&server).await;
    assert_eq!(told(&client.call(SAY_HELLO, &[ALICE]).await), PASSES);
    clock.advance(std::time::Duration::from_secs(3_599));
    assert_eq!(told(&client.call(SAY_HELLO, &[ALICE]).await), LIMITED);
    clock.advance(std::time::Duration::from_secs(1));
    assert_eq!(told(&client.call(SAY_HELLO, &[ALICE]).await), PASSES);
}

#[tokio::test]
async fn a_method_has_a_limit_of_its_own_and_a_price() {
    let quota = Quota::new()
        .per_caller(an_hour(10))
        .and_then(|quota| quota.per_method(SAY_HELLO, an_hour(6)))
        .and_then(|quota| quota.cost(SAY_HELLO, 3))
        .expect("a quota");
    let (server, _) = behind(builder().quota(quota)).await;
    let mut client = RawClient::connect(&server).await;
    for (path, metadata, expected) in
        [(SAY_HELLO, ALICE, PASSES), (SAY_HELLO, BOB, PASSES), (SAY_HELLO, ALICE, LIMITED)]
    {
        assert_eq!(told(&client.call(path, &[metadata]).await), expected, "{path} {metadata:?}");
    }
    let (subject, description) = violation(&client.call(SAY_HELLO, &[BOB]).await);
    assert_eq!(subject, format!("method {SAY_HELLO}"));
    assert_eq!(description, format!("the limit \"method {SAY_HELLO}\" is used up"));
    // Three of ten, and what was refused took nothing: seven that cost one are left.
    for _ in 0..7 {
        assert_ne!(told(&client.call(RESET, &[ALICE]).await), LIMITED);
    }
    let refused = client.call(RESET, &[ALICE]).await;
    assert_eq!((told(&refused).as_str(), violation(&refused).0.as_str()), (LIMITED, "caller"));
}

#[tokio::test]
async fn who_may_not_call_a_method_uses_up_nobodys_share_of_it() {
    let quota = Quota::new().per_method("*", an_hour(2)).expect("a quota");
    let (server, reached) = behind(builder().quota(quota)).await;
    let mut client = RawClient::connect(&server).await;
    for _ in 0..5 {
        assert_eq!(told(&client.call(SAY_HELLO, &[]).await), MISSING);
        assert_eq!(told(&client.call(SAY_HELLO, &[BAD]).await), INVALID);
        assert_eq!(told(&client.call(RESET, &[ALICE]).await), DENIED);
    }
    for (metadata, expected) in [(ALICE, PASSES), (BOB, PASSES), (ALICE, LIMITED), (BOB, LIMITED)] {
        assert_eq!(told(&client.call(SAY_HELLO, &[metadata]).await), expected);
    }
    // Nor do they learn that there is a limit.
    assert_eq!(told(&client.call(SAY_HELLO, &[]).await), MISSING);
    assert_eq!(reached.count(), 2);
}

#[tokio::test]
async fn strangers_are_limited_by_address_and_callers_from_there_are_not() {
    let quota = Quota::new()
        .per_address(an_hour(4))
        .and_then(|quota| quota.cost("/countersign.demo.v1.Greeter/Health", 0))
        .expect("a quota");
    let (server, _) = behind(builder().quota(quota)).await;
    let mut client = RawClient::connect(&server).await;
    for (name, path, metadata, expected) in [
        ("a public method", OPEN, &[][..], UNKNOWN_METHOD),
        ("the same with what nobody looks at", OPEN, &[ALICE], UNKNOWN_METHOD),
        ("no credential", SAY_HELLO, &[], MISSING),
        ("a bad one", SAY_HELLO, &[BAD], INVALID),
        ("one too many", OPEN, &[], LIMITED),
        ("one too many, whatever it is", SAY_HELLO, &[], LIMITED),
        ("one too many, whatever it is", SAY_HELLO, &[BAD], LIMITED),
        ("somebody", SAY_HELLO, &[ALICE], PASSES),
    ] {
        assert_eq!(told(&client.call(path, metadata).await), expected, "{name}");
    }
    let mut another = RawClient::connect(&server).await;
    assert_eq!(told(&another.call(OPEN, &[]).await), LIMITED);
}

#[tokio::test]
async fn tenants_are_told_apart_by_what_proved_the_caller() {
    // Static tokens have no claims, so that all their callers are without a tenant.
    let quota = Quota::new().per_tenant(Tenant::claim("org"), an_hour(2)).expect("a quota");
    let unlimited = Tenant::claim("org").or_unlimited();
    let loose = Quota::new().per_tenant(unlimited, an_hour(2)).expect("a quota");
    for (quota, last) in [(quota, LIMITED), (loose, PASSES)] {
        let (server, _) = behind(builder().quota(quota)).await;
        let mut client = RawClient::connect(&server).await;
        for (metadata, expected) in [(ALICE, PASSES), (BOB, PASSES), (ALICE, last), (BOB, last)] {
            assert_eq!(told(&client.call(SAY_HELLO, &[metadata]).await), expected);
        }
    }
}
