//! `countersign pki`, the real program: what it writes, prints and returns.

mod support;

use std::fs;
use std::ops::Deref;
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use countersign_testkit::pki::{CertificateAuthority, KeyAlgorithm, self_signed};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use serde_json::Value;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A directory to run the program in.
struct Place(support::Place);

impl Deref for Place {
    type Target = support::Place;

    fn deref(&self) -> &support::Place {
        &self.0
    }
}

impl Place {
    fn new() -> Self {
        Self(support::Place::new())
    }

    /// A place with a CA in it.
    fn with_ca() -> Self {
        let place = Self::new();
        place.ok(&["pki", "init"]);
        place
    }

    /// The JSON of a run that must succeed.
    fn json(&self, args: &[&str]) -> Value {
        self.ok(&[args, &["--json"]].concat()).json()
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).expect("the file is there")
    }

    fn chain(&self, name: &str) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(&self.read(name)).collect::<Result<_, _>>().expect("PEM")
    }

    /// Verifies a certificate as a peer does that trusts the CA of this place.
    fn verify(&self, name: &str, usage: KeyUsage) -> Result<(), webpki::Error> {
        let (chain, root) = (self.chain(name), self.chain(".countersign/ca.pem").remove(0));
        let now = now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
        EndEntityCert::try_from(&chain[0])?
            .verify_for_usage(
                webpki::ALL_VERIFICATION_ALGS,
                &[anchor_from_trusted_cert(&root)?],
                &chain[1..],
                UnixTime::since_unix_epoch(now),
                usage,
                None,
                None,
            )
            .map(drop)
    }
}

#[expect(clippy::disallowed_methods, reason = "the program reads the system's time too")]
fn now() -> SystemTime {
    SystemTime::now()
}

/// The codes of what `inspect` found in the first file.
fn codes(inspected: &Value) -> Vec<&str> {
    let findings = inspected["files"][0]["findings"].as_array().expect("findings");
    findings.iter().map(|finding| finding["code"].as_str().expect("a code")).collect()
}

mod init {
    use super::*;

    #[test]
    fn a_ca_is_written_and_described() {
        let place = Place::new();
        let run = place.ok(&["pki", "init"]);
        assert!(run.stdout.starts_with("ca     dev CA (fingerprint "), "{}", run.stdout);
        assert!(run.stdout.contains("3650 days, until "), "{}", run.stdout);
        assert!(run.stderr.starts_with("next: countersign pki issue server"), "{}", run.stderr);
        assert_eq!(place.chain(".countersign/ca.pem").len(), 1);
        PrivateKeyDer::from_pem_slice(&place.read(".countersign/ca.key")).unwrap();
        assert_eq!(place.read(".countersign/.gitignore"), b"*\n");
    }

    #[test]
    #[cfg(unix)]
    fn only_the_owner_can_read_the_key_and_enter_the_directory() {
        let place = Place::with_ca();
        assert_eq!(support::mode(&place.path(".countersign")), 0o700);
        assert_eq!(support::mode(&place.path(".countersign/ca.key")), 0o600);
        assert_ne!(support::mode(&place.path(".countersign/ca.pem")), 0o600);
    }

    #[test]
    fn a_ca_that_is_there_is_kept() {
        let place = Place::with_ca();
        let before = (place.read(".countersign/ca.pem"), place.read(".countersign/ca.key"));
        let run = place.run(&["pki", "init"]);
        assert_eq!(run.code, 3);
        assert_eq!(run.stdout, "");
        assert!(run.stderr.contains("`.countersign/ca.key` already exists"), "{}", run.stderr);
        assert!(run.stderr.contains("--force"), "{}", run.stderr);
        let after = (place.read(".countersign/ca.pem"), place.read(".countersign/ca.key"));
        assert_eq!(before, after);
    }

    #[test]
    fn half_a_ca_that_is_there_is_kept_and_not_completed() {
        let place = Place::with_ca();
        fs::remove_file(place.path(".countersign/ca.key")).unwrap();
        let run = place.run(&["pki", "init"]);
        assert_eq!(run.code, 3);
        assert!(run.stderr.contains("`.countersign/ca.pem` already exists"), "{}", run.stderr);
        assert!(!place.path(".countersign/ca.key").exists());
    }

