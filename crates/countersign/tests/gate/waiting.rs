use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use countersign::authentication::{
    AuthenticationError, CallEvidence, Evidence, EvidenceKinds, Outcome, Reason,
};
use countersign::{Authenticator, Gate, MutualTls, Principal, Rules, async_trait};
use countersign_testkit::greeter::SAY_HELLO;
use countersign_testkit::pki::CertificateAuthority;
use countersign_testkit::wait::until;
use tonic::Code;
use tonic_types::StatusExt;
use tower_layer::Layer;
use tower_service::Service;

use super::endless::{Endless, ReadsOne};
use super::scripted::{Scripted, only_good, with};
use super::support::{
    RawClient, behind_tls, challenges_of, channel, grpc_request, identity, reason_of, trusting,
};
use super::{BAD_BEARER, BEARER, RESET, TOKEN, behind, greet, invalid, refused, told, told_raw};

#[tokio::test]
async fn a_call_waits_for_an_authenticator_that_waits() {
    let slow = Arc::new(Scripted::judging("slow", only_good).waiting());
    let gate = with(&slow).authorize(Rules::new().authenticated(SAY_HELLO).public(RESET));
    let (server, reached) = behind(gate.build().expect("a gate")).await;
    for (call, (credential, expected)) in [
        (BEARER, refused(Code::Ok, "")),
        (BAD_BEARER, refused(Code::Unauthenticated, "TOKEN_EXPIRED")),
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = RawClient::connect(&server).await;
        let calling =
            tokio::spawn(async move { told_raw(&client.call(SAY_HELLO, &[credential]).await) });
        until("the authenticator is asked", || slow.asked() == call + 1).await;
        // Others do not wait for it.
        let mut other = RawClient::connect(&server).await;
        assert_eq!(other.call(RESET, &[]).await.grpc().code(), Code::Ok);
        assert!(!calling.is_finished());
        slow.release();
        assert_eq!(calling.await.expect("called"), expected);
    }
    assert_eq!(slow.asked(), 2, "once for each call, and never for a public method");
    let reached_handler = reached.count();
    assert_eq!(reached_handler, 3);
}

#[tokio::test]
async fn an_authenticator_that_knows_at_once_is_never_waited_for() {
    #[derive(Debug, Default)]
    struct AtOnce {
        now: AtomicUsize,
        later: AtomicUsize,
    }
    #[async_trait]
    impl Authenticator for AtOnce {
        fn name(&self) -> &str {
            "at-once"
        }
        fn reads(&self) -> EvidenceKinds {
            EvidenceKinds { authorization: true, ..EvidenceKinds::default() }
        }
        fn authenticate_now(&self, evidence: &Evidence<'_>) -> Option<Outcome> {
            self.now.fetch_add(1, Ordering::SeqCst);
            match evidence.call() {
                CallEvidence::Bearer(TOKEN) => {
                    Some(Ok(Some(evidence.accept(Principal::new("ci", "at-once")))))
                }
                _ => None,
            }
        }
        async fn authenticate(&self, _evidence: &Evidence<'_>) -> Outcome {
            self.later.fetch_add(1, Ordering::SeqCst);
            Err(AuthenticationError::new(Reason::TokenInvalid, "it is another"))
        }
    }
    let authenticator = Arc::new(AtOnce::default());
    let gate = Gate::builder()
        .authenticate(Arc::clone(&authenticator))
        .authorize(Rules::new().authenticated(SAY_HELLO).public(RESET))
        .build()
        .expect("a gate");
    let (server, _) = behind(gate).await;
    let mut client = RawClient::connect(&server).await;
    let counts =
        || [&authenticator.now, &authenticator.later].map(|count| count.load(Ordering::SeqCst));

    client.call(RESET, &[BAD_BEARER]).await;
    assert_eq!(counts(), [0, 0], "a public method asks nobody");
    assert_eq!(client.call(SAY_HELLO, &[BEARER]).await.grpc().code(), Code::Ok);
    assert_eq!(counts(), [1, 0]);
    assert_eq!(told_raw(&client.call(SAY_HELLO, &[BAD_BEARER]).await), invalid());
    assert_eq!(counts()[1], 1);
}

