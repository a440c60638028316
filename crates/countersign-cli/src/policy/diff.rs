//! `countersign policy diff`: what changes when one policy takes another's place.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use countersign::authorization::Policy;
use serde_json::{Value, json};

use super::{descriptor, load};
use crate::exit;
use crate::output::{Colour, Failure, Output};

/// Show what changes when one policy takes another's place
///
/// Rules are compared by name, whatever their order and spelling. With a descriptor set, methods
/// that become more open or more closed are listed too. The exit code is 1 if anything changes.
#[derive(Args, Debug)]
pub(super) struct DiffArgs {
    /// The policy as it is
    #[arg(value_name = "OLD")]
    old: PathBuf,

    /// The policy as it will be
    #[arg(value_name = "NEW")]
    new: PathBuf,

    /// A descriptor set: `protoc --descriptor_set_out`, `buf build -o`
    #[arg(long, value_name = "FILE")]
    descriptor: Option<PathBuf>,
}

type Rules = BTreeMap<(&'static str, String), Value>;

pub(super) fn run(args: &DiffArgs, output: &mut Output) -> Result<u8, Failure> {
    let (old_policy, new_policy) = (load::policy(&args.old)?, load::policy(&args.new)?);
    let (old, new) = (written(&args.old)?, written(&args.new)?);
    let (old_rules, new_rules) = (all_rules(&old), all_rules(&new));
    let changes = rules(&old_rules, &new_rules);
    let mut settings = Vec::new();
    for key in ["name", "audit_logging_options", "countersign"] {
        if old.get(key) != new.get(key) {
            settings.push(key);
        }
    }
    let mut methods = Vec::new();
    if let Some(path) = &args.descriptor {
        let described = descriptor::methods(path)?;
        let (old, new) = (old_policy.coverage(&described), new_policy.coverage(&described));
        for (before, after) in old.methods().iter().zip(new.methods()) {
            if before.reach != after.reach {
                methods.push((before.path.clone(), before.reach, after.reach));
            }
        }
    }
    if output.is_json() {
        let rules: Vec<_> = changes
            .iter()
            .map(|(change, list, name)| json!({"change": change, "list": list, "name": name}))
            .collect();
        let methods: Vec<_> = methods
            .iter()
            .map(|(path, before, after)| {
                json!({"path": path, "before": before.as_str(), "after": after.as_str(),
                       "opens": after < before})
            })
            .collect();
        output.json(&json!({"rules": rules, "settings": settings, "methods": methods}));
    } else {
        for (change, list, name) in &changes {
            let (sign, colour) = match *change {
                "added" => ("+", Colour::Green),
                "removed" => ("-", Colour::Red),
                _ => ("~", Colour::Yellow),
            };
            let list = list.trim_end_matches("_rules");
            let line = output.paint(&format!("{sign} {list:<5} {name}"), colour);
            output.data(line);
        }
        for key in &settings {
            output.data(format_args!("~ {key}"));
        }
        for (path, before, after) in &methods {
            let more = if after < before { "   <- opens" } else { "" };
            let path = path.trim_start_matches('/');
            output.data(format_args!("{path}   {} -> {}{more}", before.as_str(), after.as_str()));
        }
    }
    let same = changes.is_empty() && settings.is_empty() && methods.is_empty();
    Ok(if same { exit::OK } else { exit::DENIED })
}

/// The file as it is written; it is known to be a policy.
fn written(path: &Path) -> Result<Value, Failure> {
    let cannot = |error: &dyn std::error::Error| {
        Failure::config(format!("cannot read `{}`", path.display())).because(error)
    };
    let text = load::text(path)?;
    let json = Policy::text_in_json(path, &text).map_err(|error| cannot(&error))?;
    serde_json::from_str(&json).map_err(|error| cannot(&error))
}

fn all_rules(policy: &Value) -> Rules {
    let mut all = Rules::new();
    for list in ["deny_rules", "allow_rules"] {
        for rule in policy[list].as_array().into_iter().flatten() {
            let name = rule["name"].as_str().unwrap_or_default().to_owned();
            all.insert((list, name), rule.clone());
        }
    }
    all
}

fn rules<'a>(old: &'a Rules, new: &'a Rules) -> Vec<(&'static str, &'static str, &'a str)> {
    let mut changes = Vec::new();
    for ((list, name), rule) in old {
        match new.get(&(*list, name.clone())) {
            None => changes.push(("removed", *list, name.as_str())),
            Some(other) if other != rule => changes.push(("changed", *list, name.as_str())),
            Some(_) => {}
        }
    }
    for key @ (list, name) in new.keys() {
        if !old.contains_key(key) {
            changes.push(("added", *list, name.as_str()));
        }
    }
    changes
}
