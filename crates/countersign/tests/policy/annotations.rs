//! Policy said in protobuf, compiled as a user's build would.

use std::fs;

use countersign::Principal;
use countersign::authorization::{
    Annotations, InvalidAnnotation, MethodAccess, Methods, Policy, PolicyOptions, Reach,
};
use countersign::identity::{MethodPath, TokenClaims};
use serde_json::{Value, json};

use crate::support::{Call, Peer};

/// The bytes of a descriptor set in which `body` stands below our import.
fn compile(body: &str) -> Vec<u8> {
    let dir = tempfile::tempdir().expect("a directory");
    let head = "syntax = \"proto3\"; package orders.v1; import \"countersign/policy.proto\";";
    let file = dir.path().join("orders.proto");
    fs::write(&file, format!("{head}\nmessage M {{}}\n{body}")).expect("written");
    let ours = concat!(env!("CARGO_MANIFEST_DIR"), "/../../proto");
    let mut compiler = protox::Compiler::new([dir.path(), ours.as_ref()]).expect("a compiler");
    compiler.include_imports(true).open_file(&file).expect("the file compiles");
    compiler.encode_file_descriptor_set()
}

const ORDERS: &str = r#"
service Orders {
  option (countersign.v1.service_access) = { authenticated: true };
  rpc Get(M) returns (M);
  rpc Delete(M) returns (M) {
    option (countersign.v1.access) = { scopes: "orders:write" scopes: "orders:delete" };
  }
  rpc Export(M) returns (M) {
    option (countersign.v1.access) = {
      principals: "spiffe://prod.example/*"
      claims: { name: "role" values: "exporter" values: "admin" }
      require: [ CERTIFICATE, TOKEN ]
    };
  }
  rpc Ping(M) returns (M) { option (countersign.v1.access).public = true; }
  rpc Purge(M) returns (M) { option (countersign.v1.access) = { denied: true }; }
}
service Bare { rpc Nobody(M) returns (M); }
"#;

fn token(claims: Value) -> Principal {
    let Value::Object(claims) = claims else { panic!("claims are an object") };
    Principal::with_token("alice", "jwt", TokenClaims::from_object(claims))
}

fn to(method: &str) -> Call {
    Call::to(&format!("/orders.v1.Orders/{method}"))
}

#[test]
fn options_are_a_policy() {
    let policy = Policy::from_descriptor_set(&compile(ORDERS)).expect("a policy");
    let alice = || token(json!({"sub": "alice"}));
    let peer = || Peer::mtls(&["spiffe://prod.example/web"], &[], "");
    let exporter = || token(json!({"role": ["exporter"]}));
    for (name, call, allowed) in [
        ("its service's", to("Get").by(alice()), true),
        ("its service's, for a certificate", to("Get").over(peer()), true),
        ("its service's, for nobody", to("Get"), false),
        ("its service's, for a stranger over TLS", to("Get").over(Peer::Tls), false),
        ("public", to("Ping"), true),
        ("denied", to("Purge").by(alice()), false),
        (
            "all scopes",
            to("Delete").by(token(json!({"scope": "orders:write orders:delete"}))),
            true,
        ),
        ("one scope", to("Delete").by(token(json!({"scope": "orders:write"}))), false),
        ("a method's takes the place of its service's", to("Delete").by(alice()), false),
        ("all of it", to("Export").over(peer()).by(exporter()), true),
        ("no certificate", to("Export").by(exporter()), false),
        ("no token", to("Export").over(peer()), false),
        ("another role", to("Export").over(peer()).by(token(json!({"role": "x"}))), false),
        ("without any", Call::to("/orders.v1.Bare/Nobody").by(alice()), false),
    ] {
        assert_eq!(call.decided(&policy).0, allowed, "{name}");
    }
    let (_, rule) = to("Purge").decided(&policy);
    assert_eq!(rule.as_deref(), Some("option of /orders.v1.Orders/Purge"));
    let methods = Methods::from_descriptor_set(&compile(ORDERS)).expect("methods");
    let coverage = policy.coverage(&methods);
    let count = |reach| coverage.count(reach);
    assert_eq!(
        [Reach::Public, Reach::Authenticated, Reach::Denied, Reach::NoRule].map(count),
        [1, 3, 1, 1]
    );
}

