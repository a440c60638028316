use countersign::{Gate, MutualTls, Rules};
use countersign_testkit::greeter::SAY_HELLO;
use countersign_testkit::pki::{CertificateAuthority, LeafBuilder};

use super::support::{behind_tls, challenges_of, channel, identity, trusting};
use super::{greet, missing, told};

#[tokio::test]
async fn a_certificate_is_known_by_its_first_kind_of_name_and_by_no_later_one() {
    let ca = CertificateAuthority::new("test CA");
    type Build = fn(LeafBuilder<'_>) -> LeafBuilder<'_>;
    struct Row {
        name: &'static str,
        certificate: Build,
        /// The principal, if there is one.
        any: Option<&'static str>,
        /// The same when only SPIFFE IDs count.
        spiffe_only: Option<&'static str>,
    }
    let rows = [
        Row {
            name: "SPIFFE ID (AZ-13)",
            certificate: |leaf| leaf.uri("spiffe://test/alice").dns("a.test").common_name("a"),
            any: Some("spiffe://test/alice"),
            spiffe_only: Some("spiffe://test/alice"),
        },
        Row {
            name: "URI before DNS name (AZ-14)",
            certificate: |leaf| leaf.dns("a.test").uri("https://test/alice"),
            any: Some("uri:https://test/alice"),
            spiffe_only: None,
        },
        Row {
            name: "DNS name (AZ-16)",
            certificate: |leaf| leaf.email("a@a.test").dns("a.test").dns("b.test"),
            any: Some("dns:a.test"),
            spiffe_only: None,
        },
        Row {
            name: "DNS name before subject (AZ-17)",
            certificate: |leaf| leaf.dns("a.test").common_name("alice"),
            any: Some("dns:a.test"),
            spiffe_only: None,
        },
        Row {
            name: "e-mail address",
            certificate: |leaf| leaf.email("a@a.test").common_name("alice"),
            any: Some("email:a@a.test"),
            spiffe_only: None,
        },
        Row {
            name: "subject, in the order of RFC 4514 (AZ-18)",
            certificate: |leaf| {
                leaf.subject(&[("C", "US"), ("ST", "CA"), ("O", "gRPC"), ("CN", "test-client1")])
            },
            any: Some("subject:CN=test-client1,O=gRPC,ST=CA,C=US"),
            spiffe_only: None,
        },
        Row {
            name: "a subject cannot pass for a DNS name",
            certificate: |leaf| leaf.common_name("dns:a.test"),
            any: Some("subject:CN=dns:a.test"),
            spiffe_only: None,
        },
        Row {
            name: "upper-case trust domain: no SPIFFE ID, and must not look like one (SP-07)",
            certificate: |leaf| leaf.uri("spiffe://Test/alice").dns("a.test"),
            any: None,
            spiffe_only: None,
        },
        Row {
            name: "upper-case scheme",
            certificate: |leaf| leaf.uri("SPIFFE://test/alice").dns("a.test"),
            any: None,
            spiffe_only: None,
        },
        Row {
            name: "a trust domain and no workload",
            certificate: |leaf| leaf.uri("spiffe://test").dns("a.test"),
            any: None,
            spiffe_only: None,
        },
        Row {
            name: "two SPIFFE IDs are none (SP-05)",
            certificate: |leaf| leaf.uri("spiffe://test/alice").uri("spiffe://test/bob"),
            any: None,
            spiffe_only: None,
        },
        Row {
            name: "two URIs are no SPIFFE ID (SP-05)",
            certificate: |leaf| leaf.uri("https://test/alice").uri("spiffe://test/bob"),
            any: Some("uri:https://test/alice"),
            spiffe_only: None,
        },
        Row { name: "no name at all", certificate: |leaf| leaf, any: None, spiffe_only: None },
    ];
    let servers = [MutualTls::new(), MutualTls::spiffe_only()].map(|authenticator| {
        Gate::builder()
            .authenticate(authenticator)
            .authorize(Rules::new().authenticated(SAY_HELLO))
            .build()
            .expect("a gate")
    });
    let [any, spiffe_only] = servers;
    let ((any, _), (spiffe_only, _)) =
        (behind_tls(&ca, &any).await, behind_tls(&ca, &spiffe_only).await);
    for row in rows {
        let certificate = (row.certificate)(ca.issue().for_client()).build();
        for (server, principal) in [(&any, row.any), (&spiffe_only, row.spiffe_only)] {
            let tls = trusting(&ca).identity(identity(&certificate));
            let outcome = greet(&channel(server, tls).await, &[]).await;
            let expected = match principal {
                Some(principal) => format!("passes as {principal:?}"),
                None => missing(),
            };
            assert_eq!(told(&outcome), expected, "{}", row.name);
        }
    }
}

#[tokio::test]
async fn over_a_connection_without_a_certificate_nobody_is_known_by_one() {
    let ca = CertificateAuthority::new("test CA");
    let only_certificates = Gate::builder()
        .authenticate(MutualTls::new())
        .authorize(Rules::new().authenticated(SAY_HELLO))
        .build()
        .expect("a gate");
    let (server, _) = behind_tls(&ca, &only_certificates).await;
    let outcome = greet(&channel(&server, trusting(&ca)).await, &[]).await;
    assert_eq!(told(&outcome), missing());
    // Metadata cannot help, so none is asked for.
    assert_eq!(challenges_of(&outcome.expect_err("refused")), [""; 0]);

    let alice = trusting(&ca).identity(identity(&ca.client(&["spiffe://test/alice"])));
    let outcome = greet(&channel(&server, alice).await, &[]).await;
    assert_eq!(told(&outcome), r#"passes as "spiffe://test/alice""#);
}
