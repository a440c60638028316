use countersign::authentication::jwt::TokenError;

/// The checks that a token has to pass, in the order in which they are made: cheap ones first,
/// and the signature after all that needs no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Check {
    Structure,
    Header,
    Issuer,
    Algorithm,
    Type,
    Expiry,
    Begin,
    Audience,
    Claims,
    Key,
    Signature,
    Revocation,
    Binding,
}

impl Check {
    pub(super) const ALL: [Self; 13] = [
        Self::Structure,
        Self::Header,
        Self::Issuer,
        Self::Algorithm,
        Self::Type,
        Self::Expiry,
        Self::Begin,
        Self::Audience,
        Self::Claims,
        Self::Key,
        Self::Signature,
        Self::Revocation,
        Self::Binding,
    ];

    /// Its name, which is API: that of the claim or member, where there is one.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Structure => "structure",
            Self::Header => "header",
            Self::Issuer => "iss",
            Self::Algorithm => "alg",
            Self::Type => "typ",
            Self::Expiry => "exp",
            Self::Begin => "nbf",
            Self::Audience => "aud",
            Self::Claims => "claims",
            Self::Key => "key",
            Self::Signature => "signature",
            Self::Revocation => "revocation",
            Self::Binding => "binding",
        }
    }

    /// The check that said no. Where one error can come of two checks, the earlier one: a check
    /// that is said to have passed has passed.
    pub(super) fn failed(error: &TokenError, trusts_domains: bool) -> Self {
        match error {
            TokenError::Malformed(_) => Self::Structure,
            TokenError::Header(_) => Self::Header,
            TokenError::Issuer { .. } => Self::Issuer,
            TokenError::Algorithm { .. } => Self::Algorithm,
            TokenError::Type { .. } => Self::Type,
            TokenError::Expired { .. } => Self::Expiry,
            TokenError::NotYetValid { .. } | TokenError::Lifetime { .. } => Self::Begin,
            TokenError::Audience { .. } => Self::Audience,
            TokenError::MissingClaim { name } | TokenError::Claim { name, .. } => {
                match name.as_str() {
                    "iss" => Self::Issuer,
                    // A trust domain is found by the subject.
                    "sub" if trusts_domains => Self::Issuer,
                    "exp" => Self::Expiry,
                    "nbf" | "iat" => Self::Begin,
                    "aud" => Self::Audience,
                    "cnf" => Self::Binding,
                    _ => Self::Claims,
                }
            }
            TokenError::Profile { .. } => Self::Claims,
            TokenError::UnknownKey { .. } | TokenError::Unavailable { .. } => Self::Key,
            TokenError::Signature => Self::Signature,
            TokenError::Revoked => Self::Revocation,
            TokenError::ProofRequired(_) | TokenError::ProofInvalid(_) => Self::Binding,
            // What is new may come of any check.
            _ => Self::Structure,
        }
    }

    /// The checks before this one.
    pub(super) fn passed(self) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |check| *check < self)
    }

    /// The checks after this one.
    pub(super) fn not_reached(self) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |check| *check > self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_check_is_before_or_after_another_and_has_a_name_of_its_own() {
        assert!(Check::ALL.is_sorted());
        let names: std::collections::HashSet<_> = Check::ALL.into_iter().map(Check::name).collect();
        assert_eq!(names.len(), Check::ALL.len());
        for check in Check::ALL {
            let others = check.passed().count() + check.not_reached().count();
            assert_eq!(others + 1, Check::ALL.len());
        }
    }

    #[test]
    fn the_subject_is_looked_at_early_where_it_chooses_the_keys() {
        let error = TokenError::MissingClaim { name: "sub".to_owned() };
        assert_eq!(Check::failed(&error, true), Check::Issuer);
        assert_eq!(Check::failed(&error, false), Check::Claims);
    }
}
