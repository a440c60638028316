use countersign::authorization::Policy;
use countersign::quota::Quota;
use countersign_testkit::greeter::SAY_HELLO;
use tonic::Code;
use tonic_types::StatusExt;

use super::support::{RawClient, collect_logs, decision_of};
use super::{
    ALICE, BAD, BOB, DENIED, INVALID, LIMITED, MISSING, OPEN, PASSES, RESET, an_hour, behind,
    builder, told,
};

#[tokio::test]
async fn a_caller_who_calls_too_often_is_refused_and_another_is_not() {
    let logs = collect_logs();
    let quota = Quota::new().per_caller(an_hour(3)).expect("a quota");
    let (server, reached) = behind(builder().quota(quota)).await;
    let mut client = RawClient::connect(&server).await;
    for (path, metadata, expected) in [
        (SAY_HELLO, &[ALICE][..], PASSES),
        (SAY_HELLO, &[ALICE], PASSES),
        (RESET, &[ALICE], DENIED),
        (SAY_HELLO, &[ALICE], LIMITED),
        (RESET, &[ALICE], LIMITED),
        (SAY_HELLO, &[BOB], PASSES),
        (SAY_HELLO, &[], MISSING),
        (SAY_HELLO, &[BAD], INVALID),
        (OPEN, &[ALICE], "Unimplemented "),
    ] {
        assert_eq!(told(&client.call(path, metadata).await), expected, "{path} {metadata:?}");
    }
    assert_eq!(reached.count(), 4);
    // Neither does another connection fill the bucket.
    let mut another = RawClient::connect(&server).await;
    let status = another.call(SAY_HELLO, &[ALICE]).await.grpc();
    assert_eq!(status.code(), Code::ResourceExhausted);
    let retry = status.get_details_retry_info().expect("RetryInfo").retry_delay;
    let seconds = retry.expect("a time").as_secs();
    assert!((1_100..=1_200).contains(&seconds), "{seconds}");
    let decision = decision_of(&status).expect("an ID");
    let [line] = &logs.lines_with(&decision)[..] else { panic!("{}", logs.text()) };
    assert!(line.contains("caller=\"alice\"") && line.contains("RATE_LIMITED"), "{line}");
}

#[tokio::test]
async fn an_address_with_bad_credentials_is_held_up_but_not_where_none_are_needed() {
    let quota = Quota::new().failures_per_address(an_hour(2)).expect("a quota");
    let (server, _) = behind(builder().quota(quota)).await;
    let mut known = RawClient::connect(&server).await;
    assert_eq!(told(&known.call(SAY_HELLO, &[ALICE]).await), PASSES);
    let mut client = RawClient::connect(&server).await;
    for (name, path, metadata, expected) in [
        ("none is no failure", SAY_HELLO, &[][..], MISSING),
        ("none is no failure", SAY_HELLO, &[], MISSING),
        ("first", SAY_HELLO, &[BAD], INVALID),
        ("second", SAY_HELLO, &[BAD], INVALID),
        ("third, unseen", SAY_HELLO, &[BAD], LIMITED),
        ("a good one from there, unseen", SAY_HELLO, &[BOB], LIMITED),
        ("none", SAY_HELLO, &[], MISSING),
        ("public", OPEN, &[BAD], "Unimplemented "),
    ] {
        let answer = client.call(path, metadata).await;
        assert_eq!(told(&answer), expected, "{name}");
        let retry = answer.grpc().get_details_retry_info().is_some();
        assert_eq!(retry, expected == LIMITED, "{name}");
    }
    // Who was proven over a connection is known there.
    assert_eq!(told(&known.call(SAY_HELLO, &[ALICE]).await), PASSES);
    assert_eq!(told(&known.call(SAY_HELLO, &[BAD]).await), LIMITED);
}

#[tokio::test]
async fn a_quota_counts_before_a_policy_as_it_does_before_rules() {
    let policy = Policy::from_json(
        r#"{"name": "p", "allow_rules": [
            {"name": "open", "request": {"paths": ["*/Open"]}},
            {"name": "known", "source": {"countersign": {"authenticators": ["static-tokens"]}}}
        ]}"#,
    );
    let quota = Quota::new().per_caller(an_hour(2)).expect("a quota");
    let quota = quota.failures_per_address(an_hour(1)).expect("a quota");
    let gate = builder().authorize(policy.expect("a policy")).quota(quota);
    let (server, _) = behind(gate).await;
    let mut client = RawClient::connect(&server).await;
    for (name, path, metadata, expected) in [
        ("one", SAY_HELLO, ALICE, PASSES),
        ("two", SAY_HELLO, ALICE, PASSES),
        ("one too many", SAY_HELLO, ALICE, LIMITED),
        ("whoever it is, it is a call of alice's", OPEN, ALICE, LIMITED),
        ("somebody else", SAY_HELLO, BOB, PASSES),
        ("bad", SAY_HELLO, BAD, INVALID),
        ("bad again, unseen", SAY_HELLO, BAD, LIMITED),
        ("where nothing is asked for", OPEN, BAD, "Unimplemented "),
    ] {
        assert_eq!(told(&client.call(path, &[metadata]).await), expected, "{name}");
    }
}

#[tokio::test]
async fn gates_with_one_quota_share_it_and_without_one_nothing_is_limited() {
    let quota = Quota::new().per_caller(an_hour(1)).expect("a quota");
    let (one, _) = behind(builder().quota(quota.clone())).await;
    let (two, _) = behind(builder().quota(quota)).await;
    let (free, _) = behind(builder()).await;
    for (server, expected) in [(&one, PASSES), (&two, LIMITED), (&free, PASSES), (&free, PASSES)] {
        let mut client = RawClient::connect(server).await;
        assert_eq!(told(&client.call(SAY_HELLO, &[ALICE]).await), expected);
    }
}

#[tokio::test]
async fn who_calls_too_often_keeps_no_refusal_of_others_out_of_the_log() {
    let logs = collect_logs();
    let quota = Quota::new().per_caller(an_hour(1)).expect("a quota");
    let (server, _) = behind(builder().quota(quota)).await;
    let mut client = RawClient::connect(&server).await;
    assert_eq!(told(&client.call(SAY_HELLO, &[ALICE]).await), PASSES);
    for _ in 0..300 {
        assert_eq!(told(&client.call(SAY_HELLO, &[ALICE]).await), LIMITED);
    }
    let status = client.call(RESET, &[BOB]).await.grpc();
    let decision = decision_of(&status).expect("an ID");
    let [line] = &logs.lines_with(&decision)[..] else { panic!("{}", logs.text()) };
    assert!(line.contains("INFO") && line.contains("POLICY_DENIED"), "{line}");
}
