//! A gate that knows the server's methods: what it tells at the start, and what a strict one
//! refuses.

use std::fs;

use countersign::authentication::Anonymous;
use countersign::authorization::{
    InvalidDescriptorSet, Methods, Policy, PolicyError, PolicyFile, Reach,
};
use countersign::{Gate, GateError, MutualTls, Rules};
use countersign_testkit::greeter::FILE_DESCRIPTOR_SET;
use countersign_testkit::logs::Logs;
use serde_json::json;

const SAY_HELLO: &str = "/countersign.demo.v1.Greeter/SayHello";
const STREAM: &str = "/countersign.demo.v1.Greeter/SayHelloStream";
const RESET: &str = "/countersign.demo.v1.Greeter/Reset";

fn all_but_reset() -> String {
    json!({"name": "p",
        "deny_rules": [{"name": "no-stream", "request": {"paths": [STREAM]}}],
        "allow_rules": [{"name": "hello", "request": {"paths": ["*/SayHello"]}}]})
    .to_string()
}

fn with_reset() -> String {
    all_but_reset().replace("*/SayHello", "/countersign.demo.v1.Greeter/*")
}

fn uncovered(error: GateError) -> Vec<String> {
    match error {
        GateError::Uncovered { methods } => methods,
        other => panic!("another error: {other}"),
    }
}

#[test]
fn a_strict_gate_wants_a_rule_in_code_for_each_method() {
    let strict = |rules: Rules| {
        Gate::builder().authorize(rules).methods_of(FILE_DESCRIPTOR_SET).strict().build()
    };
    let most = || Rules::new().public(SAY_HELLO).denied(STREAM);
    strict(most().public(RESET)).expect("all three have a rule");
    let error = strict(most()).expect_err("one has none");
    assert_eq!(
        error.to_string(),
        "no rule is for /countersign.demo.v1.Greeter/Reset, and the gate is strict"
    );
    assert_eq!(uncovered(error), [RESET]);
    assert_eq!(uncovered(strict(Rules::new()).expect_err("nothing")).len(), 3);
    let lax = Gate::builder().authorize(most()).methods_of(FILE_DESCRIPTOR_SET).build();
    lax.expect("who is not strict gets a gate that denies");
}

#[test]
fn a_strict_gate_wants_a_rule_of_the_policy_for_each_method() {
    let strict = |text: &str| {
        let policy = Policy::from_json(text).expect("a policy");
        Gate::builder().authorize(policy).methods_of(FILE_DESCRIPTOR_SET).strict().build()
    };
    strict(&with_reset()).expect("each has one");
    assert_eq!(uncovered(strict(&all_but_reset()).expect_err("one has none")), [RESET]);
    let conditional =
        with_reset().replace("hello\",", "hello\", \"source\": {\"principals\": [\"x\"]},");
    strict(&conditional).expect("whom it asks for is another matter");
}

#[test]
fn a_strict_gate_has_to_know_the_methods() {
    let error = Gate::builder().strict().build().expect_err("none told");
    assert_eq!(error, GateError::NoMethods);
    for (bytes, expected) in [
        (&b"\xff\xff"[..], InvalidDescriptorSet::Malformed),
        (b"", InvalidDescriptorSet::Empty),
        // A file without a service.
        (b"\x0a\x02\x12\x00", InvalidDescriptorSet::Empty),
        // Its service `S` has a method `/`.
        (
            b"\x0a\x0a\x32\x08\x0a\x01S\x12\x03\x0a\x01/",
            InvalidDescriptorSet::Path { path: "/S//".to_owned() },
        ),
    ] {
        assert_eq!(Methods::from_descriptor_set(bytes).expect_err("refused"), expected);
        let told = Gate::builder().methods_of(FILE_DESCRIPTOR_SET).methods_of(bytes);
        assert_eq!(told.build().expect_err("refused"), GateError::DescriptorSet(expected));
    }
}

#[test]
fn a_cut_descriptor_set_has_fewer_methods_or_is_none() {
    let whole = Methods::from_descriptor_set(FILE_DESCRIPTOR_SET).expect("whole");
    assert_eq!(whole.paths().collect::<Vec<_>>(), [RESET, SAY_HELLO, STREAM]);
    for length in 0..FILE_DESCRIPTOR_SET.len() {
        Methods::from_descriptor_set(&FILE_DESCRIPTOR_SET[..length]).expect_err("one file, cut");
    }
}

