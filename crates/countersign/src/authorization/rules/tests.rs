use super::{RuleSet, Rules, RulesError};
use crate::authentication::{Authenticated, CallEvidence, Evidence};
use crate::identity::{MethodPath, PeerIdentity, Principal};

const KNOWN: [&str; 2] = ["mutual-tls", "static-tokens"];

fn proven_by(authenticator: &str) -> Authenticated {
    let peer = PeerIdentity::unknown();
    Evidence::new(&peer, CallEvidence::None).accept(Principal::new("ci", authenticator))
}

fn compiled(rules: Rules) -> RuleSet {
    RuleSet::compile(rules, &KNOWN).expect("valid rules")
}

fn found<'a>(set: &'a RuleSet, path: &str) -> Option<&'a str> {
    set.find(&MethodPath::parse(path).expect("canonical")).map(|rule| &*rule.name)
}

#[test]
fn no_rules_allow_nothing() {
    assert_eq!(found(&compiled(Rules::new()), "/a.B/C"), None);
}

#[test]
fn the_closest_rule_counts_and_a_denial_before_all() {
    let set = compiled(
        Rules::new()
            .authenticated("*")
            .public("/a.*/Get*")
            .optional("/a.B/*")
            .authenticated("/a.B/C")
            .denied("/a.B/Purge*"),
    );
    for (path, rule) in [
        ("/a.B/C", "/a.B/C"),
        ("/a.B/D", "/a.B/*"),
        ("/a.X/GetOne", "/a.*/Get*"),
        ("/z.Z/Z", "*"),
        ("/a.B/PurgeAll", "/a.B/Purge*"),
    ] {
        assert_eq!(found(&set, path), Some(rule), "{path}");
    }
}

#[test]
fn a_narrower_glob_is_not_lost_behind_a_service() {
    let set = compiled(
        Rules::new()
            .public("/a.B/*")
            .authenticated_by("/a.B/Delete*", ["mutual-tls"])
            .public("/a.*/*Delete*"),
    );
    assert_eq!(found(&set, "/a.B/DeleteAll"), Some("/a.B/Delete*"));
    assert_eq!(found(&set, "/a.B/Get"), Some("/a.B/*"));
}

#[test]
fn of_two_rules_as_close_the_stricter_one_counts() {
    for order in [true, false] {
        let (public, strict) = ("/a.*/C", "/*.B/C");
        let rules = match order {
            true => Rules::new().public(public).authenticated(strict),
            false => Rules::new().authenticated(strict).public(public),
        };
        assert_eq!(found(&compiled(rules), "/a.B/C"), Some(strict));
    }
}

#[test]
fn a_rule_by_authenticator_takes_its_callers_and_no_others() {
    let set = compiled(Rules::new().authenticated_by("/a.B/*", ["mutual-tls"]));
    let rule = set.find(&MethodPath::parse("/a.B/C").expect("canonical")).expect("a rule");
    let permit = rule
        .authorize(&[proven_by("static-tokens"), proven_by("mutual-tls")])
        .expect("one of them is");
    let caller = permit.caller().expect("a caller").principal();
    assert_eq!(caller.authenticator(), "mutual-tls");
    rule.authorize(&[proven_by("static-tokens")]).expect_err("none of them is");
    rule.authorize(&[]).expect_err("nobody");
}

fn with_scopes(authenticator: &str, scopes: &str) -> Authenticated {
    let claims = serde_json::Map::from_iter([("scope".to_owned(), scopes.into())]);
    let claims = crate::identity::TokenClaims::from_object(claims);
    let peer = PeerIdentity::unknown();
    Evidence::new(&peer, CallEvidence::None).accept(Principal::with_token(
        "ci",
        authenticator,
        claims,
    ))
}