    #[test]
    fn force_replaces_a_ca_and_its_key_stays_private() {
        let place = Place::with_ca();
        let before = place.read(".countersign/ca.pem");
        place.ok(&["pki", "init", "--force"]);
        assert_ne!(before, place.read(".countersign/ca.pem"));
        #[cfg(unix)]
        assert_eq!(support::mode(&place.path(".countersign/ca.key")), 0o600);
        place.ok(&["pki", "issue", "server", "--san", "localhost"]);
    }

    #[test]
    fn a_directory_that_was_there_gets_no_gitignore() {
        let place = Place::new();
        place.ok(&["pki", "init", "--dir", "."]);
        assert!(place.path("ca.pem").exists());
        assert!(!place.path(".gitignore").exists());
    }

    #[test]
    fn name_days_and_directory_are_ours_to_choose() {
        let place = Place::new();
        let made =
            place.json(&["pki", "init", "--dir", "a/b", "--name", "Zürich, test", "--days", "1"]);
        assert_eq!(made["ca"]["subject"], r"CN=Zürich\, test");
        assert_eq!(made["ca"]["path"], "a/b/ca.pem");
        assert_eq!(made["key"]["algorithm"], "ECDSA P-256");
        assert!(place.path("a/b/ca.key").exists());
    }

    #[test]
    fn a_life_of_no_days_or_centuries_is_a_usage_error() {
        let place = Place::new();
        for days in ["0", "36501", "-1", "x"] {
            let run = place.run(&["pki", "init", &format!("--days={days}")]);
            assert_eq!(run.code, 2, "{days}");
        }
        assert!(!place.path(".countersign").exists());
    }

    #[test]
    fn a_failure_is_one_json_object_too() {
        let place = Place::with_ca();
        let run = place.run(&["pki", "init", "--json"]);
        assert_eq!(run.code, 3);
        assert_eq!(run.json()["error"]["exit_code"], 3);
        assert_eq!(run.json()["error"]["message"], "`.countersign/ca.key` already exists");
    }
}

mod issue {
    use super::*;

    #[test]
    fn a_server_certificate_verifies_for_its_names() {
        let place = Place::with_ca();
        let args = ["--san", "localhost", "--san", "127.0.0.1", "--san", "::1"];
        let run = place.ok(&[&["pki", "issue", "server"], &args[..]].concat());
        let labels: Vec<_> = run.stdout.lines().map(|line| &line[..7]).collect();
        assert_eq!(labels, ["ca     ", "leaf   ", "key    ", "valid  "], "{}", run.stdout);
        assert!(run.stdout.contains("localhost, 127.0.0.1, ::1"), "{}", run.stdout);
        assert!(run.stdout.contains("7 days, until "), "{}", run.stdout);

        place.verify(".countersign/server.pem", KeyUsage::server_auth()).unwrap();
        let chain = place.chain(".countersign/server.pem");
        let leaf = EndEntityCert::try_from(&chain[0]).unwrap();
        for name in ["localhost", "127.0.0.1", "::1"] {
            let name = ServerName::try_from(name).unwrap();
            leaf.verify_is_valid_for_subject_name(&name).unwrap();
        }
    }

    #[test]
    fn a_server_certificate_is_no_clients() {
        let place = Place::with_ca();
        place.ok(&["pki", "issue", "server", "localhost"]);
        assert!(place.verify(".countersign/server.pem", KeyUsage::client_auth()).is_err());
    }

    #[test]
    fn a_client_certificate_holds_its_spiffe_id() {
        let place = Place::with_ca();
        let args = ["--san", "spiffe://dev/alice", "--common-name", "alice"];
        let made = place.json(&[&["pki", "issue", "client"], &args[..]].concat());
        assert_eq!(made["leaf"]["names"], serde_json::json!(["spiffe://dev/alice"]));
        assert_eq!(made["leaf"]["common_name"], "alice");
        place.verify(".countersign/client.pem", KeyUsage::client_auth()).unwrap();
        assert!(place.verify(".countersign/client.pem", KeyUsage::server_auth()).is_err());
        let chain = place.chain(".countersign/client.pem");
        let leaf = EndEntityCert::try_from(&chain[0]).unwrap();
        assert_eq!(leaf.valid_uri_names().collect::<Vec<_>>(), ["spiffe://dev/alice"]);
    }

    #[test]
    fn a_certificate_of_a_ca_that_was_replaced_is_trusted_no_longer() {
        let place = Place::with_ca();
        place.ok(&["pki", "issue", "server", "localhost"]);
        place.ok(&["pki", "init", "--force"]);
        assert!(place.verify(".countersign/server.pem", KeyUsage::server_auth()).is_err());
        place.ok(&["pki", "issue", "server", "localhost", "--force"]);
        place.verify(".countersign/server.pem", KeyUsage::server_auth()).unwrap();
    }

