//! Rules that cannot match cost nothing. The bench measures by how little; here a decision that
//! asked each rule would take three hundred times as long.

use std::hint::black_box;
use std::time::{Duration, Instant};

use countersign::Principal;
use countersign::identity::TokenClaims;
use serde_json::{Map, Value, json};

use crate::support::{Call, Peer, policy};

fn call() -> Call {
    let claims = json!({"iss": "https://id", "sub": "alice", "client_id": "web",
        "scope": "read write", "roles": ["dev", "ops"]});
    let Value::Object(claims) = claims else { panic!("an object") };
    let caller = Principal::with_token("alice", "jwt", TokenClaims::from_object(claims));
    Call::to("/orders.v1.Orders/Get").by(caller).over(Peer::mtls(&["spiffe://x/web"], &[], ""))
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
    let policy = policy(&text.to_string());
    call().ask(|request| {
        assert!(!policy.decide(request).is_allowed());
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
