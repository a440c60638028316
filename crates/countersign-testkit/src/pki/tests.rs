//! What is issued, seen through the eyes of a verifier.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, SystemTime};

use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::{EndEntityCert, Error, KeyUsage, anchor_from_trusted_cert};

use super::*;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A time long before and after which nothing else in these tests is valid.
fn then() -> SystemTime {
    SystemTime::UNIX_EPOCH + 365 * 40 * DAY
}

fn unix_time(time: SystemTime) -> UnixTime {
    UnixTime::since_unix_epoch(time.duration_since(SystemTime::UNIX_EPOCH).unwrap())
}

/// Verifies a chain as a peer does that trusts `root` alone.
fn verify_at(
    certificate: &Certificate,
    root: &CertificateDer<'_>,
    usage: KeyUsage,
    time: SystemTime,
) -> Result<(), Error> {
    let chain = certificate.chain_der();
    EndEntityCert::try_from(&chain[0])?
        .verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            &[anchor_from_trusted_cert(root)?],
            &chain[1..],
            unix_time(time),
            usage,
            None,
            None,
        )
        .map(drop)
}

#[expect(clippy::disallowed_methods, reason = "the short forms under test use the system's time")]
fn verify(
    certificate: &Certificate,
    ca: &CertificateAuthority,
    usage: KeyUsage,
) -> Result<(), Error> {
    verify_at(certificate, &ca.certificate_der(), usage, SystemTime::now())
}

fn is_valid_for(certificate: &Certificate, name: &str) -> bool {
    let chain = certificate.chain_der();
    let name = ServerName::try_from(name).unwrap();
    EndEntityCert::try_from(&chain[0]).unwrap().verify_is_valid_for_subject_name(&name).is_ok()
}

#[test]
fn a_server_certificate_verifies_for_its_names_and_no_other() {
    let ca = CertificateAuthority::new("test CA");
    let server = ca.server(&["localhost", "127.0.0.1", "::1"]);
    verify(&server, &ca, KeyUsage::server_auth()).unwrap();
    for name in ["localhost", "127.0.0.1", "::1"] {
        assert!(is_valid_for(&server, name), "{name}");
    }
    for name in ["localhost.example", "127.0.0.2", "::2"] {
        assert!(!is_valid_for(&server, name), "{name}");
    }
}

#[test]
fn a_server_certificate_is_refused_under_another_authority_of_the_same_name() {
    let (ca, other) = (CertificateAuthority::new("test CA"), CertificateAuthority::new("test CA"));
    let server = ca.server(&["localhost"]);
    let refused = verify(&server, &other, KeyUsage::server_auth());
    assert_eq!(refused, Err(Error::InvalidSignatureForPublicKey));
}

#[test]
fn a_client_certificate_serves_clients_and_not_servers() {
    let ca = CertificateAuthority::new("test CA");
    let alice = ca.client(&["spiffe://dev/alice", "alice@example.org"]);
    verify(&alice, &ca, KeyUsage::client_auth()).unwrap();
    let refused = verify(&alice, &ca, KeyUsage::server_auth());
    assert!(matches!(refused, Err(Error::RequiredEkuNotFoundContext(_))), "{refused:?}");

    let chain = alice.chain_der();
    let leaf = EndEntityCert::try_from(&chain[0]).unwrap();
    assert_eq!(leaf.valid_uri_names().collect::<Vec<_>>(), ["spiffe://dev/alice"]);
}

#[test]
fn both_usages_may_be_set_and_none_is_unrestricted() {
    let ca = CertificateAuthority::new("test CA");
    let both = ca.issue().dns("both").for_server().for_client().build();
    let none = ca.issue().dns("none").build();
    for certificate in [both, none] {
        verify(&certificate, &ca, KeyUsage::server_auth()).unwrap();
        verify(&certificate, &ca, KeyUsage::client_auth()).unwrap();
    }
}

#[test]
fn an_expired_certificate_is_refused_as_expired() {
    let ca = CertificateAuthority::new("test CA");
    let expired = ca.issue().dns("localhost").for_server().expired().build();
    let refused = verify(&expired, &ca, KeyUsage::server_auth());
    assert!(matches!(refused, Err(Error::CertExpired { .. })), "{refused:?}");
}

#[test]
fn a_certificate_of_tomorrow_is_refused_as_not_yet_valid() {
    let ca = CertificateAuthority::new("test CA");
    let early = ca.issue().dns("localhost").for_server().not_yet_valid().build();
    let refused = verify(&early, &ca, KeyUsage::server_auth());
    assert!(matches!(refused, Err(Error::CertNotValidYet { .. })), "{refused:?}");
}

