//! Where we differ from grpc-go on purpose. Each entry has to say exactly when, and where it can
//! it is put to the test: the same question without what makes the difference is answered alike.

use serde_json::Value;

use crate::case::{Case, Certificate, Decision, Request, Socket, Verdict};
use crate::facts::Facts;
use crate::generate::is_canonical;
use crate::sides::{Failure, Sides};

/// A difference that is wanted.
#[derive(Debug)]
pub(crate) struct Difference {
    pub(crate) name: &'static str,
    /// Why, in a sentence.
    pub(crate) reason: &'static str,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// We refuse a policy that they take: always when the text has this, and in these words.
    Refused { fact: fn(&Facts) -> bool, words: &'static str },
    /// They refuse a policy that we take.
    Taken { fact: fn(&Facts) -> bool, words: &'static str },
    /// The answers to a call say it by themselves.
    Answered(fn(&Request, &Verdict, &Verdict) -> bool),
    /// Once this is changed, both decide alike; and we decide as before, unless it is for us.
    Levelled { level: Level, for_us: bool },
}

/// Takes out of a policy and a request what makes a difference.
type Level = fn(&mut String, &mut Request);

pub(crate) static DIFFERENCES: [Difference; 19] = [
    refused(
        "duplicate-rule-name",
        "grpc-go keeps the last of two rules of one name: a denial may be lost",
        |facts| facts.duplicate_rule_name,
        "is there twice",
    ),
    refused(
        "repeated-key",
        "grpc-go keeps the last of two values of one key: a reader sees another",
        |facts| facts.repeated_key,
        "the key ",
    ),
    refused(
        "trailing-text",
        "grpc-go does not read what stands after the policy",
        |facts| facts.trailing_text,
        "there is more text after the policy",
    ),
    refused(
        "key-in-other-case",
        "grpc-go takes `Allow_Rules` for `allow_rules`: another reader need not",
        |facts| facts.key_in_other_case,
        "unknown key ",
    ),
    refused(
        "null",
        "grpc-go takes null for nothing, and null among principals for the empty one",
        |facts| facts.null,
        " is null, and should be ",
    ),
    refused(
        "impossible-header-key",
        "grpc-go takes keys that no header can have: such a rule never matches",
        |facts| facts.impossible_header_key,
        "no header can have the \"key\" ",
    ),
    refused(
        "empty-audit-condition",
        "grpc-go takes the empty condition for NONE; gRFC A59 does not name it",
        |facts| facts.empty_audit_condition,
        "failed to parse AuditCondition ",
    ),
    refused(
        "half-a-surrogate-pair",
        "grpc-go reads U+FFFD where a text is no Unicode",
        |facts| facts.half_a_surrogate_pair,
        "half of a surrogate pair",
    ),
    refused(
        "deep-nesting",
        "we read 64 lists and objects in each other, Go 10000",
        |facts| facts.deep_nesting,
        " lists and objects are nested",
    ),
    refused(
        "logger-behind-a-slash",
        "grpc-go looks for an audit logger by what stands after the last slash of its name",
        |facts| facts.slash_in_logger_name,
        "there is no audit logger ",
    ),
    Difference {
        name: "logger-before-a-slash",
        reason: "for grpc-go `x/` is a logger without a name, which cannot be optional",
        kind: Kind::Taken {
            fact: |facts| facts.slash_in_logger_name,
            words: "field TypedConfig.TypeURL cannot be an empty string",
        },
    },
    Difference {
        name: "own-key",
        reason: "only we know `countersign`; grpc-go refuses the file rather than ignore a rule",
        kind: Kind::Taken {
            fact: |facts| facts.own_key,
            words: "json: unknown field \"countersign\"",
        },
    },
    Difference {
        name: "no-method-path",
        reason: "what is not `/package.Service/Method` in its one spelling is refused before any rule",
        kind: Kind::Answered(|request, ours, _| {
            ours.decision == Decision::Deny
                && ours.error == "malformed method name"
                && !is_canonical(&request.path)
        }),
    },
    Difference {
        name: "certificate-that-go-cannot-read",
        reason: "Go reads every URI of a certificate, and the handshake fails on one that is none",
        kind: Kind::Answered(|request, _, theirs| {
            theirs.error.starts_with("certificate: x509: ") && certificate(request).is_some()
        }),
    },
    levelled(
        "socket-without-port",
        "grpc-go ends every call over a Unix socket or in memory with INTERNAL",
        |_, request| request.socket = Socket::Tcp,
    ),
    levelled(
        "unverified-certificate",
        "grpc-go takes names from a certificate that nobody verified; to us it is none",
        |_, request| request.certificate = request.certificate.take().filter(|one| !one.unverified),
    ),
    levelled(
        "binary-header",
        "grpc-go compares the bytes of a `-bin` header; gRFC A41 has their base64, and so have we",
        |policy, request| {
            let plain = |text: &str| text.replace("-bin", "-txt").replace("-Bin", "-Txt");
            // Written anew, so that no letter of a name is escaped.
            let written = serde_json::from_str::<Value>(policy).map(|policy| policy.to_string());
            *policy = plain(&written.unwrap_or_default());
            request.headers.iter_mut().for_each(|(key, _)| *key = plain(key));
        },
    ),
    levelled(
        "line-break-in-name",
        "a star alone matches every name that is not empty; in grpc-go none with a line break",
        |_, request| {
            let certificate = request.certificate.iter_mut();
            certificate.for_each(|one| one.subject = one.subject.replace('\n', " "));
        },
    ),
    Difference {
        name: "uri-as-it-stands",
        reason: "we compare a URI as it stands in the certificate, grpc-go as Go writes it again",
        kind: Kind::Levelled { level: rewrite_uris, for_us: true },
    },
];

/// What every difference in a rule's name comes to: of several rules that match, which one is told.
pub(crate) const SEVERAL_RULES: &str = "several-rules-match";

const fn refused(
    name: &'static str,
    reason: &'static str,
    fact: fn(&Facts) -> bool,
    words: &'static str,
) -> Difference {
    Difference { name, reason, kind: Kind::Refused { fact, words } }
}

const fn levelled(name: &'static str, reason: &'static str, level: Level) -> Difference {
    Difference { name, reason, kind: Kind::Levelled { level, for_us: false } }
}

/// The difference that explains one, if any does.
pub(crate) fn explain(
    case: &Case,
    facts: &Facts,
    (ours, theirs): (&Verdict, &Verdict),
    sides: &mut Sides,
) -> Result<Option<&'static str>, Failure> {
    let said = |difference: &&Difference| match (&difference.kind, &case.request) {
        (Kind::Refused { fact, words }, _) => {
            fact(facts) && !theirs.is_invalid() && ours.is_invalid() && ours.error.contains(words)
        }
        (Kind::Taken { fact, words }, _) => {
            fact(facts) && !ours.is_invalid() && theirs.is_invalid() && theirs.error.contains(words)
        }
        (Kind::Answered(says), Some(request)) => says(request, ours, theirs),
        (Kind::Answered(_), None) | (Kind::Levelled { .. }, _) => false,
    };
    match DIFFERENCES.iter().find(said) {
        Some(difference) => Ok(Some(difference.name)),
        None if ours.is_invalid() || theirs.is_invalid() => Ok(None),
        None => level_all(case, ours, sides),
    }
}

/// Takes every difference out at once, as several may meet, and names the first.
fn level_all(
    case: &Case,
    ours: &Verdict,
    sides: &mut Sides,
) -> Result<Option<&'static str>, Failure> {
    let Some(request) = &case.request else { return Ok(None) };
    let (mut policy, mut request) = (case.policy.clone(), request.clone());
    let mut first = None;
    let mut before = ours.decision;
    for difference in &DIFFERENCES {
        let Kind::Levelled { level, for_us } = difference.kind else { continue };
        let was = request.clone();
        level(&mut policy, &mut request);
        if request == was {
            continue;
        }
        first = first.or(Some(difference.name));
        let case = Case { policy: policy.clone(), request: Some(request.clone()) };
        let after = sides.ask_us(&case)?.decision;
        if after != before && !for_us {
            return Ok(None);
        }
        before = after;
    }
    let level = Case { policy, request: Some(request) };
    let theirs = sides.ask_them(&level)?;
    let alike = theirs.decision == before || theirs.error.starts_with("certificate: x509: ");
    Ok(first.filter(|_| alike))
}

