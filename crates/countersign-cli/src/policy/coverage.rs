//! `countersign policy coverage`: what a policy says of every method of an interface.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use countersign::authorization::{MethodAccess, Policy};
use countersign::identity::MethodPath;
use serde_json::json;

use super::{descriptor, load};
use crate::exit;
use crate::output::{Colour, Failure, Output};

/// List the methods of an interface by what a policy says of them
#[derive(Args, Debug)]
pub(super) struct CoverageArgs {
    /// The policy
    #[arg(value_name = "POLICY", default_value = "policy.json")]
    policy: PathBuf,

    /// A descriptor set: `protoc --descriptor_set_out`, `buf build -o`
    #[arg(long, value_name = "FILE")]
    descriptor: PathBuf,

    /// Let a method without a rule decide the exit code: 1 if there is one
    #[arg(long)]
    strict: bool,
}

/// What a policy says of a method, the most open first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Group {
    Public,
    Authenticated,
    Denied,
    NoRule,
}

impl Group {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Authenticated => "authenticated",
            Self::Denied => "denied",
            Self::NoRule => "no rule",
        }
    }
}

/// The group of a method, and the rule that puts it there.
pub(super) fn group(policy: &Policy, method: &str) -> (Group, Option<String>) {
    // A method that has no canonical path cannot be called.
    let Ok(path) = MethodPath::parse(method) else { return (Group::NoRule, None) };
    let (group, rule) = match policy.access(&path) {
        MethodAccess::Public(rule) => (Group::Public, Some(rule)),
        MethodAccess::Authenticated(rule) => (Group::Authenticated, Some(rule)),
        MethodAccess::Denied(rule) => (Group::Denied, Some(rule)),
        MethodAccess::NoRule => (Group::NoRule, None),
    };
    (group, rule.map(|rule| rule.name.to_owned()))
}

pub(super) fn run(args: &CoverageArgs, output: &mut Output) -> Result<u8, Failure> {
    let policy = load::policy(&args.policy)?;
    let mut groups: BTreeMap<Group, Vec<(String, Option<String>)>> = BTreeMap::new();
    for method in descriptor::methods(&args.descriptor)? {
        let (group, rule) = group(&policy, &method);
        groups.entry(group).or_default().push((method, rule));
    }
    let uncovered = groups.contains_key(&Group::NoRule);
    if output.is_json() {
        let methods: Vec<_> = groups
            .iter()
            .flat_map(|(group, methods)| methods.iter().map(move |method| (group, method)))
            .map(
                |(group, (path, rule))| json!({"path": path, "access": group.word(), "rule": rule}),
            )
            .collect();
        output.json(&json!({"policy": policy.name(), "methods": methods}));
    } else {
        for (group, methods) in &groups {
            print(*group, methods, output);
        }
    }
    Ok(if args.strict && uncovered { exit::DENIED } else { exit::OK })
}

fn print(group: Group, methods: &[(String, Option<String>)], output: &mut Output) {
    let count = methods.len();
    // Those that proven callers may call are the normal case, and many.
    if group == Group::Authenticated {
        output.data(format_args!("{:<13} {count:>4}", group.word()));
        return;
    }
    for (index, (path, rule)) in methods.iter().enumerate() {
        let word = if index == 0 { group.word() } else { "" };
        let count = if index == 0 { count.to_string() } else { String::new() };
        let path = path.trim_start_matches('/');
        let told = match (group, rule) {
            (Group::NoRule, _) => output.paint("<- denied at run time", Colour::Yellow),
            (_, Some(rule)) => format!("by {rule}"),
            (_, None) => String::new(),
        };
        output.data(format_args!("{word:<13} {count:>4}   {path}   {told}").to_string().trim_end());
    }
}
