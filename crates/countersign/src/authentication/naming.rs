//! What callers are called whom a token proves.

/// The name of whoever an issuer calls `subject`: a subject means nothing without its issuer
/// (RFC 7519 §4.1.2). The bare subject where the issuer is not known.
pub(crate) fn principal_name(issuer: Option<&str>, subject: &str) -> String {
    match issuer {
        Some(issuer) => format!("{issuer}#{subject}"),
        None => subject.to_owned(),
    }
}