/// What we promise to refuse, and have let pass. Where they let it pass too, no difference shows.
pub(crate) fn let_pass(facts: &Facts, ours: &Verdict) -> Option<&'static str> {
    let promised = |one: &&Difference| {
        // A logger may be optional, whatever its name.
        matches!(one.kind, Kind::Refused { fact, .. } if fact(facts))
            && one.name != "logger-behind-a-slash"
    };
    DIFFERENCES.iter().find(promised).map(|one| one.name).filter(|_| !ours.is_invalid())
}

/// Whether nothing about a request is a difference by itself.
pub(crate) fn is_level(request: &Request) -> bool {
    DIFFERENCES.iter().all(|difference| {
        let Kind::Levelled { level, .. } = difference.kind else { return true };
        let mut same = request.clone();
        level(&mut String::new(), &mut same);
        same == *request
    })
}

fn certificate(request: &Request) -> Option<&Certificate> {
    request.certificate.as_ref().filter(|_| request.tls)
}

fn rewrite_uris(_: &mut String, request: &mut Request) {
    for uri in request.certificate.iter_mut().flat_map(|one| &mut one.uris) {
        *uri = as_go_writes(uri);
    }
}

/// A URI as Go writes what it has read, for the URIs that occur here.
fn as_go_writes(uri: &str) -> String {
    let Some((scheme, rest)) = uri.split_once(':') else { return uri.to_owned() };
    let rest = match rest {
        "//" => "",
        rest => rest.strip_suffix('#').unwrap_or(rest),
    };
    format!("{}:{}", scheme.to_lowercase(), rest.replace(' ', "%20").replace('|', "%7C"))
}
