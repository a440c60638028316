//! `countersign policy test`: a policy against a file of calls and what should become of them.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::Args;
use countersign::authorization::Policy;
use serde::Deserialize;
use serde_json::json;

use super::load;
use super::request::Request;
use crate::exit;
use crate::output::{Colour, Failure, Output};

/// Put a file of calls to a policy, and compare what it decides
///
/// The file is JSON or TOML: `policy` names the policy's file, relative to this one, and each of
/// `cases` has a `name`, a `request` as `countersign conformance policy` reads it, `expect` as
/// `allow` or `deny`, and if it matters the `rule` that decides.
#[derive(Args, Debug)]
pub(super) struct TestArgs {
    /// The cases
    #[arg(value_name = "CASES")]
    cases: PathBuf,

    /// Test this policy, whatever the file of cases names
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    policy: Option<PathBuf>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    request: Request,
    expect: Expect,
    rule: Option<String>,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Expect {
    Allow,
    Deny,
}

/// What a policy made of a call.
struct Outcome {
    allowed: bool,
    rule: Option<String>,
    /// Why, in lines for people.
    why: Vec<String>,
}

pub(super) fn run(args: &TestArgs, now: SystemTime, output: &mut Output) -> Result<u8, Failure> {
    let cases = read(&args.cases)?;
    let named = cases.policy.as_deref().map(|policy| beside(&args.cases, policy));
    let path = args.policy.clone().or(named).ok_or_else(|| {
        Failure::usage("there is no policy to test")
            .hint("name it with `--policy`, or as `policy` in the file of cases")
    })?;
    let policy = load::policy(&path)?;
    let mut failed = 0;
    let mut told = Vec::new();
    for case in &cases.cases {
        let outcome = decide(&policy, &path, case, now);
        let allows = case.expect == Expect::Allow;
        let right_rule = case.rule.is_none() || case.rule == outcome.rule;
        let passed = allows == outcome.allowed && right_rule;
        failed += usize::from(!passed);
        if !output.is_json() {
            let word = if passed { "ok  " } else { "FAIL" };
            let colour = if passed { Colour::Green } else { Colour::Red };
            let word = output.paint(word, colour);
            output.data(format_args!("{word}  {}", case.name));
        }
        if !passed {
            report(case, &outcome, output);
        }
        told.push(json!({"name": case.name, "passed": passed,
            "expected": {"decision": word(allows), "rule": case.rule},
            "decided": {"decision": word(outcome.allowed), "rule": outcome.rule}}));
    }
    let passed = cases.cases.len() - failed;
    if output.is_json() {
        output.json(&json!({"policy": path.display().to_string(), "passed": passed,
                            "failed": failed, "cases": told}));
    } else {
        output.say(format_args!("{passed} passed, {failed} failed"));
    }
    Ok(if failed == 0 { exit::OK } else { exit::DENIED })
}

fn read(path: &Path) -> Result<Cases, Failure> {
    let text = load::text(path)?;
    let is_toml = path.extension().is_some_and(|extension| extension == "toml");
    let read = if is_toml {
        toml::from_str(&text).map_err(|error| error.to_string().trim_end().to_owned())
    } else {
        serde_json::from_str(&text).map_err(|error| error.to_string())
    };
    let cannot = || Failure::config(format!("cannot read the cases in `{}`", path.display()));
    let cases: Cases = read.map_err(|error| cannot().cause(error))?;
    match cases.cases.is_empty() {
        // A test of nothing would pass for ever.
        true => Err(cannot().cause("there are none")),
        false => Ok(cases),
    }
}

fn beside(cases: &Path, policy: &Path) -> PathBuf {
    cases.parent().map_or_else(|| policy.to_owned(), |dir| dir.join(policy))
}

fn decide(policy: &Policy, path: &Path, case: &Case, now: SystemTime) -> Outcome {
    let place = |line: u32| format!("{}:{line}", path.display());
    let outcome = case.request.ask(now, |request| {
        let told = policy.explain(request);
        let mut why = Vec::new();
        if let Some(rule) = told.rule {
            why.push(format!("rule  {} ({})", rule.name, place(rule.line)));
        }
        if let Some(near) = &told.nearest {
            why.push(format!(
                "near  {} ({}) wants {}",
                near.rule.name,
                place(near.rule.line),
                near.missing.join("; ")
            ));
        }
        let rule = told.decision.rule().map(|rule| rule.to_string());
        Outcome { allowed: told.decision.is_allowed(), rule, why }
    });
    outcome.unwrap_or_else(|error| Outcome { allowed: false, rule: None, why: vec![error] })
}

fn report(case: &Case, outcome: &Outcome, output: &mut Output) {
    let line = |sign: &str, allowed: bool, rule: Option<&str>, otherwise: &str| {
        format!("  {sign} {:<6} {}", word(allowed), rule.unwrap_or(otherwise))
    };
    let expected = line("-", case.expect == Expect::Allow, case.rule.as_deref(), "by any rule");
    let decided = line("+", outcome.allowed, outcome.rule.as_deref(), "no rule matches");
    output.finding("error", true, &format!("{:?} is decided otherwise", case.name), None, None);
    output.say(format_args!("  --> {}", case.request.path));
    output.say(expected);
    output.say(decided);
    for why in &outcome.why {
        output.say(format_args!("  {why}"));
    }
}

fn word(allowed: bool) -> &'static str {
    if allowed { "allow" } else { "deny" }
}
