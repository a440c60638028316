use std::fmt;

/// How well a connection protects what is sent over it (gRFC L62).
///
/// The levels are ordered. A transport that does not say counts as [`NoSecurity`], which is also
/// the default: there is no "unknown" that passes a check.
///
/// [`NoSecurity`]: SecurityLevel::NoSecurity
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum SecurityLevel {
    /// Anyone on the way can read and change it: plaintext, TCP loopback included.
    #[default]
    NoSecurity,
    /// Changes are detected, contents are readable.
    IntegrityOnly,
    /// Encrypted and authenticated: TLS, or a Unix socket, which never leaves the kernel.
    PrivacyAndIntegrity,
}

impl fmt::Display for SecurityLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSecurity => "NoSecurity",
            Self::IntegrityOnly => "IntegrityOnly",
            Self::PrivacyAndIntegrity => "PrivacyAndIntegrity",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_ordered_and_unknown_is_the_least() {
        assert!(SecurityLevel::NoSecurity < SecurityLevel::IntegrityOnly);
        assert!(SecurityLevel::IntegrityOnly < SecurityLevel::PrivacyAndIntegrity);
        assert_eq!(SecurityLevel::default(), SecurityLevel::NoSecurity);
    }
}
