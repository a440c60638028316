//! Principals gathered under names.

use countersign::Principal;
use countersign::authorization::Policy;
use countersign::identity::TokenClaims;
use serde_json::{Value, json};

use crate::support::{Call, Peer, policy};

fn token(authenticator: &str, claims: Value) -> Principal {
    let Value::Object(claims) = claims else { panic!("claims are an object") };
    let name = claims.get("sub").and_then(Value::as_str).unwrap_or("").to_owned();
    Principal::with_token(name, authenticator, TokenClaims::from_object(claims))
}

fn subject(sub: &str) -> Principal {
    token("jwt", json!({"iss": "https://id.example", "sub": sub}))
}

fn with_groups(groups: &Value) -> String {
    json!({"name": "p", "countersign": {"groups": groups}, "allow_rules": [
        {"name": "all", "source": {"countersign": {"groups": ["billing"]}}},
    ]})
    .to_string()
}

fn groups() -> Value {
    json!({
        "billing": [
            {"principals": ["spiffe://prod.example/billing", "spiffe://prod.example/ledger/*"]},
            {"tokens": [{"issuers": ["https://id.example"], "subjects": ["alice"]}]},
            {"tokens": [{"issuers": ["https://id.example"], "subjects": ["bob"]}]},
            {"api_key_owners": ["batch"]},
            {"groups": ["auditors"]},
        ],
        "auditors": [{"tokens": [{"scopes": ["audit"]}]}],
        "others": [{"principals": ["spiffe://prod.example/other"]}],
    })
}

#[test]
fn a_member_of_any_kind_is_in_and_nobody_else() {
    let policy = policy(&with_groups(&groups()));
    let call = || Call::to("/a.B/C");
    let peer = |uri: &str| call().over(Peer::mtls(&[uri], &[], "CN=x"));
    for (name, call, allowed) in [
        ("a certificate", peer("spiffe://prod.example/billing"), true),
        ("a certificate by its beginning", peer("spiffe://prod.example/ledger/7"), true),
        ("another certificate", peer("spiffe://prod.example/other"), false),
        ("a token", call().by(subject("alice")), true),
        ("the next token", call().by(subject("bob")), true),
        ("another token", call().by(subject("carol")), false),
        (
            "the same subject of another issuer",
            call().by(token("jwt", json!({"iss": "https://evil.example", "sub": "alice"}))),
            false,
        ),
        ("an API key", call().by(token("api-keys", json!({"sub": "batch"}))), true),
        ("a token of the owner's name", call().by(token("jwt", json!({"sub": "batch"}))), false),
        ("a group within", call().by(token("jwt", json!({"scope": "audit"}))), true),
        ("a longer scope", call().by(token("jwt", json!({"scope": "audits"}))), false),
        ("nobody", call(), false),
        ("a name without TLS", call().over(Peer::Plain), false),
    ] {
        assert_eq!(call.decided(&policy).0, allowed, "{name}");
    }
}

#[test]
fn a_group_may_be_what_a_caller_must_not_be_in() {
    let mut written: Value = serde_json::from_str(&with_groups(&groups())).expect("JSON");
    written["allow_rules"][0]["source"] = json!({"countersign": {
        "require": ["token"], "not": {"groups": ["billing", "others"]}}});
    let policy = policy(&written.to_string());
    let decided = |caller| Call::to("/a.B/C").by(caller).decided(&policy).0;
    assert!(decided(subject("carol")));
    assert!(!decided(subject("alice")));
}

