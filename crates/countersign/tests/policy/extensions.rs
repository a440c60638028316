//! What stands under our own key.

use std::time::{Duration, UNIX_EPOCH};

use countersign::Principal;
use countersign::authorization::{PeerFacts, Policy, PolicyRequest};
use countersign::identity::{MethodPath, PeerIdentity, TokenClaims};
use serde_json::{Value, json};

use crate::support::{Call, Peer, policy};

const PATH: &str = "/orders.v1.Orders/Get";

fn source(own: &Value) -> String {
    let source = json!({"countersign": own});
    json!({"name": "p", "allow_rules": [{"name": "r", "source": source}]}).to_string()
}

fn request(own: &Value) -> String {
    let request = json!({"countersign": own});
    json!({"name": "p", "allow_rules": [{"name": "r", "request": request}]}).to_string()
}

fn token(authenticator: &str, claims: Value) -> Principal {
    let Value::Object(claims) = claims else { panic!("an object") };
    Principal::with_token("someone", authenticator, TokenClaims::from_object(claims))
}

fn alice() -> Principal {
    token(
        "jwt",
        json!({"iss": "https://id", "sub": "alice", "client_id": "web", "scope": "read write",
               "tenant": "acme", "groups": ["ops", "dev"], "level": 2}),
    )
}

fn ci() -> Principal {
    token("api-keys", json!({"sub": "ci", "scope": "read"}))
}

#[track_caller]
fn check(text: &str, allowed: &[Call], denied: &[Call]) {
    let policy = Policy::from_json(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    for call in allowed {
        assert!(call.decided(&policy).0, "{text} allows {call:?}");
    }
    for call in denied {
        assert!(!call.decided(&policy).0, "{text} denies {call:?}");
    }
}

fn call() -> Call {
    Call::to(PATH)
}

#[test]
fn a_token_has_to_say_all_that_one_entry_asks_for() {
    let as_alice = || call().by(alice());
    for (entry, allowed) in [
        (json!({}), true),
        (json!({"issuers": ["https://id"]}), true),
        (json!({"issuers": ["https://other"]}), false),
        (json!({"issuers": ["https://id"], "subjects": ["bob", "al*"]}), true),
        (json!({"issuers": ["https://id"], "subjects": ["bob"]}), false),
        (json!({"authenticators": ["jwt"], "subjects": ["alice"]}), true),
        (json!({"authenticators": ["other"], "subjects": ["alice"]}), false),
        (json!({"issuers": ["https://id"], "clients": ["web"]}), true),
        (json!({"issuers": ["https://id"], "clients": ["app"]}), false),
        (json!({"scopes": ["read", "write"]}), true),
        (json!({"scopes": ["read", "delete"]}), false),
        (json!({"claims": [{"name": "tenant", "values": ["other", "acme"]}]}), true),
        (json!({"claims": [{"name": "tenant", "values": ["acm*"]}]}), false),
        (json!({"claims": [{"name": "groups", "values": ["dev"]}]}), true),
        (json!({"claims": [{"name": "groups", "values": ["admin"]}]}), false),
        (json!({"claims": [{"name": "level", "values": [2]}]}), true),
        (json!({"claims": [{"name": "level", "values": ["2"]}]}), false),
        (json!({"claims": [{"name": "absent", "values": [true]}]}), false),
    ] {
        let text = source(&json!({"tokens": [entry]}));
        let (yes, no) =
            if allowed { (vec![as_alice()], vec![]) } else { (vec![], vec![as_alice()]) };
        check(&text, &yes, &no);
        // Nobody, and an API key with the same words, is no token.
        check(&text, &[], &[call(), call().by(ci())]);
    }
    let either = source(&json!({"tokens": [{"scopes": ["delete"]}, {"scopes": ["read"]}]}));
    check(&either, &[as_alice()], &[]);
}

/// Up to the digits on which those who read fractions agree (RFC 8259 §6).
#[test]
fn a_number_in_a_claim_is_the_same_however_it_is_written() {
    for (written, claimed, same) in [
        ("1", "1", true),
        ("1", "1.0", true),
        ("1.0", "1", true),
        ("1e2", "100", true),
        ("0", "-0.0", true),
        ("-2.0", "-2", true),
        ("1", "[7, 1.0]", true),
        ("1.5", "1.5", true),
        ("1", "1.5", false),
        ("1.5", "1", false),
        ("1", "-1.0", false),
        ("1", "\"1\"", false),
        ("\"1.0\"", "1", false),
        ("1", "true", false),
        ("999999999999999", "999999999999999.0", true),
        ("999999999999998", "999999999999999.0", false),
        ("-999999999999999.0", "-999999999999999", true),
        ("1000000000000000", "1000000000000000.0", false),
        ("9007199254740993", "9007199254740993", true),
        ("9007199254740993", "9007199254740993.0", false),
    ] {
        let claims = serde_json::from_str(&format!(r#"{{"sub": "alice", "level": {claimed}}}"#));
        let by = token("jwt", claims.expect("JSON"));
        for many in ["", r#", "a", "b", "c", "d", "e", "f", "g", "h""#] {
            let rule = format!(
                r#"{{"name": "r", "source": {{"countersign": {{"tokens": [
                    {{"claims": [{{"name": "level", "values": [{written}{many}]}}]}}]}}}}}}"#
            );
            let allow = format!(r#"{{"name": "p", "allow_rules": [{rule}]}}"#);
            let deny = format!(
                r#"{{"name": "p", "deny_rules": [{rule}], "allow_rules": [{{"name": "all"}}]}}"#
            );
            let decided = |text: &str| call().by(by.clone()).decided(&policy(text)).0;
            assert_eq!(decided(&allow), same, "{written} and {claimed}{many}");
            assert_eq!(decided(&deny), !same, "{written} and {claimed}{many}");
        }
    }
}

