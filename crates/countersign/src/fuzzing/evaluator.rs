use std::time::UNIX_EPOCH;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use crate::authorization::{CertificateFacts, MethodAccess, PeerFacts, Policy, PolicyRequest};
use crate::identity::MethodPath;

/// Bytes that choose a policy, which is always valid, and calls of it. Nothing is lost to
/// spelling, so that all of it goes into what finds the rules.
///
/// The decision is that of gRFC A41 and A43, rule by rule; the explanation is the decision's, and
/// names what is missing; and what is said of a method before anybody calls it holds for the call.
pub fn evaluator(data: &[u8]) {
    let mut bytes = Bytes(data);
    let plan = Plan::choose(&mut bytes);
    let policy =
        Policy::from_json(&plan.json().to_string()).expect("it is written as policies are");
    for _ in 0..4 {
        let call = Call::choose(&mut bytes);
        let Ok(path) = MethodPath::parse(&call.path) else { continue };
        call.ask(path, |request| {
            let expected = plan.decide(&call);
            let decision = policy.decide(request);
            let name = |rule: &str| rule.to_owned();
            let decided = (decision.is_allowed(), decision.rule().map(|rule| name(rule)));
            assert_eq!(decided, expected, "(allowed, by rule)");

            let told = policy.explain(request);
            let explained = (told.decision.is_allowed(), told.rule.map(|rule| name(rule.name)));
            assert_eq!(explained, expected, "the explanation is of the decision");
            assert_eq!(told.nearest.is_some(), expected.1.is_none(), "no rule, but the nearest");
            assert!(
                told.nearest.is_none_or(|near| !near.missing.is_empty()),
                "it misses something"
            );

            match policy.access(&path) {
                MethodAccess::Denied(_) => assert!(!decided.0, "denied to everybody"),
                MethodAccess::NoRule => assert!(!decided.0, "no rule is for it"),
                MethodAccess::Public(_) | MethodAccess::Authenticated(_) => {}
            }
        });
    }
}

struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    /// A number below another. After the last byte it is always 0.
    fn below(&mut self, below: usize) -> usize {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                usize::from(*first) % below
            }
            None => 0,
        }
    }

    fn text(&mut self, pieces: &[&str], most: usize) -> String {
        (0..self.below(most + 1)).map(|_| pieces[self.below(pieces.len())]).collect()
    }

    fn texts(&mut self, pieces: &[&str], most: usize) -> Vec<String> {
        (0..self.below(most + 1)).map(|_| self.text(pieces, 4)).collect()
    }
}

const PATHS: [&str; 7] = ["/", "a", "B", "*", "/a", "/a.B/", "/C"];
const NAMES: [&str; 6] = ["a", "b", "*", "spiffe://", "/", "CN=a"];
const KEYS: [&str; 3] = ["k", "x-key", "authorization"];
const VALUES: [&str; 4] = ["a", "b", ",", "*"];
const READINGS: [[&str; 2]; 3] =
    [["first-kind", "joined"], ["any-kind", "any-value"], ["strictest", "strictest"]];

struct Plan {
    names: usize,
    headers: usize,
    deny: Vec<Rule>,
    allow: Vec<Rule>,
}

#[derive(Default)]
struct Rule {
    name: String,
    principals: Vec<String>,
    paths: Vec<String>,
    headers: Vec<(&'static str, Vec<String>)>,
    no_principals: Vec<String>,
    no_paths: Vec<String>,
    certificate: bool,
}

impl Plan {
    fn choose(bytes: &mut Bytes<'_>) -> Self {
        let (names, headers) = (bytes.below(3), bytes.below(3));
        let mut rules = |least: usize, most: usize| -> Vec<Rule> {
            let count = least + bytes.below(most);
            (0..count).map(|number| Rule::choose(bytes, number)).collect()
        };
        Self { names, headers, deny: rules(0, 6), allow: rules(1, 12) }
    }

    fn json(&self) -> Value {
        let rules = |rules: &[Rule]| -> Vec<Value> { rules.iter().map(Rule::json).collect() };
        let own = json!({
            "certificate_names": READINGS[self.names][0],
            "repeated_headers": READINGS[self.headers][1],
        });
        json!({
            "name": "p",
            "countersign": own,
            "deny_rules": rules(&self.deny),
            "allow_rules": rules(&self.allow),
        })
    }

    fn decide(&self, call: &Call) -> (bool, Option<String>) {
        for (rules, allows) in [(&self.deny, false), (&self.allow, true)] {
            let any = |reading| reading == 1 || (reading == 2 && !allows);
            let names = call.names(any(self.names));
            // What keeps more callers out is, under `not`, the other reading.
            let other = |reading| reading == 1 || (reading == 2 && allows);
            let not_names = call.names(other(self.names));
            let any_value = any(self.headers);
            let matches = |rule: &&Rule| rule.matches(call, &names, &not_names, any_value);
            if let Some(rule) = rules.iter().find(matches) {
                return (allows, Some(rule.name.clone()));
            }
        }
        (false, None)
    }
}

impl Rule {
    fn choose(bytes: &mut Bytes<'_>, number: usize) -> Self {
        // A bit for each condition.
        let asks = bytes.below(64);
        let mut rule = Self { name: format!("r{number}"), ..Self::default() };
        if asks & 1 != 0 {
            rule.principals = bytes.texts(&NAMES, 3);
        }
        if asks & 2 != 0 {
            rule.paths = bytes.texts(&PATHS, 3);
        }
        if asks & 4 != 0 {
            let mut values = bytes.texts(&VALUES, 2);
            values.push(bytes.text(&VALUES, 3));
            rule.headers.push((KEYS[bytes.below(KEYS.len())], values));
        }
        if asks & 8 != 0 {
            rule.no_principals = bytes.texts(&NAMES, 2);
        }
        if asks & 16 != 0 {
            rule.no_paths = bytes.texts(&PATHS, 2);
        }
        rule.certificate = asks & 32 != 0;
        rule
    }

