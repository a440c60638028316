//! `countersign policy` and `countersign can-i`: the real program, its output and exit codes.

use std::fs;
use std::process::{Command, Stdio};

use prost::Message as _;
use prost_types::{
    FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto, ServiceDescriptorProto,
};
use serde_json::{Value, json};
use tempfile::TempDir;

const POLICY: &str = r#"{
  "name": "orders",
  "deny_rules": [
    {"name": "no-purge", "request": {"paths": ["*/Purge"]}}
  ],
  "allow_rules": [
    {"name": "health", "request": {"paths": ["/grpc.health.v1.Health/*"]}},
    {"name": "orders-read", "source": {"countersign": {"tokens": [{"scopes": ["orders:read"]}]}},
     "request": {"paths": ["/orders.v1.Orders/Get", "/orders.v1.Orders/Purge"]}},
    {"name": "orders-write", "source": {"countersign": {"tokens": [{"scopes": ["orders:write"]}]}},
     "request": {"paths": ["/orders.v1.Orders/Delete"]}},
    {"name": "web", "source": {"principals": ["spiffe://prod.example/web"]},
     "request": {"paths": ["/orders.v1.Orders/List"]}}
  ]
}
"#;

/// A directory with a policy in it to run the program in.
struct Place(TempDir);

struct Run {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().expect("a temporary directory"));
        place.write("policy.json", POLICY);
        place
    }

    fn write(&self, name: &str, contents: impl AsRef<[u8]>) {
        fs::write(self.0.path().join(name), contents).expect("the file is written");
    }

    fn descriptor(&self) {
        let method = |name: &str| MethodDescriptorProto {
            name: Some(name.to_owned()),
            ..MethodDescriptorProto::default()
        };
        let service = |package: &str, name: &str, methods: &[&str]| FileDescriptorProto {
            package: Some(package.to_owned()),
            service: vec![ServiceDescriptorProto {
                name: Some(name.to_owned()),
                method: methods.iter().copied().map(method).collect(),
                ..ServiceDescriptorProto::default()
            }],
            ..FileDescriptorProto::default()
        };
        let file = vec![
            service("orders.v1", "Orders", &["Get", "List", "Delete", "Purge", "Export"]),
            service("grpc.health.v1", "Health", &["Check", "Watch"]),
        ];
        self.write("api.binpb", FileDescriptorSet { file }.encode_to_vec());
    }

    fn run(&self, args: &[&str]) -> Run {
        let output = Command::new(env!("CARGO_BIN_EXE_countersign"))
            .args(args)
            .current_dir(self.0.path())
            .stdin(Stdio::null())
            .output()
            .expect("the program starts");
        Run {
            code: output.status.code().expect("the program is not killed"),
            stdout: String::from_utf8(output.stdout).expect("text"),
            stderr: String::from_utf8(output.stderr).expect("text"),
        }
    }

    fn json(&self, args: &[&str], code: i32) -> Value {
        let run = self.run(&[args, &["--json"]].concat());
        assert_eq!(run.code, code, "{args:?}: {}{}", run.stdout, run.stderr);
        serde_json::from_str(&run.stdout).expect("one JSON object and nothing else")
    }
}

