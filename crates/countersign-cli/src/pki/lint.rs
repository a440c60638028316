//! What will go wrong with a certificate, before it does.

use std::path::Path;
use std::time::{Duration, SystemTime};

use clap::ValueEnum;
use serde::Serialize;

use crate::pki::facts::Facts;
use crate::pki::text;

/// rustls verifies with RSA keys of 2048 to 8192 bits only.
const MIN_RSA_BITS: u32 = 2048;

/// Below this share of its whole life, a certificate should have been renewed.
const RENEWAL_SHARE: u32 = 5;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// It works today, or with some peers.
    Warning,
    /// Peers refuse it.
    Error,
}

/// What a file of certificates is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(super) enum Role {
    /// What a server shows, with its chain
    Server,
    /// What a client shows, with its chain
    Client,
    /// What a peer is trusted by
    Ca,
}

/// One thing that is wrong. The code is API, the words are not.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Finding {
    pub(super) level: Level,
    pub(super) code: &'static str,
    /// Counted from 1; `None` where it is about the file as a whole.
    pub(super) certificate: Option<usize>,
    pub(super) message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cause: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hint: Option<String>,
}

impl Finding {
    pub(super) fn new(level: Level, code: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { level, code, certificate: None, message, cause: None, hint: None }
    }

    fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Level::Error, code, message)
    }

    fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Level::Warning, code, message)
    }

    fn of(mut self, index: usize) -> Self {
        self.certificate = Some(index + 1);
        self
    }

    pub(super) fn cause(mut self, cause: impl Into<String>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Looks at the certificates of one file.
///
/// Without a role, a file is a CA's if it holds CAs only and none of them looks like a peer:
/// neither names nor extended key usage.
pub(super) fn certificates(
    certificates: &[Facts],
    role: Option<Role>,
    now: SystemTime,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let is_ca_file = match role {
        Some(role) => role == Role::Ca,
        None => certificates.iter().all(|certificate| {
            certificate.ca
                && certificate.names.is_empty()
                && certificate.extended_key_usage.is_none()
        }),
    };
    if is_ca_file {
        authorities(certificates, &mut findings);
    } else if let Some(leaf) = certificates.first() {
        if leaf.ca && certificates.iter().any(|certificate| !certificate.ca) {
            // The leaf stands elsewhere: only the order is wrong.
            chain_order(certificates, &mut findings);
        } else {
            peer(leaf, role, &mut findings);
            chain_order(certificates, &mut findings);
        }
    }
    for (index, certificate) in certificates.iter().enumerate() {
        validity(certificate, now, index, &mut findings);
        strength(certificate, index, is_ca_file, &mut findings);
        for extension in &certificate.unreadable {
            findings.push(
                Finding::error("unreadable-extension", format!("cannot read its {extension}"))
                    .of(index)
                    .cause("the extension is malformed or stands there twice"),
            );
        }
    }
    findings
}

/// Compares the first certificate's public key with a private key's.
pub(super) fn key(leaf: &Facts, public_key: &[u8], path: &Path) -> Option<Finding> {
    (leaf.links.public_key != public_key).then(|| {
        let message = format!("`{}` is not the key of this certificate", path.display());
        Finding::error("key-mismatch", message)
            .of(0)
            .cause("the public keys differ")
            .hint("one of the two files is older than the other; renew both together")
    })
}

fn authorities(certificates: &[Facts], findings: &mut Vec<Finding>) {
    for (index, certificate) in certificates.iter().enumerate() {
        if !certificate.ca {
            findings.push(
                Finding::error("not-a-ca", "this certificate cannot be trusted to issue others")
                    .of(index)
                    .cause("its basic constraints do not say CA:TRUE"),
            );
        } else if certificate.can_sign_certificates == Some(false) {
            findings.push(
                Finding::error("not-a-ca", "this CA may not sign certificates")
                    .of(index)
                    .cause("its key usage lacks keyCertSign"),
            );
        }
    }
}

/// What only the certificate of a server or client must be.
fn peer(leaf: &Facts, role: Option<Role>, findings: &mut Vec<Finding>) {
    let for_server = role == Some(Role::Server);
    let for_client = role == Some(Role::Client);
    if leaf.ca {
        findings.push(
            Finding::error("ca-as-leaf", "this is a CA, and stands where a peer's own belongs")
                .of(0)
                .cause(
                    "`openssl req -x509` makes such certificates; rustls and others refuse them \
                     from a peer (CaUsedAsEndEntity), even where they are trusted",
                )
                .hint("make a CA and issue from it: countersign pki init, countersign pki issue"),
        );
    }
    let serves = leaf.allows("server");
    let calls = leaf.allows("client");
    match (serves, calls) {
        (None, _) | (_, None) => findings.push(
            Finding::warning("missing-eku", "it says neither that it is a server's nor a client's")
                .of(0)
                .cause("it has no extended key usage, which some peers ask for"),
        ),
        (Some(false), _) if for_server => findings.push(
            Finding::error("wrong-eku", "it is not for servers")
                .of(0)
                .cause("its extended key usage lacks serverAuth"),
        ),
        (_, Some(false)) if for_client => findings.push(
            Finding::error("wrong-eku", "it is not for clients")
                .of(0)
                .cause("its extended key usage lacks clientAuth"),
        ),
        (Some(false), Some(false)) => findings.push(
            Finding::error("wrong-eku", "it is for neither servers nor clients")
                .of(0)
                .cause("its extended key usage lacks serverAuth and clientAuth"),
        ),
        _ => {}
    }
    if leaf.names.is_empty() && leaf.unreadable.is_empty() {
        // A client's subject is an identity to some; a server's has been none since RFC 9525.
        let is_client = for_client || (!for_server && serves == Some(false));
        let level = if is_client { Level::Warning } else { Level::Error };
        findings.push(
            Finding::new(level, "no-san", "it has no subject alternative name")
                .of(0)
                .cause("peers do not look for a name in the subject (RFC 9525)")
                .hint("issue it with the names that it is called by, `--san NAME` for each"),
        );
    }
    let uris = leaf.names.iter().filter(|name| name.kind == "uri");
    let spiffe = uris.clone().any(|name| name.value.starts_with("spiffe://"));
    if spiffe && uris.count() > 1 {
        findings.push(
            Finding::error("spiffe-uri", "it has a SPIFFE ID and another URI beside it")
                .of(0)
                .cause("an X509-SVID holds exactly one URI (X509-SVID §2)"),
        );
    }
}

/// Each certificate is followed by its issuer, the first is the peer's own (RFC 8446 §4.4.2).
fn chain_order(certificates: &[Facts], findings: &mut Vec<Finding>) {
    let position = |wanted: &dyn Fn(&Facts) -> bool| certificates.iter().position(wanted);
    if let (Some(true), Some(leaf)) =
        (certificates.first().map(|first| first.ca), position(&|certificate| !certificate.ca))
    {
        findings.push(
            Finding::error("chain-order", "a CA stands before the peer's own certificate")
                .of(0)
                .cause(format!("the peer's own is certificate {}", leaf + 1))
                .hint("put the peer's own first, then its issuer, then the issuer's"),
        );
        return;
    }
    for (index, pair) in certificates.windows(2).enumerate() {
        let [certificate, next] = pair else { continue };
        if certificate.names_as_issuer(next) {
            continue;
        }
        let finding = Finding::error("chain-order", "the next certificate is not its issuer")
            .of(index)
            .cause(format!(
                "it was issued by `{}`, and the next is `{}`",
                text::printable(&certificate.issuer),
                text::printable(&next.subject)
            ));
        findings.push(match position(&|other| certificate.names_as_issuer(other)) {
            Some(issuer) if issuer != index => {
                finding.hint(format!("its issuer is certificate {}: put it here", issuer + 1))
            }
            _ => finding.hint("put its issuer here, or remove what follows"),
        });
    }
}

fn validity(certificate: &Facts, now: SystemTime, index: usize, findings: &mut Vec<Finding>) {
    let (not_before, not_after) = (certificate.not_before, certificate.not_after);
    if not_after < now {
        let message = format!("it expired {} ago", text::duration(since(not_after, now)));
        findings.push(
            Finding::error("expired", message)
                .of(index)
                .cause(format!("it was valid until {}", text::time(not_after))),
        );
    } else if now < not_before {
        let message =
            format!("it is not valid for another {}", text::duration(since(now, not_before)));
        findings.push(
            Finding::error("not-yet-valid", message)
                .of(index)
                .cause(format!("it is valid from {}", text::time(not_before)))
                .hint("check this machine's clock"),
        );
    } else if since(now, not_after) < since(not_before, not_after) / RENEWAL_SHARE {
        let left = text::duration(since(now, not_after));
        findings.push(
            Finding::warning("expires-soon", format!("it expires in {left}"))
                .of(index)
                .cause("less than 20 % of its life is left")
                .hint("renew it now, and look at what should have"),
        );
    }
}

fn strength(certificate: &Facts, index: usize, is_ca_file: bool, findings: &mut Vec<Finding>) {
    if let Some(bits) = certificate.key.bits
        && certificate.key.algorithm == "RSA"
        && bits < MIN_RSA_BITS
    {
        findings.push(
            Finding::error("weak-rsa", format!("its RSA key has {bits} bits"))
                .of(index)
                .cause(format!("peers refuse less than {MIN_RSA_BITS}"))
                .hint("issue it again with an ECDSA P-256 key"),
        );
    }
    // Nobody verifies the signature of a root that they hold.
    let is_verified = !(certificate.is_self_issued() && (is_ca_file || index > 0));
    let signature = certificate.signature_algorithm.to_ascii_lowercase();
    let broken = ["sha1", "sha-1", "md5", "md2"].iter().find(|name| signature.contains(*name));
    if let Some(hash) = broken
        && is_verified
    {
        let code = if hash.starts_with("md") { "md5-signature" } else { "sha1-signature" };
        findings.push(
            Finding::error(code, "its signature uses a broken hash")
                .of(index)
                .cause(format!("it is signed with {}", certificate.signature_algorithm))
                .hint("have it issued again with SHA-256"),
        );
    }
}

fn since(earlier: SystemTime, later: SystemTime) -> Duration {
    later.duration_since(earlier).unwrap_or_default()
}

#[cfg(test)]
mod tests;
