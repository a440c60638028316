//! What is measured, by section.

use countersign_bench::in_process::audit::Records;
use countersign_bench::in_process::layers::Besides;
use countersign_bench::in_process::peer::mutual_tls_connection;
use countersign_bench::in_process::requests::{PUBLIC_METHOD, Requests};
use countersign_bench::in_process::signing::Key;
use countersign_bench::in_process::{Subject, audit, client, crypto, jwt, layers};

use super::{least, many};
use crate::options::Options;
use crate::report::{Chart, Fact, Section};

/// Operations that are shown together.
pub(super) struct Group {
    pub(super) section: Section,
    pub(super) subjects: Vec<(String, Box<dyn Subject>)>,
    pub(super) finish: Finish,
}

/// Adds ratios and notes to a section whose rows are there.
type Finish = fn(&mut Section);

/// Makes a group ready, which may take its time.
type Make = fn(&Options) -> Group;

/// Everything, by the names of the sections.
pub(super) const ALL: [(&str, Make); 11] = [
    ("micro-crypto", |_| cryptography()),
    ("micro-jwt", |_| tokens()),
    ("micro-scale", |_| many::issuers_and_keys()),
    ("micro-cache", many::remembered),
    ("micro-gate", |_| gate()),
    ("micro-rules", |_| rules()),
    ("micro-policy", |_| many::policies()),
    ("micro-limits", many::limits),
    ("micro-keys", |_| many::api_keys()),
    ("micro-client", |_| call_credentials()),
    ("micro-signing", |_| signatures()),
];

impl Group {
    pub(super) fn new(name: &str, title: &str, chart: Chart, finish: Finish) -> Self {
        let section = Section::new(name, title, "ns of processor time", chart);
        Self { section, subjects: Vec::new(), finish }
    }

    pub(super) fn with(mut self, name: impl Into<String>, subject: Box<dyn Subject>) -> Self {
        self.subjects.push((name.into(), subject));
        self
    }

    /// Whether it is drawn as lines over how many there are of something.
    pub(super) fn is_curve(&self) -> bool {
        matches!(self.section.chart, Chart::Lines { .. })
    }

    /// Whether a row is asked for; the others are what it is compared with.
    pub(super) fn is_wanted(&self, options: &Options) -> bool {
        let wants = |name: &str| options.wants(name);
        let wanted = wants(&self.section.name) || self.subjects.iter().any(|(name, _)| wants(name));
        wanted && options.allows(&self.section.name)
    }
}

const P256_VERIFY: &str = "ECDSA P-256 verify";

fn cryptography() -> Group {
    Group::new("micro-crypto", "Cryptography, the floor", Chart::Bars, |section| {
        section.notes.push("aws-lc-rs; keys are parsed beforehand".to_owned());
    })
    .with("constant-time compare, 661 B", crypto::constant_time_compare(661))
    .with("SHA-256, 40 B", crypto::sha256(40))
    .with("SHA-256, 661 B", crypto::sha256(661))
    .with("HMAC-SHA-256, 661 B", crypto::hmac_sha256(661))
    .with("RSA-2048 verify", crypto::rsa_verify())
    .with("ECDSA P-256 sign", crypto::p256_sign())
    .with("Ed25519 verify", crypto::ed25519_verify())
    .with(P256_VERIFY, crypto::p256_verify())
}

fn tokens() -> Group {
    let mut group =
        Group::new("micro-jwt", "A JWT of 661 bytes, not remembered", Chart::Bars, |section| {
            section.compare("over bare verify", |row| match row.name.split(':').next() {
                Some("ES256") => Some("ES256: bare verify"),
                Some("RS256") => Some("RS256: bare verify"),
                _ => Some("EdDSA: bare verify"),
            });
            section.notes.push("bare: the signature alone, decoded, the key parsed".to_owned());
        });
    for (name, token) in [
        ("ES256", jwt::Token::es256()),
        ("RS256", jwt::Token::rs256()),
        ("EdDSA", jwt::Token::eddsa()),
    ] {
        group = group
            .with(format!("{name}: bare verify"), token.check_signature())
            .with(format!("{name}: ours"), token.check_ours())
            .with(format!("{name}: jsonwebtoken"), token.check_jsonwebtoken());
        if name == "ES256" {
            group = group.with(format!("{name}: minimal check"), token.check_minimal());
        }
    }
    group
}

