//! `countersign conformance`: the engines themselves, for people who bring their own vectors.

mod jwt;

use std::io::{BufRead, Read, Write};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::exit;
use crate::output::Failure;

/// Judge cases of one's own: one JSON case a line in, one JSON verdict a line out
#[derive(Args, Debug)]
pub(crate) struct ConformanceArgs {
    #[command(subcommand)]
    engine: Engine,
}

#[derive(Subcommand, Debug)]
enum Engine {
    /// Verify tokens, metadata values and JWT-SVIDs
    Jwt,
}

/// Reads standard input to its end, whatever is in it.
pub(crate) fn run(args: &ConformanceArgs) -> Result<u8, Failure> {
    let judge = match args.engine {
        Engine::Jwt => jwt::judge,
    };
    let (input, mut output) = (std::io::stdin().lock(), std::io::stdout().lock());
    each_line(input, &mut output, judge).map_err(|error| {
        Failure::config("cannot read the cases or write a verdict").because(&error)
    })?;
    Ok(exit::OK)
}

/// The longest case, in bytes. What is longer gets a verdict too, and is not read into memory.
const MAX_LINE_BYTES: u64 = 16 * 1024 * 1024;

/// One verdict for each line that is not blank, in the same order, at once.
fn each_line(
    mut input: impl BufRead,
    output: &mut impl Write,
    judge: fn(&Value) -> Value,
) -> std::io::Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        if input.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let whole = line.ends_with(b"\n") || (line.len() as u64) < MAX_LINE_BYTES;
        if !whole {
            input.skip_until(b'\n')?;
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let case = match whole {
            true => serde_json::from_slice(&line).unwrap_or(Value::Null),
            false => Value::Null,
        };
        let mut verdict = judge(&case);
        if let Some(members) = verdict.as_object_mut() {
            members.insert("id".to_owned(), case.get("id").cloned().unwrap_or(Value::Null));
        }
        writeln!(output, "{verdict}")?;
        output.flush()?;
    }
}

/// What is wrong with a case, as a verdict's member.
fn error(text: &str) -> Value {
    json!(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_gets_a_verdict_in_its_place() {
        let input = b"{\"id\":1}\n\nnot JSON\n[\xff]\n{\"id\":\"last\"}";
        let mut output = Vec::new();
        each_line(&input[..], &mut output, |case| json!({"seen": case.is_object()}))
            .expect("memory");
        let text = String::from_utf8(output).expect("text");
        let read = |line: &str| serde_json::from_str::<Value>(line).expect("JSON");
        assert_eq!(
            text.lines().map(read).collect::<Vec<_>>(),
            [
                json!({"id": 1, "seen": true}),
                json!({"id": null, "seen": false}),
                json!({"id": null, "seen": false}),
                json!({"id": "last", "seen": true}),
            ]
        );
    }
}
