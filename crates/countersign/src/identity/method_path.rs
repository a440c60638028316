use std::fmt;

/// A canonical method path, `/package.Service/Method`.
///
/// There is one spelling of each method, so a rule written for it cannot be passed by another:
/// exactly two segments, neither empty, of ASCII letters, digits, `_`, `.` and `-`. Percent
/// escapes, queries, doubled or missing slashes are refused before any rule is asked
/// (CVE-2026-33186 was a missing slash). At most [`MethodPath::MAX_BYTES`] bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MethodPath<'a> {
    path: &'a str,
    /// Where the second slash stands.
    split: usize,
}

impl<'a> MethodPath<'a> {
    /// The longest path that is looked at, in bytes.
    pub const MAX_BYTES: usize = 1024;

    /// Reads a `:path`.
    ///
    /// # Errors
    ///
    /// [`NotCanonical`] when it is not the one spelling of a method.
    pub fn parse(path: &'a str) -> Result<Self, NotCanonical> {
        if path.len() > Self::MAX_BYTES {
            return Err(NotCanonical);
        }
        let rest = path.strip_prefix('/').ok_or(NotCanonical)?;
        let (service, method) = rest.split_once('/').ok_or(NotCanonical)?;
        if is_segment(service) && is_segment(method) {
            Ok(Self { path, split: service.len() + 1 })
        } else {
            Err(NotCanonical)
        }
    }

    /// The whole path, `/package.Service/Method`.
    pub fn as_str(&self) -> &'a str {
        self.path
    }

    /// The service with its package, `package.Service`.
    pub fn service(&self) -> &'a str {
        &self.path[1..self.split]
    }

    /// The bare method name.
    pub fn method(&self) -> &'a str {
        &self.path[self.split + 1..]
    }
}

impl fmt::Display for MethodPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.path)
    }
}

/// The path is not `/package.Service/Method` in its one spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed method name")]
pub struct NotCanonical;

fn is_segment(text: &str) -> bool {
    !text.is_empty()
        // `.` and `..` would be folded away by anything that treats the path as a file name.
        && text != "."
        && text != ".."
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canonical_path_is_split_into_service_and_method() {
        let path = MethodPath::parse("/orders.v1.Orders/Get").expect("canonical");
        assert_eq!(path.service(), "orders.v1.Orders");
        assert_eq!(path.method(), "Get");
        assert_eq!(path.as_str(), "/orders.v1.Orders/Get");
    }

    #[test]
    fn every_other_spelling_is_refused() {
        for (name, path) in [
            ("empty", ""),
            ("no leading slash (AZ-25)", "orders.v1.Orders/Get"),
            ("one slash (AZ-26)", "/orders.v1.Orders"),
            ("doubled slash (AZ-26)", "//orders.v1.Orders/Get"),
            ("doubled slash inside", "/orders.v1.Orders//Get"),
            ("trailing slash", "/orders.v1.Orders/Get/"),
            ("empty method", "/orders.v1.Orders/"),
            ("empty service", "//Get"),
            ("percent escape", "/orders.v1.Orders/G%65t"),
            ("query", "/orders.v1.Orders/Get?x=1"),
            ("fragment", "/orders.v1.Orders/Get#x"),
            ("dot segment", "/orders.v1.Orders/.."),
            ("dot service", "/./Get"),
            ("backslash", "/orders.v1.Orders\\Get"),
            ("semicolon", "/orders.v1.Orders/Get;x"),
            ("space", "/orders.v1.Orders/Get "),
            ("asterisk", "*"),
            ("not ASCII", "/orders.v1.Orders/Gët"),
        ] {
            assert_eq!(MethodPath::parse(path), Err(NotCanonical), "{name}");
        }
    }

    #[test]
    fn a_path_over_the_limit_is_refused_and_one_at_the_limit_is_not() {
        let at = format!("/s/{}", "m".repeat(MethodPath::MAX_BYTES - 3));
        assert!(MethodPath::parse(&at).is_ok());
        let over = format!("{at}m");
        assert_eq!(MethodPath::parse(&over), Err(NotCanonical));
    }
}
