//! Which methods a rule is for.

use crate::identity::MethodPath;

/// A parsed pattern.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Pattern {
    /// `/package.Service/Method`
    Exact(String),
    /// `/package.Service/*`; the service's name.
    Service(String),
    /// Stars anywhere; a star stands for any characters but a slash. `*` alone is every method.
    Glob { service: String, method: String },
}

/// A pattern that is for no method at all, or not for what it seems to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{pattern:?} is not a method pattern: write /package.Service/Method, /package.Service/*, a glob such as /package.*/Get*, or * for every method"
)]
pub struct InvalidPattern {
    pattern: String,
}

impl Pattern {
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidPattern> {
        if text == "*" {
            return Self::parse("/*/*");
        }
        // With every star a letter it has to be a canonical path: a pattern that no canonical
        // path can match would be a rule that never holds.
        let plain = text.replace('*', "x");
        let path =
            MethodPath::parse(&plain).map_err(|_| InvalidPattern { pattern: text.to_owned() })?;
        let (service, method) = (path.service().len(), path.method().len());
        // Several stars in a row are one.
        let folded = |part: &str| {
            let mut out = String::new();
            for c in part.chars() {
                if c != '*' || !out.ends_with('*') {
                    out.push(c);
                }
            }
            out
        };
        let service = folded(&text[1..=service]);
        let method = folded(&text[text.len() - method..]);
        Ok(match (service.contains('*'), method.contains('*')) {
            (false, false) => Self::Exact(text.to_owned()),
            (false, true) if method == "*" => Self::Service(service),
            _ => Self::Glob { service, method },
        })
    }

    pub(crate) fn matches(&self, path: &MethodPath<'_>) -> bool {
        match self {
            Self::Exact(exact) => exact == path.as_str(),
            Self::Service(service) => service == path.service(),
            Self::Glob { service, method } => {
                glob(service.as_bytes(), path.service().as_bytes())
                    && glob(method.as_bytes(), path.method().as_bytes())
            }
        }
    }

    /// The pattern as it is written.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Exact(text) => text.clone(),
            Self::Service(service) => format!("/{service}/*"),
            Self::Glob { service, method } => format!("/{service}/{method}"),
        }
    }

    /// How many characters are given; the more, the closer a rule is to a method.
    pub(crate) fn literal_length(&self) -> usize {
        match self {
            Self::Exact(text) => text.len(),
            Self::Service(service) => service.len(),
            Self::Glob { service, method } => {
                service.bytes().chain(method.bytes()).filter(|byte| *byte != b'*').count()
            }
        }
    }
}

/// Linear in both for each star: the last star is the only one that is ever gone back to.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if p < pattern.len() && pattern[p] == b'*' {
            star = Some((p, t));
            p += 1;
        } else if p < pattern.len() && pattern[p] == text[t] {
            (p, t) = (p + 1, t + 1);
        } else if let Some((star_p, star_t)) = star {
            star = Some((star_p, star_t + 1));
            (p, t) = (star_p + 1, star_t + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_what_they_say() {
        for (pattern, path, matches) in [
            ("/a.B/C", "/a.B/C", true),
            ("/a.B/C", "/a.B/c", false),
            ("/a.B/*", "/a.B/C", true),
            ("/a.B/*", "/a.Bx/C", false),
            ("/a.*/Get*", "/a.B/GetOne", true),
            ("/a.*/Get*", "/a.B/SetOne", false),
            ("/a.*/Get*", "/ab.B/GetOne", false),
            ("/*.Health/*", "/grpc.health.v1.Health/Check", true),
            ("/a*b*c/M", "/aXbXbXc/M", true),
            ("/a*b*c/M", "/aXbXbX/M", false),
            ("*", "/a.B/C", true),
            ("/*/*", "/a.B/C", true),
        ] {
            let parsed = Pattern::parse(pattern).expect(pattern);
            let path = MethodPath::parse(path).expect(path);
            assert_eq!(parsed.matches(&path), matches, "{pattern} {path}");
        }
    }

    #[test]
    fn a_pattern_that_no_method_can_match_is_refused() {
        for pattern in
            ["", "a.B/C", "/a.B", "//C", "/a.B/C/D", "/a.B/", "/a B/C", "**x", "/**", "/*"]
        {
            assert!(Pattern::parse(pattern).is_err(), "{pattern:?}");
        }
    }
}
