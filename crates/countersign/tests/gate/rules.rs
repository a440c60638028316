use countersign::{
    Channel, ChannelCredentials, MutualTls, Rules, ServerRequestExt, StaticTokens, connect,
};
use countersign_testkit::greeter::{GREETER, SAY_HELLO};
use countersign_testkit::pki::CertificateAuthority;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::support::{RawClient, behind_tls, channel, identity, trusting};
use super::{
    BAD_API_KEY, BAD_BEARER, BEARER, HEALTH, RESET, SAY_HELLO_STREAM, behind, forbidden, gate,
    greet, invalid, malformed, missing, told, told_raw,
};

#[tokio::test]
async fn a_gate_without_rules_refuses_every_method_there_or_not() {
    let (server, reached) = behind(gate(Rules::new())).await;
    let mut client = RawClient::connect(&server).await;
    for path in [SAY_HELLO, RESET, HEALTH, "/countersign.demo.v1.Greeter/Nope", "/no.Such/Method"] {
        assert_eq!(told_raw(&client.call(path, &[]).await), missing(), "{path}");
        assert_eq!(told_raw(&client.call(path, &[BEARER]).await), forbidden(), "{path}");
    }
    assert_eq!(reached.count(), 0);
}

#[tokio::test]
async fn a_method_is_open_to_whom_its_rule_names_and_its_neighbour_is_not() {
    let (server, reached) = behind(gate(Rules::new().authenticated(SAY_HELLO))).await;
    let mut client = RawClient::connect(&server).await;
    assert_eq!(client.call(SAY_HELLO, &[BEARER]).await.grpc().code(), Code::Ok);
    assert_eq!(reached.count(), 1);
    assert_eq!(told_raw(&client.call(RESET, &[BEARER]).await), forbidden());
    assert_eq!(reached.count(), 1);
}

#[tokio::test]
async fn a_stranger_cannot_tell_methods_apart() {
    let rules = Rules::new()
        .authenticated(SAY_HELLO)
        .authenticated_by(SAY_HELLO_STREAM, [MutualTls::NAME])
        .denied(RESET);
    let (server, reached) = behind(gate(rules)).await;
    let mut client = RawClient::connect(&server).await;
    let others = [
        ("needs a certificate", SAY_HELLO_STREAM),
        ("denied", RESET),
        ("without a rule", HEALTH),
        ("no such method", "/countersign.demo.v1.Greeter/Nope"),
        ("no such service", "/no.such.Service/Method"),
    ];
    for (credentials, metadata, told) in [
        ("none", &[][..], missing()),
        ("bad token", &[BAD_BEARER], invalid()),
        ("bad key", &[BAD_API_KEY], invalid()),
        ("no token at all", &[("authorization", "garbage")], malformed()),
    ] {
        let known = client.call(SAY_HELLO, metadata).await;
        assert_eq!(told_raw(&known), told, "{credentials}");
        for (method, path) in others {
            let answer = client.call(path, metadata).await;
            let (answer, known) = (answer.without_decision(), known.without_decision());
            assert_eq!(answer, known, "{method}, {credentials}");
        }
    }
    assert_eq!(reached.count(), 0);

    // The twin: whoever is somebody is told what is meant for them, and no more.
    assert_eq!(client.call(SAY_HELLO, &[BEARER]).await.grpc().code(), Code::Ok);
    let denied = client.call(RESET, &[BEARER]).await;
    assert_eq!(told_raw(&denied), forbidden());
    for (method, path) in others {
        let answer = client.call(path, &[BEARER]).await;
        assert_eq!(answer.without_decision(), denied.without_decision(), "{method}");
    }
}

