//! The operations whose counts are committed.
//!
//! Callgrind knows no SHA or ADX instructions and overstates cryptography, and a signature's
//! verification takes more or fewer of them with its numbers: where most is cryptography,
//! allocations alone are counted.
//!
//! Left out are a call through the channel, which needs a socket and so the kernel's timing, the
//! listener's budget, which has no public door of its own, and reading the handshake counters,
//! which no call does and which compiles to 189 or 519 instructions from one build to the next.

use crate::in_process::jwt::Token;
use crate::in_process::layers::Besides;
use crate::in_process::limits::Callers;
use crate::in_process::peer::mutual_tls_connection;
use crate::in_process::policy::{Much, decision};
use crate::in_process::requests::{PUBLIC_METHOD, Requests};
use crate::in_process::{Subject, client, layers};

/// One operation with a name that the baseline knows it by.
pub struct Case {
    /// The name.
    pub name: &'static str,
    /// Whether its instructions are counted besides its allocations.
    pub instructions: bool,
    make: fn() -> Box<dyn Subject>,
}

impl Case {
    const fn new(name: &'static str, make: fn() -> Box<dyn Subject>) -> Self {
        Self { name, instructions: true, make }
    }

    const fn of_allocations(name: &'static str, make: fn() -> Box<dyn Subject>) -> Self {
        Self { name, instructions: false, make }
    }

    /// Makes the operation.
    pub fn make(&self) -> Box<dyn Subject> {
        (self.make)()
    }

    /// The case of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        CASES.iter().find(|case| case.name == name)
    }
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// 40 bytes, an opaque handle or an API key.
const TOKEN: &str = "c2VjcmV0LXRva2VuLW9mLWZvcnR5LWJ5dGVzLi4u";

/// Every case, floors first.
pub const CASES: &[Case] = &[
    Case::new("floor: service alone", || layers::nothing(requests())),
    Case::new("floor: tonic's empty interceptor", || layers::empty_interceptor(requests())),
    Case::new("gate: public method", public_method),
    Case::new("gate: static token", || static_token(&format!("Bearer {TOKEN}"))),
    Case::new("gate: static token, without tonic's connection info", || {
        let requests = requests().with_authorization(&format!("Bearer {TOKEN}"));
        layers::gate(&layers::gate_without_tonics_own(TOKEN), requests)
    }),
    Case::new("gate: token that ends, without tonic's connection info", || {
        let requests = requests().with_authorization(&format!("Bearer {TOKEN}"));
        layers::gate(&layers::gate_with_ending_token(TOKEN), requests)
    }),
    Case::new("gate: client certificate", || {
        layers::gate(&layers::gate_with_certificates(), requests())
    }),
    Case::new("gate: no credentials", || layers::gate(&layers::gate_with_token(TOKEN), requests())),
    Case::new("gate: malformed credentials", || static_token("Bearer")),
    Case::new("gate: wrong token", || {
        static_token("Bearer bm90LXRoZS1yaWdodC10b2tlbi1vZi00MC1ieXRlcy4u")
    }),
    Case::new("rules: 10 exact", || layers::gate_with_exact_rules(10, requests())),
    Case::new("rules: 10,000 exact", || layers::gate_with_exact_rules(10_000, requests())),
    Case::new("rules: 10 globs", || layers::gate_with_globs(10, requests())),
    Case::new("rules: 100 globs", || layers::gate_with_globs(100, requests())),
    Case::new("gate: static token, policy and quota", || {
        let requests = requests().with_authorization(&format!("Bearer {TOKEN}"));
        layers::gate(&layers::gate_with_token_and(TOKEN, Besides::BOTH), requests)
    }),
    Case::new("policy: 10 exact", || decision(Much::Exact, 10)),
    Case::new("policy: 10,000 exact", || decision(Much::Exact, 10_000)),
    Case::new("policy: 10 services", || decision(Much::Services, 10)),
    Case::new("policy: 10,000 services", || decision(Much::Services, 10_000)),
    Case::new("policy: 10 prefixes", || decision(Much::Prefixes, 10)),
    Case::new("policy: 10,000 prefixes", || decision(Much::Prefixes, 10_000)),
    Case::new("policy: 10,000 principal rules", || decision(Much::Principals, 10_000)),
    Case::new("quota: a remembered caller", || Callers::new(1).quota()),
    Case::new("quota: a caller by name", || Callers::new(1).meters_by_name()),
    Case::new("quota: a caller by key", || Callers::new(1).meters_by_key()),
    Case::new("client: bearer token", || client::bearer_token(TOKEN)),
    Case::new("client: cached token", || client::cached_token(TOKEN)),
    Case::new("client: cached token of a host", client::cached_self_signed),
    Case::of_allocations("jwt: ES256, not remembered", || Token::es256().check_ours()),
];

fn requests() -> Requests {
    Requests::new(&mutual_tls_connection())
}

fn public_method() -> Box<dyn Subject> {
    let public = requests().to([PUBLIC_METHOD.to_owned()]);
    layers::gate(&layers::gate_with_token(TOKEN), public)
}

fn static_token(authorization: &str) -> Box<dyn Subject> {
    let gate = layers::gate_with_token(TOKEN);
    layers::gate(&gate, requests().with_authorization(authorization))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_has_a_name_of_its_own_and_runs() {
        for (at, case) in CASES.iter().enumerate() {
            assert!(CASES[..at].iter().all(|other| other.name != case.name), "{case:?} twice");
            let mut subject = case.make();
            subject.prepare(3);
            subject.run();
        }
    }
}
