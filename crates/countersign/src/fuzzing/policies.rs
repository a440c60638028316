use std::net::IpAddr;
use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value, json};

use crate::authorization::{
    Annotations, CertificateFacts, Methods, PeerFacts, Policy, PolicyRequest, Reach,
};
use crate::identity::{MethodPath, Principal, TokenClaims};

/// Lines of a call, an empty one, and a policy. A line's first letter says what it is: `p` the
/// path, `u` a URI and `d` a DNS name of the certificate, `s` its subject, `t` TLS without one,
/// `h` a header as `key:value`, `a` the address, `m` minutes since 1970, `k` an authenticator and
/// its caller's name, `j` a caller's claims.
///
/// The decision is that of a reader who asks each rule in turn, as a policy of its own: the first
/// rule that denies and matches, else the first that allows and matches. A rule of gRFC A43 alone
/// matches exactly if a plain reader of it says so.
pub fn policy(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some((lines, text)) = text.split_once("\n\n") else { return };
    let Ok(policy) = Policy::from_json(text) else { return };
    let call = Call::read(lines);
    let Some(path) = call.path() else { return };
    let decided = call.ask(path, |request| {
        let decision = policy.decide(request);
        let explained = policy.explain(request);
        assert_eq!(explained.decision.is_allowed(), decision.is_allowed());
        assert_eq!(explained.rule.map(|rule| rule.name), decision.rule().map(|name| &**name));
        (decision.is_allowed(), decision.rule().map(ToString::to_string))
    });
    let _ = (policy.access(&path), policy.lint(), policy.audit());

    let Ok(Value::Object(written)) = serde_json::from_str::<Value>(text) else { return };
    let rules = |list: &str| written.get(list).and_then(Value::as_array).cloned();
    let (deny, allow) = (rules("deny_rules"), rules("allow_rules"));
    let (deny, allow) = (deny.unwrap_or_default(), allow.unwrap_or_default());
    assert_eq!(policy.rules().count(), deny.len() + allow.len(), "no rule is lost");
    if deny.len() + allow.len() > MOST_RULES {
        return;
    }
    let expected = one_by_one(&written, &deny, &allow, |policy| {
        call.ask(path, |request| policy.decide(request).is_allowed())
    });
    assert_eq!(decided, expected, "(allowed, by rule)");
    if !written.contains_key("countersign") {
        for rule in deny.iter().chain(&allow) {
            let alone = alone(&written, None, rule);
            let matched = call.ask(path, |request| alone.decide(request).is_allowed());
            if let Some(plain) = plainly(rule, &call) {
                assert_eq!(matched, plain, "{rule}");
            }
        }
    }
}

/// A descriptor set is read or refused. What is read has methods that calls can name, and as many
/// rules as options.
pub fn descriptor_set(data: &[u8]) {
    let methods = Methods::from_descriptor_set(data);
    let annotations = Annotations::from_descriptor_set(data);
    let Ok(methods) = methods else {
        annotations.expect_err("no descriptor set");
        return;
    };
    assert!(methods.paths().all(|path| MethodPath::parse(path).is_ok()));
    let Ok(annotations) = annotations else { return };
    let Ok(policy) = Policy::from_descriptor_set(data) else { return };
    assert_eq!(policy.rules().count(), annotations.len(), "no option is lost");
    let without = policy.coverage(&methods).count(Reach::NoRule);
    assert_eq!(without + annotations.len(), methods.len(), "each rule is for its method");
}

/// A text in YAML is a policy exactly if the same in JSON is one.
#[cfg(feature = "yaml")]
pub fn policy_in_yaml(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(json) = Policy::text_in_json("policy.yaml", text) else {
        Policy::from_yaml(text).expect_err("no YAML");
        return;
    };
    assert_eq!(Policy::from_yaml(text).is_ok(), Policy::from_json(&json).is_ok(), "{json}");
}

/// More of them say nothing new, and take long.
const MOST_RULES: usize = 12;

/// Asks each rule as if it were the only one.
fn one_by_one(
    written: &Map<String, Value>,
    deny: &[Value],
    allow: &[Value],
    allows: impl Fn(&Policy) -> bool,
) -> (bool, Option<String>) {
    let name = |rule: &Value| rule["name"].as_str().map(str::to_owned);
    let everybody = json!({"name": "everybody"});
    for rule in deny {
        if !allows(&alone(written, Some(rule), &everybody)) {
            return (false, name(rule));
        }
    }
    match allow.iter().find(|rule| allows(&alone(written, None, rule))) {
        Some(rule) => (true, name(rule)),
        None => (false, None),
    }
}

/// The policy with these rules in place of its own.
fn alone(written: &Map<String, Value>, deny: Option<&Value>, allow: &Value) -> Policy {
    let mut written = written.clone();
    written.insert("deny_rules".to_owned(), deny.into_iter().cloned().collect());
    written.insert("allow_rules".to_owned(), json!([allow]));
    Policy::from_json(&Value::Object(written).to_string()).expect("a part of a policy is one")
}

