use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use countersign::authentication::{AuthenticationError, Evidence, EvidenceKinds, Outcome, Reason};
use countersign::quota::Quota;
use countersign::{Authenticator, Gate, Rules, StaticTokens, async_trait};
use countersign_testkit::greeter::SAY_HELLO;

use super::support::RawClient;
use super::{ALICE, BAD, BOB, INVALID, LIMITED, PASSES, an_hour, behind, field, tokens, told};

/// Counts how often somebody looks at a credential, which stands for what costs something.
#[derive(Debug)]
struct Counting {
    tokens: StaticTokens,
    looks: Arc<AtomicUsize>,
    waits: bool,
}

#[async_trait]
impl Authenticator for Counting {
    fn name(&self) -> &str {
        self.tokens.name()
    }

    fn reads(&self) -> EvidenceKinds {
        self.tokens.reads()
    }

    fn authenticate_now(&self, evidence: &Evidence<'_>) -> Option<Outcome> {
        if self.waits {
            return None;
        }
        self.looks.fetch_add(1, Ordering::SeqCst);
        self.tokens.authenticate_now(evidence)
    }

    async fn authenticate(&self, evidence: &Evidence<'_>) -> Outcome {
        self.looks.fetch_add(1, Ordering::SeqCst);
        self.tokens.authenticate(evidence).await
    }
}

#[tokio::test]
async fn nobody_looks_at_a_credential_from_an_address_that_failed_too_often() {
    for waits in [false, true] {
        let looks = Arc::new(AtomicUsize::new(0));
        let counting = Counting { tokens: tokens(), looks: Arc::clone(&looks), waits };
        let rules = Rules::new().authenticated(SAY_HELLO);
        let quota = Quota::new().failures_per_address(an_hour(3)).expect("a quota");
        let gate = Gate::builder().authenticate(counting).authorize(rules).quota(quota);
        let (server, _) = behind(gate).await;
        let mut client = RawClient::connect(&server).await;
        for (metadata, expected, looked) in [
            (BAD, INVALID, 1),
            (BAD, INVALID, 2),
            (BOB, PASSES, 3),
            (BAD, INVALID, 4),
            (BAD, LIMITED, 4),
            (ALICE, LIMITED, 4),
            (BAD, LIMITED, 4),
        ] {
            let answer = client.call(SAY_HELLO, &[metadata]).await;
            assert_eq!(told(&answer), expected, "{metadata:?} {waits}");
            assert_eq!(looks.load(Ordering::SeqCst), looked, "{metadata:?} {waits}");
        }
        // Who guesses is not told how often it may.
        let answer = client.call(SAY_HELLO, &[BAD]).await;
        assert_eq!(field(&answer, "ratelimit-policy"), None);
        let left = field(&answer, "ratelimit").expect("a field");
        assert!(left.starts_with("\"failures\";r=0;t="), "{left}");
    }
}

#[tokio::test]
async fn without_the_throttle_every_credential_is_looked_at() {
    let looks = Arc::new(AtomicUsize::new(0));
    let counting = Counting { tokens: tokens(), looks: Arc::clone(&looks), waits: false };
    let rules = Rules::new().authenticated(SAY_HELLO);
    let quota = Quota::new().per_caller(an_hour(3)).expect("a quota");
    let gate = Gate::builder().authenticate(counting).authorize(rules).quota(quota);
    let (server, _) = behind(gate).await;
    let mut client = RawClient::connect(&server).await;
    for _ in 0..10 {
        assert_eq!(told(&client.call(SAY_HELLO, &[BAD]).await), INVALID);
    }
    assert_eq!(looks.load(Ordering::SeqCst), 10);
}

/// Refuses every credential for one reason.
#[derive(Debug)]
struct Refusing(Reason);

#[async_trait]
impl Authenticator for Refusing {
    fn name(&self) -> &str {
        "refusing"
    }

    fn reads(&self) -> EvidenceKinds {
        tokens().reads()
    }

    async fn authenticate(&self, _: &Evidence<'_>) -> Outcome {
        Err(AuthenticationError::new(self.0, "as it was told to"))
    }
}

#[tokio::test]
async fn who_asks_for_a_nonce_by_a_proof_without_one_has_not_failed() {
    for (reason, expected) in [
        (Reason::ProofNonce, "Unauthenticated PROOF_NONCE"),
        (Reason::VerifierUnavailable, "Unavailable VERIFIER_UNAVAILABLE"),
        (Reason::ProofInvalid, LIMITED),
    ] {
        let rules = Rules::new().authenticated(SAY_HELLO);
        let quota = Quota::new().failures_per_address(an_hour(1)).expect("a quota");
        let gate = Gate::builder().authenticate(Refusing(reason)).authorize(rules).quota(quota);
        let (server, _) = behind(gate).await;
        let mut client = RawClient::connect(&server).await;
        client.call(SAY_HELLO, &[ALICE]).await;
        for _ in 0..3 {
            assert_eq!(told(&client.call(SAY_HELLO, &[ALICE]).await), expected);
        }
    }
}