    #[test]
    #[cfg(unix)]
    fn only_the_owner_can_read_the_key() {
        let place = Place::with_ca();
        place.ok(&["pki", "issue", "server", "localhost"]);
        assert_eq!(support::mode(&place.path(".countersign/server.key")), 0o600);
        place.ok(&["pki", "issue", "server", "localhost", "--force"]);
        assert_eq!(support::mode(&place.path(".countersign/server.key")), 0o600);
    }

    #[test]
    fn files_that_are_there_are_kept() {
        let place = Place::with_ca();
        place.ok(&["pki", "issue", "server", "localhost"]);
        let before = (place.read(".countersign/server.pem"), place.read(".countersign/server.key"));
        let run = place.run(&["pki", "issue", "server", "localhost"]);
        assert_eq!(run.code, 3);
        assert!(run.stderr.contains("`.countersign/server.key` already exists"), "{}", run.stderr);
        assert!(run.stderr.contains("--force"), "{}", run.stderr);
        let after = (place.read(".countersign/server.pem"), place.read(".countersign/server.key"));
        assert_eq!(before, after);

        place.ok(&["pki", "issue", "server", "localhost", "--force"]);
        assert_ne!(before.0, place.read(".countersign/server.pem"));
    }

    #[test]
    fn the_ca_itself_is_never_replaced() {
        let place = Place::with_ca();
        let before = place.read(".countersign/ca.key");
        for out in ["ca", "ca.pem", ".countersign/ca"] {
            let run = place.run(&["pki", "issue", "server", "localhost", "--out", out, "--force"]);
            assert_eq!(run.code, 2, "{out}: {}", run.stderr);
        }
        assert_eq!(before, place.read(".countersign/ca.key"));
    }

    #[test]
    fn files_go_where_they_are_sent() {
        let place = Place::with_ca();
        place.ok(&["pki", "issue", "server", "localhost", "--out", "api"]);
        place.ok(&["pki", "issue", "server", "localhost", "--out", "./api"]);
        for file in [".countersign/api.pem", ".countersign/api.key", "api.pem", "api.key"] {
            assert!(place.path(file).exists(), "{file}");
        }
    }

    #[test]
    fn every_key_type_issues_certificates_that_verify() {
        let place = Place::with_ca();
        for key_type in ["ecdsa-p256", "ecdsa-p384", "ed25519", "rsa-2048"] {
            let args = ["localhost", "--key-type", key_type, "--out", key_type];
            place.ok(&[&["pki", "issue", "server"], &args[..]].concat());
            let (pem, key) =
                (format!(".countersign/{key_type}.pem"), format!(".countersign/{key_type}.key"));
            place.verify(&pem, KeyUsage::server_auth()).unwrap();
            place.ok(&["pki", "inspect", &pem, "--key", &key, "--lint=warning"]);
        }
        let run = place.run(&["pki", "issue", "server", "localhost", "--key-type", "dsa"]);
        assert_eq!(run.code, 2);
    }

    #[test]
    fn a_server_needs_a_name_and_a_client_at_least_a_common_one() {
        let place = Place::with_ca();
        let run = place.run(&["pki", "issue", "server"]);
        assert_eq!(run.code, 2);
        assert!(run.stderr.contains("  hint:  countersign pki issue server --san"));
        let run = place.run(&["pki", "issue", "server", "--common-name", "localhost"]);
        assert_eq!(run.code, 2);
        assert_eq!(place.run(&["pki", "issue", "client"]).code, 2);
        place.ok(&["pki", "issue", "client", "--common-name", "alice"]);
    }

    #[test]
    fn a_name_that_no_peer_can_match_is_a_usage_error() {
        let place = Place::with_ca();
        for name in ["localhost:8443", "a,b", "bücher.example", "spiffe://Dev/x"] {
            let run = place.run(&["pki", "issue", "server", "--san", name]);
            assert_eq!(run.code, 2, "{name}");
        }
        let two = ["--san", "spiffe://dev/a", "--san", "spiffe://dev/b"];
        assert_eq!(place.run(&[&["pki", "issue", "client"], &two[..]].concat()).code, 2);
        assert!(!place.path(".countersign/server.pem").exists());
    }