#[test]
fn validity_includes_both_of_its_ends_and_nothing_beyond() {
    let ca = CertificateAuthority::builder("test CA").valid(then() - DAY, then() + DAY).build();
    let leaf = ca.issue().dns("localhost").valid(then(), then() + DAY / 2).build();
    let at = |time| verify_at(&leaf, &ca.certificate_der(), KeyUsage::server_auth(), time);
    let second = Duration::from_secs(1);

    assert_eq!((leaf.not_before(), leaf.not_after()), (then(), then() + DAY / 2));
    at(then()).unwrap();
    at(then() + DAY / 2).unwrap();
    assert!(matches!(at(then() - second), Err(Error::CertNotValidYet { .. })));
    assert!(matches!(at(then() + DAY / 2 + second), Err(Error::CertExpired { .. })));
}

#[test]
fn the_leaf_of_an_authority_of_another_time_is_valid_with_it() {
    let ca = CertificateAuthority::builder("test CA").valid(then(), then() + DAY).build();
    let server = ca.server(&["localhost"]);
    let root = ca.certificate_der();
    verify_at(&server, &root, KeyUsage::server_auth(), then() + DAY / 2).unwrap();
    assert!(verify(&server, &ca, KeyUsage::server_auth()).is_err());
}

#[test]
fn a_chain_through_two_intermediates_verifies_and_leaves_the_root_out() {
    let root = CertificateAuthority::new("root");
    let issuing = root.intermediate("upper").intermediate("issuing");
    let server = issuing.server(&["localhost"]);
    assert_eq!(server.chain_der().len(), 3);
    assert_eq!(server.chain_pem().matches("BEGIN CERTIFICATE").count(), 3);
    assert!(!server.chain_der().contains(&root.certificate_der()));
    verify(&server, &root, KeyUsage::server_auth()).unwrap();
}

#[test]
fn a_chain_without_its_intermediate_is_refused() {
    let root = CertificateAuthority::new("root");
    let issuing = root.intermediate("issuing");
    let from_root = root.server(&["localhost"]);
    let from_issuing = issuing.server(&["localhost"]);
    let lone = Certificate::new(
        vec![from_issuing.chain_der()[0].clone()],
        key::PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap(),
        from_issuing.validity(),
    );
    verify(&from_root, &root, KeyUsage::server_auth()).unwrap();
    assert_eq!(verify(&lone, &root, KeyUsage::server_auth()), Err(Error::UnknownIssuer));
}

