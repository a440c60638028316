use super::{Authenticator, Evidence, EvidenceKinds, Outcome};
use crate::identity::{PeerCertificate, Principal};

/// Proves callers by the verified client certificate of their connection.
///
/// The principal is named after the first of: SPIFFE ID, URI, DNS name (`dns:`), e-mail address
/// (`email:`), subject (`subject:`, RFC 4514). The prefixes keep a subject from passing for a DNS
/// name. A certificate with a name of an earlier kind is never known by a later one, and of
/// several names of one kind the first counts.
#[derive(Clone, Debug, Default)]
pub struct MutualTls {
    spiffe_only: bool,
}

impl MutualTls {
    /// What rules call it.
    pub const NAME: &'static str = "mutual-tls";

    /// Any verified certificate.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only certificates with a SPIFFE ID; others prove nothing.
    pub fn spiffe_only() -> Self {
        Self { spiffe_only: true }
    }

    fn name_of(&self, certificate: &PeerCertificate) -> Option<String> {
        if let Some(id) = certificate.spiffe_id() {
            return Some(id.as_str().to_owned());
        }
        if self.spiffe_only {
            return None;
        }
        if let Some(uri) = certificate.uris().first() {
            // A `spiffe:` URI that is no SPIFFE ID must not look like one.
            let forged = uri.get(..7).is_some_and(|head| head.eq_ignore_ascii_case("spiffe:"));
            return (!forged).then(|| uri.clone());
        }
        let dns = certificate.dns_names().first().map(|name| format!("dns:{name}"));
        let email = || certificate.emails().first().map(|email| format!("email:{email}"));
        let subject = || match certificate.subject() {
            "" => None,
            subject => Some(format!("subject:{subject}")),
        };
        dns.or_else(email).or_else(subject)
    }
}

impl Authenticator for MutualTls {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn reads(&self) -> EvidenceKinds {
        EvidenceKinds { certificate: true, ..EvidenceKinds::default() }
    }

    fn authenticate_now(&self, evidence: &Evidence<'_>) -> Option<Outcome> {
        let name = evidence.peer().certificate().and_then(|known| self.name_of(known));
        Some(Ok(name.map(|name| evidence.accept(Principal::new(name, Self::NAME)))))
    }
}