    fn json(&self) -> Value {
        let headers =
            self.headers.iter().map(|(key, values)| json!({"key": key, "values": values}));
        let mut source = json!({"principals": self.principals});
        let mut request = json!({"paths": self.paths, "headers": headers.collect::<Vec<_>>()});
        if self.certificate {
            source["countersign"]["require"] = json!(["certificate"]);
        }
        if !self.no_principals.is_empty() {
            source["countersign"]["not"] = json!({"principals": self.no_principals});
        }
        if !self.no_paths.is_empty() {
            request["countersign"]["not"] = json!({"paths": self.no_paths});
        }
        json!({"name": self.name, "source": source, "request": request})
    }

    fn matches(&self, call: &Call, names: &[&str], not_names: &[&str], any_value: bool) -> bool {
        let any = |patterns: &[String], texts: &[&str]| {
            patterns.iter().any(|pattern| texts.iter().any(|text| matches(pattern, text)))
        };
        (self.principals.is_empty() || any(&self.principals, names))
            && (self.paths.is_empty() || any(&self.paths, &[&call.path]))
            && self.headers.iter().all(|(key, values)| {
                let found: Vec<&str> = call.headers(key).collect();
                let joined = found.join(",");
                let is_there = !found.is_empty();
                is_there && (any(values, &[&joined]) || (any_value && any(values, &found)))
            })
            && !any(&self.no_principals, not_names)
            && !any(&self.no_paths, &[&call.path])
            && (!self.certificate || (call.tls && call.certificate.is_some()))
    }
}

fn matches(pattern: &str, text: &str) -> bool {
    match (pattern, pattern.strip_suffix('*'), pattern.strip_prefix('*')) {
        ("*", ..) => !text.is_empty(),
        (_, Some(prefix), _) => text.starts_with(prefix),
        (_, None, Some(suffix)) => text.ends_with(suffix),
        (exact, None, None) => text == exact,
    }
}

struct Call {
    path: String,
    headers: Vec<(&'static str, String)>,
    tls: bool,
    certificate: Option<(Vec<String>, Vec<String>, String)>,
}

impl Call {
    fn choose(bytes: &mut Bytes<'_>) -> Self {
        const SERVICES: [&str; 4] = ["a.B", "a", "a.Bc", "B"];
        const METHODS: [&str; 4] = ["C", "a", "aC", "B"];
        let path = format!("/{}/{}", SERVICES[bytes.below(4)], METHODS[bytes.below(4)]);
        let headers = (0..bytes.below(5))
            .map(|_| (KEYS[bytes.below(KEYS.len())], bytes.text(&VALUES, 3)))
            .collect();
        let peer = bytes.below(6);
        let certificate = (peer > 1)
            .then(|| (bytes.texts(&NAMES, 2), bytes.texts(&NAMES, 2), bytes.text(&NAMES, 2)));
        Self { path, headers, tls: peer != 0, certificate }
    }

    fn headers(&self, key: &str) -> impl Iterator<Item = &str> {
        self.headers.iter().filter(move |(found, _)| *found == key).map(|(_, value)| &**value)
    }

    /// What the peer goes by (gRFC A41, or by the letter of gRFC A43 all of it).
    fn names(&self, any_kind: bool) -> Vec<&str> {
        let Some((uris, dns_names, subject)) = &self.certificate else {
            return if self.tls { vec![""] } else { Vec::new() };
        };
        let mut kinds: Vec<Vec<&str>> = [uris, dns_names]
            .into_iter()
            .map(|names| names.iter().map(String::as_str).collect::<Vec<_>>())
            .filter(|names| !names.is_empty())
            .collect();
        if kinds.is_empty() || !subject.is_empty() {
            kinds.push(vec![subject]);
        }
        if !any_kind {
            kinds.truncate(1);
        }
        kinds.concat()
    }

    fn ask(&self, path: MethodPath<'_>, question: impl FnOnce(&PolicyRequest<'_>)) {
        let mut headers = HeaderMap::new();
        for (key, value) in &self.headers {
            let value = HeaderValue::from_str(value).expect("letters");
            headers.append(HeaderName::from_static(key), value);
        }
        let certificate = self.certificate.as_ref();
        let peer =
            match self.tls {
                true => PeerFacts::tls(certificate.map(|(uris, dns_names, subject)| {
                    CertificateFacts { uris, dns_names, subject }
                })),
                false => PeerFacts::plaintext(),
            };
        question(&PolicyRequest::new(path, &headers, peer, UNIX_EPOCH));
    }
}
