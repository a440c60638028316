//! Sinks that hang, fail or are gone, and what that is to calls.

use std::time::Duration;

use countersign::Rules;
use countersign::audit::{
    Audit, AuditCondition, AuditError, AuditWriter, SinkOptions, SinkReport, WhenFull,
};
use countersign::authentication::Anonymous;
use countersign::quota::{Limit, Quota};
use countersign_testkit::greeter::SAY_HELLO;
use countersign_testkit::wait::until;
use tonic_types::StatusExt;

use super::kit::{ALICE, BAD, OPEN, SOON, Sink, behind, builder, one, told};
use super::support::{RawClient, collect_logs, decision_of};

const MAYBE: &str = "/countersign.demo.v1.Greeter/Maybe";
const UNRECORDED: &str = "Unavailable AUDIT_UNAVAILABLE";

/// The sinks by name, the first with room for so many events.
fn audit(sinks: &[(&str, &Sink, WhenFull)], capacity: usize) -> (Audit, AuditWriter) {
    let mut builder = Audit::builder();
    for (at, (name, sink, when_full)) in sinks.iter().enumerate() {
        let options = SinkOptions::new(*when_full);
        let options = if at == 0 { options.capacity(capacity) } else { options };
        builder = builder.sink(*name, (*sink).clone(), options);
    }
    let audit = builder.build().expect("an audit");
    let writer = audit.start().expect("threads");
    (audit, writer)
}

fn counts(report: &SinkReport) -> [u64; 4] {
    [report.queued, report.written, report.dropped, report.failed]
}

#[tokio::test]
async fn a_sink_that_hangs_holds_nobody_up_and_what_it_misses_is_counted() {
    let logs = collect_logs();
    let (hangs, works) = (Sink::hanging(), Sink::default());
    let drops = WhenFull::DropAndCount;
    let (audit, writer) = audit(&[("hangs", &hangs, drops), ("works", &works, drops)], 4);
    let (server, reached) = behind(builder().audit(&audit)).await;
    let mut client = RawClient::connect(&server).await;
    for _ in 0..10 {
        assert_eq!(told(&client.call(SAY_HELLO, &[ALICE]).await), "Ok");
    }
    assert_eq!(reached.count(), 10);
    until("the other sink", || audit.report()[1].written == 10).await;
    let late = writer.flush(Duration::from_millis(50)).await.expect_err("it hangs");
    assert_eq!(late.left, [("hangs".to_owned(), 4)]);
    assert_eq!(counts(&audit.report()[0]), [4, 0, 6, 0]);
    assert_eq!(counts(&audit.report()[1]), [0, 10, 0, 0]);
    let [line] = &logs.lines_with("audit events were dropped")[..] else {
        panic!("{}", logs.text())
    };
    assert!(line.contains("WARN") && line.contains("sink=\"hangs\""), "{line}");

    hangs.let_go();
    writer.flush(SOON).await.expect("written");
    assert_eq!(counts(&audit.report()[0]), [0, 4, 6, 0]);
    assert_eq!(hangs.all("id"), works.all("id")[..4]);
    assert_eq!(told(&client.call(SAY_HELLO, &[ALICE]).await), "Ok");
    writer.close(SOON).await.expect("written");
    assert_eq!(counts(&audit.report()[0]), [0, 5, 6, 0]);
}

#[tokio::test]
async fn where_no_call_may_go_on_without_a_record_it_is_refused_and_later_not() {
    let logs = collect_logs();
    let (hangs, works) = (Sink::hanging(), Sink::default());
    let sinks =
        [("hangs", &hangs, WhenFull::RefuseCall), ("works", &works, WhenFull::DropAndCount)];
    let (audit, writer) = audit(&sinks, 4);
    let (server, reached) = behind(builder().audit(&audit)).await;
    let mut client = RawClient::connect(&server).await;
    for _ in 0..4 {
        assert_eq!(told(&client.call(SAY_HELLO, &[ALICE]).await), "Ok");
    }
    // Whatever was decided: nobody tries tokens off the record.
    for metadata in [ALICE, BAD] {
        let answer = client.call(SAY_HELLO, &[metadata]).await;
        assert_eq!(told(&answer), UNRECORDED);
        let status = answer.grpc();
        let retry = status.get_details_retry_info().and_then(|info| info.retry_delay);
        assert!(retry.is_some_and(|delay| (1..=5).contains(&delay.as_secs())), "{retry:?}");
        let decision = decision_of(&status).expect("an ID");
        assert_eq!(logs.lines_with(&decision).len(), 1, "{}", logs.text());
    }
    assert_eq!(reached.count(), 4);
    until("the other sink", || works.events().len() == 6).await;
    assert_eq!(works.all("reason")[4..], ["AUDIT_UNAVAILABLE", "AUDIT_UNAVAILABLE"]);
    assert_eq!(works.all("status")[4..], ["UNAVAILABLE", "UNAVAILABLE"]);
    assert_eq!(works.all("principal")[4..], ["alice", ""]);
    assert_eq!(counts(&audit.report()[0]), [4, 0, 2, 0]);

    hangs.let_go();
    writer.flush(SOON).await.expect("written");
    assert_eq!(told(&client.call(SAY_HELLO, &[ALICE]).await), "Ok");
    assert_eq!(told(&client.call(SAY_HELLO, &[BAD]).await), "Unauthenticated TOKEN_INVALID");
}

