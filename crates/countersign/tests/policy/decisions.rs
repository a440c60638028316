//! Cases AZ-01 to AZ-24 and AZ-27 of the acceptance table, those that need no server.

use countersign::authorization::{
    CertificateNames, MethodAccess, Policy, PolicyOptions, RepeatedHeaders,
};
use countersign::identity::MethodPath;

use crate::support::{Call, Peer, policy};

const UNARY: &str = "/grpc.testing.TestService/UnaryCall";
const INPUT: &str = "/grpc.testing.TestService/StreamingInputCall";
const OUTPUT: &str = "/grpc.testing.TestService/StreamingOutputCall";

fn two(allow: &str, deny: &str) -> String {
    format!(r#"{{"name":"authz","allow_rules":[{allow}],"deny_rules":[{deny}]}}"#)
}

fn path(name: &str, path: &str) -> String {
    format!(r#"{{"name":"{name}","request":{{"paths":["{path}"]}}}}"#)
}

fn principals(names: &str) -> String {
    format!(r#"{{"name":"named","source":{{"principals":[{names}]}}}}"#)
}

#[test]
fn decisions_are_those_of_the_table() {
    let by_header = r#"{"name":"header","request":{"paths":["/grpc.testing.TestService/*"],"headers":[{"key":"key-abc","values":["val-abc","val-def"]}]}}"#;
    let two_paths = format!(
        r#"{{"name":"header","request":{{"paths":["{UNARY}","{INPUT}"],"headers":[{{"key":"key-abc","values":["val-abc","val-def"]}}]}}}}"#
    );
    let present = r#"{"name":"present","request":{"paths":["/grpc.testing.TestService/*"],"headers":[{"key":"key-abc","values":["*"]}]}}"#;
    let anyone = principals(r#""*","""#);
    let uri = || Peer::mtls(&["spiffe://a/b"], &[], "");
    let both = r#"{"name":"both","request":{"headers":[{"key":"a","values":["1"]},{"key":"b","values":["2"]}]}}"#;
    let value = |value: &str| {
        format!(
            r#"{{"name":"value","request":{{"headers":[{{"key":"k","values":["{value}"]}}]}}}}"#
        )
    };
    let call = || Call::to(UNARY);
    let subject = "CN=test-client1,O=gRPC,L=SVL,ST=CA,C=US";
    for (id, allow, deny, call, allowed, rule) in [
        (
            "AZ-01",
            path("out", OUTPUT),
            by_header.to_owned(),
            call().header("key-abc", "val-abc"),
            false,
            Some("header"),
        ),
        ("AZ-02", path("all", "*"), path("none", "*"), call(), false, Some("none")),
        (
            "AZ-03",
            r#"{"name":"all"}"#.to_owned(),
            two_paths.clone(),
            call().header("key-xyz", "val-xyz"),
            true,
            Some("all"),
        ),
        (
            "AZ-03, denied",
            r#"{"name":"all"}"#.to_owned(),
            two_paths,
            call().header("key-abc", "val-def"),
            false,
            Some("header"),
        ),
        ("AZ-04", principals(r#""some_user""#), path("out", OUTPUT), call(), false, None),
        (
            "AZ-05, one",
            path("u", UNARY) + "," + &path("i", INPUT),
            String::new(),
            call(),
            true,
            Some("u"),
        ),
        (
            "AZ-05, other",
            path("u", UNARY) + "," + &path("i", INPUT),
            String::new(),
            Call::to(INPUT),
            true,
            Some("i"),
        ),
        ("AZ-06", path("out", OUTPUT), String::new(), call(), false, None),
        ("AZ-07", anyone.clone(), String::new(), call(), false, None),
        ("AZ-08", anyone.clone(), String::new(), call().over(Peer::Tls), true, Some("named")),
        ("AZ-09", anyone, String::new(), call().over(uri()), true, Some("named")),
        ("AZ-10", present.to_owned(), String::new(), call().header("key-abc", ""), false, None),
        (
            "AZ-10, not empty",
            present.to_owned(),
            String::new(),
            call().header("key-abc", "x"),
            true,
            Some("present"),
        ),
        ("AZ-11", principals(r#""*""#), String::new(), call().over(Peer::Tls), false, None),
        ("AZ-12", principals(r#""""#), String::new(), call().over(uri()), false, None),
        (
            "AZ-12, none",
            principals(r#""""#),
            String::new(),
            call().over(Peer::Tls),
            true,
            Some("named"),
        ),
        (
            "AZ-13",
            principals(r#""x","spiffe://a/b""#),
            String::new(),
            call().over(uri()),
            true,
            Some("named"),
        ),
        (
            "AZ-14",
            principals(r#""X""#),
            String::new(),
            call().over(Peer::mtls(&["Y"], &["X"], "")),
            false,
            None,
        ),
        (
            "AZ-15",
            principals(r#""CN=X""#),
            String::new(),
            call().over(Peer::mtls(&["Y"], &[], "CN=X")),
            false,
            None,
        ),
        (
            "AZ-16",
            principals(r#""D""#),
            String::new(),
            call().over(Peer::mtls(&[], &["C", "D"], "CN=E")),
            true,
            Some("named"),
        ),
        (
            "AZ-17",
            principals(r#""CN=D""#),
            String::new(),
            call().over(Peer::mtls(&[], &["E"], "CN=D")),
            false,
            None,
        ),
        (
            "AZ-18",
            principals(&format!("\"{subject}\"")),
            String::new(),
            call().over(Peer::mtls(&[], &[], subject)),
            true,
            Some("named"),
        ),
        ("AZ-19, one", both.to_owned(), String::new(), call().header("a", "1"), false, None),
        (
            "AZ-19, both",
            both.to_owned(),
            String::new(),
            call().header("a", "1").header("b", "2"),
            true,
            Some("both"),
        ),
        (
            "AZ-20",
            value("a,b"),
            String::new(),
            call().header("k", "a").header("k", "b"),
            true,
            Some("value"),
        ),
        (
            "AZ-20, one",
            value("a"),
            String::new(),
            call().header("k", "a").header("k", "b"),
            false,
            None,
        ),
        (
            "AZ-20, order",
            value("a,b"),
            String::new(),
            call().header("k", "b").header("k", "a"),
            false,
            None,
        ),
        ("AZ-21", value("a.c"), String::new(), call().header("k", "abc"), false, None),
        (
            "AZ-21, literal",
            value("a.c"),
            String::new(),
            call().header("k", "a.c"),
            true,
            Some("value"),
        ),
        ("AZ-27", path("all", "*"), String::new(), call(), true, Some("all")),
        ("empty value", value(""), String::new(), call().header("k", ""), true, Some("value")),
        ("absent header", value(""), String::new(), call(), false, None),
    ] {
        let policy = policy(&two(&allow, &deny));
        let decided = call.decided(&policy);
        assert_eq!(decided, (allowed, rule.map(str::to_owned)), "{id}");
    }
}

const EXAMPLE: &str = r#"{
    "name": "example-policy",
    "allow_rules": [
        {
            "name": "admin-access",
            "source": {"principals": ["spiffe://foo.com/sa/admin1", "spiffe://foo.com/sa/admin2"]},
            "request": {"paths": ["/pkg.service/*"]}
        },
        {
            "name": "dev-access",
            "source": {"principals": ["*", ""]},
            "request": {
                "paths": ["/pkg.service/foo", "/pkg.service/bar"],
                "headers": [{"key": "dev-path", "values": ["/dev/path/*"]}]
            }
        }
    ],
    "deny_rules": [{"name": "deny-access", "request": {"paths": ["*/secret"]}}]
}"#;

#[test]
fn the_example_of_grfc_a43_decides_as_it_says() {
    let policy = policy(EXAMPLE);
    let admin = || Peer::mtls(&["spiffe://foo.com/sa/admin1"], &[], "");
    let other = || Peer::mtls(&["spiffe://foo.com/sa/other"], &[], "");
    let dev = |call: Call| call.header("dev-path", "/dev/path/x");
    for (id, call, allowed, rule) in [
        ("AZ-22", Call::to("/pkg.service/secret").over(admin()), false, Some("deny-access")),
        ("AZ-23", Call::to("/pkg.service/anything").over(admin()), true, Some("admin-access")),
        ("AZ-24", dev(Call::to("/pkg.service/foo").over(other())), true, Some("dev-access")),
        ("AZ-24, no header", Call::to("/pkg.service/foo").over(other()), false, None),
        ("AZ-24, plain", dev(Call::to("/pkg.service/foo")), false, None),
        ("both match", dev(Call::to("/pkg.service/bar").over(admin())), true, Some("admin-access")),
        ("no rule", Call::to("/other.service/foo").over(admin()), false, None),
    ] {
        assert_eq!(call.decided(&policy), (allowed, rule.map(str::to_owned)), "{id}");
    }
}

#[test]
fn of_several_rules_the_first_in_the_file_gives_its_name() {
    // They are found in different ways, and the order is the file's all the same.
    let rules = [
        r#"{"name":"suffix","request":{"paths":["*Call"]}}"#,
        r#"{"name":"exact","request":{"paths":["/grpc.testing.TestService/UnaryCall"]}}"#,
        r#"{"name":"prefix","request":{"paths":["/grpc.testing.TestService/*"]}}"#,
        r#"{"name":"everything"}"#,
    ];
    for turn in 0..rules.len() {
        let mut rules = rules.to_vec();
        rules.rotate_left(turn);
        let policy = policy(&two(&rules.join(","), ""));
        let first = ["suffix", "exact", "prefix", "everything"][turn];
        assert_eq!(Call::to(UNARY).decided(&policy).1.as_deref(), Some(first));
    }
}

#[test]
fn the_other_readings_are_options_and_a_file_may_choose() {
    let text = |own: &str, allow: &str, deny: &str| {
        let rules = two(allow, deny);
        format!("{}{own}}}", rules.strip_suffix('}').expect("an object"))
    };
    let all = r#"{"name":"all"}"#;
    let named = principals(r#""X""#);
    let valued =
        r#"{"name":"value","request":{"headers":[{"key":"k","values":["a"]}]}}"#.to_owned();
    let two_kinds = Call::to(UNARY).over(Peer::mtls(&["Y"], &["X"], ""));
    let two_values = Call::to(UNARY).header("k", "a").header("k", "b");
    for (name, option, allowing, denying) in [
        ("first kind", None, false, false),
        ("any kind", Some(CertificateNames::AnyKind), true, true),
        ("strictest", Some(CertificateNames::Strictest), false, true),
    ] {
        let mut options = PolicyOptions::new();
        if let Some(option) = option {
            options = options.with_certificate_names(option);
        }
        let read = |text: &str| Policy::from_json_with(text, &options).expect("a policy");
        let allow = two_kinds.decided(&read(&two(&named, ""))).0;
        let deny = !two_kinds.decided(&read(&two(all, &named))).0;
        assert_eq!((allow, deny), (allowing, denying), "{name}");
    }
    for (name, option, allowing, denying) in [
        ("joined", None, false, false),
        ("any value", Some(RepeatedHeaders::AnyValue), true, true),
        ("strictest", Some(RepeatedHeaders::Strictest), false, true),
    ] {
        let mut options = PolicyOptions::new();
        if let Some(option) = option {
            options = options.with_repeated_headers(option);
        }
        let read = |text: &str| Policy::from_json_with(text, &options).expect("a policy");
        let allow = two_values.decided(&read(&two(&valued, ""))).0;
        let deny = !two_values.decided(&read(&two(all, &valued))).0;
        assert_eq!((allow, deny), (allowing, denying), "{name}");
    }
    for (own, allowed) in [
        (r#","countersign":{"certificate_names":"any-kind"}"#, true),
        (r#","countersign":{"certificate_names":"first-kind"}"#, false),
    ] {
        let options = PolicyOptions::new().with_certificate_names(CertificateNames::AnyKind);
        let policy = Policy::from_json_with(&text(own, &named, ""), &options).expect("a policy");
        assert_eq!(two_kinds.decided(&policy).0, allowed, "{own}");
    }
    Policy::from_json(&text(r#","countersign":{"repeated_headers":"all"}"#, all, ""))
        .expect_err("no such reading");
}

/// A name or a value more must not free a caller from what the rule says it must not be.
#[test]
fn the_strictest_reading_is_the_strictest_under_not_too() {
    let options = PolicyOptions::new()
        .with_certificate_names(CertificateNames::Strictest)
        .with_repeated_headers(RepeatedHeaders::Strictest);
    let read = |text: &str| Policy::from_json_with(text, &options).expect("a policy");
    let all = r#"{"name":"all"}"#;
    let other_than_x = r#"{"name":"r","source":{"countersign":{"not":{"principals":["X"]}}}}"#;
    let other_than_a = r#"{"name":"r","request":{"countersign":{"not":{"headers":[
        {"key":"k","values":["a"]}]}}}}"#;
    let peer = |uris: &[&str]| Call::to(UNARY).over(Peer::mtls(uris, &["X"], ""));
    let values = |values: &[&str]| values.iter().fold(Call::to(UNARY), |it, v| it.header("k", v));
    // X is allowed nothing, and whoever is X and nothing else is allowed all.
    for (rule, plain, mixed) in [
        (other_than_x, peer(&[]), peer(&["Y"])),
        (other_than_a, values(&["a"]), values(&["a", "b"])),
    ] {
        let (allow, deny) = (read(&two(rule, "")), read(&two(all, rule)));
        assert!(!plain.decided(&allow).0 && plain.decided(&deny).0, "{rule}");
        assert!(!mixed.decided(&allow).0, "allowed by {rule}");
        assert!(!mixed.decided(&deny).0, "not denied by {rule}");
        assert!(Call::to(UNARY).decided(&allow).0 && !Call::to(UNARY).decided(&deny).0, "{rule}");
    }
}

/// `""` is for peers without a name; SPIFFE IDs often come with an empty subject.
#[test]
fn an_empty_subject_is_no_name_beside_others() {
    let nameless = principals(r#""""#);
    for names in
        [CertificateNames::FirstKind, CertificateNames::AnyKind, CertificateNames::Strictest]
    {
        let options = PolicyOptions::new().with_certificate_names(names);
        let read = |text: &str| Policy::from_json_with(text, &options).expect("a policy");
        let allowing = read(&two(&nameless, ""));
        let denying = read(&two(r#"{"name":"all"}"#, &nameless));
        for (name, peer, is_nameless) in [
            ("no certificate", Peer::Tls, true),
            ("no names", Peer::mtls(&[], &[], ""), true),
            ("URI", Peer::mtls(&["spiffe://a/b"], &[], ""), false),
            ("DNS name", Peer::mtls(&[], &["a.test"], ""), false),
            ("subject", Peer::mtls(&[], &[], "CN=a"), false),
        ] {
            let call = Call::to(UNARY).over(peer);
            assert_eq!(call.decided(&allowing).0, is_nameless, "{names:?}, {name}: allowed");
            assert_eq!(call.decided(&denying).0, !is_nameless, "{names:?}, {name}: denied");
        }
    }
}

#[test]
fn a_method_is_public_authenticated_denied_or_without_a_rule() {
    let policy = policy(
        r#"{"name":"p","allow_rules":[
            {"name":"health","request":{"paths":["/grpc.health.v1.Health/*"]}},
            {"name":"tls","source":{"principals":["*",""]},"request":{"paths":["/a.B/Tls"]}},
            {"name":"named","source":{"principals":["*"]},"request":{"paths":["/a.B/Named"]}},
            {"name":"token","source":{"countersign":{"require":["token"]}},"request":{"paths":["/a.B/Token"],"countersign":{"not":{"paths":["*n"]}}}}
        ],"deny_rules":[
            {"name":"never","request":{"paths":["*/Purge"]}},
            {"name":"sometimes","source":{"principals":["x"]}}
        ]}"#,
    );
    for (path, expected) in [
        ("/grpc.health.v1.Health/Check", "public by health:2"),
        ("/grpc.health.v1.Health/Purge", "denied by never:7"),
        ("/a.B/Tls", "public by tls:3"),
        ("/a.B/Named", "authenticated by named:4"),
        ("/a.B/Token", "no rule"),
        ("/a.B/Other", "no rule"),
    ] {
        let access = match policy.access(&MethodPath::parse(path).expect("canonical")) {
            MethodAccess::Public(rule) => format!("public by {}:{}", rule.name, rule.line),
            MethodAccess::Authenticated(rule) => {
                format!("authenticated by {}:{}", rule.name, rule.line)
            }
            MethodAccess::Denied(rule) => format!("denied by {}:{}", rule.name, rule.line),
            MethodAccess::NoRule => "no rule".to_owned(),
        };
        assert_eq!(access, expected, "{path}");
    }
}

#[test]
fn what_is_hardly_meant_is_found() {
    let policy = policy(
        r#"{"name":"p","deny_rules":[
            {"name":"evil","request":{"headers":[{"key":"k","values":["evil"]}]}}
        ],"allow_rules":[
            {"name":"stars","request":{"paths":["*Get*"]}},
            {"name":"dead","request":{"paths":["a.B/C"]}},
            {"name":"fine","source":{"principals":["a"]},"request":{"paths":["/a.B/C","/a.B/*","*/C","/a*","*"]}},
            {"name":"secret","request":{"headers":[{"key":"authorization","values":["Bearer x"]}]}},
            {"name":"binary","request":{"headers":[{"key":"k-bin","values":["AQ"]}]}},
            {"name":"all"},
            {"name":"but","request":{"countersign":{"not":{"headers":[{"key":"k","values":["evil"]}]}}}}
        ]}"#,
    );
    let found: Vec<_> = policy.lint().iter().map(|lint| (lint.code, lint.line)).collect();
    let expected = [
        ("escapable-denial", 2),
        ("literal-star", 4),
        ("dead-path", 4),
        ("dead-path", 5),
        ("credential-header", 7),
        ("binary-header", 8),
        ("allows-everything", 9),
        ("escapable-denial", 10),
    ];
    assert_eq!(found, expected);
}

/// gRFC A43 has no way to say "none": who empties a list opens the rule.
#[test]
fn an_empty_list_is_no_condition_and_is_found() {
    let rule = |source: &str, request: &str| {
        policy(&format!(
            r#"{{"name":"p","allow_rules":[{{"name":"r","source":{{{source}}},"request":{{{request}}}}}]}}"#
        ))
    };
    let web = r#""principals":["web"]"#;
    for (name, policy, says) in [
        ("paths", rule(web, r#""paths":[]"#), Some("every method")),
        ("principals", rule(r#""principals":[]"#, r#""paths":["/a.B/C"]"#), Some("everybody")),
        ("headers", rule(web, r#""paths":["/a.B/C"],"headers":[]"#), Some("any headers")),
        ("none of them", rule(web, r#""paths":["/a.B/C"]"#), None),
        ("without keys", rule(web, ""), None),
    ] {
        let call = Call::to("/a.B/C").over(Peer::mtls(&["web"], &[], ""));
        assert!(call.decided(&policy).0, "{name}: nothing is asked");
        let found = policy.lint();
        assert_eq!(found.len(), usize::from(says.is_some()), "{name}: {found:?}");
        for lint in found {
            assert_eq!((lint.code, lint.line), ("empty-list", 1), "{name}");
            let says = says.unwrap_or_default();
            assert!(lint.message.contains(&format!("empty {name:?}")), "{}", lint.message);
            assert!(lint.message.contains(says), "{}", lint.message);
        }
    }
    let stranger = Call::to("/a.B/Other").over(Peer::mtls(&["web"], &[], ""));
    assert!(stranger.decided(&rule(web, r#""paths":[]"#)).0, "every method");
    assert!(!stranger.decided(&rule(web, r#""paths":["/a.B/C"]"#)).0, "and the twin");
}
