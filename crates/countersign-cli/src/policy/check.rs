//! `countersign policy check`: whether files are policies, and what in them is hardly meant.

use std::path::{Path, PathBuf};

use clap::Args;
use countersign::authorization::{Effect, Policy, PolicyLint};
use serde_json::{Value, json};

use super::load;
use crate::exit;
use crate::output::{Failure, Output};

/// Check that files are policies, and look for what is hardly meant
#[derive(Args, Debug)]
pub(super) struct CheckArgs {
    /// Policies in JSON (gRFC A43), TOML (.toml) or YAML (.yaml, .yml)
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// Let warnings decide the exit code too: 1 if there are any
    #[arg(long)]
    strict: bool,

    #[command(flatten)]
    annotations: load::AnnotationArgs,
}

pub(super) fn run(args: &CheckArgs, output: &mut Output) -> Result<u8, Failure> {
    let options = args.annotations.options()?;
    let mut files = Vec::new();
    let mut code = exit::OK;
    for path in &args.files {
        let text = load::text(path)?;
        match Policy::from_text(path, &text, &options) {
            Ok(policy) => {
                let lints = policy.lint();
                if args.strict && !lints.is_empty() {
                    code = exit::DENIED;
                }
                files.push(valid(path, &policy, &lints, output));
            }
            Err(error) => {
                code = exit::DENIED;
                let message = format!("`{}` is not a policy", path.display());
                let cause = load::snippet(path, &text, &error);
                output.finding("error", true, &message, Some(&cause), error.hint());
                files.push(json!({
                    "path": path.display().to_string(), "valid": false,
                    "error": {"message": error.message(), "line": error.line(),
                              "column": error.column(), "hint": error.hint()},
                }));
            }
        }
    }
    if output.is_json() {
        output.json(&json!({ "files": files }));
    }
    Ok(code)
}

fn valid(path: &Path, policy: &Policy, lints: &[PolicyLint], output: &mut Output) -> Value {
    let denying = policy.rules().filter(|rule| rule.effect == Effect::Deny).count();
    let allowing = policy.rules().count() - denying;
    let path = path.display().to_string();
    if !output.is_json() {
        let name = policy.name();
        output.data(format_args!("ok  {path}  {name:?}  {allowing} allow, {denying} deny"));
    }
    for lint in lints {
        let label = format!("warning[{}]", lint.code);
        let place = format!("{path}:{}:{}", lint.line, lint.column);
        output.finding(&label, false, &lint.message, Some(&place), Some(lint.hint));
    }
    let warnings: Vec<_> = lints
        .iter()
        .map(|lint| {
            json!({"code": lint.code, "message": lint.message, "line": lint.line,
                   "column": lint.column, "hint": lint.hint})
        })
        .collect();
    json!({"path": path, "valid": true, "name": policy.name(), "allow_rules": allowing,
           "deny_rules": denying, "warnings": warnings})
}