#[test]
fn a_rule_by_all_takes_callers_that_each_of_them_proved() {
    let set =
        compiled(Rules::new().authenticated_by_all("/a.B/*", ["static-tokens", "mutual-tls"]));
    let rule = set.find(&MethodPath::parse("/a.B/C").expect("canonical")).expect("a rule");
    let (token, certificate) = (proven_by("static-tokens"), proven_by("mutual-tls"));
    for order in [[certificate.clone(), token.clone()], [token.clone(), certificate.clone()]] {
        let permit = rule.authorize(&order).expect("both are there");
        let caller = permit.caller().expect("a caller").principal();
        assert_eq!(caller.authenticator(), "static-tokens", "the first that the rule names");
    }
    let (one, twice) = (vec![token.clone()], vec![token.clone(), token]);
    for callers in [Vec::new(), one, vec![certificate], twice] {
        let denied = rule.authorize(&callers).expect_err("one is missing");
        assert_eq!((denied.rule(), denied.scopes().len()), (Some("/a.B/*"), 0));
    }
}

#[test]
fn a_rule_with_scopes_takes_tokens_that_have_all_of_them() {
    let set = compiled(Rules::new().with_scopes("/a.B/*", ["read", "write"]));
    let rule = set.find(&MethodPath::parse("/a.B/C").expect("canonical")).expect("a rule");
    let certificate = proven_by("mutual-tls");
    for (name, callers, allowed) in [
        ("all", &[with_scopes("jwt", "write read")][..], true),
        ("more", &[with_scopes("jwt", "write admin read")], true),
        ("behind a certificate", &[certificate.clone(), with_scopes("jwt", "read write")], true),
        ("one is missing", &[with_scopes("jwt", "read")], false),
        ("a longer one", &[with_scopes("jwt", "read writer")], false),
        ("none", &[with_scopes("jwt", "")], false),
        ("no token", &[certificate], false),
        (
            "two halves are no whole",
            &[with_scopes("jwt", "read"), with_scopes("other", "write")],
            false,
        ),
        ("nobody", &[], false),
    ] {
        let outcome = rule.authorize(callers);
        assert_eq!(outcome.is_ok(), allowed, "{name}");
        if let Err(denied) = outcome {
            assert_eq!(denied.scopes(), ["read", "write"], "{name}");
        }
    }
}

#[test]
fn public_rules_name_nobody_and_optional_ones_whoever_is_proven() {
    let set = compiled(Rules::new().public("/a.B/P").optional("/a.B/O"));
    let rule = |path| set.find(&MethodPath::parse(path).expect("canonical")).expect("a rule");
    let known = [proven_by("mutual-tls")];
    assert!(rule("/a.B/P").authorize(&known).expect("public").caller().is_none());
    assert!(rule("/a.B/O").authorize(&known).expect("optional").caller().is_some());
    assert!(rule("/a.B/O").authorize(&[]).expect("optional").caller().is_none());
}

#[test]
fn rules_that_cannot_hold_are_refused() {
    let error = |rules| RuleSet::compile(rules, &KNOWN).expect_err("refused");
    let twice = Rules::new().public("/a.B/C").denied("/a.B/C");
    assert!(matches!(error(twice), RulesError::Duplicate { .. }));
    for (one, same) in [("*", "/*/*"), ("/a.B/*", "/a.B/**"), ("/a**b/C", "/a*b/C")] {
        let spelled = Rules::new().public(one).authenticated(same);
        assert!(matches!(error(spelled), RulesError::Duplicate { .. }), "{one} {same}");
    }
    let unknown = Rules::new().authenticated_by("/a.B/C", ["mtls"]);
    assert!(matches!(error(unknown), RulesError::UnknownAuthenticator { .. }));
    let nobody = Rules::new().authenticated_by("/a.B/C", []);
    assert!(matches!(error(nobody), RulesError::NoAuthenticator { .. }));
    let nobody = Rules::new().authenticated_by_all("/a.B/C", []);
    assert!(matches!(error(nobody), RulesError::NoAuthenticator { .. }));
    let unknown = Rules::new().authenticated_by_all("/a.B/C", ["mutual-tls", "jwt"]);
    assert!(matches!(error(unknown), RulesError::UnknownAuthenticator { .. }));
    let anything = Rules::new().with_scopes("/a.B/C", []);
    assert!(matches!(error(anything), RulesError::NoScope { .. }));
    for scope in ["", "a b", "a\"b", "a\\b", "ä", "a\n"] {
        let odd = Rules::new().with_scopes("/a.B/C", ["read", scope]);
        assert!(matches!(error(odd), RulesError::Scope { .. }), "{scope:?}");
    }
    assert!(matches!(error(Rules::new().public("a.B/C")), RulesError::Pattern(_)));
}