#[tokio::test]
async fn of_two_sinks_that_calls_wait_for_neither_has_a_call_that_the_other_could_not_take() {
    let (hangs, works) = (Sink::hanging(), Sink::default());
    let refuses = WhenFull::RefuseCall;
    for order in [[0, 1], [1, 0]] {
        let both = [("hangs", &hangs, refuses), ("works", &works, refuses)];
        let sinks = order.map(|at| both[at]);
        let mut made = Audit::builder();
        for (name, sink, when_full) in sinks {
            let options = SinkOptions::new(when_full).capacity(4);
            made = made.sink(name, sink.clone(), options);
        }
        let audit = made.build().expect("an audit");
        let writer = audit.start().expect("threads");
        let (server, _) = behind(builder().audit(&audit)).await;
        let mut client = RawClient::connect(&server).await;
        let before = works.events().len();
        for at in 0..6 {
            let expected = if at < 4 { "Ok" } else { UNRECORDED };
            assert_eq!(told(&client.call(SAY_HELLO, &[ALICE]).await), expected, "{at}");
            until("the other sink", || works.events().len() == before + at + 1).await;
        }
        let outcomes = works.all("outcome")[before..].to_vec();
        assert_eq!(outcomes, [vec!["allowed"; 4], vec!["refused"; 2]].concat(), "{order:?}");
        hangs.let_go();
        writer.close(SOON).await.expect("written");
        assert_eq!(hangs.all("outcome").last().map(String::as_str), Some("allowed"));
        hangs.hang();
    }
}

#[tokio::test]
async fn a_sink_that_wants_denials_alone_keeps_no_allowed_call_out() {
    let hangs = Sink::hanging();
    let options = SinkOptions::new(WhenFull::RefuseCall).when(AuditCondition::OnDeny).capacity(2);
    let audit = Audit::builder().sink("denied", hangs.clone(), options).build().expect("an audit");
    let writer = audit.start().expect("threads");
    let (server, _) = behind(builder().audit(&audit)).await;
    let mut client = RawClient::connect(&server).await;
    for (metadata, expected) in
        [(BAD, "Unauthenticated TOKEN_INVALID"), (BAD, UNRECORDED), (ALICE, "Ok"), (ALICE, "Ok")]
    {
        assert_eq!(told(&client.call(SAY_HELLO, &[metadata]).await), expected);
    }
    hangs.let_go();
    writer.close(SOON).await.expect("written");
}

#[tokio::test]
async fn strangers_fill_half_of_a_queue_and_known_callers_the_rest() {
    let hangs = Sink::hanging();
    let (audit, writer) = audit(&[("hangs", &hangs, WhenFull::RefuseCall)], 8);
    let rules = Rules::new().authenticated(SAY_HELLO).public(OPEN).optional(MAYBE);
    let gate = builder().authenticate(Anonymous).authorize(rules).audit(&audit);
    let (server, _) = behind(gate).await;
    let mut client = RawClient::connect(&server).await;
    for at in 0..20 {
        // Whether they are refused, the method is for everybody, or nobody counts as somebody.
        let (path, metadata, decided) = [
            (SAY_HELLO, &[BAD][..], "Unauthenticated TOKEN_INVALID"),
            (OPEN, &[BAD], "Unimplemented"),
            (MAYBE, &[], "Unimplemented"),
        ][at % 3];
        let expected = if at < 4 { decided } else { UNRECORDED };
        assert_eq!(told(&client.call(path, metadata).await), expected, "{at}");
    }
    for at in 0..6 {
        let expected = if at < 4 { "Ok" } else { UNRECORDED };
        assert_eq!(told(&client.call(SAY_HELLO, &[ALICE]).await), expected, "{at}");
    }
    hangs.let_go();
    writer.close(SOON).await.expect("written");
    assert_eq!(hangs.events().len(), 8);
}