    #[test]
    fn a_certificate_does_not_outlive_its_ca() {
        let place = Place::new();
        place.ok(&["pki", "init", "--days", "3"]);
        let run = place.ok(&["pki", "issue", "server", "localhost", "--days", "4", "--json"]);
        assert!(run.stderr.contains("note: the certificate ends with its CA"), "{}", run.stderr);
        assert_eq!(run.json()["valid"]["cut_to_ca"], true);

        let run = place.ok(&["pki", "issue", "client", "a", "--days", "2", "--json"]);
        assert_eq!(run.stderr, "");
        assert_eq!(run.json()["valid"]["cut_to_ca"], false);
    }

    #[test]
    fn without_a_ca_the_way_to_one_is_shown() {
        let place = Place::new();
        let run = place.run(&["pki", "issue", "server", "localhost", "--dir", "x"]);
        assert_eq!(run.code, 3);
        assert!(run.stderr.contains("countersign pki init --dir x"), "{}", run.stderr);
    }

    #[test]
    fn an_expired_ca_issues_nothing() {
        let place = Place::new();
        let ca = CertificateAuthority::builder("old").valid(now() - 2 * DAY, now() - DAY).build();
        place.write("ca.pem", ca.certificate_pem());
        place.write("ca.key", ca.key_pem());
        let run = place.run(&["pki", "issue", "server", "localhost", "--dir", "."]);
        assert_eq!(run.code, 3);
        assert!(run.stderr.contains("cause: it expired on "), "{}", run.stderr);
        assert!(!place.path("server.pem").exists());
    }

    #[test]
    fn a_ca_with_another_ones_key_issues_nothing() {
        let place = Place::new();
        let (ca, other) = (CertificateAuthority::new("a"), CertificateAuthority::new("b"));
        place.write("ca.pem", ca.certificate_pem());
        place.write("ca.key", other.key_pem());
        let run = place.run(&["pki", "issue", "server", "localhost", "--dir", "."]);
        assert_eq!(run.code, 3);
        assert!(run.stderr.contains("does not belong to certificate `CN=a`"), "{}", run.stderr);
    }

    #[test]
    fn an_intermediate_issues_chains() {
        let place = Place::new();
        let root = CertificateAuthority::new("root");
        let issuing = root.intermediate("issuing");
        place.write("ca.pem", issuing.certificate_pem());
        place.write("ca.key", issuing.key_pem());
        let run = place.ok(&["pki", "issue", "server", "localhost", "--dir", "."]);
        assert!(run.stdout.contains("(chain included)"), "{}", run.stdout);
        assert_eq!(place.chain("server.pem").len(), 2);
        place.ok(&["pki", "inspect", "server.pem", "--lint"]);
    }

    #[test]
    #[cfg(unix)]
    fn a_ca_key_that_others_can_read_is_pointed_out() {
        use std::os::unix::fs::PermissionsExt as _;

        let place = Place::with_ca();
        let private = place.ok(&["pki", "issue", "server", "a"]);
        assert!(!private.stderr.contains("warning"), "{}", private.stderr);
        let open = fs::Permissions::from_mode(0o640);
        fs::set_permissions(place.path(".countersign/ca.key"), open).unwrap();
        let run = place.ok(&["pki", "issue", "client", "a"]);
        assert!(run.stderr.contains("warning: others than you can read"), "{}", run.stderr);
        assert!(run.stderr.contains("chmod 600 .countersign/ca.key"), "{}", run.stderr);
    }

    #[test]
    fn no_key_is_ever_printed() {
        let place = Place::with_ca();
        let run = place.ok(&["pki", "issue", "server", "localhost", "--json"]);
        let key = String::from_utf8(place.read(".countersign/server.key")).unwrap();
        for line in key.lines().filter(|line| !line.starts_with("-----")) {
            assert!(!run.stdout.contains(line) && !run.stderr.contains(line));
        }
    }
}

mod inspect {
    use super::*;

    #[test]
    fn the_facts_go_to_standard_output() {
        let place = Place::with_ca();
        place.ok(&["pki", "issue", "server", "localhost", "::1"]);
        let run = place.ok(&["pki", "inspect", ".countersign/server.pem"]);
        for fact in [
            ".countersign/server.pem  certificate 1 of 1",
            "  subject      CN=localhost",
            "  issuer       CN=dev CA",
            "  names        dns localhost, ip ::1",
            "  key          ECDSA P-256",
            "  usage        server",
            "  ca           no",
            "(6 days left)",
            "  fingerprint  sha256 ",
        ] {
            // A second may pass between issue and inspection.
            let shown = run.stdout.replace("(7 days left)", "(6 days left)");
            assert!(shown.contains(fact), "{fact}: {}", run.stdout);
        }
        assert_eq!(run.stderr, "", "a good certificate has no findings");
        assert!(!run.stdout.contains('\u{1b}'), "no colour where there is no terminal");
    }