#[test]
fn an_api_key_is_known_by_its_owner_and_a_token_is_none() {
    let text = source(&json!({"api_key_owners": ["ci", "build-*"]}));
    let as_token = token("jwt", json!({"iss": "https://id", "sub": "ci"}));
    check(&text, &[call().by(ci())], &[call(), call().by(as_token)]);
}

#[test]
fn networks_authenticators_and_required_evidence() {
    let text = source(&json!({"addresses": ["10.0.0.0/8", "2001:db8::/32"]}));
    let inside = ["10.1.2.3", "::ffff:10.1.2.3", "2001:db8::1"].map(|ip| call().from(ip));
    check(&text, &inside, &[call(), call().from("192.0.2.1")]);

    let text = source(&json!({"authenticators": ["static-tokens"]}));
    let named = Principal::new("ci", "static-tokens");
    check(&text, &[call().by(named)], &[call(), call().by(alice())]);

    let text = source(&json!({"require": ["certificate", "token"]}));
    let mtls = || Peer::mtls(&["spiffe://a/b"], &[], "");
    let both = call().over(mtls()).by(alice());
    let less =
        [call(), call().over(mtls()), call().by(alice()), call().over(Peer::Tls).by(alice())];
    check(&text, &[both], &less);
    check(&text, &[], &[call().over(mtls()).by(ci())]);
}

#[test]
fn none_of_what_stands_under_not_may_hold() {
    let text =
        source(&json!({"not": {"principals": ["spiffe://a/*"], "addresses": ["10.0.0.0/8"]}}));
    let peer = |uri: &str| Peer::mtls(&[uri], &[], "");
    check(
        &text,
        &[call(), call().over(peer("spiffe://b/x")).from("192.0.2.1")],
        &[call().over(peer("spiffe://a/x")), call().from("10.0.0.1")],
    );
    let text = request(
        &json!({"not": {"paths": ["*/Delete"], "headers": [{"key": "k", "values": ["*"]}]}}),
    );
    check(&text, &[call()], &[Call::to("/orders.v1.Orders/Delete"), call().header("k", "x")]);
}

/// Where the transport does not tell the address, it may be any.
#[test]
fn who_may_be_anywhere_is_kept_out_by_rules_about_addresses() {
    let inside = json!({"source": {"countersign": {"addresses": ["10.0.0.0/8"]}}});
    let outside = json!({"source": {"countersign": {"not": {"addresses": ["10.0.0.0/8"]}}}});
    let named = |rule: &Value| {
        let mut rule = rule.clone();
        rule["name"] = "r".into();
        rule
    };
    let unknown = PeerIdentity::unknown();
    let at = |address: &str| PeerFacts::plaintext().at(address.parse().expect("an address"));
    let headers = http::HeaderMap::new();
    for (rule, passes) in [(&inside, at("10.0.0.1")), (&outside, at("192.0.2.1"))] {
        let allow = json!({"name": "p", "allow_rules": [named(rule)]});
        let other = if rule == &inside { &outside } else { &inside };
        let deny = json!({"name": "p", "deny_rules": [named(other)],
                          "allow_rules": [{"name": "all"}]});
        for text in [allow, deny] {
            let policy = policy(&text.to_string());
            let allowed = |peer| {
                let path = MethodPath::parse("/a.B/C").expect("canonical");
                let request = PolicyRequest::new(path, &headers, peer, UNIX_EPOCH);
                policy.decide(&request).is_allowed()
            };
            assert!(allowed(passes), "{text}");
            assert!(!allowed(PeerFacts::from(&unknown)), "{text}");
        }
    }
}

#[test]
fn a_time_of_the_week_is_in_utc() {
    let text = request(&json!({"times": [{"days": ["thu"], "from": "08:00", "to": "18:00"}]}));
    let at = |hours: u64| Call { now: UNIX_EPOCH + Duration::from_secs(hours * 3600), ..call() };
    // 1970 began on a Thursday.
    check(&text, &[at(8), at(17)], &[at(7), at(18), at(24 + 8)]);
}