#[tokio::test]
async fn who_calls_too_often_keeps_nobody_else_off_the_record() {
    let hangs = Sink::hanging();
    let (audit, writer) = audit(&[("hangs", &hangs, WhenFull::RefuseCall)], 8);
    let quota = Quota::new().per_caller(Limit::per_day(1).expect("a limit")).expect("a quota");
    let (server, reached) = behind(builder().quota(quota).audit(&audit)).await;
    let mut client = RawClient::connect(&server).await;
    for at in 0..20 {
        let expected = match at {
            0 => "Ok",
            1..4 => "ResourceExhausted RATE_LIMITED",
            _ => UNRECORDED,
        };
        assert_eq!(told(&client.call(SAY_HELLO, &[ALICE]).await), expected, "{at}");
    }
    for name in ["bob", "carol", "dave", "erin"] {
        let token = format!("Bearer {name}-token");
        assert_eq!(told(&client.call(SAY_HELLO, &[("authorization", &token)]).await), "Ok");
    }
    let last = ("authorization", "Bearer frank-token");
    assert_eq!(told(&client.call(SAY_HELLO, &[last]).await), UNRECORDED);
    assert_eq!(reached.count(), 5);
    hangs.let_go();
    writer.close(SOON).await.expect("written");
}

// --- failures ------------------------------------------------------------------------------------

#[tokio::test]
async fn what_cannot_be_written_now_is_written_later_and_in_order() {
    let sink = Sink::default();
    let (audit, writer) = one(&sink);
    let (server, _) = behind(builder().audit(&audit)).await;
    let mut client = RawClient::connect(&server).await;
    sink.fails(true);
    for name in ["Bearer a-token", "Bearer b-token", "Bearer c-token"] {
        let answer = client.call(SAY_HELLO, &[("authorization", name)]).await;
        assert_eq!(told(&answer), "Ok");
    }
    until("the trouble", || audit.report()[0].problem.is_some()).await;
    until("another try", || sink.failed() >= 2).await;
    sink.fails(false);
    writer.flush(SOON).await.expect("written");
    assert_eq!(sink.all("principal"), ["a", "b", "c"]);
    let report = &audit.report()[0];
    assert_eq!(counts(report), [0, 3, 0, 0]);
    assert_eq!((report.retries, report.problem.as_deref()), (sink.failed(), None));
}

#[tokio::test]
async fn what_can_never_be_written_is_counted_and_keeps_nothing_else_back() {
    let sink = Sink::default();
    let (audit, writer) = one(&sink);
    let (server, _) = behind(builder().audit(&audit)).await;
    let mut client = RawClient::connect(&server).await;
    for loses in [true, false] {
        sink.loses(loses);
        assert_eq!(told(&client.call(SAY_HELLO, &[ALICE]).await), "Ok");
        writer.flush(SOON).await.expect("done with");
        assert_eq!(audit.report()[0].problem.is_some(), loses);
    }
    assert_eq!(counts(&audit.report()[0]), [0, 1, 0, 1]);
}

#[tokio::test]
async fn a_sink_that_panics_ends_and_calls_go_on_as_when_it_is_full() {
    let (panics, refuses) = (Sink::default(), Sink::default());
    let sinks =
        [("panics", &panics, WhenFull::DropAndCount), ("refuses", &refuses, WhenFull::RefuseCall)];
    let (audit, writer) = audit(&sinks, 16);
    let (server, _) = behind(builder().audit(&audit)).await;
    let mut client = RawClient::connect(&server).await;
    panics.panics();
    assert_eq!(told(&client.call(SAY_HELLO, &[ALICE]).await), "Ok");
    until("the end", || audit.report()[0].problem.is_some()).await;
    assert_eq!(told(&client.call(SAY_HELLO, &[ALICE]).await), "Ok");
    assert_eq!(counts(&audit.report()[0]), [1, 0, 1, 0]);
    until("the other sink", || audit.report()[1].written == 2).await;
    refuses.panics();
    assert_eq!(told(&client.call(SAY_HELLO, &[ALICE]).await), "Ok", "it is on record, it seems");
    until("the end", || audit.report()[1].problem.is_some()).await;
    assert_eq!(told(&client.call(SAY_HELLO, &[ALICE]).await), UNRECORDED);
    let left = writer.close(SOON).await.expect_err("something is left").left;
    assert_eq!(left, [("panics".to_owned(), 1), ("refuses".to_owned(), 1)]);
}