#[test]
fn check_says_where_a_policy_is_wrong() {
    let place = Place::new();
    let run = place.run(&["policy", "check", "policy.json"]);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    assert_eq!(run.stdout, "ok  policy.json  \"orders\"  4 allow, 1 deny\n");

    place.write("bad.json", POLICY.replace("\"principals\"", "\"principal\""));
    let run = place.run(&["policy", "check", "policy.json", "bad.json"]);
    assert_eq!(run.code, 1);
    let expected = "\
error: `bad.json` is not a policy
  cause: failed to unmarshal policy: \"allow_rules\" 3: unknown key \"principal\" in \"source\"
    --> bad.json:12:32
     |
  12 |     {\"name\": \"web\", \"source\": {\"principal\": [\"spiffe://prod.example/web\"]},
     |                                ^
  hint:  did you mean \"principals\"? the keys here are principals, countersign
";
    let plain: String = run.stderr.lines().map(|line| format!("{}\n", line.trim_end())).collect();
    assert_eq!(plain, expected);

    let told = place.json(&["policy", "check", "bad.json", "policy.json"], 1);
    assert_eq!(told["files"][0]["error"]["line"], 12);
    assert_eq!(told["files"][1]["valid"], true);
    assert_eq!(place.run(&["policy", "check", "absent.json"]).code, 3);
    assert_eq!(place.run(&["policy", "check"]).code, 2);
}

#[test]
fn check_finds_what_is_hardly_meant_and_strict_makes_it_a_no() {
    let place = Place::new();
    place.write("open.json", r#"{"name":"p","allow_rules":[{"name":"all"}]}"#);
    let run = place.run(&["policy", "check", "open.json"]);
    assert_eq!(run.code, 0);
    assert!(run.stderr.starts_with("warning[allows-everything]: rule \"all\""), "{}", run.stderr);
    assert_eq!(place.run(&["policy", "check", "--strict", "open.json"]).code, 1);
    assert_eq!(place.run(&["policy", "check", "--strict", "policy.json"]).code, 0);
    let told = place.json(&["policy", "check", "open.json"], 0);
    assert_eq!(told["files"][0]["warnings"][0]["code"], "allows-everything");
}

#[test]
fn test_shows_what_was_expected_and_what_was_decided() {
    let place = Place::new();
    let reader =
        json!([{"name": "alice", "authenticator": "jwt", "claims": {"scope": "orders:read"}}]);
    let case = |name: &str, path: &str, expect: &str, rule: Value| json!({"name": name, "request": {"path": path, "callers": reader}, "expect": expect, "rule": rule});
    let right = [
        case("reads", "/orders.v1.Orders/Get", "allow", json!("orders-read")),
        case("purges", "/orders.v1.Orders/Purge", "deny", json!("no-purge")),
        case("checks", "/grpc.health.v1.Health/Check", "allow", json!(null)),
    ];
    let file = |cases: &[Value]| json!({"policy": "policy.json", "cases": cases}).to_string();
    place.write("cases.json", file(&right));
    let run = place.run(&["policy", "test", "cases.json"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(run.stdout, "ok    reads\nok    purges\nok    checks\n");
    assert_eq!(run.stderr, "3 passed, 0 failed\n");

    let wrong = case("deletes", "/orders.v1.Orders/Delete", "allow", json!("orders-write"));
    place.write("cases.json", file(&[right[0].clone(), wrong]));
    let run = place.run(&["policy", "test", "cases.json"]);
    assert_eq!(run.code, 1);
    assert_eq!(run.stdout, "ok    reads\nFAIL  deletes\n");
    let expected = "\
error: \"deletes\" is decided otherwise
  --> /orders.v1.Orders/Delete
  - allow  orders-write
  + deny   no rule matches
  near  orders-write (policy.json:10) wants scope orders:write
1 passed, 1 failed
";
    assert_eq!(run.stderr, expected);
    let told = place.json(&["policy", "test", "cases.json"], 1);
    assert_eq!((&told["passed"], &told["failed"]), (&json!(1), &json!(1)));
    assert_eq!(told["cases"][1]["decided"], json!({"decision": "deny", "rule": null}));
}

#[test]
fn cases_may_be_toml_and_a_file_without_any_is_an_error() {
    let place = Place::new();
    let toml = r#"
policy = "policy.json"

[[cases]]
name = "web lists"
expect = "allow"
rule = "web"
[cases.request]
path = "/orders.v1.Orders/List"
peer = { transport = "tls", certificate = { uri_sans = ["spiffe://prod.example/web"] } }

[[cases]]
name = "nobody lists over plaintext"
expect = "deny"
request = { path = "/orders.v1.Orders/List" }
"#;
    place.write("cases.toml", toml);
    let run = place.run(&["policy", "test", "cases.toml"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    for cases in [r#"{"policy":"policy.json","cases":[]}"#, r#"{"cases":3}"#, r#"{"case":[]}"#] {
        place.write("cases.json", cases);
        assert_eq!(place.run(&["policy", "test", "cases.json"]).code, 3, "{cases}");
    }
    place.write(
        "cases.json",
        r#"{"cases":[{"name":"a","expect":"deny","request":{"path":"/a/b"}}]}"#,
    );
    assert_eq!(place.run(&["policy", "test", "cases.json"]).code, 2);
    assert_eq!(place.run(&["policy", "test", "cases.json", "--policy", "policy.json"]).code, 0);
}

#[test]
fn coverage_lists_methods_by_what_the_policy_says() {
    let place = Place::new();
    place.descriptor();
    let args = ["policy", "coverage", "policy.json", "--descriptor", "api.binpb"];
    let run = place.run(&args);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let expected = "\
public           2   grpc.health.v1.Health/Check   by health
                     grpc.health.v1.Health/Watch   by health
authenticated    3
denied           1   orders.v1.Orders/Purge   by no-purge
no rule          1   orders.v1.Orders/Export   <- denied at run time
";
    assert_eq!(run.stdout, expected);
    assert_eq!(place.run(&[&args[..], &["--strict"]].concat()).code, 1);
    let told = place.json(&args, 0);
    assert_eq!(told["methods"].as_array().map(Vec::len), Some(7));
    place.write("api.binpb", b"\xff\xff");
    assert_eq!(place.run(&args).code, 3);
    place.write("api.binpb", b"");
    assert_eq!(place.run(&args).code, 3);
}

#[test]
fn diff_shows_rules_and_methods_that_change() {
    let place = Place::new();
    place.descriptor();
    place.write("same.json", POLICY.replace('\n', " "));
    let run = place.run(&["policy", "diff", "policy.json", "same.json"]);
    assert_eq!((run.code, run.stdout.as_str()), (0, ""));
    let new = POLICY
        .replace("no-purge", "never-purge")
        .replace("/orders.v1.Orders/List", "/orders.v1.Orders/Export")
        .replace(r#""source": {"countersign": {"tokens": [{"scopes": ["orders:write"]}]}},"#, "");
    place.write("new.json", new);
    let args = ["policy", "diff", "policy.json", "new.json", "--descriptor", "api.binpb"];
    let run = place.run(&args);
    assert_eq!(run.code, 1, "{}", run.stderr);
    let expected = "\
~ allow orders-write
~ allow web
- deny  no-purge
+ deny  never-purge
orders.v1.Orders/Delete   authenticated -> public   <- opens
orders.v1.Orders/Export   no rule -> authenticated   <- opens
orders.v1.Orders/List   authenticated -> no rule
";
    assert_eq!(run.stdout, expected);
    let told = place.json(&args, 1);
    assert_eq!(told["methods"][0]["opens"], true);
}

#[test]
fn can_i_names_the_rule_or_the_nearest_miss() {
    let place = Place::new();
    let yes =
        place.run(&["can-i", "orders.v1.Orders/Get", "--as", "alice", "--scope", "orders:read"]);
    assert_eq!((yes.code, yes.stdout.as_str()), (0, "yes  rule orders-read (policy.json:8)\n"));
    let no = place.run(&[
        "can-i",
        "/orders.v1.Orders/Delete",
        "--as",
        "alice",
        "--scope",
        "orders:read",
    ]);
    assert_eq!(no.code, 1);
    let expected = "\
no   PERMISSION_DENIED  INSUFFICIENT_SCOPE
  rule  orders-write (policy.json:10) needs scope orders:write
  near  method matches; scope orders:write is the only gap
";
    assert_eq!(no.stdout, expected);
    let denied = place.run(&["can-i", "orders.v1.Orders/Purge", "--scope", "orders:read"]);
    let expected =
        "no   PERMISSION_DENIED  POLICY_DENIED\n  rule  no-purge (policy.json:4) denies it\n";
    assert_eq!((denied.code, denied.stdout.as_str()), (1, expected));
    let nobody = place.run(&["can-i", "orders.v1.Orders/Get"]);
    assert!(
        nobody.stdout.starts_with("no   UNAUTHENTICATED  CREDENTIALS_MISSING"),
        "{}",
        nobody.stdout
    );
    let web = ["can-i", "orders.v1.Orders/List", "--uri-san", "spiffe://prod.example/web"];
    assert_eq!(place.run(&web).code, 0);
    let told = place.json(&["can-i", "orders.v1.Orders/List", "--uri-san", "spiffe://x/y"], 1);
    assert_eq!(told["reason"], "POLICY_DENIED");
    assert_eq!(told["nearest"]["name"], "web");
    assert_eq!(told["nearest"]["met"], json!(["method"]));
    assert_eq!(place.run(&["can-i", "orders.v1.Orders"]).code, 2);
    assert_eq!(place.run(&["can-i", "a.B/C", "--policy", "absent.json"]).code, 3);
}

#[test]
fn a_policy_may_be_toml() {
    let place = Place::new();
    let policy = r#"
name = "orders"

[[deny_rules]]
name = "no-purge"
request.paths = ["*/Purge"]

[[allow_rules]]
name = "health"
request.paths = ["/grpc.health.v1.Health/*"]

[[allow_rules]]
name = "orders-read"
source.countersign.tokens = [{ scopes = ["orders:read"] }]
request.paths = ["/orders.v1.Orders/Get", "/orders.v1.Orders/Purge"]

[[allow_rules]]
name = "orders-write"
source.countersign.tokens = [{ scopes = ["orders:write"] }]
request.paths = ["/orders.v1.Orders/Delete"]

[[allow_rules]]
name = "web"
source.principals = ["spiffe://prod.example/web"]
request.paths = ["/orders.v1.Orders/List"]
"#;
    place.write("policy.toml", policy);
    let run = place.run(&["policy", "diff", "policy.json", "policy.toml"]);
    assert_eq!((run.code, run.stdout.as_str()), (0, ""), "{}", run.stderr);
    let ask =
        ["can-i", "orders.v1.Orders/Get", "--scope", "orders:read", "--policy", "policy.toml"];
    assert_eq!(place.run(&ask).stdout, "yes  rule orders-read (policy.toml:12)\n");
    for (from, to, line, column) in [
        ("[[allow_rules]]\nname = \"web\"", "[[allow_rules]]\nname = \"health\"", 22, 1),
        ("source.principals", "source.principal", 24, 8),
        ("name = \"orders\"", "name = \"orders\"\nname = \"x\"", 3, 1),
        ("[\"*/Purge\"]", "1979-05-27", 6, 17),
    ] {
        place.write("bad.toml", policy.replace(from, to));
        let told = place.json(&["policy", "check", "bad.toml"], 1);
        let error = &told["files"][0]["error"];
        assert_eq!((&error["line"], &error["column"]), (&json!(line), &json!(column)), "{error}");
    }
}

#[test]
fn a_policy_may_be_yaml_and_have_expressions() {
    let place = Place::new();
    let policy = "\
name: orders
countersign:
  groups:
    staff:
      - tokens: [{issuers: [https://id.example], subjects: [alice]}]
allow_rules:
  - name: office
    source: {countersign: {groups: [staff]}}
    request: {paths: [/orders.v1.Orders/*]}
    countersign:
      cel: |
        request.time.getHours() >= 8
          && request.time.getHours() < 18
";
    place.write("policy.yaml", policy);
    place.write("policy.yml", policy.replace("name: orders\n", "name: \"orders\"\n"));
    let run = place.run(&["policy", "diff", "policy.yaml", "policy.yml"]);
    assert_eq!((run.code, run.stdout.as_str()), (0, ""), "{}", run.stderr);
    let ask = |at: &str, subject: &str| {
        place.run(&[
            "can-i",
            "orders.v1.Orders/Get",
            "--policy",
            "policy.yaml",
            "--as",
            subject,
            "--issuer",
            "https://id.example",
            "--at",
            at,
        ])
    };
    let told = ask("2026-11-23T09:00:00Z", "alice");
    assert_eq!((told.code, told.stdout.as_str()), (0, "yes  rule office (policy.yaml:7)\n"));
    let told = ask("2026-11-23T19:00:00Z", "alice");
    assert_eq!(told.code, 1);
    assert!(
        told.stdout.contains("needs the expression request.time.getHours()"),
        "{}",
        told.stdout
    );
    let told = ask("2026-11-23T09:00:00Z", "bob");
    assert_eq!(told.code, 1);
    assert!(told.stdout.contains("needs a member of the group \"staff\""), "{}", told.stdout);

    place.write("policy.yaml", policy.replace("getHours() < 18", "getHour() < 18"));
    let run = place.run(&["policy", "check", "policy.yaml"]);
    assert_eq!(run.code, 1);
    for part in ["there is no function getHour", "--> policy.yaml:13:", "did you mean getHours?"] {
        assert!(run.stderr.contains(part), "{part}: {}", run.stderr);
    }
}

#[test]
fn methods_may_say_themselves_who_may_call_them() {
    let place = Place::new();
    let ours = concat!(env!("CARGO_MANIFEST_DIR"), "/../../proto");
    place.write(
        "orders.proto",
        "syntax = \"proto3\"; package orders.v1; import \"countersign/policy.proto\"; message M {}
         service Orders {
           option (countersign.v1.service_access) = { scopes: \"orders\" };
           rpc Get(M) returns (M);
           rpc Export(M) returns (M) { option (countersign.v1.access) = { public: true }; }
         }",
    );
    let mut compiler = protox::Compiler::new([place.0.path(), ours.as_ref()]).expect("a compiler");
    compiler.open_file(place.0.path().join("orders.proto")).expect("it compiles");
    place.write("api.binpb", compiler.encode_file_descriptor_set());
    let coverage = |more: &[&str]| {
        place.run(&[&["policy", "coverage", "--descriptor", "api.binpb"], more].concat())
    };
    assert!(coverage(&[]).stdout.contains("no rule          1   orders.v1.Orders/Export"));
    let with = coverage(&["--annotations", "api.binpb", "--strict"]);
    let expected =
        "public           1   orders.v1.Orders/Export   by option of /orders.v1.Orders/Export
authenticated    1
";
    assert_eq!((with.code, with.stdout.as_str()), (0, expected), "{}", with.stderr);
    let ask = ["can-i", "orders.v1.Orders/Export", "--annotations", "api.binpb"];
    let told = "yes  rule option of /orders.v1.Orders/Export (in its descriptor)\n";
    assert_eq!(place.run(&ask).stdout, told);
    assert_eq!(
        place.run(&["policy", "check", "policy.json", "--annotations", "api.binpb"]).code,
        0
    );
    place.descriptor();
    assert_eq!(coverage(&["--annotations", "api.binpb"]).code, 3, "it has none");
}
