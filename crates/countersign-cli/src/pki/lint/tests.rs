//! Each lint fires on its fault, and stays quiet on the certificate without it.

use std::path::Path;

use countersign_testkit::pki::{Certificate, CertificateAuthority, LeafBuilder, self_signed};

use super::*;
use crate::pki::facts::{Key, Name};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The moment at which all of these tests happen.
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + 20_000 * DAY
}

fn ca() -> CertificateAuthority {
    CertificateAuthority::builder("dev CA").valid(now() - DAY, now() + 100 * DAY).build()
}

fn week(leaf: LeafBuilder<'_>) -> LeafBuilder<'_> {
    leaf.valid(now(), now() + 7 * DAY)
}

fn facts(certificate: &Certificate) -> Vec<Facts> {
    certificate.chain_der().iter().map(|der| Facts::read(der).unwrap()).collect()
}

fn server() -> Facts {
    facts(&week(ca().issue().dns("localhost").for_server()).build()).remove(0)
}

fn root() -> Facts {
    Facts::read(&ca().certificate_der()).unwrap()
}

/// Level and code of each finding.
fn found(certificates: &[Facts], role: Option<Role>) -> Vec<(Level, &'static str)> {
    super::certificates(certificates, role, now())
        .into_iter()
        .map(|finding| (finding.level, finding.code))
        .collect()
}

#[test]
fn good_certificates_have_no_findings() {
    let authority = ca();
    let server = facts(&week(authority.issue().dns("localhost").for_server()).build());
    let client = facts(&week(authority.issue().uri("spiffe://dev/x").for_client()).build());
    assert_eq!(found(&server, Some(Role::Server)), []);
    assert_eq!(found(&client, Some(Role::Client)), []);
    assert_eq!(found(&[root()], Some(Role::Ca)), []);
    for certificates in [server, client, vec![root()]] {
        assert_eq!(found(&certificates, None), []);
    }
}

#[test]
fn a_self_signed_ca_with_names_is_taken_for_a_leaf() {
    let der = self_signed(&["localhost"]).chain_der().remove(0);
    let mut lone = Facts::read(&der).unwrap();
    (lone.not_before, lone.not_after) = (now(), now() + 30 * DAY);
    let expected = [(Level::Error, "ca-as-leaf"), (Level::Warning, "missing-eku")];
    assert_eq!(found(&[lone], None), expected);
}

#[test]
fn a_nameless_ca_is_a_leaf_only_when_it_is_said_to_be() {
    assert_eq!(found(&[root()], None), []);
    let codes = found(&[root()], Some(Role::Server));
    assert!(codes.contains(&(Level::Error, "ca-as-leaf")), "{codes:?}");
}

#[test]
fn a_leaf_is_no_ca() {
    assert_eq!(found(&[server()], Some(Role::Ca)), [(Level::Error, "not-a-ca")]);
}

#[test]
fn a_ca_without_the_right_to_sign_is_no_ca() {
    let mut root = root();
    root.can_sign_certificates = Some(false);
    assert_eq!(found(&[root.clone()], Some(Role::Ca)), [(Level::Error, "not-a-ca")]);
    // Without a key usage extension, every use is open (RFC 5280 §4.2.1.3).
    root.can_sign_certificates = None;
    assert_eq!(found(&[root], Some(Role::Ca)), []);
}

#[test]
fn a_server_without_names_is_an_error_and_a_client_a_warning() {
    let mut nameless = server();
    nameless.names.clear();
    assert_eq!(found(&[nameless.clone()], None), [(Level::Error, "no-san")]);
    nameless.extended_key_usage = Some(vec!["client".to_owned()]);
    assert_eq!(found(&[nameless], None), [(Level::Warning, "no-san")]);
}

#[test]
fn a_missing_extended_key_usage_is_a_warning() {
    let mut open = server();
    open.extended_key_usage = None;
    assert_eq!(found(&[open], None), [(Level::Warning, "missing-eku")]);
}

#[test]
fn an_extended_key_usage_has_to_fit_the_role() {
    assert_eq!(found(&[server()], Some(Role::Client)), [(Level::Error, "wrong-eku")]);
    let mut any = server();
    any.extended_key_usage = Some(vec!["any".to_owned()]);
    assert_eq!(found(&[any], Some(Role::Client)), []);
    let mut other = server();
    other.extended_key_usage = Some(vec!["id-kp-codeSigning".to_owned()]);
    assert_eq!(found(&[other], None), [(Level::Error, "wrong-eku")]);
}

#[test]
fn a_spiffe_id_stands_alone_among_uris() {
    let uri = |value: &str| Name { kind: "uri", value: value.to_owned() };
    let mut svid = server();
    svid.names = vec![uri("spiffe://dev/x")];
    assert_eq!(found(&[svid.clone()], None), []);
    svid.names.push(uri("https://example.org"));
    assert_eq!(found(&[svid.clone()], None), [(Level::Error, "spiffe-uri")]);
    svid.names.remove(0);
    svid.names.push(uri("https://example.com"));
    assert_eq!(found(&[svid], None), []);
}

#[test]
fn broken_hashes_are_refused_except_on_a_root_that_is_held() {
    let mut leaf = server();
    leaf.signature_algorithm = "ecdsa-with-SHA1".to_owned();
    assert_eq!(found(&[leaf], None), [(Level::Error, "sha1-signature")]);
    let mut leaf = server();
    leaf.signature_algorithm = "md5WithRSAEncryption".to_owned();
    assert_eq!(found(&[leaf], None), [(Level::Error, "md5-signature")]);
    let mut root = root();
    root.signature_algorithm = "sha1WithRSAEncryption".to_owned();
    assert_eq!(found(&[root], None), []);
}

#[test]
fn rsa_keys_have_2048_bits_at_least() {
    let with = |bits| {
        let mut leaf = server();
        leaf.key = Key { algorithm: "RSA".to_owned(), bits: Some(bits) };
        leaf
    };
    assert_eq!(found(&[with(2048)], None), []);
    assert_eq!(found(&[with(2047)], None), [(Level::Error, "weak-rsa")]);
}

#[test]
fn validity_ends_after_its_last_second() {
    let until = |not_after| {
        let mut leaf = server();
        (leaf.not_before, leaf.not_after) = (now() - 7 * DAY, not_after);
        found(&[leaf], None)
    };
    assert_eq!(until(now()), [(Level::Warning, "expires-soon")]);
    assert_eq!(until(now() - Duration::from_secs(1)), [(Level::Error, "expired")]);
}

#[test]
fn validity_begins_with_its_first_second() {
    let from = |not_before| {
        let mut leaf = server();
        leaf.not_before = not_before;
        found(&[leaf], None)
    };
    assert_eq!(from(now()), []);
    assert_eq!(from(now() + Duration::from_secs(1)), [(Level::Error, "not-yet-valid")]);
}

#[test]
fn the_last_fifth_of_a_life_is_soon() {
    let left = |days| {
        let mut leaf = server();
        (leaf.not_before, leaf.not_after) = (now() + days * DAY - 100 * DAY, now() + days * DAY);
        found(&[leaf], None)
    };
    assert_eq!(left(20), []);
    assert_eq!(left(19), [(Level::Warning, "expires-soon")]);
}

#[test]
fn a_chain_goes_from_leaf_to_issuer() {
    let root = ca();
    let issuing = root.intermediate("upper").intermediate("issuing");
    let chain = facts(&week(issuing.issue().dns("localhost").for_server()).build());
    assert_eq!(chain.len(), 3);
    assert_eq!(found(&chain, None), []);

    let swapped = [chain[0].clone(), chain[2].clone(), chain[1].clone()];
    let findings = super::certificates(&swapped, None, now());
    assert!(findings.iter().all(|finding| finding.code == "chain-order"), "{findings:?}");
    assert_eq!(findings[0].certificate, Some(1));
    assert_eq!(findings[0].hint.as_deref(), Some("its issuer is certificate 3: put it here"));
}

#[test]
fn a_ca_before_the_leaf_is_an_order_and_no_leaf() {
    let findings = super::certificates(&[root(), server()], None, now());
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(findings[0].code, "chain-order");
    assert_eq!(findings[0].cause.as_deref(), Some("the peer's own is certificate 2"));
}

#[test]
fn a_stranger_after_the_leaf_breaks_the_chain() {
    let codes = found(&[server(), root()], None);
    assert_eq!(codes, [(Level::Error, "chain-order")], "another CA of the same name");
}

#[test]
fn a_bundle_of_roots_has_no_order() {
    assert_eq!(found(&[root(), root()], None), []);
}

#[test]
fn an_extension_that_cannot_be_read_is_not_taken_for_a_missing_one() {
    let mut leaf = server();
    leaf.names.clear();
    leaf.unreadable.push("subjectAltName");
    assert_eq!(found(&[leaf], None), [(Level::Error, "unreadable-extension")]);
}

#[test]
fn a_key_belongs_to_one_certificate() {
    let (leaf, other) = (server(), server());
    let path = Path::new("server.key");
    assert!(super::key(&leaf, &leaf.links.public_key, path).is_none());
    let finding = super::key(&leaf, &other.links.public_key, path).unwrap();
    assert_eq!((finding.level, finding.code), (Level::Error, "key-mismatch"));
}
