//! The loop that every suite shares: no line is left without an answer, and none ends the run.

use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::exit;
use crate::output::Failure;

/// The longest line that is read, in bytes. What is longer is skipped, and answered as an error.
const MAX_LINE_BYTES: usize = 32 << 20;

/// What a suite makes of a line; the error is for a line that cannot be read as a line at all.
pub(super) type Answer<T> = fn(Result<&str, String>) -> T;

/// Answers every line of standard input on standard output.
pub(super) fn answer<T: Serialize>(answer: Answer<T>) -> Result<u8, Failure> {
    let (input, output) = (io::stdin().lock(), io::stdout().lock());
    match each(input, output, MAX_LINE_BYTES, answer) {
        // A reader that has seen enough is no failure.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(exit::OK),
        Err(error) => Err(Failure::config("cannot read or write a line").because(&error)),
        Ok(()) => Ok(exit::OK),
    }
}

fn each<T: Serialize>(
    mut input: impl BufRead,
    mut output: impl Write,
    max_bytes: usize,
    answer: Answer<T>,
) -> io::Result<()> {
    let mut line = Vec::new();
    while let Some(length) = next(&mut input, &mut line, max_bytes)? {
        let text = if length > max_bytes {
            Err(format!("the line has {length} bytes, and may have {max_bytes}"))
        } else {
            std::str::from_utf8(&line).map_err(|error| format!("the line is not UTF-8: {error}"))
        };
        let mut verdict = serde_json::to_vec(&answer(text)).map_err(io::Error::from)?;
        verdict.push(b'\n');
        output.write_all(&verdict)?;
        output.flush()?;
    }
    Ok(())
}

/// Reads a line without its end and gives its length, of which at most `max_bytes` are kept.
/// `None` at the end of the input.
fn next(
    input: &mut impl BufRead,
    line: &mut Vec<u8>,
    max_bytes: usize,
) -> io::Result<Option<usize>> {
    line.clear();
    let mut length = 0;
    let mut begun = false;
    loop {
        let chunk = match input.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            chunk => chunk?,
        };
        if chunk.is_empty() {
            return Ok(begun.then_some(length));
        }
        begun = true;
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let part = &chunk[..end.unwrap_or(chunk.len())];
        line.extend_from_slice(&part[..part.len().min(max_bytes - line.len())]);
        length += part.len();
        let used = part.len() + usize::from(end.is_some());
        input.consume(used);
        if end.is_some() {
            return Ok(Some(length));
        }
    }
}

/// A case's name, whatever it is, exactly as it was written; `null` where there is none.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(transparent)]
pub(super) struct Id(Option<Box<RawValue>>);

impl Serialize for Id {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl Id {
    /// The name of a case that is none otherwise.
    pub(super) fn of(line: &str) -> Self {
        #[derive(Deserialize)]
        struct Named {
            #[serde(default)]
            id: Id,
        }
        serde_json::from_str::<Named>(line).map(|named| named.id).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(input: &[u8], max_bytes: usize) -> Vec<String> {
        let mut output = Vec::new();
        let echo: Answer<String> = |line| line.map_or_else(|error| error, str::to_owned);
        each(input, &mut output, max_bytes, echo).expect("memory can be written");
        let text = String::from_utf8(output).expect("JSON is text");
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn every_line_is_answered_in_order() {
        assert_eq!(answers(b"", 9), [] as [&str; 0]);
        assert_eq!(answers(b"a\n\nb", 9), ["\"a\"", "\"\"", "\"b\""]);
        assert_eq!(answers(b"a\n", 9), ["\"a\""]);
        let long = answers(b"0123456789\nb\n", 9);
        assert_eq!(long, ["\"the line has 10 bytes, and may have 9\"", "\"b\""]);
        assert!(answers(b"\xff\nb\n", 9)[0].contains("not UTF-8"));
    }

    #[test]
    fn a_name_is_given_back_as_it_was_written() {
        for (line, id) in [
            (r#"{"id":"a\u0041","x":1}"#, r#""a\u0041""#),
            (r#"{"id":12345678901234567890123}"#, "12345678901234567890123"),
            (r#"{"id":{"a":[1]}}"#, r#"{"a":[1]}"#),
            (r#"{"x":1}"#, "null"),
            ("nonsense", "null"),
        ] {
            assert_eq!(serde_json::to_string(&Id::of(line)).expect("JSON"), id, "{line}");
        }
    }
}
