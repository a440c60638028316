//! What a policy says of one call, among so many rules.

use std::fmt;
use std::hint::black_box;
use std::time::SystemTime;

use countersign::Principal;
use countersign::authorization::{CertificateFacts, PeerFacts, Policy, PolicyRequest};
use countersign::identity::{MethodPath, TokenClaims};
use http::HeaderMap;
use serde_json::{Map, Value, json};

use super::{Subject, repeat};

/// What there is much of in a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Much {
    /// Rules that each name one method.
    Exact,
    /// Rules that each name one service, as `/package.Service/*`.
    Services,
    /// Rules that each name one prefix of methods, as `/package.Service/Get*`.
    Prefixes,
    /// Rules that each name one certificate's principal, and no path.
    Principals,
    /// One rule's certificate principals.
    Members,
    /// One rule's values of a token's claim `groups`.
    Groups,
}

impl Much {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::Exact,
        Self::Services,
        Self::Prefixes,
        Self::Principals,
        Self::Members,
        Self::Groups,
    ];
}

impl fmt::Display for Much {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exact => "exact rules",
            Self::Services => "service rules",
            Self::Prefixes => "prefix rules",
            Self::Principals => "principal rules",
            Self::Members => "principals of a rule",
            Self::Groups => "groups of a rule",
        })
    }
}

/// Questions that are asked in turn, whatever the number of rules, so that what they touch is as
/// large for few rules as for many.
const QUESTIONS: usize = 8;

/// A decision that lets the call pass. All rules but one cannot match it; which one does is
/// another for each of eight calls, spread over the policy.
///
/// # Panics
///
/// On fewer rules than questions.
pub fn decision(much: Much, count: usize) -> Box<dyn Subject> {
    assert!(count >= QUESTIONS, "each question has a rule");
    let policy = policy(much, count);
    // For as long as the program runs: a few hundred bytes.
    let headers: &'static HeaderMap = Box::leak(Box::default());
    let asked: Vec<PolicyRequest<'static>> =
        (0..QUESTIONS).map(|n| request(much, n * count / QUESTIONS, headers)).collect();
    let mut next = 0;
    repeat(move || {
        next = (next + 1) % QUESTIONS;
        assert!(policy.decide(black_box(&asked[next])).is_allowed(), "a rule matches");
    })
}

/// The text of a policy, in the JSON that grpc-go reads too where `much` is about paths and
/// certificates.
pub fn policy_text(much: Much, count: usize) -> String {
    let rule = |n: usize| match much {
        Much::Exact => about_path(n, &format!("{}Get", service(n))),
        Much::Services => about_path(n, &format!("{}*", service(n))),
        Much::Prefixes => about_path(n, &format!("{}Get*", service(n))),
        Much::Principals => {
            json!({ "name": format!("rule-{n}"), "source": { "principals": [principal(n)] } })
        }
        Much::Members | Much::Groups => Value::Null,
    };
    let rules: Vec<Value> = match much {
        Much::Members => {
            let all: Vec<_> = (0..count).map(principal).collect();
            vec![json!({ "name": "members", "source": { "principals": all } })]
        }
        Much::Groups => {
            let all: Vec<_> = (0..count).map(group).collect();
            let claims = json!([{ "name": "groups", "values": all }]);
            let tokens = json!([{ "issuers": [ISSUER], "claims": claims }]);
            vec![json!({ "name": "groups", "source": { "countersign": { "tokens": tokens } } })]
        }
        _ => (0..count).map(rule).collect(),
    };
    json!({ "name": "bench", "allow_rules": rules }).to_string()
}

/// The policy.
///
/// # Panics
///
/// Never: what [`policy_text`] makes is one.
pub fn policy(much: Much, count: usize) -> Policy {
    Policy::from_json(&policy_text(much, count)).expect("a policy")
}

const ISSUER: &str = "https://id.example";

fn about_path(n: usize, path: &str) -> Value {
    json!({ "name": format!("rule-{n}"), "request": { "paths": [path] } })
}

fn service(n: usize) -> String {
    format!("/pkg{n:05}.v1.Service/")
}

fn principal(n: usize) -> String {
    format!("spiffe://prod.example/callers/{n:05}")
}

fn group(n: usize) -> String {
    format!("group-{n:05}")
}

/// The call that rule `n` is for.
fn request(much: Much, n: usize, headers: &'static HeaderMap) -> PolicyRequest<'static> {
    let path: &'static str = String::leak(format!("{}Get", service(n)));
    let path = MethodPath::parse(path).expect("a method path");
    let caller = match much {
        Much::Principals | Much::Members => principal(n),
        _ => principal(0),
    };
    let uris: &'static [String] = Box::leak(Box::new([caller]));
    let certificate = CertificateFacts { uris, ..CertificateFacts::default() };
    let peer = PeerFacts::tls(Some(certificate));
    let request = PolicyRequest::new(path, headers, peer, SystemTime::UNIX_EPOCH);
    if much != Much::Groups {
        return request;
    }
    let Value::Object(claims) = json!({ "iss": ISSUER, "sub": "web", "groups": [group(n)] }) else {
        return request;
    };
    let callers: &'static [Principal] = Box::leak(Box::new([member(claims)]));
    request.with_assumed_callers(callers)
}

fn member(claims: Map<String, Value>) -> Principal {
    Principal::with_token("web", "jwt", TokenClaims::from_object(claims))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_question_has_a_rule_and_another_call_has_none() {
        for much in Much::ALL {
            let mut subject = decision(much, 10);
            subject.prepare(QUESTIONS);
            subject.run();
            let headers = Box::leak(Box::default());
            let other = request(much, 10, headers);
            assert!(!policy(much, 10).decide(&other).is_allowed(), "{much}");
        }
    }
}