#[test]
fn options_that_are_set_in_parts_are_one() {
    let parts = compile(
        "service S { rpc A(M) returns (M) {
            option (countersign.v1.access).scopes = \"a\";
            option (countersign.v1.access).groups = \"g\";
        } }",
    );
    let annotations = Annotations::from_descriptor_set(&parts).expect("annotations");
    assert_eq!(annotations.len(), 1);
    let error = Policy::from_descriptor_set(&parts).expect_err("groups are the file's");
    assert!(error.to_string().contains("names groups"), "{error}");
    let options = PolicyOptions::new().with_annotations(annotations);
    let file = |groups: Value| json!({"name": "p", "countersign": {"groups": groups}}).to_string();
    let policy = Policy::from_json_with(
        &file(json!({"g": [{"tokens": [{"issuers": ["i"], "subjects": ["alice"]}]}]})),
        &options,
    )
    .expect("a file without rules of its own");
    let call = |claims| Call::to("/orders.v1.S/A").by(token(claims)).decided(&policy).0;
    assert!(call(json!({"iss": "i", "sub": "alice", "scope": "a"})));
    assert!(!call(json!({"iss": "i", "sub": "alice"})), "without the scope");
    assert!(!call(json!({"iss": "i", "sub": "bob", "scope": "a"})), "of another group");
    let error = Policy::from_json_with(&file(json!({"h": [{"principals": ["x"]}]})), &options)
        .expect_err("no such group");
    assert_eq!(error.message(), "option of /orders.v1.S/A: there is no group \"g\"",);
}

#[test]
fn the_file_has_the_last_word() {
    let annotations = Annotations::from_descriptor_set(&compile(ORDERS)).expect("annotations");
    let options = PolicyOptions::new().with_annotations(annotations);
    let text = json!({"name": "p",
    "deny_rules": [{"name": "no-ping", "request": {"paths": ["*/Ping"]}}],
    "allow_rules": [
        {"name": "web-gets", "source": {"principals": ["web"]},
         "request": {"paths": ["/orders.v1.Orders/Get", "/orders.v1.Orders/Purge"]}},
        {"name": "root", "source": {"principals": ["root"]}},
    ]});
    let policy = Policy::from_json_with(&text.to_string(), &options).expect("a policy");
    let web = || Peer::mtls(&["web"], &[], "");
    let root = || Peer::mtls(&["root"], &[], "");
    let alice = || token(json!({"sub": "alice", "scope": "orders:write orders:delete"}));
    for (name, call, rule) in [
        ("the file denies what an option allows", to("Ping"), (false, Some("no-ping"))),
        ("the file allows by its path", to("Get").over(web()), (true, Some("web-gets"))),
        ("and then the option is gone", to("Get").by(alice()), (false, None)),
        ("a denial too", to("Purge").over(web()), (true, Some("web-gets"))),
        (
            "an option that the file does not speak of holds",
            to("Delete").by(alice()),
            (true, Some("option of /orders.v1.Orders/Delete")),
        ),
        (
            "a rule for all methods stands beside it",
            to("Delete").over(root()),
            (true, Some("root")),
        ),
        ("whom neither knows", to("Delete").over(web()), (false, None)),
    ] {
        let decided = call.decided(&policy);
        assert_eq!((decided.0, decided.1.as_deref()), rule, "{name}");
    }
    let lines: Vec<_> =
        policy.rules().filter(|rule| rule.line == 0).map(|rule| rule.name).collect();
    assert_eq!(
        lines,
        ["Delete", "Export", "Ping"].map(|name| format!("option of /orders.v1.Orders/{name}")),
        "of no line in the file"
    );
    let path = MethodPath::parse("/orders.v1.Orders/Export").expect("a path");
    assert!(matches!(policy.access(&path), MethodAccess::Authenticated(_)));
}

