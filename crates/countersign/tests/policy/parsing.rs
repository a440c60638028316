//! Cases AP-01 to AP-18 of the acceptance table, and positions.

use countersign::authorization::{AuditCondition, Policy, PolicyError, PolicyOptions};

fn error(text: &str) -> String {
    match Policy::from_json(text) {
        Ok(policy) => panic!("{policy:?} is read from {text}"),
        Err(error) => error.message().to_owned(),
    }
}

fn with_header(header: &str) -> String {
    format!(r#"{{"name":"p","allow_rules":[{{"name":"r","request":{{"headers":[{header}]}}}}]}}"#)
}

fn with_audit(audit: &str) -> String {
    format!(
        r#"{{"name":"p","allow_rules":[{{"name":"all"}}],"audit_logging_options":{{{audit}}}}}"#
    )
}

#[test]
fn what_grpc_go_refuses_is_refused_in_its_words() {
    let second = r#"{"key":"key-a","values":["value-a"]},{}"#;
    for (id, text, said) in [
        ("AP-01", "{}".to_owned(), r#""name" is not present"#),
        ("AP-02", r#"{"name":"authz-foo"}"#.to_owned(), r#""allow_rules" is not present"#),
        ("AP-03", r#"{"random":123}"#.to_owned(), "failed to unmarshal policy: "),
        ("AP-04", r#"{"name":123}"#.to_owned(), "failed to unmarshal policy: "),
        (
            "AP-05",
            r#"{"name":"p","allow_rules":[{}]}"#.to_owned(),
            r#""allow_rules" 0: "name" is not present"#,
        ),
        ("AP-06", with_header(second), r#""allow_rules" 0: "headers" 1: "key" is not present"#),
        (
            "AP-07",
            with_header(r#"{"key":"key-a"}"#),
            r#""allow_rules" 0: "headers" 0: "values" is not present"#,
        ),
        (
            "AP-07, empty",
            with_header(r#"{"key":"key-a","values":[]}"#),
            r#""allow_rules" 0: "headers" 0: "values" is not present"#,
        ),
        (
            "AP-08",
            with_header(r#"{"key":":method","values":["GET"]}"#),
            r#""allow_rules" 0: "headers" 0: unsupported "key" :method"#,
        ),
        ("AP-10", with_audit(r#""audit_condition":"ABC""#), "failed to parse AuditCondition ABC"),
        (
            "AP-11",
            with_audit(r#""audit_loggers":[{"name":"stdout_logger","config":"abc"}]"#),
            "failed to unmarshal policy: ",
        ),
        (
            "AP-12",
            with_audit(r#""audit_loggers":[{"name":""}]"#),
            r#""audit_loggers" 0: missing required field: name"#,
        ),
        (
            "AP-13, not optional",
            with_audit(r#""audit_loggers":[{"name":"mine","is_optional":false}]"#),
            r#""audit_loggers" 0: there is no audit logger "mine""#,
        ),
        ("no rules", r#"{"name":"p","allow_rules":[]}"#.to_owned(), r#""allow_rules" is not"#),
        ("a list", "[]".to_owned(), "failed to unmarshal policy: "),
    ] {
        assert!(error(&text).starts_with(said), "{id}: {}", error(&text));
    }
}

#[test]
fn headers_that_belong_to_the_transport_are_refused_in_any_case() {
    for key in [
        "grpc-timeout",
        "GRPC-Status",
        "Host",
        "TE",
        "Keep-Alive",
        "Proxy-Authorization",
        "Proxy-Authenticate",
        "Upgrade",
        "Trailer",
        "Transfer-Encoding",
        "Connection",
        ":authority",
        ":path",
    ] {
        let text = with_header(&format!(r#"{{"key":"{key}","values":["x"]}}"#));
        assert!(error(&text).contains("unsupported \"key\""), "AP-09: {key}");
    }
    let text = with_header(r#"{"key":"Key-A","values":["x"]}"#);
    Policy::from_json(&text).expect("any other key is fine");
    assert!(error(&with_header(r#"{"key":"a b","values":["x"]}"#)).contains("no header can have"));
}

#[test]
fn audit_options_are_read() {
    let optional = with_audit(
        r#""audit_condition":"ON_DENY","audit_loggers":[{"name":"mine","is_optional":true,"config":{"a":1}},{"name":"stdout_logger"}]"#,
    );
    let policy = Policy::from_json(&optional).expect("AP-13, optional");
    assert_eq!(policy.audit().condition(), AuditCondition::OnDeny);
    assert_eq!(policy.audit().loggers(), ["stdout_logger"]);
    assert!(policy.audit().wants(false) && !policy.audit().wants(true));
    for half in [r#""audit_condition":"ON_ALLOW""#, r#""audit_loggers":[{"name":"stdout_logger"}]"#]
    {
        let policy = Policy::from_json(&with_audit(half)).expect("AP-14");
        assert!(!policy.audit().wants(true) && !policy.audit().wants(false), "AP-14: {half}");
    }
    let options = PolicyOptions::new().with_audit_logger("mine");
    let mine = with_audit(r#""audit_loggers":[{"name":"mine"}]"#);
    Policy::from_json_with(&mine, &options).expect("known when told");
}

#[test]
fn a_rule_without_conditions_and_empty_lists_are_fine() {
    for text in [
        r#"{"name":"a","allow_rules":[{"name":"all"}]}"#,
        r#"{"name":"a","deny_rules":[],"allow_rules":[{"name":"all"}]}"#,
        r#"{"name":"a","allow_rules":[{"name":"all","source":{},"request":{}}]}"#,
        r#"{"name":"a","allow_rules":[{"name":"all","source":{"principals":[]},"request":{"paths":[],"headers":[]}}]}"#,
        r#"{"name":"a","deny_rules":[{"name":"x"}],"allow_rules":[{"name":"x"}]}"#,
    ] {
        Policy::from_json(text).unwrap_or_else(|error| panic!("AP-15: {text}: {error}"));
    }
}

/// What grpc-go lets pass, and where it stands.
#[test]
fn our_corrections_say_line_and_column() {
    for (id, text, line, column, said) in [
        (
            "AP-16",
            "{\"name\":\"p\",\n\"deny_rules\":[{\"name\":\"r\"},\n {\"name\":\"r\"}],\"allow_rules\":[{\"name\":\"a\"}]}",
            3,
            2,
            "the name \"r\" is there twice",
        ),
        (
            "AP-17, more text",
            "{\"name\":\"a\",\"allow_rules\":[{\"name\":\"all\"}]}\n{}",
            2,
            1,
            "there is more text",
        ),
        (
            "AP-17, a repeated key",
            "{\"name\":\"a\",\n\t\"name\":\"b\",\"allow_rules\":[{\"name\":\"all\"}]}",
            2,
            2,
            "the key \"name\" is there twice",
        ),
        (
            "AP-17, another case",
            "{\"name\":\"a\",\n  \"Allow_Rules\":[{\"name\":\"all\"}]}",
            2,
            3,
            "unknown key \"Allow_Rules\"",
        ),
        (
            "unknown inside",
            "{\"name\":\"a\",\"allow_rules\":[\n{\"name\":\"all\",\"source\":{\"principal\":[]}}]}",
            2,
            25,
            "unknown key \"principal\" in \"source\"",
        ),
        (
            "null",
            "{\"name\":\"a\",\"allow_rules\":[{\"name\":\"all\",\"source\":{\"principals\":null}}]}",
            1,
            65,
            "\"principals\" is null",
        ),
    ] {
        let error = Policy::from_json(text).expect_err(id);
        assert_eq!((error.line(), error.column()), (line, column), "{id}: {error}");
        assert!(error.to_string().contains(said), "{id}: {error}");
    }
}

#[test]
fn a_slip_of_the_pen_is_answered_with_what_was_meant() {
    let error = Policy::from_json(r#"{"name":"a","alow_rules":[]}"#).expect_err("unknown key");
    let hint = error.hint().expect("a hint");
    assert!(hint.starts_with(r#"did you mean "allow_rules"? the keys here are name, "#), "{hint}");
}

#[test]
fn a_file_says_which_file_it_is() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("policy.json");
    assert!(matches!(Policy::from_file(&path), Err(PolicyError::Read { .. })));
    std::fs::write(&path, "{}").expect("written");
    let error = Policy::from_file(&path).expect_err("no policy");
    assert!(matches!(error, PolicyError::Invalid { .. }));
    assert!(error.to_string().contains("policy.json"), "{error}");
    std::fs::write(&path, b"{\"name\":\"\xff\"}").expect("written");
    assert!(matches!(Policy::from_file(&path), Err(PolicyError::Read { .. })));
    std::fs::write(&path, r#"{"name":"a","allow_rules":[{"name":"all"}]}"#).expect("written");
    assert_eq!(Policy::from_file(&path).expect("a policy").name(), "a");
}

#[test]
fn a_text_over_the_limit_is_not_read_and_one_at_the_limit_is() {
    let policy = r#"{"name":"a","allow_rules":[{"name":"all"}]}"#;
    let most = usize::try_from(Policy::MAX_BYTES).expect("a length");
    let at = format!("{policy}{}", " ".repeat(most - policy.len()));
    Policy::from_json(&at).expect("at the limit");
    assert!(error(&format!("{at} ")).contains("longer than 16 MiB"));
}
