use std::time::Duration;

use serde_json::json;

use super::super::{Algorithm, Jwt, JwtError, KeySet, KeySource, Profile, TokenError};
use super::{AUDIENCE, ISSUER, NOW, Signer, built, good, prove, verdict, with};
use crate::danger;
use crate::identity::ClaimNames;

const OTHER: &str = "https://other.example";

#[test]
fn nothing_of_one_issuer_counts_for_another() {
    let (one, other) = (Signer::new("k"), Signer::new("k"));
    let jwt = built(
        Jwt::builder()
            .issuer(one.issuer())
            .issuer(Jwt::issuer(OTHER).keys(other.keys()).audience("billing")),
    );
    let by_other = |aud: &str| {
        let mut claims = with("iss", json!(OTHER));
        claims["aud"] = json!(aud);
        claims
    };
    for (name, token, told) in [
        ("one's own", one.token(&good()), "accepted"),
        ("the other's own", other.token(&by_other("billing")), "accepted"),
        ("one's key", one.token(&by_other("billing")), "TOKEN_INVALID"),
        ("the other's key", other.token(&good()), "TOKEN_INVALID"),
        ("one's audience", other.token(&by_other(AUDIENCE)), "TOKEN_AUDIENCE"),
        ("nobody's", one.token(&with("iss", json!("https://third.example"))), "TOKEN_INVALID"),
    ] {
        assert_eq!(verdict(&jwt, &token), told, "{name}");
    }
    let [a, b] = [one.token(&good()), other.token(&by_other("billing"))]
        .map(|token| prove(&jwt, &token).expect("accepted"));
    assert_ne!(a, b, "one subject of two issuers is two principals");
}

#[test]
fn a_template_stands_for_the_names_that_were_listed() {
    let signer = Signer::new("k");
    let realms = Jwt::issuers_of("https://kc.example/realms/{tenant}", ["acme", "globex"])
        .keys(signer.keys())
        .audience(AUDIENCE);
    let jwt = built(Jwt::builder().issuer(realms));
    for (issuer, told) in [
        ("https://kc.example/realms/acme", "accepted"),
        ("https://kc.example/realms/globex", "accepted"),
        ("https://kc.example/realms/evil", "TOKEN_INVALID"),
        ("https://kc.example/realms/{tenant}", "TOKEN_INVALID"),
        ("https://kc.example/realms/acme/x", "TOKEN_INVALID"),
        ("https://kc.example/realms/", "TOKEN_INVALID"),
    ] {
        assert_eq!(verdict(&jwt, &signer.token(&with("iss", json!(issuer)))), told, "{issuer}");
    }
}

