//! Policies that are wrong, each in one of many ways.

use crate::generate::odd_key;
use crate::random::Random;
use crate::written::Written;

/// The text of a policy, broken somewhere or not at all.
pub(crate) fn text(random: &mut Random, mut policy: Written, broken: bool) -> String {
    if broken {
        for _ in 0..1 + random.below(2) {
            part(random, &mut policy);
        }
    }
    let airy = random.once_in(4);
    let mut text = String::new();
    policy.write(random, airy, &mut text);
    if broken && random.once_in(6) {
        letter(random, &mut text);
    }
    if (broken && random.once_in(8)) || random.once_in(100) {
        text.push_str(random.pick(&[" ", "\n", "{}", " x", ",", "]", "\0", "null", "\u{feff}"]));
    }
    if broken && random.once_in(40) {
        let at = random.below(2) * text.len();
        text.insert_str(at, random.pick(&["\u{feff}", "\u{a0}", "//\n", " "]));
    }
    text
}

type Change = fn(&mut Random, &mut Written) -> Option<()>;

const CHANGES: [Change; 14] = [
    twin_rule,
    twin_rule,
    repeated_member,
    renamed_member,
    renamed_member,
    unknown_member,
    removed_member,
    other_value,
    other_value,
    odd_header,
    odd_header,
    odd_string,
    deep_config,
    own_key,
];

fn part(random: &mut Random, policy: &mut Written) {
    let change = CHANGES[random.below(CHANGES.len())];
    // A change that finds nothing to change is none, and there are enough others.
    let _ = change(random, policy);
}

/// Two rules of one name, in one list or in both.
fn twin_rule(random: &mut Random, policy: &mut Written) -> Option<()> {
    let from = random.pick(&["allow_rules", "deny_rules"]);
    let Written::List(rules) = policy.member(from)? else { return None };
    let mut twin = random.choose(rules)?.clone();
    if random.once_in(2) {
        let other = random.choose(rules)?.clone();
        let name = match &mut twin {
            Written::Object(members) => members.first()?.1.clone(),
            _ => return None,
        };
        twin = other;
        *twin.member("name")? = name;
    }
    let to = if random.below(4) > 0 { from } else { "allow_rules" };
    let Written::List(rules) = policy.member(to)? else { return None };
    let at = random.below(rules.len() + 1);
    rules.insert(at, twin);
    Some(())
}

fn repeated_member(random: &mut Random, policy: &mut Written) -> Option<()> {
    let members = policy.members(random)?;
    let (name, mut value) = random.choose(members)?.clone();
    if random.once_in(2) {
        value = random_value(random);
    }
    let at = random.below(members.len() + 1);
    members.insert(at, (name, value));
    Some(())
}

fn renamed_member(random: &mut Random, policy: &mut Written) -> Option<()> {
    let members = policy.members(random)?;
    let at = random.below(members.len());
    let name = &mut members[at].0;
    *name = match random.below(6) {
        0 => name.to_uppercase(),
        1 => name.replace('s', "ſ").replace('k', "\u{212a}"),
        2 => name.replace('_', ""),
        3 => name.replace('_', "-"),
        4 => format!("{name} "),
        _ => {
            let at = random.cut(name).min(name.len().saturating_sub(1));
            let (before, after) = name.split_at_checked(at)?;
            let mut letters = after.chars();
            let first = letters.next()?.to_uppercase();
            format!("{before}{first}{}", letters.as_str())
        }
    };
    Some(())
}

fn unknown_member(random: &mut Random, policy: &mut Written) -> Option<()> {
    let value = random_value(random);
    let members = policy.members(random)?;
    let name = random.pick(&["unknown", "", "comment", "//", "not", "principal", "path", "rules"]);
    members.push((name.to_owned(), value));
    Some(())
}

fn removed_member(random: &mut Random, policy: &mut Written) -> Option<()> {
    let members = policy.members(random)?;
    let at = random.below(members.len());
    members.remove(at);
    Some(())
}