// --- beginning and end ---------------------------------------------------------------------------

#[tokio::test]
async fn what_happens_before_the_start_is_written_after_it() {
    let sink = Sink::default();
    let made = Audit::builder().sink("one", sink.clone(), WhenFull::RefuseCall);
    let audit = made.build().expect("an audit");
    let (server, _) = behind(builder().audit(&audit)).await;
    let mut client = RawClient::connect(&server).await;
    assert_eq!(told(&client.call(SAY_HELLO, &[ALICE]).await), "Ok");
    assert!(sink.events().is_empty());
    let writer = audit.start().expect("threads");
    writer.flush(SOON).await.expect("written");
    assert_eq!(sink.events().len(), 1);
    let error = audit.start().expect_err("once");
    assert!(matches!(error, AuditError::AlreadyStarted), "{error}");
}

#[tokio::test]
async fn after_the_end_nothing_is_taken_in_and_everything_is_written() {
    for (when_full, after) in [(WhenFull::DropAndCount, "Ok"), (WhenFull::RefuseCall, UNRECORDED)] {
        for dropped in [false, true] {
            let sink = Sink::default();
            let (audit, writer) = audit(&[("one", &sink, when_full)], 1_000);
            let (server, _) = behind(builder().audit(&audit)).await;
            let mut client = RawClient::connect(&server).await;
            for _ in 0..20 {
                assert_eq!(told(&client.call(SAY_HELLO, &[ALICE]).await), "Ok");
            }
            match dropped {
                true => drop(writer),
                false => writer.close(SOON).await.expect("written"),
            }
            assert_eq!(sink.events().len(), 20, "{when_full:?}");
            assert_eq!(told(&client.call(SAY_HELLO, &[ALICE]).await), after);
            assert_eq!(counts(&audit.report()[0]), [0, 20, 1, 0]);
        }
    }
}

#[tokio::test]
async fn an_end_waits_for_a_sink_that_hangs_as_long_as_it_was_told_to() {
    let (hangs, fails) = (Sink::hanging(), Sink::default());
    let drops = WhenFull::DropAndCount;
    let (audit, writer) = audit(&[("hangs", &hangs, drops), ("fails", &fails, drops)], 8);
    fails.fails(true);
    let (server, _) = behind(builder().audit(&audit)).await;
    let mut client = RawClient::connect(&server).await;
    assert_eq!(told(&client.call(SAY_HELLO, &[ALICE]).await), "Ok");
    let error = writer.close(Duration::from_millis(50)).await.expect_err("it hangs");
    assert_eq!(error.left, [("hangs".to_owned(), 1), ("fails".to_owned(), 1)]);
    let told = "audit events were not written in time: 1 of \"hangs\", 1 of \"fails\"";
    assert_eq!(error.to_string(), told);
    // What is written too late is written all the same.
    hangs.let_go();
    until("the hanging sink", || hangs.events().len() == 1).await;
    assert!(fails.events().is_empty());
}

#[test]
fn an_audit_has_sinks_and_no_two_of_one_name() {
    let drops = WhenFull::DropAndCount;
    let none = Audit::builder().build().expect_err("no sink");
    assert!(matches!(none, AuditError::NoSink), "{none}");
    let two = Audit::builder().sink("a", Sink::default(), drops).sink("a", Sink::default(), drops);
    let two = two.build().expect_err("two of a name");
    assert!(matches!(&two, AuditError::DuplicateSink { name } if name == "a"), "{two}");
    let many = |count: usize| {
        let sinks = (0..count).map(|at| at.to_string());
        sinks.fold(Audit::builder(), |audit, name| audit.sink(name, Sink::default(), drops)).build()
    };
    let most = countersign::audit::AuditBuilder::MAX_SINKS;
    many(most).expect("an audit");
    let error = many(most + 1).expect_err("too many");
    assert!(matches!(error, AuditError::TooManySinks), "{error}");
}
