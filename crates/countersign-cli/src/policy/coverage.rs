//! `countersign policy coverage`: what a policy says of every method of an interface.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use countersign::authorization::{MethodCoverage, Reach};
use serde_json::json;

use super::{descriptor, load, reflect};
use crate::exit;
use crate::output::{Colour, Failure, Output};

/// List the methods of an interface by what a policy says of them
#[derive(Args, Debug)]
pub(super) struct CoverageArgs {
    /// The policy
    #[arg(value_name = "POLICY", default_value = "policy.json")]
    policy: PathBuf,

    /// A descriptor set: `protoc --descriptor_set_out`, `buf build -o`
    #[arg(long, value_name = "FILE", required_unless_present = "reflect")]
    descriptor: Option<PathBuf>,

    #[command(flatten)]
    server: reflect::ServerArgs,

    #[command(flatten)]
    annotations: load::AnnotationArgs,

    /// Let a method without a rule decide the exit code: 1 if there is one
    #[arg(long)]
    strict: bool,
}

pub(super) fn run(args: &CoverageArgs, output: &mut Output) -> Result<u8, Failure> {
    let policy = load::policy_with(&args.policy, &args.annotations.options()?)?;
    let methods = match &args.descriptor {
        Some(path) => descriptor::methods(path)?,
        None => reflect::methods(&args.server)?,
    };
    let coverage = policy.coverage(&methods);
    let mut groups: BTreeMap<Reach, Vec<&MethodCoverage>> = BTreeMap::new();
    for method in coverage.methods() {
        groups.entry(method.reach).or_default().push(method);
    }
    let uncovered = groups.contains_key(&Reach::NoRule);
    if output.is_json() {
        let methods: Vec<_> = groups
            .values()
            .flatten()
            .map(|one| json!({"path": one.path, "access": one.reach.as_str(), "rule": one.rule}))
            .collect();
        output.json(&json!({"policy": policy.name(), "methods": methods}));
    } else {
        for (reach, methods) in &groups {
            print(*reach, methods, output);
        }
    }
    Ok(if args.strict && uncovered { exit::DENIED } else { exit::OK })
}

fn print(reach: Reach, methods: &[&MethodCoverage], output: &mut Output) {
    let count = methods.len();
    // Those that proven callers may call are the normal case, and many.
    if reach == Reach::Authenticated {
        output.data(format_args!("{:<13} {count:>4}", reach.as_str()));
        return;
    }
    for (index, one) in methods.iter().enumerate() {
        let word = if index == 0 { reach.as_str() } else { "" };
        let count = if index == 0 { count.to_string() } else { String::new() };
        let path = one.path.trim_start_matches('/');
        let told = match (reach, &one.rule) {
            (Reach::NoRule, _) => output.paint("<- denied at run time", Colour::Yellow),
            (_, Some(rule)) => format!("by {rule}"),
            (_, None) => String::new(),
        };
        output.data(format_args!("{word:<13} {count:>4}   {path}   {told}").to_string().trim_end());
    }
}