#[test]
fn a_group_in_a_claim_needs_no_group_in_the_file() {
    let text = |name: &str| {
        json!({"name": "p", "allow_rules": [{"name": "r", "source": {"countersign": {"tokens": [
            {"issuers": ["https://id"], "claims": [{"name": name, "values": ["billing"]}]}]}}}]})
        .to_string()
    };
    let caller = |claims: Value| Call::to("/a.B/C").by(token("jwt", claims));
    let (flat, deep) = (policy(&text("groups")), policy(&text("/realm_access/roles")));
    for (name, policy, claims, allowed) in [
        ("a list", &flat, json!({"iss": "https://id", "groups": ["x", "billing"]}), true),
        ("one", &flat, json!({"iss": "https://id", "groups": "billing"}), true),
        ("another", &flat, json!({"iss": "https://id", "groups": ["billings"]}), false),
        ("no list", &flat, json!({"iss": "https://id", "groups": {"billing": true}}), false),
        ("none", &flat, json!({"iss": "https://id"}), false),
        ("another issuer", &flat, json!({"iss": "https://x", "groups": ["billing"]}), false),
        (
            "within others",
            &deep,
            json!({"iss": "https://id", "realm_access": {"roles": ["billing"]}}),
            true,
        ),
        ("not within", &deep, json!({"iss": "https://id", "roles": ["billing"]}), false),
    ] {
        assert_eq!(caller(claims).decided(policy).0, allowed, "{name}");
    }
}

#[test]
fn what_is_wrong_with_groups_has_its_place() {
    let head = "{\"name\": \"p\", \"countersign\": {\"groups\": {\n";
    let tail = "}},\n\"allow_rules\": [{\"name\": \"r\", \"source\": {\"countersign\": {\"groups\": [\"a\"]}}}]}";
    for (groups, place, message, hint) in [
        ("", (1, 41), "\"groups\" is empty", None),
        ("\"a\": []", (2, 6), "the group \"a\" is empty", Some("leave it out")),
        ("\"a\": [{}]", (2, 7), "exactly one key", Some("a member for each")),
        (
            "\"a\": [{\"principals\": [\"x\"], \"api_key_owners\": [\"y\"]}]",
            (2, 7),
            "exactly one key",
            None,
        ),
        ("\"a\": [{\"principals\": []}]", (2, 22), "\"principals\" is empty", None),
        ("\"a\": [{\"addresses\": [\"::1\"]}]", (2, 8), "unknown key \"addresses\"", None),
        (
            "\"a\": [{\"groups\": [\"bb\"]}],\n\"b\": [{\"principals\": [\"x\"]}]",
            (2, 19),
            "there is no group \"bb\"",
            Some("did you mean \"b\"?"),
        ),
        ("\"a\": [{\"groups\": [\"a\"]}]", (2, 19), "the group \"a\" is within itself", None),
        (
            "\"a\": [{\"groups\": [\"b\"]}],\n\"b\": [{\"groups\": [\"c\"]}],\n\"c\": [{\"groups\": [\"a\"]}]",
            (4, 19),
            "the group \"a\" is within itself",
            None,
        ),
        (
            "\"a\": [{\"tokens\": [{\"subjects\": [\"x\"]}]}]",
            (2, 19),
            "mean nothing without who says so",
            Some("issuers"),
        ),
        ("\"a\": 1", (2, 6), "should be a list", None),
        ("\"\": [{\"principals\": [\"x\"]}]", (2, 1), "a group has no name", None),
        (
            "\"b\": [{\"principals\": [\"x\"]}]",
            (3, 69),
            "there is no group \"a\"",
            Some("did you mean \"b\"?"),
        ),
    ] {
        let text = format!("{head}{groups}{tail}");
        let error = Policy::from_json(&text).expect_err(groups);
        assert!(error.message().contains(message), "{groups}: {error}");
        let tail_moved = groups.contains('\n') && place.0 > 4;
        assert!(!tail_moved && (error.line(), error.column()) == place, "{groups}: {error}");
        let told = error.hint().unwrap_or_default();
        assert!(hint.is_none_or(|hint| told.contains(hint)), "{groups}: {told}");
    }
}

#[test]
fn groups_cannot_be_nested_without_end() {
    let chain = |length: usize| {
        let mut groups = serde_json::Map::new();
        groups.insert("billing".to_owned(), json!([{"groups": ["g0"]}]));
        for n in 0..length {
            groups.insert(format!("g{n}"), json!([{"groups": [format!("g{}", n + 1)]}]));
        }
        groups.insert(format!("g{length}"), json!([{"principals": ["x"]}]));
        with_groups(&Value::Object(groups))
    };
    let deep = policy(&chain(20));
    assert!(Call::to("/a.B/C").over(Peer::mtls(&["x"], &[], "")).decided(&deep).0);
    let error = Policy::from_json(&chain(100)).expect_err("too deep");
    assert!(error.message().contains("lie in each other"), "{error}");
    // Each takes in all before it: a million ways.
    let mut groups = serde_json::Map::new();
    groups.insert("billing".to_owned(), json!([{"principals": ["x"]}]));
    for n in 0..1500 {
        let inner = if n == 0 { "billing".to_owned() } else { format!("g{:04}", n - 1) };
        groups.insert(format!("g{n:04}"), json!([{"groups": [inner]}]));
    }
    let error = Policy::from_json(&with_groups(&Value::Object(groups))).expect_err("too many");
    assert!(error.message().contains("too many"), "{error}");
}