#[tokio::test]
async fn who_is_not_trusted_costs_no_list_of_those_who_are() {
    let signer = Signer::new("k");
    let tenants: Vec<_> = (0..1_000).map(|number| format!("t{number}")).collect();
    let realms = Jwt::issuers_of("https://{tenant}.example", tenants.iter().map(String::as_str));
    let jwt = built(Jwt::builder().issuer(realms.keys(signer.keys()).audience(AUDIENCE)));
    let stranger = signer.token(&with("iss", json!("https://evil.example")));
    let mut lists = Vec::new();
    for _ in 0..2 {
        match jwt.verify(&stranger).await {
            Err(TokenError::Issuer { found, trusted }) => {
                assert_eq!(found, "https://evil.example");
                assert!(trusted.len() == 1_000 && trusted.is_sorted());
                lists.push(trusted);
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(std::sync::Arc::ptr_eq(&lists[0], &lists[1]), "one list for all");
}

#[test]
fn a_trust_domain_is_chosen_by_the_subject() {
    let (here, there) = (Signer::new("k"), Signer::new("k"));
    let bundle = |signer: &Signer, key_use: &str| {
        let mut key = signer.jwk();
        key["use"] = json!(key_use);
        let set = json!({ "keys": [key] }).to_string();
        KeySource::given(KeySet::from_spiffe_bundle(&set).expect("a bundle"))
    };
    let trust = |domain: &str, keys| Jwt::trust_domain(domain, keys).audience(AUDIENCE);
    let jwt = built(
        Jwt::builder()
            .issuer(trust("here.example", bundle(&here, "jwt-svid")))
            .issuer(trust("there.example", bundle(&there, "jwt-svid"))),
    );
    let svid = |subject: &str| json!({"sub": subject, "aud": [AUDIENCE], "exp": NOW + 60});
    let header = json!({"alg": "ES256", "kid": "k", "typ": "JWT"});
    for (name, signer, header, claims, told) in [
        ("its own", &here, &header, svid("spiffe://here.example/a"), "accepted"),
        ("another's key", &there, &header, svid("spiffe://here.example/a"), "TOKEN_INVALID"),
        ("nobody's", &here, &header, svid("spiffe://evil.example/a"), "TOKEN_INVALID"),
        ("no SPIFFE ID", &here, &header, svid("alice"), "TOKEN_INVALID"),
        (
            "JOSE",
            &here,
            &json!({"alg": "ES256", "typ": "JOSE"}),
            svid("spiffe://here.example/a"),
            "accepted",
        ),
        (
            "other typ",
            &here,
            &json!({"alg": "ES256", "typ": "at+jwt"}),
            svid("spiffe://here.example/a"),
            "TOKEN_INVALID",
        ),
        (
            "typ in another case",
            &here,
            &json!({"alg": "ES256", "typ": "jwt"}),
            svid("spiffe://here.example/a"),
            "TOKEN_INVALID",
        ),
        (
            "another header",
            &here,
            &json!({"alg": "ES256", "cty": "x"}),
            svid("spiffe://here.example/a"),
            "TOKEN_INVALID",
        ),
        (
            "no exp",
            &here,
            &header,
            json!({"sub": "spiffe://here.example/a", "aud": AUDIENCE}),
            "TOKEN_INVALID",
        ),
        (
            "another aud",
            &here,
            &header,
            json!({"sub": "spiffe://here.example/a", "aud": "x", "exp": NOW + 60}),
            "TOKEN_AUDIENCE",
        ),
    ] {
        assert_eq!(verdict(&jwt, &signer.token_with(header, &claims)), told, "{name}");
    }
    let token = here.token_with(&header, &svid("spiffe://here.example/a"));
    assert_eq!(prove(&jwt, &token).expect("accepted").name(), "spiffe://here.example/a");
    // Keys of another use prove no trust domain.
    let trusted = trust("here.example", bundle(&here, "sig"));
    let error = Jwt::builder().issuer(trusted).build().expect_err("it has no key");
    assert!(matches!(error, JwtError::Keys(_)), "{error}");
}

#[test]
fn no_claim_but_the_subject_names_somebody_of_a_trust_domain() {
    let signer = Signer::new("k");
    let mut key = signer.jwk();
    key["use"] = json!("jwt-svid");
    let bundle = KeySet::from_spiffe_bundle(&json!({ "keys": [key] }).to_string());
    let keys = KeySource::given(bundle.expect("a bundle"));
    let names = ClaimNames { subject: "workload".to_owned(), ..ClaimNames::default() };
    let trusted = Jwt::trust_domain("here.example", keys).audience(AUDIENCE).claim_names(names);
    let jwt = built(Jwt::builder().issuer(trusted));
    let claims = json!({
        "sub": "spiffe://here.example/a", "workload": "spiffe://there.example/admin",
        "aud": AUDIENCE, "exp": NOW + 60,
    });
    let proven = prove(&jwt, &signer.token(&claims)).expect("accepted");
    assert_eq!(proven.name(), "spiffe://here.example/a");
}

#[test]
fn two_clusters_never_name_their_service_accounts_alike() {
    let signer = Signer::new("k");
    let cluster = |name: &str| {
        let issuer = Jwt::issuer(name).keys(signer.keys()).audience(AUDIENCE);
        issuer.profile(Profile::K8sServiceAccount)
    };
    for builder in [
        Jwt::builder().issuer(cluster(ISSUER)).issuer(cluster(OTHER)),
        Jwt::builder().issuer(
            Jwt::issuers_of("https://{tenant}.example", ["a", "b"])
                .keys(signer.keys())
                .audience(AUDIENCE)
                .profile(Profile::K8sServiceAccount),
        ),
    ] {
        let error = builder.build().expect_err("refused");
        assert!(matches!(error, JwtError::Issuer { .. }), "{error}");
    }
    built(Jwt::builder().issuer(cluster(ISSUER)).issuer(Jwt::issuer(OTHER).audience(AUDIENCE)));
}

#[test]
fn an_issuer_with_any_audience_says_so_in_its_code() {
    let signer = Signer::new("k");
    let issuer = danger::any_audience(Jwt::issuer(ISSUER).keys(signer.keys()));
    let jwt = built(Jwt::builder().issuer(issuer));
    assert_eq!(verdict(&jwt, &signer.token(&with("aud", json!("billing")))), "accepted");
    assert_eq!(verdict(&jwt, &signer.token(&with("exp", json!(1)))), "TOKEN_EXPIRED");
}

#[test]
fn settings_that_cannot_hold_are_refused() {
    let signer = Signer::new("k");
    let refused = |builder: super::super::JwtBuilder| builder.build().expect_err("refused");
    assert!(matches!(refused(Jwt::builder()), JwtError::NoIssuer));
    let twice = Jwt::builder().issuer(signer.issuer()).issuer(signer.issuer());
    assert!(matches!(refused(twice), JwtError::DuplicateIssuer { .. }));
    let named = |name: &str| Jwt::issuer(name).keys(signer.keys()).audience(AUDIENCE);
    for (what, issuer) in [
        ("leeway", signer.issuer().leeway(Duration::from_secs(301))),
        ("no algorithm", signer.issuer().algorithms([])),
        ("empty audience", signer.issuer().audience("")),
        ("profile of a trust domain", signer.issuer().profile(Profile::JwtSvid)),
        ("empty", named("")),
        ("fragment", named("https://id.example#a")),
        ("SPIFFE ID", named("spiffe://here.example")),
        (
            "an algorithm that SVIDs have not",
            Jwt::trust_domain("here.example", signer.keys())
                .audience(AUDIENCE)
                .algorithms([Algorithm::EdDSA]),
        ),
    ] {
        let error = refused(Jwt::builder().issuer(issuer));
        assert!(matches!(error, JwtError::Issuer { .. }), "{what}: {error}");
    }
}