#[test]
fn a_ca_that_stands_as_a_leaf_is_refused_as_such() {
    let ca = CertificateAuthority::new("test CA");
    let leaf = ca.issue().dns("localhost").for_server().as_ca().build();
    assert_eq!(verify(&leaf, &ca, KeyUsage::server_auth()), Err(Error::CaUsedAsEndEntity));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the short form under test uses the system's time")]
fn a_lone_self_signed_certificate_is_refused_even_where_it_is_trusted() {
    let lone = self_signed(&["localhost"]);
    assert!(is_valid_for(&lone, "localhost"));
    assert_eq!(lone.chain_der().len(), 1);
    let root = lone.chain_der().remove(0);
    let refused = verify_at(&lone, &root, KeyUsage::server_auth(), SystemTime::now());
    assert_eq!(refused, Err(Error::CaUsedAsEndEntity));
}

#[test]
fn every_kind_of_key_signs_and_is_certified() {
    use KeyAlgorithm::{EcdsaP256, EcdsaP384, Ed25519, Rsa2048};
    for algorithm in [EcdsaP256, EcdsaP384, Ed25519, Rsa2048] {
        let ca = CertificateAuthority::builder("test CA").key(algorithm).build();
        let server = ca.issue().dns("localhost").for_server().key(algorithm).build();
        verify(&server, &ca, KeyUsage::server_auth()).unwrap();
        let again = CertificateAuthority::from_pem(&ca.certificate_pem(), &ca.key_pem()).unwrap();
        verify(&again.server(&["localhost"]), &ca, KeyUsage::server_auth()).unwrap();
    }
}

#[test]
fn subjects_and_explicit_names_reach_the_certificate() {
    use x509_cert::der::Decode as _;

    let ca = CertificateAuthority::new("test CA");
    let leaf = ca
        .issue()
        .subject(&[("CN", "testclient, really"), ("O", "gRPC")])
        .ip(IpAddr::V4(Ipv4Addr::LOCALHOST))
        .uri("spiffe://dev/x")
        .email("x@example.org")
        .name("x.example.org")
        .build();
    let der = leaf.chain_der().remove(0);
    let parsed = x509_cert::Certificate::from_der(&der).unwrap();
    let subject = parsed.tbs_certificate().subject().to_string();
    assert_eq!(subject, r"O=gRPC,CN=testclient\, really");
    assert!(is_valid_for(&leaf, "127.0.0.1"));
    assert!(is_valid_for(&leaf, "x.example.org"));
}

#[test]
fn a_name_that_no_certificate_can_hold_is_an_error_in_programs() {
    let ca = CertificateAuthority::new("test CA");
    let refused = ca.issue().dns("bücher.example").try_build();
    assert!(matches!(refused, Err(PkiError::Name { .. })), "{refused:?}");
}

#[test]
#[should_panic(expected = "is not ASCII")]
fn a_name_that_no_certificate_can_hold_stops_a_test() {
    let _ = CertificateAuthority::new("test CA").server(&["bücher.example"]);
}

#[test]
fn an_authority_reads_back_from_pem_and_issues_for_the_same_peers() {
    let ca = CertificateAuthority::new("test CA");
    let again = CertificateAuthority::from_pem(&ca.certificate_pem(), &ca.key_pem()).unwrap();
    assert_eq!(again.subject(), "CN=test CA");
    assert_eq!((again.not_before(), again.not_after()), (ca.not_before(), ca.not_after()));
    assert_eq!(*again.key_pem(), *ca.key_pem());
    verify(&again.server(&["localhost"]), &ca, KeyUsage::server_auth()).unwrap();
}

#[test]
fn an_intermediate_reads_back_with_the_chain_above_it() {
    let root = CertificateAuthority::new("root");
    let issuing = root.intermediate("issuing");
    let text = format!("{}{}", issuing.certificate_pem(), root.certificate_pem());
    let again = CertificateAuthority::from_pem(&text, &issuing.key_pem()).unwrap();
    let server = again.server(&["localhost"]);
    assert_eq!(server.chain_der().len(), 2);
    verify(&server, &root, KeyUsage::server_auth()).unwrap();
}

#[test]
fn an_authority_with_another_ones_key_is_refused() {
    let (ca, other) = (CertificateAuthority::new("a"), CertificateAuthority::new("b"));
    let refused = CertificateAuthority::from_pem(&ca.certificate_pem(), &other.key_pem());
    assert!(matches!(refused, Err(PkiError::KeyMismatch { .. })), "{refused:?}");
}

#[test]
fn a_leaf_is_refused_as_an_authority() {
    let server = CertificateAuthority::new("test CA").server(&["localhost"]);
    let refused = CertificateAuthority::from_pem(&server.chain_pem(), &server.key_pem());
    assert!(matches!(refused, Err(PkiError::NotAuthority { .. })), "{refused:?}");
}

#[test]
fn text_that_is_not_pem_is_refused_and_told_apart() {
    let ca = CertificateAuthority::new("test CA");
    let no_certificate = CertificateAuthority::from_pem("", &ca.key_pem());
    assert!(matches!(no_certificate, Err(PkiError::CertificatePem { .. })));
    let no_key = CertificateAuthority::from_pem(&ca.certificate_pem(), "");
    assert!(matches!(no_key, Err(PkiError::KeyPem { .. })));
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let broken = CertificateAuthority::from_pem(broken, &ca.key_pem());
    assert!(matches!(broken, Err(PkiError::Certificate { .. })));
}

#[test]
fn formatting_shows_no_key() {
    let ca = CertificateAuthority::new("test CA");
    let server = ca.server(&["localhost"]);
    let shown = format!("{ca:?} {server:?} {:?}", ca.issue().dns("localhost"));
    for key in [ca.key_pem(), server.key_pem()] {
        for line in key.lines().filter(|line| !line.starts_with("-----")) {
            assert!(!shown.contains(line), "{shown}");
        }
    }
    let shown = shown.to_ascii_lowercase();
    assert!(!shown.contains("private") && !shown.contains("key:"), "{shown}");
}

#[test]
fn written_files_hold_chain_and_key_and_are_replaced_on_rotation() {
    let dir = tempfile::tempdir().unwrap();
    let ca = CertificateAuthority::new("test CA");
    let (first, second) = (ca.server(&["localhost"]), ca.server(&["localhost"]));
    first.write(dir.path(), "server").unwrap();
    let (certificate, key) = second.write(dir.path(), "server").unwrap();
    assert_eq!(certificate, dir.path().join("server.pem"));
    assert_eq!(key, dir.path().join("server.key"));
    assert_eq!(fs::read_to_string(certificate).unwrap(), second.chain_pem());
    assert_eq!(fs::read_to_string(key).unwrap(), *second.key_pem());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "no temporary file is left");
}

#[test]
#[cfg(unix)]
fn a_written_key_is_for_its_owner_only_whatever_was_there_before() {
    use std::os::unix::fs::PermissionsExt as _;

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("server.key");
    fs::write(&path, "old").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    CertificateAuthority::new("test CA")
        .server(&["localhost"])
        .write(dir.path(), "server")
        .unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn writing_to_a_directory_that_does_not_exist_fails() {
    let dir = tempfile::tempdir().unwrap();
    let server = CertificateAuthority::new("test CA").server(&["localhost"]);
    assert!(server.write(&dir.path().join("absent"), "server").is_err());
}
