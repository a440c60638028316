//! Cases RB-01 to RB-03 and RB-07 to RB-09 of the acceptance table, as policies of ours say them,
//! and AU-01 to AU-05 as far as they are the policy's. RB-04 to RB-06 are about matchers (regular
//! expressions, server names, metadata of Envoy) that no policy of gRFC A43 has.

use countersign::authorization::Policy;

use crate::support::{Call, Peer, policy};

fn allowing(rule: &str) -> String {
    format!(r#"{{"name":"p","allow_rules":[{{"name":"r",{rule}}}]}}"#)
}

#[test]
fn what_envoy_says_otherwise_is_decided_alike() {
    let not = allowing(r#""request":{"countersign":{"not":{"paths":["/secret.content*"]}}}"#);
    let network = allowing(r#""source":{"countersign":{"addresses":["0.0.0.0/10"]}}"#);
    let one = allowing(r#""source":{"countersign":{"addresses":["10.0.0.1"]}}"#);
    let anybody = allowing(r#""source":{"principals":["*",""]}"#);
    let call = || Call::to("/regular.content/Get");
    for (id, text, call, allowed) in [
        ("RB-01", &not, call(), true),
        ("RB-01, secret", &not, Call::to("/secret.content/Get"), false),
        ("RB-02", &network, call().from("0.0.0.0"), true),
        ("RB-02, last", &network, call().from("0.63.255.255"), true),
        ("RB-02, over IPv6", &network, call().from("::ffff:0.0.0.0"), true),
        ("RB-02, outside", &network, call().from("10.0.0.0"), false),
        ("RB-02, no address", &network, call(), false),
        ("RB-03, one address", &one, call().from("10.0.0.1"), true),
        ("RB-03, its neighbour", &one, call().from("10.0.0.0"), false),
        ("RB-09", &anybody, call().over(Peer::Tls), true),
        ("RB-09, certificate", &anybody, call().over(Peer::mtls(&["x"], &[], "")), true),
        ("RB-09, plain", &anybody, call(), false),
    ] {
        assert_eq!(call.decided(&policy(text)).0, allowed, "{id}");
    }
}

#[test]
fn what_no_policy_can_say_is_an_error_when_it_is_loaded() {
    let not =
        |inner: &str| allowing(&format!(r#""request":{{"countersign":{{"not":{{{inner}}}}}}}"#));
    let address =
        |text: &str| allowing(&format!(r#""source":{{"countersign":{{"addresses":["{text}"]}}}}"#));
    let log = r#"{"name":"p","log_rules":[{"name":"l"}],"allow_rules":[{"name":"r"}]}"#.to_owned();
    for (id, text, said) in [
        ("RB-03, no length", address("10.0.0.0/"), "prefix length"),
        ("RB-03, too long", address("10.0.0.0/33"), "prefix length"),
        ("RB-07", not(r#""requested_server_name":["x"]"#), "unknown key"),
        ("RB-07, nothing", not(""), "\"not\" is empty"),
        ("RB-08", log, "unknown key \"log_rules\""),
    ] {
        let error = Policy::from_json(&text).expect_err(id);
        assert!(error.to_string().contains(said), "{id}: {error}");
    }
}

#[test]
fn the_condition_says_which_decisions_are_written_down() {
    for (id, condition, on_deny, on_allow) in [
        ("AU-01", "NONE", false, false),
        ("AU-02", "ON_DENY_AND_ALLOW", true, true),
        ("AU-03", "ON_ALLOW", false, true),
        ("AU-04", "ON_DENY", true, false),
    ] {
        let text = format!(
            r#"{{"name":"authz","allow_rules":[{{"name":"all"}}],"audit_logging_options":
                {{"audit_condition":"{condition}","audit_loggers":[{{"name":"stdout_logger"}}]}}}}"#
        );
        // One question a call, whichever list decided: there are never two events (AU-05).
        let policy = policy(&text);
        let wants = (policy.audit().wants(false), policy.audit().wants(true));
        assert_eq!(wants, (on_deny, on_allow), "{id}, AU-05");
    }
}
