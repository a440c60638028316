//! The compiled policy against one that asks every rule in turn, over random ones.

use serde_json::{Value, json};

use crate::support::{Call, Peer, policy};

/// Small numbers that look random, the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % below as u64).expect("small")
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    fn list(&mut self, from: &[&str]) -> Vec<String> {
        (0..self.below(4)).map(|_| self.pick(from).to_owned()).collect()
    }
}

const PATHS: [&str; 5] = ["/a.B/C", "/a.B/D", "/a.Bc/C", "/a/C", "/ab/Dd"];
const PATH_PATTERNS: [&str; 19] = [
    "/a.B/C", "/a.B/*", "/a*", "/a.B*", "*C", "*/C", "*/D", "*", "/a/C", "/a/*", "/a.Bc/*", "//*",
    "/*", "/a.B/D/*", "**", "*a*", "", "/a.*/C", "/ab/D*",
];
const NAMES: [&str; 5] = ["", "x", "xy", "spiffe://x", "CN=x"];
const NAME_PATTERNS: [&str; 9] = ["", "*", "x", "x*", "*x", "*y", "spiffe://*", "CN=x", "xy"];
const KEYS: [&str; 3] = ["k", "K-2", "authorization"];
const VALUES: [&str; 4] = ["", "a", "b", "a,b"];
const VALUE_PATTERNS: [&str; 7] = ["", "*", "a", "a*", "*b", "a,b", ","];

fn rule(random: &mut Random, name: usize) -> Value {
    let mut rule = json!({"name": format!("r{name}")});
    if random.below(3) > 0 {
        rule["source"] = json!({"principals": random.list(&NAME_PATTERNS)});
    }
    if random.below(4) > 0 {
        rule["request"] = json!({});
        if random.below(4) > 0 {
            rule["request"]["paths"] = json!(random.list(&PATH_PATTERNS));
        }
        if random.below(3) == 0 {
            let values = [random.list(&VALUE_PATTERNS), vec!["a".to_owned()]].concat();
            rule["request"]["headers"] = json!([{"key": random.pick(&KEYS), "values": values}]);
        }
    }
    rule
}

fn call(random: &mut Random) -> Call {
    let mut call = Call::to(random.pick(&PATHS));
    for _ in 0..random.below(4) {
        let (key, value) = (random.pick(&KEYS).to_ascii_lowercase(), random.pick(&VALUES));
        call = call.header(&key, value);
    }
    call.over(match random.below(4) {
        0 => Peer::Plain,
        1 => Peer::Tls,
        _ => Peer::Mtls {
            uris: random.list(&NAMES),
            dns_names: random.list(&NAMES),
            subject: random.pick(&NAMES).to_owned(),
        },
    })
}

/// gRFC A43 and A41, word for word and without any haste.
mod one_by_one {
    use super::*;

    pub(super) fn decide(policy: &Value, call: &Call) -> (bool, Option<String>) {
        for (list, allows) in [("deny_rules", false), ("allow_rules", true)] {
            for rule in policy[list].as_array().into_iter().flatten() {
                if matches(rule, call) {
                    return (allows, rule["name"].as_str().map(str::to_owned));
                }
            }
        }
        (false, None)
    }

    fn texts(value: &Value) -> Vec<&str> {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
    }

    fn matches(rule: &Value, call: &Call) -> bool {
        let principals = texts(&rule["source"]["principals"]);
        let paths = texts(&rule["request"]["paths"]);
        let headers = rule["request"]["headers"].as_array();
        (principals.is_empty() || principals.iter().any(|one| principal(one, call)))
            && (paths.is_empty() || paths.iter().any(|one| text(one, &call.path)))
            && headers.into_iter().flatten().all(|one| header(one, call))
    }

    fn principal(pattern: &str, call: &Call) -> bool {
        let names = match &call.peer {
            Peer::Plain => return false,
            Peer::Tls => return text(pattern, ""),
            Peer::Mtls { uris, .. } if !uris.is_empty() => uris.clone(),
            Peer::Mtls { dns_names, .. } if !dns_names.is_empty() => dns_names.clone(),
            Peer::Mtls { subject, .. } => vec![subject.clone()],
        };
        names.iter().any(|name| text(pattern, name))
    }

    fn header(header: &Value, call: &Call) -> bool {
        let key = header["key"].as_str().expect("a key").to_ascii_lowercase();
        let values: Vec<_> =
            call.headers.get_all(&key).iter().map(|one| one.to_str().expect("text")).collect();
        let joined = values.join(",");
        !values.is_empty() && texts(&header["values"]).iter().any(|one| text(one, &joined))
    }

    fn text(pattern: &str, text: &str) -> bool {
        if pattern == "*" {
            !text.is_empty()
        } else if let Some(prefix) = pattern.strip_suffix('*') {
            text.starts_with(prefix)
        } else if let Some(suffix) = pattern.strip_prefix('*') {
            text.ends_with(suffix)
        } else {
            text == pattern
        }
    }
}

#[test]
fn ten_thousand_random_calls_are_decided_alike() {
    let mut random = Random(0x0dd0_5eed_0dd0_5eed);
    let mut seen = [0; 3];
    for _ in 0..500 {
        let mut rules = |most: usize| -> Vec<Value> {
            let count = random.below(most);
            (0..count).map(|name| rule(&mut random, name)).collect()
        };
        let (deny, mut allow) = (rules(4), rules(12));
        if allow.is_empty() {
            allow.push(json!({"name": "all"}));
        }
        let written = json!({"name": "p", "deny_rules": deny, "allow_rules": allow});
        let policy = policy(&written.to_string());
        for _ in 0..20 {
            let call = call(&mut random);
            let expected = one_by_one::decide(&written, &call);
            assert_eq!(call.decided(&policy), expected, "{written}\n{call:?}");
            seen[match expected {
                (true, _) => 0,
                (false, Some(_)) => 1,
                (false, None) => 2,
            }] += 1;
            let explained = call.ask(|request| {
                let told = policy.explain(request);
                assert_eq!(told.nearest.is_some(), told.rule.is_none());
                told.rule.map(|rule| rule.name.to_owned())
            });
            assert_eq!(explained, expected.1);
        }
    }
    assert!(seen.iter().all(|count| *count > 500), "{seen:?}");
}
