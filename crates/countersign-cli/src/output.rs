//! Where words go: data to standard output, everything for people to standard error.

use std::fmt::{self, Display};
use std::io::{self, IsTerminal as _, Write};
use std::process::ExitCode;

use countersign_config::{ConfigError, chain};
use serde::Serialize;

use crate::exit;

/// A reason to stop, with the exit code and the words for it.
///
/// The message is a lower-case clause that names the subject, the cause what is wrong with it,
/// the hint what to try next.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    message: String,
    cause: Option<String>,
    hint: Option<String>,
}

impl Failure {
    pub(crate) fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), cause: None, hint: None }
    }

    /// The command line makes no sense.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(exit::USAGE, message)
    }

    /// A file or setting on this machine cannot be used.
    pub(crate) fn config(message: impl Into<String>) -> Self {
        Self::new(exit::CONFIG, message)
    }

    pub(crate) fn cause(mut self, cause: impl Into<String>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// The whole chain of an error as the cause.
    pub(crate) fn because(self, error: &dyn std::error::Error) -> Self {
        self.cause(chain(error))
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let mut failure = Self::config(error.message());
        failure.cause = error.cause().map(str::to_owned);
        failure.hint = error.to_try().map(str::to_owned);
        failure
    }
}

/// Standard output and standard error, and in which form to use them.
///
/// With JSON, standard output gets exactly one object, on failure too: `{"error": {…}}`.
/// People read standard error either way.
pub(crate) struct Output {
    data: Box<dyn Write>,
    people: Box<dyn Write>,
    colour: bool,
    data_colour: bool,
    json: bool,
    broken: Option<io::Error>,
}

impl Output {
    /// The process's own streams. Colour only where a terminal shows it and `NO_COLOR` is unset.
    #[expect(clippy::disallowed_methods, reason = "the program reads its environment")]
    pub(crate) fn standard() -> Self {
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            data: Box::new(io::stdout()),
            people: Box::new(io::stderr()),
            colour: io::stderr().is_terminal() && !no_colour,
            data_colour: io::stdout().is_terminal() && !no_colour,
            json: false,
            broken: None,
        }
    }

    /// Chooses between lines for people and one JSON object.
    pub(crate) fn set_json(&mut self, json: bool) {
        self.json = json;
    }

    /// Whether standard output gets JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// A line of data.
    pub(crate) fn data(&mut self, line: impl Display) {
        let written = writeln!(self.data, "{line}");
        self.remember(written);
    }

    /// Text for a line of data, coloured where a terminal shows it.
    pub(crate) fn paint(&self, text: &str, colour: Colour) -> String {
        Painted { text, colour: self.data_colour.then_some(colour) }.to_string()
    }

    /// The one JSON object.
    pub(crate) fn json(&mut self, value: &impl Serialize) {
        let written = serde_json::to_writer_pretty(&mut self.data, value)
            .map_err(io::Error::from)
            .and_then(|()| writeln!(self.data));
        self.remember(written);
    }

    /// A line for people, as it is.
    pub(crate) fn say(&mut self, line: impl Display) {
        // Who closed standard error wants no words.
        let _ = writeln!(self.people, "{line}");
    }

    /// Something worth knowing.
    pub(crate) fn note(&mut self, message: impl Display) {
        self.labelled("note", Colour::Cyan, message, None, None);
    }

    /// Something that will hurt later.
    pub(crate) fn warning(&mut self, message: impl Display, hint: Option<&str>) {
        self.labelled("warning", Colour::Yellow, message, None, hint);
    }

    /// Something found by a check, under a name such as `warning[no-san]`.
    pub(crate) fn finding(
        &mut self,
        label: &str,
        is_error: bool,
        message: &str,
        cause: Option<&str>,
        hint: Option<&str>,
    ) {
        let colour = if is_error { Colour::Red } else { Colour::Yellow };
        self.labelled(label, colour, message, cause, hint);
    }

    /// The reason to stop.
    pub(crate) fn failure(&mut self, failure: &Failure) {
        let (cause, hint) = (failure.cause.as_deref(), failure.hint.as_deref());
        self.labelled("error", Colour::Red, &failure.message, cause, hint);
        if self.json {
            self.json(&serde_json::json!({ "error": {
                "exit_code": failure.code,
                "message": failure.message,
                "cause": failure.cause,
                "hint": failure.hint,
            }}));
        }
    }

    /// The exit code, unless the data could not be written: then that is the failure. A reader
    /// that has seen enough (`| head`) is not one.
    pub(crate) fn finish(mut self, code: u8) -> ExitCode {
        let flushed = self.data.flush();
        self.remember(flushed);
        match self.broken.take() {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                let failure = Failure::config("cannot write to standard output").because(&error);
                self.json = false;
                self.failure(&failure);
                ExitCode::from(failure.code)
            }
            _ => ExitCode::from(code),
        }
    }

    fn labelled(
        &mut self,
        label: &str,
        colour: Colour,
        message: impl Display,
        cause: Option<&str>,
        hint: Option<&str>,
    ) {
        let label = Painted { text: label, colour: self.colour.then_some(colour) };
        self.say(format_args!("{label}: {message}"));
        if let Some(cause) = cause {
            self.say(format_args!("  cause: {cause}"));
        }
        if let Some(hint) = hint {
            self.say(format_args!("  hint:  {hint}"));
        }
    }

    fn remember(&mut self, written: io::Result<()>) {
        if let Err(error) = written {
            self.broken.get_or_insert(error);
        }
    }
}

#[derive(Clone, Copy)]
pub(crate) enum Colour {
    Red = 31,
    Green = 32,
    Yellow = 33,
    Cyan = 36,
}

struct Painted<'a> {
    text: &'a str,
    colour: Option<Colour>,
}

impl Display for Painted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.colour {
            Some(colour) => write!(f, "\x1b[1;{}m{}\x1b[0m", colour as u8, self.text),
            None => f.write_str(self.text),
        }
    }
}
