//! Policies in YAML.

use countersign::authorization::Policy;

use crate::support::{Call, Peer};

const POLICY: &str = "\
# Who may call orders.
name: orders
deny_rules:
  - name: no-purge
    request: {paths: ['*/Purge']}
allow_rules:
  - name: web
    source:
      principals:
        - spiffe://prod.example/web
        - \"\"
    request:
      paths: [/orders.v1.Orders/Get, \"*/Purge\"]
      headers:
        - key: x-answer
          values: [no, 0x2a, 'yes']
  - name: level
    source:
      countersign:
        tokens:
          - claims:
              - name: level
                values: [2, true, 1.5]
";

#[test]
fn yaml_says_the_same_as_json() {
    let text = POLICY.replace(", 0x2a", "");
    let policy = Policy::from_yaml(&text).expect("a policy");
    assert_eq!(policy.name(), "orders");
    let lines: Vec<_> = policy.rules().map(|rule| (rule.name, rule.line)).collect();
    assert_eq!(lines, [("no-purge", 4), ("web", 7), ("level", 17)]);
    let web = |answer: &str| {
        let peer = Peer::mtls(&["spiffe://prod.example/web"], &[], "");
        Call::to("/orders.v1.Orders/Get").header("x-answer", answer).over(peer)
    };
    assert!(web("no").decided(&policy).0, "a plain no is a text");
    assert!(web("yes").decided(&policy).0);
    assert!(!web("false").decided(&policy).0);
}

#[test]
fn what_is_wrong_has_its_place() {
    for (change, to, place, message) in [
        ("", "", (16, 24), "\"0x2a\" is a number that JSON does not have"),
        ("no, 0x2a", "true", (16, 20), "an item of \"values\" is a boolean"),
        ("no, 0x2a", "1.0", (16, 20), "an item of \"values\" is a number"),
        ("no, 0x2a", "~", (16, 20), "an item of \"values\" is null"),
        ("  - name: level", "  - name: web", (17, 5), "the name \"web\" is there twice"),
        ("    request: {paths", "    name: again\n    request: {paths", (5, 5), "is there twice"),
        ("name: orders", "nam: orders", (2, 1), "unknown key \"nam\""),
        ("- name: web", "- &web\n    name: web", (7, 5), "no anchors"),
        ("principals:\n", "principals: *web\n      x:\n", (10, 19), ""),
        ("name: orders", "name: !!str orders", (2, 7), "no tags"),
        ("name: orders", "? [a, b]\n: c\nname: orders", (2, 3), "a key is not a text"),
        ("name: orders", "name: orders\n<<: {a: b}", (3, 1), "unknown key \"<<\""),
        ("name: orders", "name: [orders", (3, 1), ""),
        ("name: orders", "\tname: orders", (2, 1), ""),
    ] {
        let text = if change.is_empty() {
            POLICY.to_owned()
        } else {
            assert!(POLICY.contains(change), "{change}");
            let text = POLICY.replacen(change, to, 1);
            if change.contains("0x2a") { text } else { text.replace(", 0x2a", "") }
        };
        let error = Policy::from_yaml(&text).expect_err(to);
        assert!(error.message().contains(message), "{to}: {error}");
        if !message.is_empty() {
            assert_eq!((error.line(), error.column()), place, "{to}: {error}");
        }
    }
    for (text, message) in [
        ("", "there is no policy"),
        ("# nothing\n", "there is no policy"),
        ("name: p\nallow_rules: [{name: r}]\n---\nname: q\n", "more text after the policy"),
        ("[]", "the policy is a list"),
    ] {
        let error = Policy::from_yaml(text).expect_err(text);
        assert!(error.message().contains(message), "{text}: {error}");
    }
}

#[test]
fn a_bomb_does_not_go_off() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..20 {
        let list = vec![format!("*a{}", n - 1); 8].join(", ");
        bomb.push_str(&format!("a{n}: &a{n} [{list}]\n"));
    }
    let error = Policy::from_yaml(&bomb).expect_err("a bomb");
    assert!(error.message().contains("no anchors"), "{error}");
    let deep = format!("name: {}x{}", "[".repeat(5000), "]".repeat(5000));
    Policy::from_yaml(&deep).expect_err("too deep");
    let deep: String = (0..3000).map(|n| format!("{}a:\n", " ".repeat(n % 2000))).collect();
    Policy::from_yaml(&deep).expect_err("no policy");
}

#[test]
fn a_file_of_yaml_is_read_as_yaml() {
    let dir = tempfile::tempdir().expect("a directory");
    for name in ["policy.yaml", "policy.yml"] {
        let path = dir.path().join(name);
        std::fs::write(&path, POLICY.replace(", 0x2a", "")).expect("written");
        assert_eq!(Policy::from_file(&path).expect(name).name(), "orders");
    }
    let path = dir.path().join("policy.json");
    std::fs::write(&path, POLICY).expect("written");
    Policy::from_file(&path).expect_err("that is no JSON");
}
