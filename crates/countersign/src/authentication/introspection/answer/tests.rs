use std::time::UNIX_EPOCH;

use serde_json::json;

use super::*;

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_000)
}

fn expected() -> Expected {
    Expected {
        issuer: None,
        audience: Audience::Required(vec!["orders".to_owned()]),
        leeway: Duration::from_secs(60),
    }
}

fn answer() -> Value {
    json!({"active": true, "sub": "alice", "aud": "orders"})
}

fn told(expected: &Expected, answer: &Value) -> String {
    match expected.read(answer.to_string().as_bytes(), now()) {
        Ok(Verdict::Known(known)) => known.principal.name().to_owned(),
        Ok(Verdict::Refused { reason, .. }) => reason.to_string(),
        Ok(Verdict::Trouble(trouble)) => trouble.to_string(),
        Err(_) => "unusable".to_owned(),
    }
}

/// The answer with members changed; null takes one away.
fn with(members: Value) -> Value {
    let mut answer = answer();
    for (name, value) in members.as_object().expect("an object") {
        answer[name] = value.clone();
    }
    answer
}

#[test]
fn each_member_is_absent_wrong_or_right() {
    let invalid = "TOKEN_INVALID";
    for (members, wanted) in [
        (json!({}), "alice"),
        (json!({"active": null}), "unusable"),
        (json!({"active": "true"}), "unusable"),
        (json!({"active": 1}), "unusable"),
        (json!({"active": false}), invalid),
        (json!({"sub": null}), invalid),
        (json!({"sub": ""}), "unusable"),
        (json!({"sub": 7}), "unusable"),
        (json!({"sub": null, "client_id": "job"}), "client:job"),
        (json!({"sub": null, "client_id": ["job"]}), "unusable"),
        (json!({"sub": "client:job"}), invalid),
        (json!({"sub": "client:job", "client_id": "job"}), invalid),
        (json!({"sub": "clients"}), "clients"),
        (json!({"sub": null, "username": "alice"}), invalid),
        (json!({"username": 1}), "unusable"),
        (json!({"iss": "https://id.example"}), "https://id.example#alice"),
        (json!({"iss": {}}), "unusable"),
        (json!({"aud": null}), "TOKEN_AUDIENCE"),
        (json!({"aud": "billing"}), "TOKEN_AUDIENCE"),
        (json!({"aud": ["billing", "orders"]}), "alice"),
        (json!({"aud": ["orders", 1]}), "unusable"),
        (json!({"aud": {"orders": true}}), "unusable"),
        (json!({"exp": 941}), "alice"),
        (json!({"exp": 940}), "TOKEN_EXPIRED"),
        (json!({"exp": "2000"}), "unusable"),
        (json!({"exp": 1e300}), "unusable"),
        (json!({"nbf": 1_060}), "alice"),
        (json!({"nbf": 1_061}), "TOKEN_NOT_YET_VALID"),
        (json!({"nbf": true}), "unusable"),
        (json!({"iat": 9_999}), "alice"),
        (json!({"iat": "now"}), "unusable"),
        (json!({"scope": "read"}), "alice"),
        (json!({"scope": ["read"]}), "alice"),
        (json!({"scope": 1}), "unusable"),
        (json!({"scope": [1]}), "unusable"),
        (json!({"token_type": "bearer"}), "alice"),
        (json!({"token_type": "mac"}), invalid),
        (json!({"token_type": "refresh_token"}), invalid),
        (json!({"token_type": 1}), "unusable"),
        (json!({"token_use": "access_token"}), "alice"),
        (json!({"token_use": "refresh_token"}), invalid),
        (json!({"token_use": "id"}), invalid),
        (json!({"typ": "Bearer"}), "alice"),
        (json!({"typ": "Refresh"}), invalid),
        (json!({"typ": "ID"}), invalid),
        (json!({"cnf": null}), "alice"),
        (json!({"cnf": "x"}), "unusable"),
        (json!({"cnf": {"x5t#S256": "short"}}), "unusable"),
        (json!({"cnf": {"jkt": 1}}), "unusable"),
        (json!({"extra": {"tenant": "acme"}}), "alice"),
    ] {
        assert_eq!(told(&expected(), &with(members.clone())), wanted, "{members}");
    }
}

#[test]
fn an_issuer_that_was_named_is_the_only_one() {
    let expected = Expected { issuer: Some("https://id.example".to_owned()), ..expected() };
    for (iss, wanted) in [
        (json!("https://id.example"), "https://id.example#alice"),
        (json!(null), "https://id.example#alice"),
        (json!("https://id.example/"), "TOKEN_INVALID"),
        (json!("https://other.example"), "TOKEN_INVALID"),
    ] {
        assert_eq!(told(&expected, &with(json!({"iss": iss}))), wanted, "{iss}");
    }
}

#[test]
fn what_ends_is_known_with_and_without_leeway() {
    let body = with(json!({"exp": 2_000})).to_string();
    let Ok(Verdict::Known(known)) = expected().read(body.as_bytes(), now()) else {
        unreachable!("a good answer")
    };
    assert_eq!(known.expires_at, Some(UNIX_EPOCH + Duration::from_secs(2_000)));
    assert_eq!(known.ends_at, Some(UNIX_EPOCH + Duration::from_secs(2_060)));
}
