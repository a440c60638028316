//! Tokens that are bound to a key, with the proof that each call brings (RFC 9449).

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use async_trait::async_trait;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::super::{Jwt, Revocations, thumbprint};
use super::{ISSUER, NOW, Signer, built, with};
use crate::authentication::{
    Authenticator, CallEvidence, CallTarget, Evidence, EvidenceKinds, Outcome, Proof, all_of,
};
use crate::identity::{MethodPath, PeerIdentity, Principal};

/// Accepts whatever comes, and always has to wait for it.
#[derive(Debug)]
struct Slow;

#[async_trait]
impl Authenticator for Slow {
    fn name(&self) -> &str {
        "slow"
    }

    fn reads(&self) -> EvidenceKinds {
        EvidenceKinds { authorization: true, ..EvidenceKinds::default() }
    }

    async fn authenticate(&self, evidence: &Evidence<'_>) -> Outcome {
        Ok(Some(evidence.accept(Principal::new("alice", "slow"))))
    }
}

fn bound_to(holder: &Signer) -> Value {
    let jwk = holder.jwk();
    let jkt = thumbprint(jwk.as_object().expect("an object")).expect("a key");
    with("cnf", json!({ "jkt": jkt }))
}

fn proof(holder: &Signer, token: &str) -> String {
    let header = json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": holder.jwk()});
    let hash = URL_SAFE_NO_PAD.encode(digest(&SHA256, token.as_bytes()));
    let htu = "https://api.example/orders.v1.Orders/Get";
    let claims = json!({"jti": "1", "htm": "POST", "htu": htu, "iat": NOW, "ath": hash});
    holder.token_with(&header, &claims)
}

/// Asks as a gate does: at once, and later where that is no answer.
async fn asked(all: &impl Authenticator, evidence: &Evidence<'_>) -> &'static str {
    let outcome = match all.authenticate_now(evidence) {
        Some(outcome) => outcome,
        None => all.authenticate(evidence).await,
    };
    match outcome {
        Ok(Some(_)) => "accepted",
        Ok(None) => "nothing to read",
        Err(error) => error.reason().as_str(),
    }
}

#[tokio::test]
async fn a_proof_counts_once_although_somebody_else_has_to_be_waited_for() {
    let (signer, holder) = (Signer::new("k"), Signer::new("holder"));
    let jwt = signer.jwt();
    let both = all_of("both", [Arc::new(jwt) as Arc<dyn Authenticator>, Arc::new(Slow)]);
    let token = signer.token(&bound_to(&holder));
    let proof = proof(&holder, &token);
    let peer = PeerIdentity::unknown();
    let path = MethodPath::parse("/orders.v1.Orders/Get").expect("canonical");
    let evidence = Evidence::new(&peer, CallEvidence::Other { scheme: "DPoP", value: &token })
        .with_proof(Proof::One(&proof))
        .for_call(CallTarget { authority: "api.example", path });
    assert_eq!(asked(&both, &evidence).await, "accepted");
    assert_eq!(asked(&both, &evidence).await, "PROOF_INVALID", "it was shown before");
}

#[tokio::test]
async fn what_is_revoked_counts_for_a_call_that_goes_on_although_its_proof_was_for_its_beginning() {
    let (signer, holder) = (Signer::new("k"), Signer::new("holder"));
    let revocations = Revocations::new();
    let jwt = Jwt::builder().issuer(signer.issuer()).revocations(revocations.clone());
    let jwt = built(jwt);
    let token = signer.token(&bound_to(&holder));
    let proof = proof(&holder, &token);
    let peer = PeerIdentity::unknown();
    let path = MethodPath::parse("/orders.v1.Orders/Get").expect("canonical");
    let bare = Evidence::new(&peer, CallEvidence::Other { scheme: "DPoP", value: &token });
    let whole =
        bare.with_proof(Proof::One(&proof)).for_call(CallTarget { authority: "api.example", path });
    let caller = jwt.authenticate(&whole).await.expect("accepted").expect("a caller");
    assert!(caller.lease().is_none(), "other calls bring their own proof");
    let lease = caller.lease_of_call().expect("and this one goes on").clone();

    assert_eq!(asked(&jwt, &bare).await, "PROOF_REQUIRED");
    assert_eq!(asked(&jwt, &bare.looked_at_again()).await, "accepted");
    let as_bearer = Evidence::new(&peer, CallEvidence::Bearer(&token)).looked_at_again();
    assert_eq!(asked(&jwt, &as_bearer).await, "PROOF_REQUIRED");
    let end = UNIX_EPOCH + Duration::from_secs(NOW + 300);
    revocations.revoke_subject(ISSUER, "alice", end, end).expect("there is room");
    assert!(!lease.is_current());
    assert_eq!(asked(&jwt, &bare.looked_at_again()).await, "CREDENTIALS_REVOKED");
}