const SERVICE: &str = "service alone";
const EMPTY_INTERCEPTOR: &str = "tonic: empty interceptor";
const SHA_256_OF_40: &str = "floor: SHA-256, 40 B";
const SHA_256_OF_661: &str = "floor: SHA-256, 661 B";

fn gate() -> Group {
    let connection = mutual_tls_connection();
    let requests = || Requests::new(&connection);
    let (short, long) = ("t".repeat(40), "t".repeat(661));
    let bearer = |token: &str| requests().with_authorization(&format!("Bearer {token}"));
    let gate = |token: &str, requests| layers::gate(&layers::gate_with_token(token), requests);
    let more = |besides| layers::gate(&layers::gate_with_token_and(&long, besides), bearer(&long));
    let signed = jwt::Token::es256();
    let on_record = |records| layers::gate_with_records(&signed, records, bearer(signed.text()));
    let public = requests().to([PUBLIC_METHOD.to_owned()]);
    Group::new("micro-gate", "A call through a layer", Chart::Bars, finish_gate)
        .with(SERVICE, layers::nothing(bearer(&long)))
        .with("service alone, again", layers::nothing(bearer(&long)))
        .with("pass-through layer", layers::pass_through(bearer(&long)))
        .with(EMPTY_INTERCEPTOR, layers::empty_interceptor(bearer(&long)))
        .with("tonic: interceptor that copies metadata", layers::reading_interceptor(bearer(&long)))
        .with("gate: public method", gate(&short, public))
        .with("gate: static token, 40 B", gate(&short, bearer(&short)))
        .with("gate: static token, 661 B", gate(&long, bearer(&long)))
        .with(
            "gate: JWT, 661 B",
            layers::gate(&layers::gate_with_issuer(&signed), bearer(signed.text())),
        )
        .with("gate: static token, 661 B, quota", more(Besides { quota: true, policy: false }))
        .with("gate: static token, 661 B, policy", more(Besides { policy: true, quota: false }))
        .with("gate: static token, 661 B, policy, quota", more(Besides::BOTH))
        .with(
            "gate: JWT, 661 B, policy, quota",
            layers::gate(
                &layers::gate_with_issuer_and(&signed, Besides::BOTH),
                bearer(signed.text()),
            ),
        )
        .with("gate: JWT, 661 B, policy, quota, audit to nothing", on_record(Records::Nowhere))
        .with("gate: JWT, 661 B, policy, quota, audit to a file", on_record(Records::File))
        .with("record: a line of JSON", audit::line(Records::Nowhere))
        .with("record: a line of JSON in a file", audit::line(Records::File))
        .with(
            "gate: client certificate",
            layers::gate(&layers::gate_with_certificates(), requests()),
        )
        .with("gate refuses: no credentials", gate(&short, requests()))
        .with("gate refuses: malformed", gate(&short, requests().with_authorization("Bearer")))
        .with("gate refuses: wrong token, 40 B", gate(&short, bearer(&"w".repeat(40))))
        .with(SHA_256_OF_40, crypto::sha256(40))
        .with(SHA_256_OF_661, crypto::sha256(661))
}

