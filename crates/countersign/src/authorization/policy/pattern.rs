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

/// The texts of one list, one of which has to match. That takes no longer for ten thousand of
/// them than for ten.
#[derive(Clone, Debug, Default)]
pub(super) struct TextSet {
    exact: Exact,
    /// In order, and none the prefix of another.
    prefixes: Vec<Box<[u8]>>,
    /// In the order of their letters from the last on, and none the suffix of another.
    suffixes: Vec<Box<[u8]>>,
    present: bool,
    /// As they were written, for explanations.
    written: Vec<String>,
}

/// Few texts are sooner compared than hashed.
#[derive(Clone, Debug)]
enum Exact {
    Few(Vec<Box<[u8]>>),
    Many(HashSet<Box<[u8]>>),
}

/// How many are few.
const FEW: usize = 8;

impl Default for Exact {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Exact {
    fn new(texts: Vec<Box<[u8]>>) -> Self {
        match texts.len() {
            0..=FEW => Self::Few(texts),
            _ => Self::Many(texts.into_iter().collect()),
        }
    }

    fn contains(&self, text: &[u8]) -> bool {
        match self {
            Self::Few(few) => few.iter().any(|one| **one == *text),
            Self::Many(many) => many.contains(text),
        }
    }
}

impl TextSet {
    pub(super) fn new(texts: &[String]) -> Self {
        type Texts = Vec<Box<[u8]>>;
        let (mut exact, mut prefixes, mut suffixes): (Texts, Texts, Texts) = Default::default();
        let mut present = false;
        for text in texts {
            match Pattern::parse(text) {
                Pattern::Present => present = true,
                Pattern::Prefix(prefix) => prefixes.push(prefix.as_bytes().into()),
                Pattern::Suffix(suffix) => suffixes.push(suffix.as_bytes().into()),
                Pattern::Exact(text) => exact.push(text.as_bytes().into()),
            }
        }
        // What begins or ends with the one before says nothing new.
        prefixes.sort_unstable();
        prefixes.dedup_by(|next, kept| next.starts_with(kept));
        suffixes.sort_unstable_by(|a, b| a.iter().rev().cmp(b.iter().rev()));
        suffixes.dedup_by(|next, kept| next.ends_with(kept));
        Self { exact: Exact::new(exact), prefixes, suffixes, present, written: texts.to_vec() }
    }

    pub(super) fn matches(&self, text: impl AsRef<[u8]>) -> bool {
        let text = text.as_ref();
        (self.present && !text.is_empty())
            || self.exact.contains(text)
            || self.has_prefix_of(text)
            || self.has_suffix_of(text)
    }

    /// A prefix of a text stands before it in order, and what stands between the two has the same
    /// prefix: so it is the last one before the text, or none is.
    fn has_prefix_of(&self, text: &[u8]) -> bool {
        let end = self.prefixes.partition_point(|prefix| **prefix <= *text);
        self.prefixes[..end].last().is_some_and(|prefix| text.starts_with(prefix))
    }

    fn has_suffix_of(&self, text: &[u8]) -> bool {
        let end = self.suffixes.partition_point(|it| it.iter().rev().le(text.iter().rev()));
        self.suffixes[..end].last().is_some_and(|suffix| text.ends_with(suffix))
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

    /// Each text by itself, compared with what a whole list says.
    #[test]
    fn a_long_list_matches_what_one_of_its_texts_matches() {
        let pieces = ["", "a", "b", "ab", "ba", "aab", "abb", "bab"];
        let texts = |n: usize| {
            let middle = pieces[n % 8].to_owned() + pieces[n / 8 % 8];
            match n / 64 % 3 {
                0 => middle,
                1 => middle + "*",
                _ => "*".to_owned() + &middle,
            }
        };
        let mut seen = [0, 0];
        for start in 0..192 {
            for (step, length) in [(1, 3), (7, 9), (13, 20), (31, 60)] {
                let list: Vec<_> = (0..length).map(|n| texts(start + n * step)).collect();
                let whole = TextSet::new(&list);
                for n in 0..64 {
                    let text = texts(n);
                    let expected = list.iter().any(|one| match Pattern::parse(one) {
                        Pattern::Present => !text.is_empty(),
                        Pattern::Prefix(prefix) => text.starts_with(prefix),
                        Pattern::Suffix(suffix) => text.ends_with(suffix),
                        Pattern::Exact(exact) => text == exact,
                    });
                    assert_eq!(whole.matches(&text), expected, "{list:?} {text:?}");
                    seen[usize::from(expected)] += 1;
                }
            }
        }
        assert!(seen.iter().all(|count| *count > 1_000), "{seen:?}");
    }
}