/// `/*` is a pattern of paths like any other, and `*` is none at all.
#[test]
fn a_rule_for_every_path_takes_the_place_of_every_option_and_one_for_all_methods_of_none() {
    let annotations = Annotations::from_descriptor_set(&compile(ORDERS)).expect("annotations");
    let options = PolicyOptions::new().with_annotations(annotations);
    for (request, kept, purges) in [
        (json!({"paths": ["/*"]}), 0, true),
        (json!({"paths": ["*"]}), 5, false),
        (json!({"paths": ["/*", "*"]}), 5, false),
        (json!({}), 5, false),
    ] {
        let text = json!({"name": "p", "allow_rules": [{"name": "all", "request": request}]});
        let policy = Policy::from_json_with(&text.to_string(), &options).expect("a policy");
        assert_eq!(policy.rules().filter(|rule| rule.line == 0).count(), kept, "{request}");
        let by_option = to("Purge").by(token(json!({"sub": "alice"}))).decided(&policy);
        assert_eq!(by_option.0, purges, "the option denies, if it is there: {request}");
    }
}

#[test]
fn an_option_that_is_not_understood_is_refused() {
    for (option, problem) in [
        ("{}", "it says nothing"),
        ("{ public: true scopes: \"a\" }", "it is public and asks for something"),
        ("{ denied: true authenticated: true }", "it denies and asks for something"),
        ("{ public: true denied: true }", "it is public and denies"),
        ("{ scopes: \"\" }", "the text of field 4 is empty"),
        ("{ claims: { name: \"a\" } }", "a claim in it has no name or no values"),
        ("{ require: EVIDENCE_UNSPECIFIED }", "it requires evidence 0, which we do not know"),
    ] {
        let set = compile(&format!(
            "service S {{ rpc A(M) returns (M) {{ option (countersign.v1.access) = {option}; }} }}"
        ));
        let expected = InvalidAnnotation::Content {
            method: "/orders.v1.S/A".to_owned(),
            problem: problem.to_owned(),
        };
        assert_eq!(Annotations::from_descriptor_set(&set).expect_err(option), expected);
        Methods::from_descriptor_set(&set).expect("who only wants the methods gets them");
    }
    // What a later version may say: a field 9, a kind of evidence 3.
    let known = compile(
        "service S { rpc A(M) returns (M) { option (countersign.v1.access) = { require: TOKEN }; } }",
    );
    for (found, put, problem) in [
        (&[0x42, 1, 2][..], &[0x42, 1, 3][..], "it requires evidence 3, which we do not know"),
        (&[0x42, 1, 2], &[0x4a, 1, 2], "it has a field 9 that we do not know"),
        (&[0x42, 1, 2], &[0x42, 9, 2], "it is not a countersign.v1.Access"),
    ] {
        let mut set = known.clone();
        let at: Vec<_> = (0..set.len()).filter(|at| set[*at..].starts_with(found)).collect();
        let [at] = at[..] else { panic!("the option is there {} times", at.len()) };
        set[at..at + put.len()].copy_from_slice(put);
        let error = Annotations::from_descriptor_set(&set).expect_err(problem);
        assert_eq!(error.to_string(), format!("the option of /orders.v1.S/A: {problem}"));
    }
    let none = compile("service S { rpc A(M) returns (M); }");
    assert!(Annotations::from_descriptor_set(&none).expect("none is no error").is_empty());
    assert_eq!(Policy::from_descriptor_set(&none).expect_err("none"), InvalidAnnotation::None);
}

/// What the fuzzer begins with is no dead seed.
#[test]
fn the_seed_of_the_fuzzer_has_an_option_of_each_kind() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds/descriptor_set/orders");
    let policy = Policy::from_descriptor_set(&fs::read(path).expect("a seed")).expect("a policy");
    let names: Vec<_> = policy.rules().map(|rule| rule.name).collect();
    assert_eq!(names, ["D", "A", "B", "C", "E"].map(|name| format!("option of /o.S/{name}")));
}
