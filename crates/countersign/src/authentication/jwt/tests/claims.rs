use serde_json::{Value, json};

use super::super::{Jwt, Profile};
use super::{AUDIENCE, ISSUER, NOW, Signer, built, good, prove, verdict, with};
use std::time::Duration;

#[test]
fn each_claim_is_checked() {
    let signer = Signer::new("k");
    let jwt = signer.jwt();
    for (name, claims, told) in [
        ("as it should be", good(), "accepted"),
        ("no iss", with("iss", Value::Null), "TOKEN_INVALID"),
        ("iss of the wrong type", with("iss", json!([ISSUER])), "TOKEN_INVALID"),
        ("another iss", with("iss", json!("https://id.example/")), "TOKEN_INVALID"),
        ("no sub", with("sub", Value::Null), "TOKEN_INVALID"),
        ("sub of the wrong type", with("sub", json!(7)), "TOKEN_INVALID"),
        ("empty sub", with("sub", json!("")), "TOKEN_INVALID"),
        ("no exp", with("exp", Value::Null), "TOKEN_INVALID"),
        ("exp of the wrong type", with("exp", json!("1900000000")), "TOKEN_INVALID"),
        ("exp now", with("exp", json!(NOW)), "TOKEN_EXPIRED"),
        ("exp in a moment", with("exp", json!(NOW + 1)), "accepted"),
        ("exp in part of a second", with("exp", json!(1_800_000_000.5)), "accepted"),
        ("exp before 1970", with("exp", json!(-1)), "TOKEN_EXPIRED"),
        ("exp beyond every clock", with("exp", json!(1e300)), "accepted"),
        ("nbf of the wrong type", with("nbf", json!("1")), "TOKEN_INVALID"),
        ("nbf now", with("nbf", json!(NOW)), "accepted"),
        ("nbf in a moment", with("nbf", json!(NOW + 1)), "TOKEN_NOT_YET_VALID"),
        ("iat of the wrong type", with("iat", json!("now")), "TOKEN_INVALID"),
        ("iat in the future", with("iat", json!(NOW + 1_000)), "accepted"),
        ("no aud", with("aud", Value::Null), "TOKEN_AUDIENCE"),
        ("another aud", with("aud", json!("billing")), "TOKEN_AUDIENCE"),
        ("aud in another case", with("aud", json!("Orders")), "TOKEN_AUDIENCE"),
        ("one of several aud", with("aud", json!(["billing", AUDIENCE])), "accepted"),
        ("none of several aud", with("aud", json!(["billing", "x"])), "TOKEN_AUDIENCE"),
        ("empty aud", with("aud", json!([])), "TOKEN_AUDIENCE"),
        ("aud of the wrong type", with("aud", json!({"orders": true})), "TOKEN_INVALID"),
        ("aud with what is no text", with("aud", json!([AUDIENCE, 7])), "TOKEN_INVALID"),
        ("jti of the wrong type", with("jti", json!(7)), "TOKEN_INVALID"),
        ("client_id of the wrong type", with("client_id", json!(["a"])), "TOKEN_INVALID"),
    ] {
        assert_eq!(verdict(&jwt, &signer.token(&claims)), told, "{name}");
    }
}

#[test]
fn the_leeway_is_granted_at_both_ends_and_no_more() {
    let signer = Signer::new("k");
    let issuer = signer.issuer().leeway(Duration::from_secs(60));
    let jwt = built(Jwt::builder().issuer(issuer));
    for (name, claim, value, told) in [
        ("the last moment", "exp", NOW - 59, "accepted"),
        ("one second later", "exp", NOW - 60, "TOKEN_EXPIRED"),
        ("the first moment", "nbf", NOW + 60, "accepted"),
        ("one second sooner", "nbf", NOW + 61, "TOKEN_NOT_YET_VALID"),
    ] {
        assert_eq!(verdict(&jwt, &signer.token(&with(claim, json!(value)))), told, "{name}");
    }
}

