//! Rules that cannot match cost nothing. The bench measures by how little; here a decision that
//! asked each rule would take three hundred times as long.

use std::hint::black_box;
use std::time::{Duration, Instant};

use countersign::Principal;
use countersign::authorization::Policy;
use countersign::identity::TokenClaims;
use serde_json::{Map, Value, json};

use crate::support::{Call, Peer, policy};

fn call() -> Call {
    let claims = json!({"iss": "https://id", "sub": "alice", "client_id": "web",
        "scope": "read write", "roles": ["dev", "ops"]});
    let Value::Object(claims) = claims else { panic!("an object") };
    let caller = Principal::with_token("alice", "jwt", TokenClaims::from_object(claims));
    let claims = [("sub".to_owned(), "batch".into())].into_iter().collect();
    let key = Principal::with_token("batch", "api-keys", TokenClaims::from_object(claims));
    let peer = Peer::mtls(&["spiffe://x/web"], &[], "");
    Call::to("/orders.v1.Orders/Get").by(caller).by(key).over(peer)
}

/// The fastest of many, for what else the machine does.
fn takes(rule: impl Fn(usize) -> Value, count: usize) -> Duration {
    let mut groups = Map::new();
    for n in 0..count {
        let tokens = json!([{"issuers": ["https://id"], "subjects": [format!("s{n}")]}]);
        let members = json!([{"principals": [format!("spiffe://y/{n}")]}, {"tokens": tokens},
                             {"api_key_owners": [format!("o{n}")]}]);
        groups.insert(format!("g{n}"), members);
    }
    let rules: Vec<_> = (0..count)
        .map(|n| json!({"name": format!("r{n}"), "source": {"countersign": rule(n)}}))
        .collect();
    let text = json!({"name": "p", "countersign": {"groups": groups}, "allow_rules": rules});
    fastest(&policy(&text.to_string()), false)
}

/// The fastest of many decisions, all of which are the same.
fn fastest(policy: &Policy, allowed: bool) -> Duration {
    call().ask(|request| {
        assert_eq!(policy.decide(request).is_allowed(), allowed);
        let once = || {
            let begin = Instant::now();
            for _ in 0..20 {
                black_box(policy.decide(black_box(request)).is_allowed());
            }
            begin.elapsed()
        };
        (0..30).map(|_| once()).min().expect("thirty")
    })
}

#[test]
fn three_thousand_rules_for_others_cost_as_much_as_ten() {
    let token = |rule: Value| json!({ "tokens": [rule] });
    let kinds: [(&str, &dyn Fn(usize) -> Value); 7] = [
        ("groups", &|n| json!({"groups": [format!("g{n}")]})),
        ("one group", &|_| json!({"groups": ["g0"]})),
        ("subjects", &|n| token(json!({"issuers": ["https://id"], "subjects": [format!("s{n}")]}))),
        ("clients", &|n| token(json!({"issuers": ["https://id"], "clients": [format!("c{n}")]}))),
        ("claims", &|n| token(json!({"claims": [{"name": "roles", "values": [format!("x{n}")]}]}))),
        ("scopes", &|n| token(json!({"issuers": ["https://id"], "scopes": [format!("x{n}")]}))),
        ("owners", &|n| json!({"api_key_owners": [format!("o{n}")]})),
    ];
    for (kind, rule) in kinds {
        let (few, many) = (takes(rule, 10), takes(rule, 3000));
        assert!(many < few * 20, "{kind}: {few:?} for ten, {many:?} for three thousand");
    }
}

/// One rule for a path and, of `count` members, the caller in the middle; or, where `is_in` says
/// no, all of them but that one.
fn with_members(kind: &str, count: usize, is_in: bool) -> Policy {
    let name = |n: usize, caller: &str, other: &str| match n == count / 2 && is_in {
        true => caller.to_owned(),
        false => other.replace('#', &n.to_string()),
    };
    let names = |caller: &str, other: &str| -> Vec<String> {
        (0..count).map(|n| name(n, caller, other)).collect()
    };
    let token = |key: &str, text: String| {
        let one: Map<_, _> =
            [("issuers".to_owned(), json!(["https://id"])), (key.to_owned(), json!([text]))]
                .into_iter()
                .collect();
        Value::Object(one)
    };
    let tokens = |key: &str, caller: &str, other: &str| -> Vec<Value> {
        names(caller, other).into_iter().map(|text| token(key, text)).collect()
    };
    let claim = |values: &[String]| json!({"claims": [{"name": "roles", "values": values}]});
    let members = match kind {
        "names" => json!([{"principals": names("spiffe://x/web", "spiffe://y/#")}]),
        "prefixes" => json!([{"principals": names("spiffe://x/*", "spiffe://x/#/*")}]),
        "suffixes" => json!([{"principals": names("*/web", "*/#/web")}]),
        "subjects" => json!([{"tokens": tokens("subjects", "alice", "s#")}]),
        "clients" => json!([{"tokens": tokens("clients", "web", "c#")}]),
        "scopes" => json!([{"tokens": tokens("scopes", "write", "x#")}]),
        "roles" => {
            let rules = names("ops", "x#").into_iter().map(|role| claim(&[role]));
            json!([{"tokens": rules.collect::<Vec<_>>()}])
        }
        "values" => json!([{"tokens": [claim(&names("ops", "x#"))]}]),
        "owners" => json!([{"api_key_owners": names("batch", "o#")}]),
        "groups" => json!([{"groups": (0..count).map(|n| format!("g{n}")).collect::<Vec<_>>()}]),
        other => panic!("no kind {other:?}"),
    };
    let mut groups: Map<_, _> = [("all".to_owned(), members)].into_iter().collect();
    if kind == "groups" {
        for (n, name) in names("spiffe://x/web", "spiffe://y/#").into_iter().enumerate() {
            groups.insert(format!("g{n}"), json!([{"principals": [name]}]));
        }
    }
    let text = json!({"name": "p", "countersign": {"groups": groups}, "allow_rules": [{
        "name": "r", "request": {"paths": ["/orders.v1.Orders/*"]},
        "source": {"countersign": {"groups": ["all"]}},
    }]});
    policy(&text.to_string())
}

#[test]
fn ten_thousand_members_of_one_group_cost_as_much_as_ten() {
    let kinds = [
        "names", "prefixes", "suffixes", "subjects", "clients", "scopes", "roles", "values",
        "owners", "groups",
    ];
    for kind in kinds {
        for is_in in [true, false] {
            let of = |count| fastest(&with_members(kind, count, is_in), is_in);
            let (few, many) = (of(10), of(10_000));
            assert!(many < few * 20, "{kind} {is_in}: {few:?} for ten, {many:?} for ten thousand");
        }
    }
}