#[tokio::test]
async fn each_kind_of_rule_lets_in_whom_it_names() {
    let ca = CertificateAuthority::new("test CA");
    let showing = trusting(&ca).identity(identity(&ca.client(&["spiffe://test/alice"])));
    let anyone = || r#"passes as """#.to_owned();
    let ci = || r#"passes as "ci""#.to_owned();
    let alice = || r#"passes as "spiffe://test/alice""#.to_owned();
    struct Row {
        name: &'static str,
        rules: Rules,
        stranger: String,
        bad_token: String,
        token: String,
        certificate: String,
    }
    for Row { name, rules, stranger, bad_token, token, certificate } in [
        Row {
            name: "public: evidence is not looked at",
            rules: Rules::new().public(SAY_HELLO),
            stranger: anyone(),
            bad_token: anyone(),
            token: anyone(),
            certificate: anyone(),
        },
        Row {
            name: "optional",
            rules: Rules::new().optional(SAY_HELLO),
            stranger: anyone(),
            bad_token: invalid(),
            token: ci(),
            certificate: alice(),
        },
        Row {
            name: "authenticated",
            rules: Rules::new().authenticated(SAY_HELLO),
            stranger: missing(),
            bad_token: invalid(),
            token: ci(),
            certificate: alice(),
        },
        Row {
            name: "authenticated by certificate",
            rules: Rules::new().authenticated_by(SAY_HELLO, [MutualTls::NAME]),
            stranger: missing(),
            bad_token: invalid(),
            token: forbidden(),
            certificate: alice(),
        },
        Row {
            name: "authenticated by token",
            rules: Rules::new().authenticated_by(SAY_HELLO, [StaticTokens::NAME]),
            stranger: missing(),
            bad_token: invalid(),
            token: ci(),
            certificate: forbidden(),
        },
        Row {
            name: "authenticated by either",
            rules: Rules::new().authenticated_by(SAY_HELLO, [StaticTokens::NAME, MutualTls::NAME]),
            stranger: missing(),
            bad_token: invalid(),
            token: ci(),
            certificate: alice(),
        },
        Row {
            name: "denied, whatever else is said",
            rules: Rules::new().public(GREETER).denied(SAY_HELLO),
            stranger: missing(),
            bad_token: invalid(),
            token: forbidden(),
            certificate: forbidden(),
        },
    ] {
        let (server, _) = behind_tls(&ca, &gate(rules)).await;
        let plain = channel(&server, trusting(&ca)).await;
        let with_certificate = channel(&server, showing.clone()).await;
        assert_eq!(told(&greet(&plain, &[]).await), stranger, "{name}: stranger");
        assert_eq!(told(&greet(&plain, &[BAD_BEARER]).await), bad_token, "{name}: bad token");
        assert_eq!(told(&greet(&plain, &[BEARER]).await), token, "{name}: token");
        let outcome = greet(&with_certificate, &[]).await;
        assert_eq!(told(&outcome), certificate, "{name}: certificate");
    }
}

#[tokio::test]
async fn a_handler_knows_the_rule_that_let_the_call_pass() {
    let rules = Rules::new().authenticated(GREETER).authenticated(SAY_HELLO);
    let (server, reached) = behind(gate(rules)).await;
    let mut client = RawClient::connect(&server).await;
    for (path, rule) in [(SAY_HELLO, SAY_HELLO), (RESET, GREETER)] {
        client.call(path, &[BEARER]).await;
        assert_eq!(reached.last_request().auth_context().expect("a gate").rule(), rule);
    }
}

#[tokio::test]
async fn health_checks_are_public_by_the_preset_and_nothing_else_is() {
    let check = |channel: &Channel, bearer: Option<&str>| {
        let mut request = tonic::Request::new(HealthCheckRequest::default());
        if let Some(bearer) = bearer {
            request.metadata_mut().insert("authorization", bearer.parse().expect("ASCII"));
        }
        let mut client = HealthClient::new(channel.clone());
        async move { client.check(request).await.map(|reply| reply.into_inner().status) }
    };
    const SERVING: i32 = 1;

    let (server, _) = behind(gate(Rules::new().health_is_public())).await;
    let target = server.http("localhost");
    let channel = connect(target, ChannelCredentials::insecure()).await.expect("connected");
    assert_eq!(check(&channel, None).await.expect("public"), SERVING);
    // A stale token does not keep a probe from its answer.
    assert_eq!(check(&channel, Some(BAD_BEARER.1)).await.expect("public"), SERVING);
    let mut watching = HealthClient::new(channel.clone())
        .watch(HealthCheckRequest::default())
        .await
        .expect("public")
        .into_inner();
    assert_eq!(watching.message().await.expect("a status").expect("one").status, SERVING);
    assert_eq!(told(&greet(&channel, &[]).await), missing());

    let (server, _) = behind(gate(Rules::new())).await;
    let target = server.http("localhost");
    let channel = connect(target, ChannelCredentials::insecure()).await.expect("connected");
    let status = check(&channel, None).await.expect_err("no preset, no entry");
    assert_eq!(status.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn reflection_is_for_whom_its_preset_names() {
    let versions = ["v1", "v1alpha"]
        .map(|version| format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"));
    for path in &versions {
        let told = |rules, metadata: &'static [(&str, &str)]| {
            let path = path.clone();
            async move {
                let (server, _) = behind(gate(rules)).await;
                RawClient::connect(&server).await.call(&path, metadata).await.grpc().code()
            }
        };
        // This server has no reflection, and says so to those who may ask.
        let there = Code::Unimplemented;
        let authenticated = || Rules::new().reflection_is_authenticated();
        assert_eq!(told(authenticated(), &[]).await, Code::Unauthenticated, "{path}");
        assert_eq!(told(authenticated(), &[BEARER]).await, there, "{path}");
        assert_eq!(told(Rules::new().reflection_is_public(), &[]).await, there, "{path}");
        assert_eq!(told(Rules::new(), &[BEARER]).await, Code::PermissionDenied, "{path}");
    }
}