#[test]
fn a_required_claim_is_there_and_not_null() {
    let signer = Signer::new("k");
    let issuer = signer.issuer().required_claim("tenant").required_claim("/realm/roles");
    let jwt = built(Jwt::builder().issuer(issuer));
    let claims = |extra: Value| {
        let mut claims = good();
        let members = claims.as_object_mut().expect("an object");
        members.extend(extra.as_object().expect("an object").clone());
        signer.token(&claims)
    };
    let both = json!({"tenant": "acme", "realm": {"roles": []}});
    assert_eq!(verdict(&jwt, &claims(both)), "accepted");
    for lacking in [
        json!({"tenant": "acme"}),
        json!({"realm": {"roles": []}}),
        json!({"tenant": null, "realm": {"roles": []}}),
        json!({"tenant": "acme", "realm": {}}),
    ] {
        assert_eq!(verdict(&jwt, &claims(lacking.clone())), "TOKEN_INVALID", "{lacking}");
    }
}

#[test]
fn a_token_that_lives_too_long_is_refused() {
    let signer = Signer::new("k");
    let jwt = built(Jwt::builder().issuer(signer.issuer().max_lifetime(Duration::from_secs(300))));
    assert_eq!(verdict(&jwt, &signer.token(&good())), "accepted");
    assert_eq!(verdict(&jwt, &signer.token(&with("exp", json!(NOW + 301)))), "TOKEN_INVALID");
    assert_eq!(verdict(&jwt, &signer.token(&with("iat", Value::Null))), "TOKEN_INVALID");
}

/// A profile, and a token of another one that differs in one thing.
#[test]
fn each_profile_takes_its_own_tokens_and_no_others() {
    let signer = Signer::new("k");
    let kind = |kind: Option<&str>| {
        let mut header = signer.header();
        let members = header.as_object_mut().expect("an object");
        match kind {
            Some(kind) => drop(members.insert("typ".to_owned(), json!(kind))),
            None => drop(members.remove("typ")),
        }
        header
    };
    let rfc9068 = {
        let mut claims = with("client_id", json!("web"));
        claims["jti"] = json!("j1");
        claims
    };
    let account = |subject: &str| {
        let mut claims = with("sub", json!(subject));
        claims["kubernetes.io"] = json!({
            "namespace": "shop", "serviceaccount": {"name": "cart", "uid": "1"},
        });
        claims
    };
    let azp = |aud: Value, azp: Value| {
        let mut claims = with("aud", aud);
        if !azp.is_null() {
            claims["azp"] = azp;
        }
        claims
    };
    let (access, strict) = (Profile::AccessToken, Profile::Rfc9068);
    let (id, k8s) = (Profile::IdToken, Profile::K8sServiceAccount);
    for (profile, typ, claims, told) in [
        (access, None, good(), "accepted"),
        (access, Some("jwt"), good(), "accepted"),
        (access, Some("at+jwt"), good(), "accepted"),
        (access, Some("application/at+jwt"), good(), "accepted"),
        (access, Some("dpop+jwt"), good(), "TOKEN_INVALID"),
        (access, Some("logout+jwt"), good(), "TOKEN_INVALID"),
        (access, Some(""), good(), "TOKEN_INVALID"),
        (access, Some("JWT"), with("nonce", json!("n")), "TOKEN_INVALID"),
        (access, Some("JWT"), with("at_hash", json!("h")), "TOKEN_INVALID"),
        (access, Some("JWT"), with("typ", json!("ID")), "TOKEN_INVALID"),
        (access, Some("JWT"), with("typ", json!("Refresh")), "TOKEN_INVALID"),
        (access, Some("JWT"), with("typ", json!("Bearer")), "accepted"),
        (access, Some("at+jwt"), with("nonce", json!("n")), "accepted"),
        (strict, Some("at+jwt"), rfc9068.clone(), "accepted"),
        (strict, Some("JWT"), rfc9068.clone(), "TOKEN_INVALID"),
        (strict, None, rfc9068, "TOKEN_INVALID"),
        (strict, Some("at+jwt"), with("jti", json!("j1")), "TOKEN_INVALID"),
        (strict, Some("at+jwt"), with("client_id", json!("web")), "TOKEN_INVALID"),
        (id, Some("JWT"), with("nonce", json!("n")), "accepted"),
        (id, Some("at+jwt"), good(), "TOKEN_INVALID"),
        (id, Some("JWT"), with("iat", Value::Null), "TOKEN_INVALID"),
        (id, None, azp(json!([AUDIENCE, "x"]), Value::Null), "TOKEN_INVALID"),
        (id, None, azp(json!([AUDIENCE, "x"]), json!(AUDIENCE)), "accepted"),
        (id, None, azp(json!(AUDIENCE), json!("x")), "TOKEN_INVALID"),
        (k8s, None, account("system:serviceaccount:shop:cart"), "accepted"),
        (k8s, None, account("system:serviceaccount:shop:till"), "TOKEN_INVALID"),
        (k8s, None, account("system:serviceaccount:bank:cart"), "TOKEN_INVALID"),
        (k8s, None, with("sub", json!("system:serviceaccount:shop:cart")), "TOKEN_INVALID"),
    ] {
        let jwt = built(Jwt::builder().issuer(signer.issuer().profile(profile)));
        let token = signer.token_with(&kind(typ), &claims);
        assert_eq!(verdict(&jwt, &token), told, "{} {typ:?} {claims}", profile.name());
    }
}

