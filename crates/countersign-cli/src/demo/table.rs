//! The table of attempts, for people.

use super::attempts::Attempt;
use crate::output::{Colour, Output};

/// Prints one block an attempt: what was tried, what came back, and why.
pub(super) fn print(attempts: &[Attempt], output: &mut Output) {
    let width = |of: fn(&Attempt) -> &str| {
        attempts.iter().map(|attempt| of(attempt).chars().count()).max().unwrap_or(0)
    };
    let what_width = width(|attempt| attempt.what);
    let seen_width = width(|attempt| &attempt.seen);
    for (index, attempt) in attempts.iter().enumerate() {
        let (mark, colour) = match attempt.is_as_it_must() {
            true => ("ok  ", Colour::Green),
            false => ("FAIL", Colour::Red),
        };
        let mark = output.paint(mark, colour);
        let number = index + 1;
        output.data(format_args!(
            "{mark} {number:>2}  {:<what_width$}  {:<seen_width$}",
            attempt.what, attempt.seen
        ));
        for line in wrapped(&attempt.why, LINE) {
            output.data(format_args!("         {line}"));
        }
        if !attempt.is_as_it_must() {
            output.data(format_args!("         expected: {}", attempt.expected));
        }
    }
    let good = attempts.iter().filter(|attempt| attempt.is_as_it_must()).count();
    output.data(format_args!("\n{good} of {} attempts came out as they must.", attempts.len()));
}

const LINE: usize = 90;

/// Breaks at spaces; a word that is longer than a line has one of its own.
fn wrapped(text: &str, most: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last_mut().expect("never empty");
        if last.is_empty() {
            last.push_str(word);
        } else if last.chars().count() + 1 + word.chars().count() <= most {
            last.push(' ');
            last.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_sentences_are_broken_at_spaces() {
        assert_eq!(wrapped("aa bb cc", 5), ["aa bb", "cc"]);
        assert_eq!(wrapped("aaaaaaaa b", 5), ["aaaaaaaa", "b"]);
        assert_eq!(wrapped("", 5), [""]);
    }
}
