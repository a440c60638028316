use std::borrow::Cow;
use std::collections::HashSet;

/// What one text of a policy matches (gRFC A43).
///
/// A star is special as the last character, else as the first, and a letter like any other
/// everywhere else; of a text with both, grpc-go takes the last, and so do we.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Pattern<'a> {
    /// `*`: anything that is not empty.
    Present,
    /// `abc*`
    Prefix(&'a str),
    /// `*abc`
    Suffix(&'a str),
    /// Anything else, the empty text too.
    Exact(&'a str),
}

impl<'a> Pattern<'a> {
    pub(super) fn parse(text: &'a str) -> Self {
        if text == "*" {
            Self::Present
        } else if let Some(prefix) = text.strip_suffix('*') {
            Self::Prefix(prefix)
        } else if let Some(suffix) = text.strip_prefix('*') {
            Self::Suffix(suffix)
        } else {
            Self::Exact(text)
        }
    }

    /// What is compared letter by letter.
    pub(super) fn literal(&self) -> &'a str {
        match self {
            Self::Present => "",
            Self::Prefix(text) | Self::Suffix(text) | Self::Exact(text) => text,
        }
    }
}

/// The texts of one list, one of which has to match.
#[derive(Clone, Debug, Default)]
pub(super) struct TextSet {
    exact: HashSet<Box<[u8]>>,
    prefixes: Vec<Box<[u8]>>,
    suffixes: Vec<Box<[u8]>>,
    present: bool,
    /// As they were written, for explanations.
    written: Vec<String>,
}

impl TextSet {
    pub(super) fn new(texts: &[String]) -> Self {
        let mut set = Self { written: texts.to_vec(), ..Self::default() };
        for text in texts {
            match Pattern::parse(text) {
                Pattern::Present => set.present = true,
                Pattern::Prefix(prefix) => set.prefixes.push(prefix.as_bytes().into()),
                Pattern::Suffix(suffix) => set.suffixes.push(suffix.as_bytes().into()),
                Pattern::Exact(exact) => drop(set.exact.insert(exact.as_bytes().into())),
            }
        }
        set
    }

    pub(super) fn matches(&self, text: impl AsRef<[u8]>) -> bool {
        let text = text.as_ref();
        (self.present && !text.is_empty())
            || self.exact.contains(text)
            || self.prefixes.iter().any(|prefix| text.starts_with(prefix))
            || self.suffixes.iter().any(|suffix| text.ends_with(suffix))
    }

    /// Whether anything that is not empty matches, by a star alone.
    pub(super) fn matches_anything(&self) -> bool {
        self.present
    }

    /// The texts, as they were written.
    pub(super) fn written(&self) -> &[String] {
        &self.written
    }

    /// The first text that matches none of these.
    pub(super) fn matching_none_of(&self, known: &[impl AsRef<str>]) -> Option<&str> {
        let matches = |text: &String| {
            let one = Self::new(std::slice::from_ref(text));
            known.iter().any(|known| one.matches(known.as_ref()))
        };
        self.written.iter().find(|text| !matches(text)).map(String::as_str)
    }

    /// How many bytes of a text stand in one of these too, at most, from its beginning on.
    pub(super) fn in_common(&self, text: &str) -> usize {
        let common = |written: &String| {
            let literal = Pattern::parse(written).literal().bytes();
            literal.zip(text.bytes()).take_while(|(a, b)| a == b).count()
        };
        self.written.iter().map(common).max().unwrap_or(0)
    }

    /// The texts, at most four of them.
    pub(super) fn describe(&self) -> String {
        let mut shown: Vec<Cow<'_, str>> =
            self.written.iter().take(4).map(|text| format!("{text:?}").into()).collect();
        if self.written.len() > 4 {
            shown.push(format!("{} more", self.written.len() - 4).into());
        }
        match shown.as_slice() {
            [one] => one.to_string(),
            _ => format!("one of {}", shown.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_are_read_as_grpc_go_reads_them() {
        for (text, pattern) in [
            ("spiffe://foo.abc", Pattern::Exact("spiffe://foo.abc")),
            ("spiffe://bar*", Pattern::Prefix("spiffe://bar")),
            ("*baz", Pattern::Suffix("baz")),
            ("spiffe://abc.*.com", Pattern::Exact("spiffe://abc.*.com")),
            ("*", Pattern::Present),
            ("", Pattern::Exact("")),
            ("**", Pattern::Prefix("*")),
            ("*a*", Pattern::Prefix("*a")),
        ] {
            assert_eq!(Pattern::parse(text), pattern, "{text:?} (AP-18)");
        }
    }

    #[test]
    fn a_text_matches_what_it_says() {
        for (pattern, text, matches) in [
            ("abc", "abc", true),
            ("abc", "abcd", false),
            ("abc*", "abc", true),
            ("abc*", "abcd", true),
            ("abc*", "xabc", false),
            ("*abc", "abc", true),
            ("*abc", "xabc", true),
            ("*abc", "abcd", false),
            ("*", "a", true),
            ("*", "", false),
            ("", "", true),
            ("", "a", false),
            ("a.c", "abc", false),
        ] {
            let set = TextSet::new(&[pattern.to_owned()]);
            assert_eq!(set.matches(text), matches, "{pattern:?} {text:?}");
        }
    }
}
