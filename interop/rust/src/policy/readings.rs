//! The readings that a policy may choose where the gRFCs disagree. grpc-go knows only the first of
//! each, so the others are made of it: a certificate with names of one kind alone, a header with
//! one value alone, and so on. What is to be decided follows from its answers to all of these.

use crate::case::{Case, Certificate, Decision, Request, Verdict};
use crate::sides::{Failure, Sides};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// The default: the first kind of names, or the values joined.
    First,
    Any,
    /// Any for rules that deny, the first for rules that allow.
    Strictest,
}

/// Two readings together, and their name in the report.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    pub(crate) name: &'static str,
    names: Reach,
    headers: Reach,
}

pub(crate) static READINGS: [Reading; 6] = [
    Reading { name: "certificate_names any-kind", names: Reach::Any, headers: Reach::First },
    Reading { name: "certificate_names strictest", names: Reach::Strictest, headers: Reach::First },
    Reading { name: "repeated_headers any-value", names: Reach::First, headers: Reach::Any },
    Reading { name: "repeated_headers strictest", names: Reach::First, headers: Reach::Strictest },
    Reading { name: "any-kind and any-value", names: Reach::Any, headers: Reach::Any },
    Reading { name: "strictest of both", names: Reach::Strictest, headers: Reach::Strictest },
];

/// More variants than this say nothing new.
const MOST_VARIANTS: usize = 64;

impl Reading {
    /// The policy with the reading chosen in it. It is JSON without our key.
    pub(crate) fn choose(&self, case: &Case) -> Case {
        let names = match self.names {
            Reach::First => "first-kind",
            Reach::Any => "any-kind",
            Reach::Strictest => "strictest",
        };
        let headers = match self.headers {
            Reach::First => "joined",
            Reach::Any => "any-value",
            Reach::Strictest => "strictest",
        };
        let own = format!(
            r#"{{"countersign":{{"certificate_names":"{names}","repeated_headers":"{headers}"}},"#
        );
        Case { policy: case.policy.replacen('{', &own, 1), ..case.clone() }
    }

    /// What has to be decided, by their answers; `None` where that takes too many of them.
    pub(crate) fn expected(
        &self,
        case: &Case,
        sides: &mut Sides,
    ) -> Result<Option<Decision>, Failure> {
        let Some(request) = &case.request else { return Ok(None) };
        let denying = (self.names != Reach::First, self.headers != Reach::First);
        let allowing = (self.names == Reach::Any, self.headers == Reach::Any);
        let (denying, allowing) = (variants(request, denying), variants(request, allowing));
        if denying.len() + allowing.len() > MOST_VARIANTS {
            return Ok(None);
        }
        let mut ask = |request: Request| {
            sides.ask_them(&Case { policy: case.policy.clone(), request: Some(request) })
        };
        for variant in denying {
            if ask(variant)?.is_denied_by_rule() {
                return Ok(Some(Decision::Deny));
            }
        }
        for variant in allowing {
            if ask(variant)?.decision == Decision::Allow {
                return Ok(Some(Decision::Allow));
            }
        }
        Ok(Some(Decision::Deny))
    }

    /// Whether it was decided so, and whether otherwise than by default.
    pub(crate) fn compare(
        &self,
        case: &Case,
        by_default: &Verdict,
        sides: &mut Sides,
    ) -> Result<Compared, Failure> {
        let Some(expected) = self.expected(case, sides)? else { return Ok(Compared::Alike) };
        let ours = sides.ask_us(&self.choose(case))?;
        Ok(match ours.decision == expected {
            true if expected == by_default.decision => Compared::Alike,
            true => Compared::Differs,
            false => Compared::Wrong { ours, expected },
        })
    }
}

pub(crate) enum Compared {
    /// As by default.
    Alike,
    /// Otherwise than by default, as it should be.
    Differs,
    Wrong {
        ours: Verdict,
        expected: Decision,
    },
}

/// One of the readings by which a request may be decided otherwise, if there are such.
pub(crate) fn ambiguous(request: &Request, turn: usize) -> Option<&'static Reading> {
    let differs = |kinds: bool, values: bool| variants(request, (kinds, values)).len() > 1;
    let (names, headers) = (differs(true, false), differs(false, true));
    let differing = READINGS.iter().filter(|one| {
        let differs =
            (names && one.names != Reach::First) || (headers && one.headers != Reach::First);
        // The strictest readings change little, and are asked more often.
        let is_strict = one.names == Reach::Strictest || one.headers == Reach::Strictest;
        differs && is_strict != turn.is_multiple_of(4)
    });
    let count = differing.clone().count();
    differing.cycle().nth(turn / 4 % count.max(1))
}

/// The request, and if any kind of names or any value of a header counts, what it could be.
fn variants(request: &Request, (any_kind, any_value): (bool, bool)) -> Vec<Request> {
    let mut all = vec![request.clone()];
    if any_kind && let Some(certificate) = request.certificate.as_ref().filter(|_| request.tls) {
        all.extend(kinds(certificate).into_iter().map(|one| {
            let certificate = Some(one);
            Request { certificate, ..request.clone() }
        }));
    }
    if any_value {
        let mut keys: Vec<String> =
            request.headers.iter().map(|(key, _)| key.to_ascii_lowercase()).collect();
        keys.sort_unstable();
        let repeated = |key: &String| keys.iter().filter(|other| *other == key).count() > 1;
        let mut repeated: Vec<_> = keys.iter().filter(|key| repeated(key)).cloned().collect();
        repeated.dedup();
        for key in repeated {
            let one_value = all.iter().flat_map(|request| single_values(request, &key));
            let one_value: Vec<_> = one_value.collect();
            all.extend(one_value);
        }
    }
    all
}

/// The certificate with one kind of names alone. A subject that is empty is no name.
fn kinds(certificate: &Certificate) -> Vec<Certificate> {
    let Certificate { uris, dns_names, subject, .. } = certificate;
    let mut kinds = Vec::new();
    if !uris.is_empty() && !dns_names.is_empty() {
        kinds.push(Certificate { dns_names: dns_names.clone(), ..Certificate::default() });
    }
    if !(subject.is_empty() || uris.is_empty() && dns_names.is_empty()) {
        kinds.push(Certificate { subject: subject.clone(), ..Certificate::default() });
    }
    kinds
}

/// The request with each value of a header alone.
fn single_values(request: &Request, wanted: &str) -> Vec<Request> {
    let is_it = |key: &str| key.eq_ignore_ascii_case(wanted);
    let values = request.headers.iter().filter(|(key, _)| is_it(key));
    let alone = values.map(|field| {
        let others = request.headers.iter().filter(|(key, _)| !is_it(key));
        let headers = others.chain([field]).cloned().collect();
        Request { headers, ..request.clone() }
    });
    alone.collect()
}
