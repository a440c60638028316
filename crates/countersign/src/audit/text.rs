//! Text that somebody else chose.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

/// Such text, no longer than a record has room for. What is short costs no allocation.
#[derive(Clone)]
pub(crate) struct Text(Kept);

#[derive(Clone)]
enum Kept {
    Short { length: u8, bytes: [u8; Text::SHORT] },
    Long(Box<str>),
}

impl Text {
    /// What fits without an allocation, in bytes: most methods, and every UUID.
    const SHORT: usize = 62;
    /// What is kept of longer text, in bytes: a little more than is ever written.
    const MOST: usize = (STRANGERS * 4) + 4;

    pub(crate) fn new(text: &str) -> Self {
        let mut bytes = [0; Self::SHORT];
        Self(match (bytes.get_mut(..text.len()), u8::try_from(text.len())) {
            (Some(part), Ok(length)) => {
                part.copy_from_slice(text.as_bytes());
                Kept::Short { length, bytes }
            }
            _ => Kept::Long(text[..text.floor_char_boundary_at(Self::MOST)].into()),
        })
    }

    pub(crate) fn as_str(&self) -> &str {
        match &self.0 {
            Kept::Short { length, bytes } => {
                std::str::from_utf8(&bytes[..usize::from(*length)]).expect("it was text")
            }
            Kept::Long(text) => text,
        }
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

/// `str::floor_char_boundary`, which is younger than our oldest compiler.
trait FloorCharBoundary {
    fn floor_char_boundary_at(&self, most: usize) -> usize;
}

impl FloorCharBoundary for str {
    fn floor_char_boundary_at(&self, most: usize) -> usize {
        let end = most.min(self.len());
        (0..=end).rev().find(|&at| self.is_char_boundary(at)).unwrap_or(0)
    }
}

/// The most characters that are written of what a stranger can choose.
pub(super) const STRANGERS: usize = 256;

/// The most characters that are written of names that were proven or come from our own files.
/// Longer ones would not do as names.
pub(super) const NAMES: usize = 2_048;

/// The text as it is written: at most so many characters and an ellipsis, and for each that
/// nobody sees, or that changes how others are seen, its number as `\u{a}`.
pub(crate) fn clean(text: &str, most: usize) -> Cow<'_, str> {
    // What never leaves early is done sixteen bytes at a time.
    let is_plain =
        |text: &str| text.bytes().fold(true, |so_far, byte| so_far & matches!(byte, b' '..=b'~'));
    if text.len() <= most && is_plain(text) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len().min(most * 2));
    for (index, c) in text.chars().enumerate() {
        if index == most {
            out.push('…');
            break;
        }
        match is_hidden(c) {
            // Writing into a `String` cannot fail.
            true => drop(write!(out, "\\u{{{:x}}}", u32::from(c))),
            false => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// Controls, line separators, and what turns the direction of writing or has no width
/// (Unicode's categories Cc, Cf, Zl and Zp, as far as they can mislead a reader).
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_kept_as_it_is_up_to_a_bound() {
        for length in [0, 1, 61, 62, 63, 200, 1_028] {
            let text = "x".repeat(length);
            assert_eq!(Text::new(&text).as_str(), text, "{length}");
        }
        let long = "ü".repeat(50_000);
        let kept = Text::new(&long);
        assert_eq!(kept.as_str().len(), Text::MOST);
        assert!(long.starts_with(kept.as_str()));
    }

    #[test]
    fn what_is_written_is_short_and_has_nothing_in_it_that_nobody_sees() {
        for (name, text, expected) in [
            ("plain", "/a.B/C", "/a.B/C"),
            ("foreign", "grüße 你好", "grüße 你好"),
            ("line feed", "a\nb", "a\\u{a}b"),
            ("escape", "\u{1b}[2J", "\\u{1b}[2J"),
            ("delete", "\u{7f}", "\\u{7f}"),
            ("C1", "\u{9b}31m", "\\u{9b}31m"),
            ("right to left", "\u{202e}nimda", "\\u{202e}nimda"),
            ("line separator", "a\u{2028}b", "a\\u{2028}b"),
            ("no width", "ad\u{200b}min", "ad\\u{200b}min"),
        ] {
            assert_eq!(clean(text, STRANGERS), expected, "{name}");
        }
        for text in ["x".repeat(5_000), "ü".repeat(5_000)] {
            let cut = clean(&text, STRANGERS).into_owned();
            assert_eq!(cut.chars().count(), STRANGERS + 1);
            assert!(cut.ends_with('…'));
        }
    }

    #[test]
    fn what_is_kept_is_enough_for_what_is_written() {
        let long = "😀".repeat(500);
        assert_eq!(clean(Text::new(&long).as_str(), STRANGERS), clean(&long, STRANGERS));
    }
}