    #[test]
    fn json_holds_the_same_facts() {
        let place = Place::with_ca();
        place.ok(&["pki", "issue", "client", "spiffe://dev/alice"]);
        let shown = place.json(&["pki", "inspect", ".countersign/client.pem"]);
        let certificate = &shown["files"][0]["certificates"][0];
        assert_eq!(certificate["names"][0]["kind"], "uri");
        assert_eq!(certificate["names"][0]["value"], "spiffe://dev/alice");
        assert_eq!(certificate["extended_key_usage"], serde_json::json!(["client"]));
        assert_eq!(certificate["ca"], false);
        assert_eq!(certificate["key"]["bits"], 256);
        assert_eq!(codes(&shown), [""; 0]);
    }

    #[test]
    fn a_lone_self_signed_certificate_is_found_out() {
        let place = Place::new();
        place.write("lone.pem", self_signed(&["localhost"]).chain_pem());
        let shown = place.json(&["pki", "inspect", "lone.pem"]);
        assert_eq!(codes(&shown), ["ca-as-leaf", "missing-eku"]);
    }

    #[test]
    fn a_ca_file_is_no_leaf_until_it_is_used_as_one() {
        let place = Place::with_ca();
        let inspect = ["pki", "inspect", ".countersign/ca.pem"];
        assert_eq!(codes(&place.json(&inspect)), [""; 0]);
        let shown = place.json(&[&inspect[..], &["--as", "server"]].concat());
        assert_eq!(codes(&shown), ["ca-as-leaf", "missing-eku", "no-san"]);
    }

    #[test]
    fn findings_decide_the_exit_code_only_when_asked() {
        let place = Place::new();
        let ca = CertificateAuthority::new("dev CA");
        let expired = ca.issue().dns("localhost").for_server().expired().build();
        let open = ca.issue().dns("localhost").build();
        let good = ca.server(&["localhost"]);
        place.write("expired.pem", expired.chain_pem());
        place.write("open.pem", open.chain_pem());
        place.write("good.pem", good.chain_pem());
        let code = |args: &[&str]| place.run(&[&["pki", "inspect"], args].concat()).code;

        assert_eq!(code(&["expired.pem"]), 0);
        assert_eq!(code(&["expired.pem", "--lint"]), 1);
        assert_eq!(code(&["good.pem", "--lint"]), 0);
        assert_eq!(code(&["good.pem", "expired.pem", "--lint"]), 1);
        assert_eq!(code(&["open.pem", "--lint"]), 0);
        assert_eq!(code(&["open.pem", "--lint=warning"]), 1);
        assert_eq!(code(&["good.pem", "--lint=warning"]), 0);

        let run = place.run(&["pki", "inspect", "expired.pem", "--lint"]);
        assert!(run.stderr.contains("error[expired]: `expired.pem` certificate 1, localhost: "));
        assert!(run.stdout.contains("(expired 1 day ago)"), "{}", run.stdout);
    }

    #[test]
    fn a_key_is_compared_with_the_first_certificate() {
        let place = Place::with_ca();
        place.ok(&["pki", "issue", "server", "a"]);
        place.ok(&["pki", "issue", "client", "b"]);
        let pem = ".countersign/server.pem";
        let with = |key: &str| place.run(&["pki", "inspect", pem, "--key", key, "--lint"]);
        assert_eq!(with(".countersign/server.key").code, 0);
        let run = with(".countersign/client.key");
        assert_eq!(run.code, 1);
        assert!(run.stderr.contains("error[key-mismatch]"), "{}", run.stderr);
        assert_eq!(with(pem).code, 3, "a certificate is no key");
        let two = place.run(&["pki", "inspect", pem, pem, "--key", ".countersign/server.key"]);
        assert_eq!(two.code, 2);
    }

