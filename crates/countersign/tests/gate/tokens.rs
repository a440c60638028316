use countersign::{Gate, MutualTls, Rules, SecurityLevel, ServerRequestExt, StaticTokens};
use countersign_testkit::greeter::SAY_HELLO;
use countersign_testkit::pki::CertificateAuthority;
use tonic::Code;

use super::support::{
    RawClient, behind_tls, challenges_of, channel, empty_message, grpc_request, identity, trusting,
};
use super::{
    API_KEY, BAD_API_KEY, BAD_BEARER, BEARER, TOKEN, behind, forbidden, gate, greet, invalid,
    malformed, tokens, told, told_raw,
};

#[tokio::test]
async fn a_listed_token_is_taken_as_bearer_and_as_api_key_and_another_is_not() {
    let (server, reached) = behind(gate(Rules::new().authenticated(SAY_HELLO))).await;
    let mut client = RawClient::connect(&server).await;
    for (name, good, bad) in [("bearer", BEARER, BAD_BEARER), ("key", API_KEY, BAD_API_KEY)] {
        assert_eq!(client.call(SAY_HELLO, &[good]).await.grpc().code(), Code::Ok, "{name}");
        let known = reached.last_request();
        assert_eq!(known.principal().expect("known").name(), "ci", "{name}");
        assert_eq!(known.principal().expect("known").authenticator(), StaticTokens::NAME);
        assert_eq!(told_raw(&client.call(SAY_HELLO, &[bad]).await), invalid(), "{name}");
    }
    assert_eq!(reached.count(), 2);
}

#[tokio::test]
async fn anything_but_one_well_formed_credential_is_malformed() {
    let (server, reached) = behind(gate(Rules::new().authenticated(SAY_HELLO))).await;
    let mut client = RawClient::connect(&server).await;
    // identity.md, section 6, row 7.
    let padded = format!("Bearer {TOKEN} ");
    let joined = format!("Bearer {TOKEN}, Bearer {TOKEN}");
    let keys = format!("{TOKEN},{TOKEN}");
    let long = format!("Bearer {}", "t".repeat(20 * 1024));
    for (name, metadata) in [
        ("the same token twice", &[BEARER, BEARER][..]),
        ("a good token and a bad one", &[BEARER, BAD_BEARER]),
        ("a bad token and a good one", &[BAD_BEARER, BEARER]),
        ("both kinds", &[BEARER, API_KEY]),
        ("the same key twice", &[API_KEY, API_KEY]),
        ("two joined by a proxy", &[("authorization", &joined)]),
        ("two keys joined by a proxy", &[("x-api-key", &keys)]),
        ("no scheme", &[("authorization", TOKEN)]),
        ("a scheme alone", &[("authorization", "Bearer")]),
        ("nothing after the scheme", &[("authorization", "Bearer ")]),
        ("empty", &[("authorization", "")]),
        ("an empty key", &[("x-api-key", "")]),
        ("a space after it", &[("authorization", &padded)]),
        ("a scheme that nobody knows", &[("authorization", "Basic Y2k6Y2k=")]),
        ("20 KiB", &[("authorization", &long)]),
    ] {
        let answer = client.call(SAY_HELLO, metadata).await;
        assert_eq!(told_raw(&answer), malformed(), "{name}");
        let challenge = "Bearer realm=\"grpc\", error=\"invalid_request\"";
        assert_eq!(challenges_of(&answer.grpc()), [challenge], "{name}");
    }
    let binary = http::HeaderValue::from_bytes(b"Bearer \xff\xfe").expect("HTTP allows it");
    let request = grpc_request(SAY_HELLO).header("authorization", binary);
    let answer = client.send(request.body(empty_message()).expect("a request")).await;
    assert_eq!(told_raw(&answer), malformed(), "binary");
    assert_eq!(reached.count(), 0);

    for (name, value) in [
        ("as it is usually written", format!("Bearer {TOKEN}")),
        ("scheme in another case", format!("bEARER {TOKEN}")),
        ("two spaces", format!("Bearer  {TOKEN}")),
    ] {
        let answer = client.call(SAY_HELLO, &[("authorization", &value)]).await;
        assert_eq!(answer.grpc().code(), Code::Ok, "{name}");
    }
    let folded = format!("Bearer {}", TOKEN.to_uppercase());
    let answer = client.call(SAY_HELLO, &[("authorization", &folded)]).await;
    assert_eq!(told_raw(&answer), invalid(), "the token's case counts");
}

#[tokio::test]
async fn a_token_over_a_connection_with_a_certificate_proves_both_in_that_order() {
    let ca = CertificateAuthority::new("test CA");
    let showing = trusting(&ca).identity(identity(&ca.client(&["spiffe://test/alice"])));
    let rules = || Rules::new().authenticated(SAY_HELLO);
    let swapped = Gate::builder().authenticate(MutualTls::new()).authenticate(tokens());
    for gate in [gate(rules()), swapped.authorize(rules()).build().expect("a gate")] {
        let (server, reached) = behind_tls(&ca, &gate).await;
        let channel = channel(&server, showing.clone()).await;
        assert_eq!(told(&greet(&channel, &[BEARER]).await), r#"passes as "ci""#);
        let request = reached.last_request();
        let context = request.auth_context().expect("a gate");
        let callers: Vec<_> = context.callers().iter().map(|it| it.principal().name()).collect();
        assert_eq!(callers, ["ci", "spiffe://test/alice"]);
        let level = context.caller().expect("a caller").security_level();
        assert_eq!(level, SecurityLevel::PrivacyAndIntegrity);

        // A bad token never falls back to a good certificate (ADR 0006).
        assert_eq!(told(&greet(&channel, &[BAD_BEARER]).await), invalid());
        assert_eq!(told(&greet(&channel, &[]).await), r#"passes as "spiffe://test/alice""#);
    }
}

#[tokio::test]
async fn a_rule_that_asks_for_the_certificate_finds_it_behind_a_token() {
    let ca = CertificateAuthority::new("test CA");
    let rules = Rules::new().authenticated_by(SAY_HELLO, [MutualTls::NAME]);
    let (server, _) = behind_tls(&ca, &gate(rules)).await;
    let showing = trusting(&ca).identity(identity(&ca.client(&["spiffe://test/alice"])));
    let with_certificate = channel(&server, showing).await;
    let outcome = greet(&with_certificate, &[BEARER]).await;
    assert_eq!(told(&outcome), r#"passes as "spiffe://test/alice""#);
    let outcome = greet(&channel(&server, trusting(&ca)).await, &[BEARER]).await;
    assert_eq!(told(&outcome), forbidden());
}