#[test]
fn what_could_be_misread_is_refused() {
    for (own, said) in [
        (json!({"tokens": [{"subjects": ["alice"]}]}), "mean nothing without who says so"),
        (json!({"tokens": [{"clients": ["web"]}]}), "mean nothing without who says so"),
        (json!({"tokens": []}), "\"tokens\" is empty"),
        (json!({"tokens": [{"scopes": []}]}), "\"scopes\" is empty"),
        (json!({"tokens": [{"claims": [{"name": "a"}]}]}), "\"values\" is not present"),
        (json!({"tokens": [{"claims": [{"name": "a", "values": [{}]}]}]}), "a claim's value"),
        (json!({"tokens": [{"issuer": ["a"]}]}), "unknown key \"issuer\""),
        (json!({"addresses": ["10.0.0.1/8"]}), "bits set behind the prefix"),
        (json!({"addresses": ["localhost"]}), "not an IP address"),
        (json!({"require": ["both"]}), "is \"both\""),
        (json!({"require": []}), "\"require\" is empty"),
        (json!({"not": {}}), "\"not\" is empty"),
        (json!({"groups": ["a"]}), "there is no group \"a\""),
        (json!({"groups": []}), "\"groups\" is empty"),
    ] {
        let error = Policy::from_json(&source(&own)).expect_err("refused");
        assert!(error.to_string().contains(said), "{own}: {error}");
    }
    for (own, said) in [
        (json!({"times": [{"from": "8:00"}]}), "no time of day"),
        (json!({"times": [{"from": "24:01"}]}), "no time of day"),
        (json!({"times": [{"from": "08:00", "to": "08:00"}]}), "begins before it ends"),
        (json!({"times": [{"days": ["monday"]}]}), "is \"monday\""),
        (json!({"times": []}), "\"times\" is empty"),
        (json!({"not": {"paths": ["/a.B/C"], "headers": []}}), "\"headers\" is empty"),
        (
            json!({"not": {"paths": [], "headers": [{"key": "k", "values": ["a"]}]}}),
            "\"paths\" is empty",
        ),
    ] {
        let error = Policy::from_json(&request(&own)).expect_err("refused");
        assert!(error.to_string().contains(said), "{own}: {error}");
    }
}

/// Beyond 64 bits a reader makes the same number of neighbours.
#[test]
fn a_number_that_cannot_be_told_from_its_neighbour_is_refused() {
    for (value, is_told) in [
        ("18446744073709551615", true),
        ("18446744073709551616", false),
        ("-9223372036854775808", true),
        ("-9223372036854775809", false),
        ("999999999999999.0", true),
        ("1000000000000000.0", false),
        ("-1e15", false),
        ("\"18446744073709551616\"", true),
    ] {
        let text = format!(
            r#"{{"name": "p", "allow_rules": [{{"name": "r", "source": {{"countersign": {{"tokens": [
                {{"claims": [{{"name": "level", "values": [{value}]}}]}}]}}}}}}]}}"#
        );
        match Policy::from_json(&text) {
            Ok(_) => assert!(is_told, "{value}"),
            Err(error) => {
                assert!(!is_told && error.to_string().contains("too many digits"), "{error}");
            }
        }
    }
}

#[test]
fn a_no_comes_with_the_nearest_miss() {
    let text = json!({"name": "p", "allow_rules": [
        {"name": "other", "request": {"paths": ["/other.v1.Other/*"]}},
        {"name": "orders-write", "request": {"paths": ["/orders.v1.Orders/*"]},
         "source": {"countersign": {"tokens": [{"issuers": ["https://id"], "scopes": ["orders:write"]}]}}},
    ]})
    .to_string();
    let policy = Policy::from_json(&text).expect("a policy");
    let told = call().by(alice()).ask(|request| {
        let told = policy.explain(request);
        assert!(!told.decision.is_allowed() && told.rule.is_none());
        let near = told.nearest.expect("a rule that is near");
        (near.rule.name.to_owned(), near.met, near.missing)
    });
    let expected = (
        "orders-write".to_owned(),
        vec!["method".to_owned()],
        vec!["scope orders:write".to_owned()],
    );
    assert_eq!(told, expected);
    let elsewhere = Call::to("/other.v1.Other2/X")
        .ask(|request| policy.explain(request).nearest.map(|near| near.rule.name.to_owned()));
    assert_eq!(elsewhere.as_deref(), Some("other"));
    let writer = token("jwt", json!({"iss": "https://id", "scope": "orders:write"}));
    call().by(writer).ask(|request| {
        let told = policy.explain(request);
        assert_eq!(told.rule.map(|rule| rule.name), Some("orders-write"));
        assert!(told.nearest.is_none());
    });
}

/// A condition that is skipped would be a door left open.
#[cfg(not(feature = "cel"))]
#[test]
fn an_expression_in_a_build_without_cel_is_refused_with_a_hint() {
    let text = json!({"name": "p",
        "allow_rules": [{"name": "r", "countersign": {"cel": "source.tls"}}]});
    let error = Policy::from_json(&text.to_string()).expect_err("refused");
    assert!(error.message().contains("cannot evaluate CEL"), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("feature `cel`")), "{error:?}");
}
