use super::{Authenticator, Evidence, EvidenceKinds, Lease, Outcome};
use crate::identity::{PeerCertificate, Principal};

/// Proves callers by the verified client certificate of their connection.
///
/// The principal is named after the first of: SPIFFE ID, URI (`uri:`), DNS name (`dns:`), e-mail
/// address (`email:`), subject (`subject:`, RFC 4514). The prefixes keep names of one kind from
/// passing for another's. A certificate with a name of an earlier kind is never known by a later
/// one, and of several names of one kind the first counts.
///
/// Any CA that the listener trusts for clients may name anyone. Where it trusts CAs of several
/// trust domains, none of them keeps the others from naming its workloads.
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

    /// Named once per connection.
    fn principal(certificate: &PeerCertificate) -> Option<&Principal> {
        let named = || name_of(certificate).map(|name| Principal::new(name, Self::NAME));
        certificate.principal.get_or_init(named).as_ref()
    }
}

fn name_of(certificate: &PeerCertificate) -> Option<String> {
    let first =
        |prefix: &str, names: &[String]| names.first().map(|name| format!("{prefix}:{name}"));
    if let Some(id) = certificate.spiffe_id() {
        return Some(id.as_str().to_owned());
    }
    if let Some(uri) = certificate.uris().first() {
        // A `spiffe:` URI that is no SPIFFE ID must not look like one, prefix or not.
        let forged = uri.get(..7).is_some_and(|head| head.eq_ignore_ascii_case("spiffe:"));
        return (!forged).then(|| format!("uri:{uri}"));
    }
    first("dns", certificate.dns_names()).or_else(|| first("email", certificate.emails())).or_else(
        || match certificate.subject() {
            "" => None,
            subject => Some(format!("subject:{subject}")),
        },
    )
}

impl Authenticator for MutualTls {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn reads(&self) -> EvidenceKinds {
        EvidenceKinds { certificate: true, ..EvidenceKinds::default() }
    }

    fn is_repeatable(&self) -> bool {
        true
    }

    fn authenticate_now(&self, evidence: &Evidence<'_>) -> Option<Outcome> {
        let certificate = evidence.peer().certificate();
        let counts = |known: &&PeerCertificate| !self.spiffe_only || known.spiffe_id().is_some();
        let principal = certificate.filter(counts).and_then(Self::principal);
        Some(Ok(principal
            .map(|principal| evidence.accept(principal.clone()).leased(Lease::unlimited()))))
    }
}