    #[test]
    #[cfg(unix)]
    fn a_key_that_others_can_read_is_pointed_out() {
        use std::os::unix::fs::PermissionsExt as _;

        let place = Place::with_ca();
        place.ok(&["pki", "issue", "server", "a"]);
        let key = ".countersign/server.key";
        fs::set_permissions(place.path(key), fs::Permissions::from_mode(0o644)).unwrap();
        let shown = place.json(&["pki", "inspect", ".countersign/server.pem", "--key", key]);
        assert_eq!(codes(&shown), ["key-permissions"]);
    }

    #[test]
    fn a_chain_is_shown_whole_and_its_order_checked() {
        let place = Place::new();
        let server = CertificateAuthority::new("root").intermediate("issuing").server(&["x"]);
        let chain = server.chain_pem();
        place.write("chain.pem", &chain);
        let (leaf, issuer) = chain.split_at(chain.rfind("-----BEGIN").unwrap());
        place.write("reversed.pem", format!("{issuer}{leaf}"));

        let run = place.ok(&["pki", "inspect", "chain.pem", "--lint=warning"]);
        assert!(run.stdout.contains("certificate 2 of 2"), "{}", run.stdout);
        assert_eq!(codes(&place.json(&["pki", "inspect", "reversed.pem"])), ["chain-order"]);
    }

    #[test]
    fn der_and_standard_input_are_read_too() {
        let place = Place::new();
        let server = CertificateAuthority::new("dev CA").server(&["localhost"]);
        fs::write(place.path("leaf.der"), &server.chain_der()[0]).unwrap();
        place.write("leaf.pem", server.chain_pem());
        let run = place.ok(&["pki", "inspect", "leaf.der"]);
        assert!(run.stdout.contains("CN=localhost"), "{}", run.stdout);

        let input = fs::File::open(place.path("leaf.pem")).unwrap();
        let output = place.command(&["pki", "inspect", "-"]).stdin(input).output().unwrap();
        assert!(String::from_utf8(output.stdout).unwrap().contains("CN=localhost"));
    }

    #[test]
    fn what_holds_no_certificate_cannot_be_inspected() {
        let place = Place::new();
        let server = CertificateAuthority::new("dev CA").server(&["localhost"]);
        place.write("key.pem", server.key_pem());
        place.write("empty.pem", "");
        place.write("broken.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        fs::write(place.path("cut.der"), &server.chain_der()[0][..99]).unwrap();
        for (file, said) in [
            ("absent.pem", "cannot read `absent.pem`"),
            ("key.pem", "it holds a private key"),
            ("empty.pem", "no certificate in `empty.pem`"),
            ("broken.pem", "cannot read certificate 1 in `broken.pem`"),
            ("cut.der", "cannot read certificate 1 in `cut.der`"),
        ] {
            let run = place.run(&["pki", "inspect", file]);
            assert_eq!(run.code, 3, "{file}");
            assert!(run.stderr.contains(said), "{file}: {}", run.stderr);
            assert_eq!(run.stdout, "");
        }
        assert_eq!(place.run(&["pki", "inspect"]).code, 2);
    }

    #[test]
    fn a_subject_cannot_steer_the_terminal() {
        let place = Place::new();
        let ca = CertificateAuthority::new("dev CA");
        let subject = [("CN", "x\u{1b}[2K\u{9b}y\u{202e}z")];
        let leaf = ca.issue().subject(&subject).for_client().key(KeyAlgorithm::Ed25519).build();
        place.write("leaf.pem", leaf.chain_pem());
        let run = place.ok(&["pki", "inspect", "leaf.pem"]);
        for shown in [&run.stdout, &run.stderr] {
            let steers = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
            assert!(!shown.contains(steers), "{shown:?}");
        }
        assert!(run.stdout.contains("\\u{202e}z"), "{}", run.stdout);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn output_that_cannot_be_written_is_a_failure_and_a_reader_that_left_is_none() {
        let place = Place::with_ca();
        let inspect = ["pki", "inspect", ".countersign/ca.pem"];
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let status = place.command(&inspect).stdout(full).stderr(Stdio::null()).status().unwrap();
        assert_eq!(status.code(), Some(3));

        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let status = place.command(&inspect).stdout(writer).status().unwrap();
        assert_eq!(status.code(), Some(0));
    }
}

#[test]
fn an_unknown_verb_or_flag_is_a_usage_error() {
    let place = Place::new();
    for args in [&["pki"][..], &["pki", "unknown"], &["pki", "init", "--unknown"]] {
        assert_eq!(place.run(args).code, 2, "{args:?}");
    }
    assert_eq!(place.run(&["pki", "--help"]).code, 0);
}
