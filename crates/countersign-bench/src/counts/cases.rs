//! The operations whose counts are committed.
//!
//! Callgrind knows no SHA or ADX instructions and overstates cryptography, so what is mostly
//! cryptography is not here. Left out too: a call through the channel, which needs a socket and
//! so the kernel's timing, and the listener's budget, which has no public door of its own, and reading the handshake counters,
//! which no call does and which compiles to 189 or 519 instructions from one build to the next.

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
    make: fn() -> Box<dyn Subject>,
}

impl Case {
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
    Case { name: "floor: service alone", make: || layers::nothing(requests()) },
    Case {
        name: "floor: tonic's empty interceptor",
        make: || layers::empty_interceptor(requests()),
    },
    Case { name: "gate: public method", make: public_method },
    Case { name: "gate: static token", make: || static_token(&format!("Bearer {TOKEN}")) },
    Case {
        name: "gate: static token, without tonic's connection info",
        make: || {
            let requests = requests().with_authorization(&format!("Bearer {TOKEN}"));
            layers::gate(&layers::gate_without_tonics_own(TOKEN), requests)
        },
    },
    Case {
        name: "gate: token that ends, without tonic's connection info",
        make: || {
            let requests = requests().with_authorization(&format!("Bearer {TOKEN}"));
            layers::gate(&layers::gate_with_ending_token(TOKEN), requests)
        },
    },
    Case {
        name: "gate: client certificate",
        make: || layers::gate(&layers::gate_with_certificates(), requests()),
    },
    Case {
        name: "gate: no credentials",
        make: || layers::gate(&layers::gate_with_token(TOKEN), requests()),
    },
    Case { name: "gate: malformed credentials", make: || static_token("Bearer") },
    Case {
        name: "gate: wrong token",
        make: || static_token("Bearer bm90LXRoZS1yaWdodC10b2tlbi1vZi00MC1ieXRlcy4u"),
    },
    Case { name: "rules: 10 exact", make: || layers::gate_with_exact_rules(10, requests()) },
    Case {
        name: "rules: 10,000 exact",
        make: || layers::gate_with_exact_rules(10_000, requests()),
    },
    Case { name: "rules: 10 globs", make: || layers::gate_with_globs(10, requests()) },
    Case { name: "rules: 100 globs", make: || layers::gate_with_globs(100, requests()) },
    Case {
        name: "gate: static token, policy and quota",
        make: || {
            let requests = requests().with_authorization(&format!("Bearer {TOKEN}"));
            layers::gate(&layers::gate_with_token_and(TOKEN, Besides::BOTH), requests)
        },
    },
    Case { name: "policy: 10 exact", make: || decision(Much::Exact, 10) },
    Case { name: "policy: 10,000 exact", make: || decision(Much::Exact, 10_000) },
    Case { name: "policy: 10 services", make: || decision(Much::Services, 10) },
    Case { name: "policy: 10,000 services", make: || decision(Much::Services, 10_000) },
    Case { name: "policy: 10 prefixes", make: || decision(Much::Prefixes, 10) },
    Case { name: "policy: 10,000 prefixes", make: || decision(Much::Prefixes, 10_000) },
    Case { name: "policy: 10,000 principal rules", make: || decision(Much::Principals, 10_000) },
    Case { name: "quota: a remembered caller", make: || Callers::new(1).quota() },
    Case { name: "quota: a caller by name", make: || Callers::new(1).meters_by_name() },
    Case { name: "quota: a caller by key", make: || Callers::new(1).meters_by_key() },
    Case { name: "client: bearer token", make: || client::bearer_token(TOKEN) },
    Case { name: "client: cached token", make: || client::cached_token(TOKEN) },
    Case { name: "client: cached token of a host", make: client::cached_self_signed },
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