fn finish_gate(section: &mut Section) {
    let (service, interceptor) = (least(section, SERVICE), least(section, EMPTY_INTERCEPTOR));
    let (short, long) = (least(section, SHA_256_OF_40), least(section, SHA_256_OF_661));
    for row in &mut section.rows {
        let (Some(summary), Some(service)) = (row.summary, service) else { continue };
        let is_call = !["floor", "record", SERVICE].iter().any(|part| row.name.starts_with(part));
        if !is_call {
            continue;
        }
        let added = summary.min - service;
        row.fact("added", Fact::Number(added));
        if let Some(interceptor) = interceptor.filter(|least| *least > service) {
            row.fact("/ empty interceptor", Fact::Number(added / (interceptor - service)));
        }
        let digest = match row.name.as_str() {
            name if name.contains("40 B") => short,
            name if name.contains("661 B") => long,
            _ => None,
        };
        if let Some(digest) = digest {
            row.fact("/ SHA-256 of the token", Fact::Number(added / digest));
        }
    }
    section.control(SERVICE, "service alone, again");
    section.notes.extend([
        "the service answers with nothing; a request has 7 headers and `authorization`".to_owned(),
        "`added` is the lowest sample less the lowest of the service alone".to_owned(),
        "`audit` is what the call's thread does for its record; `record` is what the audit's own \
         thread does for each, without its waiting"
            .to_owned(),
        "nobody reads the log, so a refusal's line costs next to nothing".to_owned(),
    ]);
}

const EXACT: &str = "exact rules";
const GLOBS: &str = "globs";

fn rules() -> Group {
    let connection = mutual_tls_connection();
    let chart = Chart::Lines { x: "rules".to_owned() };
    let mut group = Group::new("micro-rules", "A public method among rules", chart, |section| {
        for row in &mut section.rows {
            for series in [EXACT, GLOBS] {
                let count =
                    row.name.strip_suffix(series).and_then(|count| count.trim().parse().ok());
                if let Some(count) = count {
                    (row.series, row.x) = (Some(series.to_owned()), Some(count));
                }
            }
        }
        section.compare("over 10 rules", |row| match row.series.as_deref() {
            Some(EXACT) => Some("10 exact rules"),
            _ => Some("10 globs"),
        });
        section.notes.push("calls go round 256 methods spread over all rules".to_owned());
    });
    for count in [10, 1_000, 10_000] {
        let subject = layers::gate_with_exact_rules(count, Requests::new(&connection));
        group = group.with(format!("{count} {EXACT}"), subject);
    }
    for count in [10, 100, 1_000, 10_000] {
        let subject = layers::gate_with_globs(count, Requests::new(&connection));
        group = group.with(format!("{count} {GLOBS}"), subject);
    }
    group
}

const READY_HEADER: &str = "a ready header put into a map";
const READY_HEADER_AGAIN: &str = "a ready header, again";

fn call_credentials() -> Group {
    let token = "t".repeat(661);
    let title = "Credentials of one call, 661 B";
    Group::new("micro-client", title, Chart::Bars, |section| {
        section.compare("over a ready header", |_| Some(READY_HEADER));
        section.control(READY_HEADER, READY_HEADER_AGAIN);
        section.notes.push("the channel puts what the token adds into the map later".to_owned());
    })
    .with(READY_HEADER, client::ready_header(&token))
    .with(READY_HEADER_AGAIN, client::ready_header(&token))
    .with("bearer token", client::bearer_token(&token))
    .with("cached token that is fresh", client::cached_token(&token))
    .with("cached token that is fresh, of a host", client::cached_self_signed())
    .with("a header made for each call", client::formatted_header(&token))
}

const BARE_AGAIN: &str = "ES256: bare, again";

fn signatures() -> Group {
    let mut group =
        Group::new("micro-signing", "A JWT that a client signs itself", Chart::Bars, |section| {
            section.compare("over the bare signature", |row| {
                Some(if row.name.starts_with("ES256") { "ES256: bare" } else { "RS256: bare" })
            });
            section.control("ES256: bare", BARE_AGAIN);
            section.notes.push(
                "once for each audience and lifetime: a cached one costs what `micro-client` says"
                    .to_owned(),
            );
        });
    for (name, key) in [("ES256", Key::p256()), ("RS256", Key::rsa())] {
        group = group.with(format!("{name}: ours"), key.sign_ours());
        group = group.with(format!("{name}: bare"), key.sign_bare());
    }
    group.with(BARE_AGAIN, Key::p256().sign_bare())
}