fn other_value(random: &mut Random, policy: &mut Written) -> Option<()> {
    let value = random_value(random);
    *policy.any(random, |_| true)? = value;
    Some(())
}

fn random_value(random: &mut Random) -> Written {
    match random.below(9) {
        0..=2 => Written::raw("null"),
        3 => Written::List(Vec::new()),
        4 => Written::object([]),
        5 => Written::raw(random.pick(&["17", "true", "-0", "1e5", "\"\""])),
        6 => Written::text(random.pick(&["", "*", "x", "ON_DENY"])),
        7 => Written::List(vec![Written::raw("null")]),
        _ => Written::List(vec![Written::text("*"), Written::text("")]),
    }
}

fn odd_header(random: &mut Random, policy: &mut Written) -> Option<()> {
    let key = odd_key(random);
    let values = Written::List(match random.below(4) {
        0 => Vec::new(),
        _ => vec![Written::text("*")],
    });
    let odd = Written::object([("key", Written::text(key)), ("values", values)]);
    let is_rule = |one: &Written| {
        matches!(one, Written::Object(members)
            if members.iter().any(|(name, _)| name == "name")
                && !members.iter().any(|(name, _)| name == "allow_rules"))
    };
    let rule = policy.any(random, is_rule)?;
    if rule.member("request").is_none() {
        rule.push("request", Written::object([]));
    }
    let request = rule.member("request")?;
    match request.member("headers") {
        Some(Written::List(headers)) => headers.push(odd),
        Some(_) => return None,
        None => request.push("headers", Written::List(vec![odd])),
    }
    Some(())
}

/// Strings that JSON allows and some readers do not, and the other way round.
fn odd_string(random: &mut Random, policy: &mut Written) -> Option<()> {
    let odd = random.pick(&[
        r#""\ud800""#,
        r#""\udc00x""#,
        r#""\ud83d\ude00""#,
        r#""\uD83D""#,
        r#""\u0000""#,
        "\"\t\"",
        r#""\x41""#,
        r#""\u00e""#,
        r#""\/\b\f\n\r\t""#,
        "'x'",
    ]);
    let text = policy.any(random, |one| matches!(one, Written::Text(_)))?;
    *text = Written::raw(odd);
    Some(())
}

/// Deeper than anything has to be, in the one place where anything may stand.
fn deep_config(random: &mut Random, policy: &mut Written) -> Option<()> {
    let depth = 55 + random.below(20);
    let config = format!(r#"{{"a":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
    let name = ("name", Written::text("stdout_logger"));
    let logger = Written::object([name, ("config", Written::Raw(config))]);
    let audit = Written::object([("audit_loggers", Written::List(vec![logger]))]);
    match policy.member("audit_logging_options") {
        Some(found) => *found = audit,
        None => policy.push("audit_logging_options", audit),
    }
    Some(())
}

/// What only we know.
fn own_key(random: &mut Random, policy: &mut Written) -> Option<()> {
    let own = |text: &str| Written::raw(text);
    match random.below(4) {
        0 => policy.push("countersign", own("{}")),
        1 => policy.push("countersign", own(r#"{"certificate_names":"strictest"}"#)),
        2 => {
            let source = policy.any(random, |one| {
                matches!(one, Written::Object(members)
                    if members.iter().any(|(name, _)| name == "principals"))
            })?;
            source.push("countersign", own(r#"{"require":["certificate"]}"#));
        }
        _ => {
            policy.members(random)?.push(("countersign".to_owned(), own("{}")));
        }
    }
    Some(())
}

/// A letter more or less somewhere, or the end of it.
fn letter(random: &mut Random, text: &mut String) {
    let at = random.cut(text);
    match random.below(3) {
        0 => text.truncate(at),
        1 if at < text.len() => drop(text.remove(at)),
        _ => {
            text.insert_str(at, random.pick(&["{", "}", "[", "]", "\"", ",", ":", "\\", "x", "0"]))
        }
    }
}