/// Whether a rule matches, by the words of gRFC A43; `None` for one that asks for more.
fn plainly(rule: &Value, call: &Call) -> Option<bool> {
    let (source, request) = (&rule["source"], &rule["request"]);
    if [source, request, rule].iter().any(|part| part.get("countersign").is_some()) {
        return None;
    }
    let texts = |list: &Value| -> Vec<String> {
        list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let any = |list: &Value, names: &[&[u8]]| {
        texts(list).iter().any(|pattern| names.iter().any(|name| matches(pattern, name)))
    };
    let names: Vec<&[u8]> = call.names().into_iter().map(str::as_bytes).collect();
    let who = texts(&source["principals"]).is_empty() || any(&source["principals"], &names);
    let path = call.path.as_bytes();
    let what = texts(&request["paths"]).is_empty() || any(&request["paths"], &[path]);
    let headers = request["headers"].as_array().into_iter().flatten().all(|header| {
        let key = header["key"].as_str().unwrap_or_default();
        let values: Vec<_> = call.headers.get_all(key).iter().map(|one| one.as_bytes()).collect();
        !values.is_empty() && any(&header["values"], &[&values.join(&b","[..])])
    });
    Some(who && what && headers)
}

fn matches(pattern: &str, text: &[u8]) -> bool {
    match (pattern, pattern.strip_suffix('*'), pattern.strip_prefix('*')) {
        ("*", ..) => !text.is_empty(),
        (_, Some(prefix), _) => text.starts_with(prefix.as_bytes()),
        (_, None, Some(suffix)) => text.ends_with(suffix.as_bytes()),
        (exact, None, None) => text == exact.as_bytes(),
    }
}

#[derive(Default)]
struct Call {
    path: String,
    tls: bool,
    uris: Vec<String>,
    dns_names: Vec<String>,
    subject: Option<String>,
    headers: HeaderMap,
    address: Option<IpAddr>,
    minutes: u32,
    callers: Vec<Principal>,
}

impl Call {
    fn read(lines: &str) -> Self {
        let mut call = Self::default();
        for line in lines.lines().take(32) {
            let mut letters = line.chars();
            let kind = letters.next();
            let rest = letters.as_str();
            match kind {
                Some('p') => rest.clone_into(&mut call.path),
                Some('t') => call.tls = true,
                Some('u') => call.uris.push(rest.to_owned()),
                Some('d') => call.dns_names.push(rest.to_owned()),
                Some('s') => call.subject = Some(rest.to_owned()),
                Some('h') => call.header(rest),
                Some('a') => call.address = rest.parse().ok(),
                Some('m') => call.minutes = rest.parse().unwrap_or_default(),
                Some('k') => {
                    let (by, name) = rest.split_once(' ').unwrap_or((rest, ""));
                    call.callers.push(Principal::new(name, by));
                }
                Some('j') => call.caller(rest),
                _ => {}
            }
        }
        call
    }

    fn header(&mut self, line: &str) {
        let Some((key, value)) = line.split_once(':') else { return };
        if let (Ok(key), Ok(value)) = (key.parse::<HeaderName>(), HeaderValue::from_str(value)) {
            self.headers.append(key, value);
        }
    }

    fn caller(&mut self, claims: &str) {
        if let Ok(Value::Object(claims)) = serde_json::from_str(claims) {
            let by = claims.get("by").and_then(Value::as_str).unwrap_or("jwt").to_owned();
            self.callers.push(Principal::with_token("x", by, TokenClaims::from_object(claims)));
        }
    }

    fn path(&self) -> Option<MethodPath<'_>> {
        MethodPath::parse(&self.path).ok()
    }

    fn has_certificate(&self) -> bool {
        self.subject.is_some() || !self.uris.is_empty() || !self.dns_names.is_empty()
    }

    /// What the peer goes by (gRFC A41).
    fn names(&self) -> Vec<&str> {
        let all = |names: &'_ [String]| !names.is_empty();
        if !self.has_certificate() {
            return if self.tls { vec![""] } else { Vec::new() };
        }
        if all(&self.uris) {
            return self.uris.iter().map(String::as_str).collect();
        }
        if all(&self.dns_names) {
            return self.dns_names.iter().map(String::as_str).collect();
        }
        vec![self.subject.as_deref().unwrap_or_default()]
    }

    fn ask<T>(&self, path: MethodPath<'_>, question: impl FnOnce(&PolicyRequest<'_>) -> T) -> T {
        let certificate = self.has_certificate().then(|| CertificateFacts {
            uris: &self.uris,
            dns_names: &self.dns_names,
            subject: self.subject.as_deref().unwrap_or_default(),
        });
        let mut peer = match (self.tls, certificate) {
            (false, None) => PeerFacts::plaintext(),
            (_, certificate) => PeerFacts::tls(certificate),
        };
        if let Some(address) = self.address {
            peer = peer.at(address);
        }
        let now = UNIX_EPOCH + Duration::from_secs(u64::from(self.minutes) * 60);
        let request = PolicyRequest::new(path, &self.headers, peer, now);
        question(&request.with_assumed_callers(&self.callers))
    }
}
