use std::sync::{Arc, Barrier};
use std::time::{Duration, UNIX_EPOCH};

use serde_json::json;

use super::super::{Jwt, Revocations};
use super::{ISSUER, Moved, NOW, Signer, good, verdict, with};
use crate::authentication::{Authenticator, CallEvidence, Evidence};
use crate::identity::{ClaimNames, PeerIdentity};

#[test]
fn a_token_is_verified_once_until_it_ends() {
    let (signer, clock) = (Signer::new("k"), Moved::at(NOW));
    let jwt = Jwt::builder().issuer(signer.issuer()).clock(clock.clone()).build().expect("valid");
    let token = signer.token(&good());
    for _ in 0..3 {
        assert_eq!(verdict(&jwt, &token), "accepted");
    }
    assert_eq!(jwt.verifications(), 1);
    clock.advance(Duration::from_secs(299));
    assert_eq!((verdict(&jwt, &token), jwt.verifications()), ("accepted", 1));
    clock.advance(Duration::from_secs(1));
    assert_eq!((verdict(&jwt, &token), jwt.verifications()), ("TOKEN_EXPIRED", 1));
}

#[test]
fn a_token_of_long_life_is_looked_at_again_after_five_minutes() {
    let (signer, clock) = (Signer::new("k"), Moved::at(NOW));
    let jwt = Jwt::builder().issuer(signer.issuer()).clock(clock.clone()).build().expect("valid");
    let token = signer.token(&with("exp", json!(NOW + 3_600)));
    assert_eq!(verdict(&jwt, &token), "accepted");
    clock.advance(Duration::from_secs(299));
    assert_eq!((verdict(&jwt, &token), jwt.verifications()), ("accepted", 1));
    clock.advance(Duration::from_secs(1));
    assert_eq!((verdict(&jwt, &token), jwt.verifications()), ("accepted", 2));
}

#[test]
fn a_forged_token_is_known_for_five_seconds_and_does_not_push_out_good_ones() {
    let (signer, clock) = (Signer::new("k"), Moved::at(NOW));
    let jwt = Jwt::builder()
        .issuer(signer.issuer())
        .clock(clock.clone())
        .remember_tokens(1)
        .build()
        .expect("valid");
    let (good, forged) = (signer.token(&good()), Signer::new("k").token(&good()));
    assert_eq!(verdict(&jwt, &good), "accepted");
    for _ in 0..3 {
        assert_eq!(verdict(&jwt, &forged), "TOKEN_INVALID");
    }
    assert_eq!((verdict(&jwt, &good), jwt.verifications()), ("accepted", 2));
    clock.advance(Duration::from_secs(5));
    assert_eq!((verdict(&jwt, &forged), jwt.verifications()), ("TOKEN_INVALID", 3));
}

#[test]
fn what_is_revoked_counts_at_once_although_it_was_remembered() {
    let (signer, revocations) = (Signer::new("k"), Revocations::new());
    let jwt = Jwt::builder()
        .issuer(signer.issuer())
        .clock(Moved::at(NOW))
        .revocations(revocations.clone())
        .build()
        .expect("valid");
    let (token, other) =
        (signer.token(&with("jti", json!("j1"))), signer.token(&with("jti", json!("j2"))));
    let peer = PeerIdentity::unknown();
    let evidence = Evidence::new(&peer, CallEvidence::Bearer(&token));
    let known = jwt.authenticate_now(&evidence).expect("at once").expect("accepted");
    let known = known.expect("a caller");
    let lease = known.lease().expect("a token that is not bound has one");
    let now = UNIX_EPOCH + Duration::from_secs(NOW);
    assert!(lease.holds(now) && verdict(&jwt, &other) == "accepted");

    let end = now + Duration::from_secs(300);
    revocations.revoke_token(ISSUER, "j1", end).expect("there is room");
    assert!(!lease.holds(now), "what the gate remembers ends too");
    assert_eq!(verdict(&jwt, &token), "CREDENTIALS_REVOKED");
    assert_eq!(verdict(&jwt, &other), "accepted");
}

#[test]
fn who_leaves_out_the_name_of_a_revoked_key_is_refused_all_the_same() {
    let (signer, revocations) = (Signer::new("stolen"), Revocations::new());
    let jwt = Jwt::builder()
        .issuer(signer.issuer())
        .clock(Moved::at(NOW))
        .revocations(revocations.clone())
        .build()
        .expect("valid");
    let named = signer.token(&good());
    let nameless = signer.token_with(&json!({"alg": "ES256", "typ": "JWT"}), &good());
    assert_eq!([&named, &nameless].map(|token| verdict(&jwt, token)), ["accepted"; 2]);

    let end = UNIX_EPOCH + Duration::from_secs(NOW + 300);
    revocations.revoke_key(ISSUER, "another", end).expect("there is room");
    assert_eq!([&named, &nameless].map(|token| verdict(&jwt, token)), ["accepted"; 2]);
    revocations.revoke_key(ISSUER, "stolen", end).expect("there is room");
    for (name, token) in [("named", &named), ("nameless", &nameless)] {
        assert_eq!(verdict(&jwt, token), "CREDENTIALS_REVOKED", "{name}");
    }
}

#[test]
fn a_subject_is_revoked_by_either_of_its_names() {
    for (revoked, told) in [
        ("alice", "CREDENTIALS_REVOKED"),
        ("alice@id.example", "CREDENTIALS_REVOKED"),
        ("bob", "accepted"),
    ] {
        let (signer, revocations) = (Signer::new("k"), Revocations::new());
        let names = ClaimNames { subject: "email".to_owned(), ..ClaimNames::default() };
        let jwt = Jwt::builder()
            .issuer(signer.issuer().claim_names(names))
            .clock(Moved::at(NOW))
            .revocations(revocations.clone())
            .build()
            .expect("valid");
        let token = signer.token(&with("email", json!("alice@id.example")));
        assert_eq!(verdict(&jwt, &token), "accepted");
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        revocations.revoke_subject(ISSUER, revoked, at(NOW + 1), at(NOW + 300)).expect("room");
        assert_eq!(verdict(&jwt, &token), told, "{revoked}");
    }
}

#[test]
fn a_hundred_first_calls_with_one_token_cost_one_verification() {
    let signer = Signer::new("k");
    let jwt = signer.jwt();
    let token: Arc<str> = signer.token(&good()).into();
    let start = Arc::new(Barrier::new(100));
    let callers: Vec<_> = (0..100)
        .map(|_| {
            let (jwt, token, start) = (jwt.clone(), Arc::clone(&token), Arc::clone(&start));
            std::thread::spawn(move || {
                start.wait();
                verdict(&jwt, &token)
            })
        })
        .collect();
    for caller in callers {
        assert_eq!(caller.join().expect("no panic"), "accepted");
    }
    assert_eq!(jwt.verifications(), 1);
}

#[test]
fn who_remembers_nothing_verifies_each_time() {
    let signer = Signer::new("k");
    let issuer = signer.issuer();
    let jwt = Jwt::builder().issuer(issuer).clock(Moved::at(NOW)).remember_tokens(0).build();
    let jwt = jwt.expect("valid");
    let token = signer.token(&good());
    assert_eq!([(); 2].map(|()| verdict(&jwt, &token)), ["accepted"; 2]);
    assert_eq!(jwt.verifications(), 2);
}