#[test]
fn a_policy_that_loses_a_method_does_not_take_the_place_of_the_last_good_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("policy.json");
    fs::write(&path, all_but_reset()).expect("written");
    let file = PolicyFile::open(&path).expect("a policy");
    let strict =
        || Gate::builder().authorize(&file).methods_of(FILE_DESCRIPTOR_SET).strict().build();
    assert_eq!(uncovered(strict().expect_err("one has no rule")), [RESET]);
    // A gate that was not built asks for nothing.
    fs::write(&path, all_but_reset().replace("no-stream", "none")).expect("written");
    assert!(file.reload().expect("nobody is strict"));

    fs::write(&path, with_reset()).expect("written");
    assert!(file.reload().expect("good"));
    let gate = strict().expect("each has a rule");
    let rule = |file: &PolicyFile| file.current().rules().nth(1).map(|rule| rule.line);
    let before = rule(&file);

    fs::write(&path, format!("\n\n{}", all_but_reset())).expect("written");
    let error = file.reload().expect_err("one has lost its rule");
    match &*error {
        PolicyError::Uncovered { methods, .. } => assert_eq!(methods, &[RESET]),
        other => panic!("another error: {other}"),
    }
    assert_eq!(rule(&file), before, "the last good one");
    let told = gate.coverage().expect("it knows the methods");
    assert_eq!(told.count(Reach::NoRule), 0);
    assert!(file.reload().is_err() && file.report().problem.is_some(), "as long as it lasts");

    fs::write(&path, format!("\n\n{}", with_reset())).expect("written");
    assert!(file.reload().expect("good again"));
    assert!(file.report().problem.is_none());
    drop(gate);
    fs::write(&path, all_but_reset()).expect("written");
    assert!(file.reload().expect("no strict gate is left"));
}

#[test]
fn the_start_tells_what_the_gate_lets_through() {
    let logs = Logs::collect();
    let policy = Policy::from_json(&all_but_reset()).expect("a policy");
    let gate = Gate::builder().authorize(policy).methods_of(FILE_DESCRIPTOR_SET).build();
    let coverage = gate.expect("a gate").coverage().expect("it knows the methods");
    let told: Vec<_> = coverage
        .methods()
        .iter()
        .map(|one| (one.path.as_str(), one.reach, one.rule.as_deref()))
        .collect();
    let expected = [
        (RESET, Reach::NoRule, None),
        (SAY_HELLO, Reach::Public, Some("hello")),
        (STREAM, Reach::Denied, Some("no-stream")),
    ];
    assert_eq!(told, expected);
    let text = logs.text();
    for part in [
        "what the gate lets through",
        "methods=3 public=1 authenticated=0 denied=1 no_rule=1",
        "public_methods=/countersign.demo.v1.Greeter/SayHello",
        "methods_without_rule=/countersign.demo.v1.Greeter/Reset",
    ] {
        assert_eq!(text.matches(part).count(), 1, "{part}\n{text}");
    }
    let silent = Gate::builder().authorize(Rules::new()).build().expect("a gate");
    assert!(silent.coverage().is_none(), "nobody told it");
    assert_eq!(logs.text().matches("lets through").count(), 1);
}

/// The authenticator `anonymous` knows everybody who shows nothing.
#[test]
fn what_anonymous_callers_reach_is_public() {
    let reach = |gate: countersign::GateBuilder| {
        let gate = gate
            .authenticate(Anonymous)
            .authenticate(MutualTls::new())
            .methods_of(FILE_DESCRIPTOR_SET)
            .build()
            .expect("a gate");
        gate.coverage().expect("methods").methods()[0].reach
    };
    let policy = |names: &str| {
        let source = json!({"countersign": {"authenticators": [names]}});
        let text = json!({"name": "p", "allow_rules": [{"name": "r", "source": source}]});
        Gate::builder().authorize(Policy::from_json(&text.to_string()).expect("a policy"))
    };
    for (names, expected) in
        [("anonymous", Reach::Public), ("*", Reach::Public), ("mutual-*", Reach::Authenticated)]
    {
        assert_eq!(reach(policy(names)), expected, "{names}");
    }
    let by = |names: &[&str]| {
        Gate::builder().authorize(Rules::new().authenticated_by("*", names.iter().copied()))
    };
    assert_eq!(reach(by(&["mutual-tls", "anonymous"])), Reach::Public);
    assert_eq!(reach(by(&["mutual-tls"])), Reach::Authenticated);
    let all = |names: &[&str]| {
        Gate::builder().authorize(Rules::new().authenticated_by_all("*", names.iter().copied()))
    };
    assert_eq!(reach(all(&["anonymous"])), Reach::Public);
    assert_eq!(reach(all(&["mutual-tls", "anonymous"])), Reach::Authenticated);
}