#[tokio::test]
async fn an_authenticator_that_cannot_tell_makes_the_call_unavailable_and_retried_later() {
    let down =
        Scripted::judging("down", |_| Err(AuthenticationError::unavailable("the store is down")));
    let gate = Gate::builder()
        .authenticate(down)
        .authenticate(MutualTls::new())
        .authorize(Rules::new().optional(SAY_HELLO));
    let ca = CertificateAuthority::new("test CA");
    let (server, reached) = behind_tls(&ca, &gate.build().expect("a gate")).await;
    // With a certificate, to which it must not fall back.
    let showing = trusting(&ca).identity(identity(&ca.client(&["spiffe://test/alice"])));
    let channel = channel(&server, showing).await;
    let status = greet(&channel, &[BEARER]).await.expect_err("nobody can tell");
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(reason_of(&status), "VERIFIER_UNAVAILABLE");
    let delay = status.get_details_retry_info().expect("RetryInfo").retry_delay;
    let delay = delay.expect("a delay").as_millis();
    assert!((1_000..=5_000).contains(&delay), "{delay}");
    assert_eq!(challenges_of(&status), [""; 0], "no other credential would help");
    assert_eq!(reached.count(), 0);

    // The twin: without the token nobody has to be asked.
    let outcome = greet(&channel, &[]).await;
    assert_eq!(told(&outcome), r#"passes as "spiffe://test/alice""#);
}

#[tokio::test]
async fn a_call_that_goes_away_takes_its_authentication_with_it() {
    let slow = Arc::new(Scripted::accepting("slow").waiting());
    let gate = with(&slow).authorize(Rules::new().authenticated(SAY_HELLO)).build();
    let gate = gate.expect("a gate");

    let request = grpc_request(SAY_HELLO).header(BEARER.0, BEARER.1);
    let request = request.body(Endless::default()).expect("a request");
    let mut call = Box::pin(gate.layer(ReadsOne).call(request));
    assert!(futures_poll(&mut call).is_pending());
    assert_eq!((slow.asked(), slow.left()), (1, 0));
    drop(call);
    assert_eq!(slow.left(), 1);

    // The same over a connection, whose client gives up.
    let (server, reached) = behind(gate).await;
    let mut client = RawClient::connect(&server).await;
    let calling = tokio::spawn(async move { client.call(SAY_HELLO, &[BEARER]).await });
    until("the authenticator is asked", || slow.asked() == 2).await;
    assert_eq!(slow.left(), 1);
    calling.abort();
    until("the authentication is dropped", || slow.left() == 2).await;
    assert_eq!(reached.count(), 0);
}

fn futures_poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(std::task::Waker::noop()))
}

#[tokio::test]
async fn of_several_that_read_a_token_one_has_to_accept_it() {
    let refusing = |reason: Reason| match reason {
        Reason::VerifierUnavailable => Scripted::judging("unavailable", |_| {
            Err(AuthenticationError::unavailable("the store is down"))
        }),
        Reason::TokenExpired => Scripted::judging("expired", |_| {
            Err(AuthenticationError::new(Reason::TokenExpired, "it is stale"))
        }),
        _ => Scripted::judging("invalid", |_| {
            Err(AuthenticationError::new(Reason::TokenInvalid, "it is another"))
        }),
    };
    use Reason::{TokenExpired, TokenInvalid, VerifierUnavailable};
    for (name, reasons, accepted, expected) in [
        ("one accepts", &[TokenExpired][..], true, refused(Code::Ok, "")),
        ("one cannot tell, one accepts", &[VerifierUnavailable], true, refused(Code::Ok, "")),
        (
            "the one that knows it says more",
            &[TokenInvalid, TokenExpired],
            false,
            refused(Code::Unauthenticated, "TOKEN_EXPIRED"),
        ),
        (
            "it may be good for the one that cannot tell",
            &[TokenExpired, VerifierUnavailable],
            false,
            refused(Code::Unavailable, "VERIFIER_UNAVAILABLE"),
        ),
    ] {
        // In either order.
        for reversed in [false, true] {
            let mut authenticators: Vec<_> = reasons.iter().map(|&it| refusing(it)).collect();
            if accepted {
                authenticators.push(Scripted::accepting("accepts"));
            }
            if reversed {
                authenticators.reverse();
            }
            let builder = authenticators
                .into_iter()
                .fold(Gate::builder(), |builder, one| builder.authenticate(one));
            let rules = Rules::new().authenticated(SAY_HELLO);
            let (server, _) = behind(builder.authorize(rules).build().expect("a gate")).await;
            let answer = RawClient::connect(&server).await.call(SAY_HELLO, &[BEARER]).await;
            assert_eq!(told_raw(&answer), expected, "{name}");
        }
    }
}