/// Small numbers that look random, the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % below as u64).expect("small")
    }

    fn some(&mut self, from: &[&str]) -> Vec<String> {
        (0..=self.below(2)).map(|_| from[self.below(from.len())].to_owned()).collect()
    }
}

/// A rule is found by whom it is for exactly where it matches when it stands alone.
#[test]
fn rules_are_found_by_whom_they_are_for() {
    let mut random = Random(0x5eed_0000_5eed);
    let names = ["x", "xy", "x*", "*y", "", "*", "z"];
    let texts = ["a", "b", "a*", "*b", "*"];
    let plain = ["a", "b", "ab"];
    let who = |random: &mut Random, in_group: bool| match random.below(if in_group { 3 } else { 5 })
    {
        0 => json!({"principals": random.some(&names)}),
        1 => json!({"tokens": [match random.below(5) {
            0 => json!({"issuers": ["a"], "subjects": random.some(&texts)}),
            1 => json!({"issuers": random.some(&texts), "clients": random.some(&texts)}),
            2 => json!({"scopes": random.some(&plain)}),
            3 => json!({"claims": [{"name": "c", "values": random.some(&plain)}]}),
            _ => json!({"authenticators": random.some(&["jwt", "o*"])}),
        }, {"scopes": ["z"]}]}),
        2 => json!({"api_key_owners": random.some(&texts)}),
        3 => json!({"authenticators": random.some(&["jwt", "other", "api*", "*"])}),
        _ => json!({"groups": random.some(&["g", "h", "i"])}),
    };
    let mut seen = [0, 0];
    for _ in 0..300 {
        let groups = json!({
            "g": [who(&mut random, true), who(&mut random, true)],
            "h": [who(&mut random, true), {"groups": ["g"]}],
            "i": [who(&mut random, true)],
        });
        let rules: Vec<Value> = (0..8)
            .map(|n| {
                let source = match who(&mut random, false) {
                    Value::Object(one) if one.contains_key("principals") => Value::Object(one),
                    other => json!({"countersign": other}),
                };
                json!({"name": format!("r{n}"), "source": source})
            })
            .collect();
        let written = |rules: &[Value]| {
            let text =
                json!({"name": "p", "countersign": {"groups": groups}, "allow_rules": rules});
            policy(&text.to_string())
        };
        let whole = written(&rules);
        let alone: Vec<_> = rules.iter().map(|rule| written(std::slice::from_ref(rule))).collect();
        for _ in 0..10 {
            let mut call = Call::to("/a.B/C");
            if random.below(2) == 0 {
                let uri = ["x", "xy", "zy", "z", ""][random.below(5)];
                call = call.over(Peer::mtls(&[uri], &[], ""));
            }
            for _ in 0..random.below(3) {
                let claims = json!({
                    "iss": random.some(&plain)[0], "sub": random.some(&plain)[0],
                    "client_id": random.some(&plain)[0], "scope": random.some(&plain).join(" "),
                    "c": random.some(&plain),
                });
                let by = ["jwt", "other", "api-keys"][random.below(3)];
                call = call.by(token(by, claims));
            }
            let expected = alone.iter().find(|policy| call.decided(policy).0);
            let expected = expected.map(|policy| call.decided(policy).1.expect("a rule"));
            let decided = call.decided(&whole);
            assert_eq!(decided.1, expected, "{rules:?} {groups} {call:?}");
            seen[usize::from(decided.0)] += 1;
        }
    }
    assert!(seen.iter().all(|count| *count > 300), "{seen:?}");
}
