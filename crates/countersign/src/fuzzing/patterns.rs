use crate::authorization::{RuleSet, Rules};
use crate::identity::MethodPath;

/// The first line is a pattern, the second a path. A rule is found for a path exactly if a plain
/// matcher finds that the pattern matches.
pub fn pattern(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (pattern, path) = text.split_once('\n').unwrap_or((text, "/a.B/C"));
    let Ok(rules) = RuleSet::compile(Rules::new().authenticated(pattern), &[]) else { return };
    let denied = RuleSet::compile(Rules::new().denied(pattern), &[]);
    let denied = denied.expect("a pattern is one whatever the rule asks for");

    let plain = pattern.replace('*', "x");
    let own = MethodPath::parse(if pattern == "*" { "/x/x" } else { &plain });
    let own = own.expect("a pattern with letters for stars is a path");
    assert!(rules.find(&own).is_some(), "a pattern is for some method");

    let Ok(path) = MethodPath::parse(path) else { return };
    let expected = pattern == "*" || matches(pattern.as_bytes(), path.as_str().as_bytes());
    for rules in [rules, denied] {
        assert_eq!(rules.find(&path).is_some(), expected, "{pattern} {path}");
    }
}

/// Which lengths of the text the pattern's beginning can match, star by star: slow and simple.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let mut reached = vec![false; text.len() + 1];
    reached[0] = true;
    for wanted in pattern {
        if *wanted == b'*' {
            for at in 0..text.len() {
                reached[at + 1] |= reached[at] && text[at] != b'/';
            }
        } else {
            for at in (0..text.len()).rev() {
                reached[at + 1] = reached[at] && text[at] == *wanted;
            }
            reached[0] = false;
        }
    }
    reached[text.len()]
}
