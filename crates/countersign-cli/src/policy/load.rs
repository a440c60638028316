//! Policies from files, and where in them something is wrong.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use clap::Args;
use countersign::authorization::{Annotations, InvalidPolicy, Policy, PolicyOptions};

use super::descriptor;
use crate::output::Failure;

/// Reads a text of at most as many bytes as a policy has.
pub(super) fn text(path: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = File::open(path)
        .and_then(|file| file.take(Policy::MAX_BYTES + 1).read_to_string(&mut text))
        .and_then(|_| match u64::try_from(text.len()) {
            Ok(length) if length <= Policy::MAX_BYTES => Ok(()),
            _ => Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is longer than 16 MiB")),
        });
    let cannot = || Failure::config(format!("cannot read `{}`", path.display()));
    read.map(|()| text).map_err(|error| cannot().because(&error))
}

/// Where what a policy says of methods is read from besides the policy.
#[derive(Args, Debug)]
pub(super) struct AnnotationArgs {
    /// A descriptor set whose methods say who may call them, where the policy does not
    #[arg(long, value_name = "FILE")]
    annotations: Option<PathBuf>,
}

impl AnnotationArgs {
    /// How to read policies.
    pub(super) fn options(&self) -> Result<PolicyOptions, Failure> {
        let options = PolicyOptions::new();
        let Some(path) = &self.annotations else { return Ok(options) };
        let annotations = Annotations::from_descriptor_set(&descriptor::bytes(path)?);
        let annotations = annotations.map_err(|error| {
            Failure::config(format!("cannot use the options in `{}`", path.display()))
                .because(&error)
        })?;
        match annotations.is_empty() {
            // A door that was thought to be guarded.
            true => Err(Failure::config(format!("`{}` has no options", path.display()))
                .cause("no method in it has the option countersign.v1.access")),
            false => Ok(options.with_annotations(annotations)),
        }
    }
}

/// Reads a policy that has to be one.
pub(super) fn policy(path: &Path) -> Result<Policy, Failure> {
    policy_with(path, &PolicyOptions::new())
}

/// Reads a policy in another way than the default one.
pub(super) fn policy_with(path: &Path, options: &PolicyOptions) -> Result<Policy, Failure> {
    let text = text(path)?;
    Policy::from_text(path, &text, options).map_err(|error| {
        let failure = Failure::config(format!("`{}` is not a policy", path.display()))
            .cause(snippet(path, &text, &error));
        match error.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    })
}

/// What is wrong, the line in which it is, and a mark below.
pub(super) fn snippet(path: &Path, text: &str, error: &InvalidPolicy) -> String {
    let (number, column) = (error.line().to_string(), error.column());
    let margin = " ".repeat(number.len());
    let (shown, before) = excerpt(text, error.line(), column);
    format!(
        "{}\n  {margin}--> {}:{number}:{column}\n  {margin} |\n  {number} | {shown}\n  {margin} | {}^",
        error.message(),
        path.display(),
        " ".repeat(before),
    )
}

/// The part of a line around a column, and how many characters of it go before. What could
/// steer a terminal is left out.
fn excerpt(text: &str, line: u32, column: u32) -> (String, usize) {
    const WIDTH: usize = 100;
    let index = usize::try_from(line).unwrap_or(1).saturating_sub(1);
    let column = usize::try_from(column).unwrap_or(1).saturating_sub(1);
    let line = text.lines().nth(index).unwrap_or("");
    let start = if column < WIDTH { 0 } else { column - WIDTH / 2 };
    let plain = |c: char| if c.is_control() || !c.is_ascii() { ' ' } else { c };
    (line.chars().skip(start).take(WIDTH).map(plain).collect(), column - start)
}
