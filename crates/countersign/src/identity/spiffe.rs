use std::fmt;

/// A SPIFFE ID, `spiffe://trust-domain/path`, read by the letter of the standard.
///
/// At most 2,048 bytes; the trust domain is lower-case letters, digits, `.`, `-`, `_`, at most
/// 255; the path has no empty, `.` or `..` segment, no trailing slash, and no port, user, query,
/// fragment or percent escape anywhere (SPIFFE-ID §2). An ID without a path names a trust
/// domain and not a workload; [`SpiffeId::is_workload`] tells.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpiffeId {
    text: String,
    trust_domain_end: usize,
}

impl SpiffeId {
    const SCHEME: &'static str = "spiffe://";

    /// Reads an ID.
    ///
    /// # Errors
    ///
    /// [`InvalidSpiffeId`] says which rule it breaks.
    pub fn parse(text: &str) -> Result<Self, InvalidSpiffeId> {
        if text.len() > 2048 {
            return Err(InvalidSpiffeId("longer than 2048 bytes"));
        }
        let rest = text.strip_prefix(Self::SCHEME).ok_or(InvalidSpiffeId("not spiffe://"))?;
        let (domain, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        if domain.is_empty() || domain.len() > 255 {
            return Err(InvalidSpiffeId("the trust domain has 1 to 255 bytes"));
        }
        if !domain.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_')) {
            return Err(InvalidSpiffeId(
                "the trust domain is lower-case letters, digits, '.', '-' and '_'",
            ));
        }
        if !path.is_empty() {
            for segment in path[1..].split('/') {
                if segment.is_empty() {
                    return Err(InvalidSpiffeId("the path has an empty segment"));
                }
                if segment == "." || segment == ".." {
                    return Err(InvalidSpiffeId("the path has a dot segment"));
                }
                if !segment
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
                {
                    return Err(InvalidSpiffeId(
                        "the path is letters, digits, '.', '-' and '_' between slashes",
                    ));
                }
            }
        }
        Ok(Self { text: text.to_owned(), trust_domain_end: Self::SCHEME.len() + domain.len() })
    }

    /// The trust domain, for instance `prod.example`.
    pub fn trust_domain(&self) -> &str {
        &self.text[Self::SCHEME.len()..self.trust_domain_end]
    }

    /// The path with its leading slash; empty for a trust domain's own ID.
    pub fn path(&self) -> &str {
        &self.text[self.trust_domain_end..]
    }

    /// Whether it names a workload and not a whole trust domain.
    pub fn is_workload(&self) -> bool {
        !self.path().is_empty()
    }

    /// The ID's text.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

/// Why a text is not a SPIFFE ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a SPIFFE ID: {0}")]
pub struct InvalidSpiffeId(&'static str);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_id_is_split_into_trust_domain_and_path() {
        let id = SpiffeId::parse("spiffe://foo.bar.com/workload/wl1").expect("valid (SP-02)");
        assert_eq!((id.trust_domain(), id.path()), ("foo.bar.com", "/workload/wl1"));
        assert!(id.is_workload());
    }

    #[test]
    fn a_bare_trust_domain_is_an_id_but_no_workload() {
        let id = SpiffeId::parse("spiffe://foo.bar.com").expect("valid");
        assert!(!id.is_workload());
    }

    #[test]
    fn what_breaks_a_rule_is_refused() {
        let long = format!("spiffe://a/{}", "p".repeat(2050));
        let host = format!("spiffe://{}/p", "h".repeat(256));
        for (name, text) in [
            ("other scheme", "https://foo.bar.com/p"),
            ("upper-case scheme", "SPIFFE://foo/p"),
            ("empty host (SP-03)", "spiffe:///p"),
            ("too long (SP-04)", long.as_str()),
            ("host too long (SP-04)", host.as_str()),
            ("port (SP-07)", "spiffe://foo:80/p"),
            ("user", "spiffe://u@foo/p"),
            ("query (SP-07)", "spiffe://foo/p?q"),
            ("fragment (SP-07)", "spiffe://foo/p#f"),
            ("empty segment (SP-07)", "spiffe://foo//p"),
            ("dot-dot (SP-07)", "spiffe://foo/a/.."),
            ("dot", "spiffe://foo/./a"),
            ("trailing slash (SP-07)", "spiffe://foo/a/"),
            ("upper-case domain (SP-07)", "spiffe://Foo/a"),
            ("percent escape", "spiffe://foo/%41"),
            ("not ASCII", "spiffe://foo/é"),
        ] {
            assert!(SpiffeId::parse(text).is_err(), "{name}");
        }
    }
}