#[test]
fn a_service_account_is_named_by_its_namespace() {
    let signer = Signer::new("k");
    let jwt = built(Jwt::builder().issuer(signer.issuer().profile(Profile::K8sServiceAccount)));
    let mut claims = with("sub", json!("system:serviceaccount:shop:cart"));
    claims["kubernetes.io"] = json!({"namespace": "shop", "serviceaccount": {"name": "cart"}});
    assert_eq!(prove(&jwt, &signer.token(&claims)).expect("accepted").name(), "shop/cart");
}

#[test]
fn an_issuer_may_demand_a_type() {
    let signer = Signer::new("k");
    let jwt = built(Jwt::builder().issuer(signer.issuer().token_type("at+jwt")));
    let mut header = signer.header();
    assert_eq!(verdict(&jwt, &signer.token_with(&header, &good())), "TOKEN_INVALID");
    header["typ"] = json!("application/at+JWT");
    assert_eq!(verdict(&jwt, &signer.token_with(&header, &good())), "accepted");
}

#[test]
fn a_bound_token_is_never_a_bearer_token() {
    let signer = Signer::new("k");
    let jwt = signer.jwt();
    let thumbprint = "A".repeat(43);
    for (name, cnf, told) in [
        ("certificate", json!({"x5t#S256": thumbprint}), "PROOF_REQUIRED"),
        ("key", json!({"jkt": thumbprint}), "PROOF_REQUIRED"),
        ("both", json!({"jkt": thumbprint, "x5t#S256": thumbprint}), "PROOF_REQUIRED"),
        ("something unknown", json!({"kid": "k"}), "PROOF_REQUIRED"),
        ("nothing", json!({}), "PROOF_REQUIRED"),
        ("no object", json!("jkt"), "TOKEN_INVALID"),
        ("no thumbprint", json!({"x5t#S256": "AA"}), "TOKEN_INVALID"),
    ] {
        assert_eq!(verdict(&jwt, &signer.token(&with("cnf", cnf))), told, "{name}");
    }
}

#[test]
fn claims_are_parsed_once_for_all_calls_with_one_token() {
    #[derive(serde::Deserialize)]
    struct Mine {
        tenant: String,
    }
    let signer = Signer::new("k");
    let jwt = signer.jwt();
    let token = signer.token(&with("tenant", json!("acme")));
    let [first, second] = [(); 2].map(|()| prove(&jwt, &token).expect("accepted"));
    assert_eq!(first.name(), "https://id.example#alice");
    let claims = first.claims::<Mine>().expect("they fit");
    assert_eq!(claims.tenant, "acme");
    assert!(std::sync::Arc::ptr_eq(&claims, &second.claims::<Mine>().expect("they fit")));
}
