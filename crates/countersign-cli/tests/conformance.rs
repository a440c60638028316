//! `countersign conformance`, the real program: one case a line in, one verdict a line out.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

fn command(suite: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.args(["conformance", suite]).stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

/// Everything that the program says to these lines.
fn raw(suite: &str, input: &[u8]) -> Vec<String> {
    let mut child = command(suite).spawn().expect("the program starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input).expect("all is read"));
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("all was written");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines().map(str::to_owned).collect()
}

fn verdicts(suite: &str, cases: &[Value]) -> Vec<Value> {
    let lines: String = cases.iter().map(|case| format!("{case}\n")).collect();
    let told = raw(suite, lines.as_bytes());
    assert_eq!(told.len(), cases.len());
    told.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

mod policy {
    use super::*;

    fn example() -> Value {
        json!({"name": "p",
            "allow_rules": [
                {"name": "admins", "source": {"principals": ["spiffe://foo.com/sa/admin1"]},
                 "request": {"paths": ["/pkg.service/*"]}},
                {"name": "anyone", "source": {"principals": ["*", ""]},
                 "request": {"paths": ["/pkg.service/foo"],
                             "headers": [{"key": "Dev-Path", "values": ["/dev/path/*"]}]}}],
            "deny_rules": [{"name": "secret", "request": {"paths": ["*/secret"]}}]})
    }

    fn admin() -> Value {
        json!({"transport": "tls", "certificate":
            {"uri_sans": ["spiffe://foo.com/sa/admin1"], "dns_sans": [], "subject": ""}})
    }

    #[test]
    fn requests_are_decided_and_policies_judged() {
        let tls = json!({"transport": "tls", "certificate": null});
        let mut stolen = admin();
        stolen["transport"] = json!("insecure");
        let dev = json!([["dev-path", "/dev/path/x"], [":path", "/pkg.service/foo"]]);
        for (path, headers, peer, decision, rule) in [
            ("/pkg.service/anything", json!([]), admin(), "allow", json!("admins")),
            ("/pkg.service/secret", json!([]), admin(), "deny", json!("secret")),
            ("/pkg.service/foo", dev.clone(), tls.clone(), "allow", json!("anyone")),
            ("/pkg.service/foo", json!([]), tls, "deny", json!(null)),
            (
                "/pkg.service/foo",
                dev,
                json!({"transport": "insecure", "certificate": null}),
                "deny",
                json!(null),
            ),
            ("/pkg.service/foo", json!([]), stolen, "deny", json!(null)),
            ("/pkg.service/foo", json!(null), json!(null), "deny", json!(null)),
        ] {
            let request = json!({"path": path, "headers": headers, "peer": peer});
            let case = json!({"id": path, "policy": example(), "request": request});
            let text = json!({"id": 1, "policy_text": example().to_string(), "request": request});
            let told = verdicts("policy", &[case, text]);
            let expected = json!({"id": path, "decision": decision, "rule": rule, "error": null});
            assert_eq!(told[0], expected, "{request}");
            assert_eq!(told[1]["decision"], decision, "{request}");
        }
        let told = verdicts("policy", &[json!({"id": [1], "policy": example()})]);
        assert_eq!(told[0], json!({"id": [1], "decision": "valid", "rule": null, "error": null}));
    }

    #[test]
    fn a_path_that_is_no_method_is_denied_before_any_rule() {
        let all = json!({"name": "p", "allow_rules": [{"name": "all"}]});
        for path in ["pkg.Service/Method", "/pkg.Service", "//pkg.Service/M"] {
            let request = json!({"path": path, "headers": [], "peer": {"transport": "insecure", "certificate": null}});
            let told = verdicts("policy", &[json!({"id": 1, "policy": all, "request": request})]);
            assert_eq!(told[0]["decision"], "deny", "AZ-25, AZ-26: {path}");
            assert_eq!(told[0]["rule"], Value::Null);
            assert_eq!(told[0]["error"], "malformed method name");
        }
    }

    #[test]
    fn a_policy_is_judged_by_its_own_text() {
        let lines = [
            r#"{"id":1,"policy":{"name":"a","name":"b","allow_rules":[{"name":"r"}]}}"#,
            r#"{"id":2,"policy_text":"{\"name\":\"a\",\n\"allow_rules\":[{\"name\":\"r\"}]} x"}"#,
            r#"{"id":3,"policy":{"name":"a","deny_rules":[{"name":"r"},{"name":"r"}],"allow_rules":[{"name":"r"}]}}"#,
            r#"{"id":4,"policy":{"name":"a","allow_rules":[]}}"#,
            r#"{"id":5,"policy_text":""}"#,
        ];
        let told = raw("policy", lines.join("\n").as_bytes());
        for (line, said) in told.iter().zip([
            "is there twice at line 1 column 13",
            "more text after the policy at line 2 column 31",
            "there twice",
            "is not present",
            "the text ends",
        ]) {
            let verdict: Value = serde_json::from_str(line).expect("JSON");
            assert_eq!(verdict["decision"], "invalid-policy", "{line}");
            assert!(verdict["error"].as_str().expect("an error").contains(said), "{line}");
        }
        assert_eq!(told.len(), lines.len());
    }

    #[test]
    fn no_line_is_left_without_an_answer() {
        let mut input = b"nonsense\n\n[]\n{\"id\":7}\n{\"id\":8,\"policy\":3}\n\xff\xfe\n".to_vec();
        input.extend(
            br#"{"id":9,"policy":{"name":"a","allow_rules":[{"name":"r"}]},"request":{"path":1}}"#,
        );
        input.push(b'\n');
        input.extend(format!("{}\n", "[".repeat(100_000)).into_bytes());
        input.extend(
            format!("{{\"id\":10,\"policy\":{}1{}}}\n", "[".repeat(90_000), "]".repeat(90_000))
                .into_bytes(),
        );
        input.extend(vec![b'x'; (32 << 20) + 1]);
        input.extend(
            b"\n{\"id\":11,\"policy\":{\"name\":\"a\",\"allow_rules\":[{\"name\":\"r\"}]}}",
        );
        let told: Vec<Value> = raw("policy", &input)
            .iter()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        let ids: Vec<_> = told.iter().map(|verdict| verdict["id"].to_string()).collect();
        assert_eq!(
            ids,
            ["null", "null", "null", "7", "8", "null", "9", "null", "10", "null", "11"]
        );
        for (index, verdict) in told.iter().enumerate() {
            let decision = match index {
                6 => "deny",
                10 => "valid",
                _ => "invalid-policy",
            };
            assert_eq!(verdict["decision"], decision, "{verdict}");
            assert_eq!(verdict["error"].is_null(), index == 10, "{verdict}");
        }
    }

    #[test]
    fn each_line_is_answered_at_once() {
        let mut child = command("policy").spawn().expect("the program starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        for id in 0..3 {
            writeln!(stdin, "{{\"id\":{id}}}").expect("written");
            let line = lines.next().expect("an answer before the next case").expect("text");
            assert!(line.starts_with(&format!("{{\"id\":{id},")), "{line}");
        }
        drop(stdin);
        assert!(child.wait().expect("it ends").success());
    }
}

mod quota {
    use super::*;

    #[test]
    fn steps_are_metered_by_exact_gcra() {
        let step = |at: u64, cost: u64| json!({"at": at, "cost": cost});
        let told = verdicts(
            "quota",
            &[
                json!({"id": "a", "rate": 10, "per_ns": 1_000_000_000, "burst": 5, "steps":
                    [step(0, 1), step(0, 4), step(0, 1), step(100_000_000, 1), step(100_000_000, 6)]}),
                json!({"id": "b", "rate": 3, "per_ns": 1_000_000_000, "burst": 1, "steps":
                    [step(5, 1), step(5, 1), step(333_333_338, 1), step(333_333_339, 1)]}),
                json!({"id": "c", "rate": 1, "per_ns": 1, "burst": 0, "steps": [step(0, 0), step(0, 1)]}),
                json!({"id": "d", "rate": 1, "per_ns": u64::MAX, "burst": u64::MAX, "steps":
                    [step(u64::MAX, u64::MAX), step(u64::MAX, u64::MAX), {"at": -1, "cost": 1}]}),
                json!({"id": "e", "rate": 1, "per_ns": 10, "burst": 1, "steps": [{"at": -100}, {"at": -91}, {"at": -90}]}),
            ],
        );
        let said = |allow: bool, remaining: u64, retry: Value| json!({"allow": allow, "remaining": remaining, "retry_after_ns": retry});
        assert_eq!(
            told[0],
            json!({"id": "a", "steps": [
                said(true, 4, json!(0)), said(true, 0, json!(0)), said(false, 0, json!(100_000_000)),
                said(true, 0, json!(0)), said(false, 0, json!(null)),
            ]})
        );
        assert_eq!(
            told[1]["steps"],
            json!([
                said(true, 0, json!(0)),
                said(false, 0, json!(333_333_334)),
                said(false, 0, json!(1)),
                said(true, 0, json!(0)),
            ])
        );
        assert_eq!(told[2]["steps"], json!([said(true, 0, json!(0)), said(false, 0, json!(null))]));
        assert_eq!(told[3]["steps"][0], said(true, 0, json!(0)));
        assert_eq!(told[3]["steps"][1]["allow"], false);
        assert_eq!(
            told[4]["steps"],
            json!([said(true, 0, json!(0)), said(false, 0, json!(1)), said(true, 0, json!(0))])
        );
    }

    #[test]
    fn a_wait_beyond_64_bits_is_told_to_the_last_digit() {
        let max = u64::MAX;
        let line = format!(
            r#"{{"id":1,"rate":1,"per_ns":{max},"burst":{max},"steps":[{{"at":0,"cost":{max}}},{{"at":0,"cost":{max}}}]}}"#
        );
        let told = raw("quota", line.as_bytes());
        let wait = u128::from(max) * u128::from(max);
        assert!(told[0].contains(&format!("\"retry_after_ns\":{wait}")), "{}", told[0]);
    }

    #[test]
    fn what_is_no_case_is_answered_with_its_error() {
        let input = [
            "nonsense",
            "",
            r#"{"id":1,"rate":0,"per_ns":1,"burst":1,"steps":[]}"#,
            r#"{"id":2,"rate":1,"per_ns":0,"burst":1,"steps":[]}"#,
            r#"{"id":3,"rate":-1,"per_ns":1,"burst":1,"steps":[]}"#,
            r#"{"id":4,"rate":1.5,"per_ns":1,"burst":1,"steps":[]}"#,
            r#"{"id":5,"rate":1,"per_ns":1,"burst":18446744073709551616,"steps":[]}"#,
            r#"{"id":6,"rate":1,"per_ns":1,"burst":1,"steps":[{"at":0,"cost":-1}]}"#,
            r#"{"id":7,"rate":1,"per_ns":1,"burst":1,"steps":[{"cost":1}]}"#,
            r#"{"id":8,"rate":1,"per_ns":1,"burst":1}"#,
            r#"{"id":9,"rate":1,"per_ns":1,"burst":1,"steps":[]}"#,
        ];
        let told: Vec<Value> = raw("quota", input.join("\n").as_bytes())
            .iter()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        assert_eq!(told.len(), input.len());
        for (index, verdict) in told.iter().enumerate() {
            assert_eq!(verdict["error"].is_string(), index < 10, "{verdict}");
            assert_eq!(verdict["steps"].is_null(), index < 10, "{verdict}");
        }
        assert_eq!(told[10], json!({"id": 9, "steps": []}));
    }
}
