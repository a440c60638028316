//! What a server shows, whom it asks for a certificate, and what it negotiates.

mod server_support;

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use countersign::tls::{HandshakeResult, Resumption, ServerTls, TlsConfigError, TlsVersion};
use countersign::{
    ChannelCredentials, ClientCertificates, ClientTls, Identity, RootCertificates,
    ServerCredentials, ServerIo, connect,
};
use countersign_testkit::greeter::{GreeterClient, TestServer, proto::HelloRequest};
use countersign_testkit::pki::{Certificate, CertificateAuthority, KeyAlgorithm};
use countersign_testkit::wait::until;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{ClientConfig, HandshakeKind, NamedGroup, SignatureScheme};
use server_support::guests::Guests;
use server_support::time::within;
use server_support::wire::{
    client_config, client_config_with, curious_config, dial, last_words, provider, showing, tls,
    tls_and_http2,
};
use server_support::{identity, roots, tls_credentials};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const TLS12: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS12];
const TLS13: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13];

fn localhost(ca: &CertificateAuthority) -> ServerTls {
    ServerCredentials::tls(identity(&ca.server(&["localhost"])))
}

// Which identity is shown.

/// The leaf that the server shows to a client that asks for `name`, and the name that the server
/// heard.
async fn shown(guests: &mut Guests, name: &str, config: ClientConfig) -> (Vec<u8>, Option<String>) {
    let mut client = tls(dial(guests.address()).await, &Arc::new(config), name).await.expect("TLS");
    server_support::wire::begin_http2(&mut client).await;
    let chain = client.get_ref().1.peer_certificates().expect("a chain");
    let asked = guests.next().await.peer().tls().expect("TLS").server_name.clone();
    (chain[0].to_vec(), asked)
}

#[tokio::test]
async fn the_identity_shown_is_the_one_that_is_valid_for_the_name_asked_for() {
    const SCHEMES: &[SignatureScheme] = &[SignatureScheme::ECDSA_NISTP256_SHA256];
    let ca = CertificateAuthority::new("test CA");
    let certificates = [
        ca.server(&["foo.bar.com", "shared.example"]),
        ca.server(&["*.test.example", "shared.example"]),
        ca.server(&["google.com"]),
    ];
    let [first, second, third] = &certificates;
    let credentials = ServerCredentials::tls(identity(first))
        .and_identity(identity(second))
        .and_identity(identity(third))
        .build()
        .expect("credentials");
    let mut guests = Guests::on_loopback(&credentials).await;
    for (name, certificate) in [
        ("foo.bar.com", first),
        ("google.com", third),
        ("GOOGLE.com", third),
        ("a.test.example", second),
        // A wildcard is one label, no more and no less (RFC 9525 §6.3).
        ("a.b.test.example", first),
        ("test.example", first),
        ("sub.google.com", first),
        ("shared.example", first),
        ("unknown.example", first),
    ] {
        let (leaf, asked) = shown(&mut guests, name, curious_config(SCHEMES)).await;
        assert_eq!(leaf, certificate.chain_der()[0].to_vec(), "{name}");
        assert_eq!(asked.as_deref(), Some(name.to_lowercase().as_str()), "{name}");
    }
    // An address is no name that could be asked for (RFC 6066 §3).
    let (leaf, asked) = shown(&mut guests, "127.0.0.1", curious_config(SCHEMES)).await;
    assert_eq!((leaf, asked), (first.chain_der()[0].to_vec(), None));
    let mut mute = curious_config(SCHEMES);
    mute.enable_sni = false;
    let (leaf, asked) = shown(&mut guests, "google.com", mute).await;
    assert_eq!((leaf, asked), (first.chain_der()[0].to_vec(), None));
}

#[tokio::test]
async fn of_two_identities_for_a_name_the_client_gets_one_that_it_understands() {
    let ca = CertificateAuthority::new("test CA");
    let modern = ca.issue().dns("localhost").for_server().key(KeyAlgorithm::Ed25519).build();
    let common = ca.server(&["localhost"]);
    let credentials = ServerCredentials::tls(identity(&modern))
        .and_identity(identity(&common))
        .build()
        .expect("credentials");
    let mut guests = Guests::on_loopback(&credentials).await;
    for (schemes, certificate) in [
        (vec![SignatureScheme::ED25519, SignatureScheme::ECDSA_NISTP256_SHA256], &modern),
        (vec![SignatureScheme::ECDSA_NISTP256_SHA256], &common),
    ] {
        let (leaf, _) = shown(&mut guests, "localhost", curious_config(&schemes)).await;
        assert_eq!(leaf, certificate.chain_der()[0].to_vec(), "{schemes:?}");
    }
    let neither = Arc::new(curious_config(&[SignatureScheme::ECDSA_NISTP384_SHA384]));
    tls(dial(guests.address()).await, &neither, "localhost").await.expect_err("nothing to show");
    until("it is counted", || {
        credentials.handshakes().get(HandshakeResult::CipherSuiteMismatch) == 1
    })
    .await;
}

// Identities that cannot be used.

/// Everything that an error says, to whomever.
fn everything(error: &TlsConfigError) -> String {
    let mut text = format!("{error} {error:?} {}", error.hint());
    let mut cause: Option<&dyn Error> = error.source();
    while let Some(error) = cause {
        text += &format!(" {error} {error:?}");
        cause = error.source();
    }
    text
}

/// The variant's name, as `Debug` writes it.
fn variant(error: &TlsConfigError) -> String {
    let text = format!("{error:?}");
    text.split([' ', '{', '(']).next().unwrap_or_default().to_owned()
}

fn assert_is_hidden(key: &str, text: &str) {
    for line in key.lines().filter(|line| !line.starts_with('-')) {
        let part = &line[..line.len().min(12)];
        assert!(!text.contains(part), "a part of the key, {part:?}, is in: {text}");
    }
}

#[test]
fn an_identity_that_cannot_be_used_fails_when_it_is_built_and_names_the_file_and_no_secret() {
    let ca = CertificateAuthority::new("test CA");
    let folder = tempfile::tempdir().expect("a folder");
    let good = ca.server(&["localhost"]);
    let other = ca.server(&["localhost"]);
    let (chain, key) = good.write(folder.path(), "good").expect("written");
    let (_, other_key) = other.write(folder.path(), "other").expect("written");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    };
    let key_text = good.key_pem();
    let body: String = key_text.lines().filter(|line| !line.starts_with('-')).collect();
    let armored = |label: &str, body: &str| {
        format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
    };
    let missing = folder.path().join("missing.pem");
    let half = write("half.key", &armored("PRIVATE KEY", &body[..body.len() / 8 * 4]));
    let not_base64 = write("not-base64.key", &armored("PRIVATE KEY", &format!("!{body}!")));
    let no_end = write("no-end.key", &format!("-----BEGIN PRIVATE KEY-----\n{body}\n"));
    let bad_begin = write("bad-begin.key", &format!("-----BEGIN {body}\n{body}\n"));
    let no_armor = write("no-armor.key", &body);
    let encrypted = write("encrypted.key", &armored("ENCRYPTED PRIVATE KEY", &body));
    let no_certificate = write("no-certificate.pem", &armored("CERTIFICATE", "AAAA"));
    let second =
        write("second.pem", &format!("{}{}", good.chain_pem(), armored("CERTIFICATE", "AAAA")));
    let empty = write("empty.pem", "");

    for (name, chain, key, expected, at_fault) in [
        ("no chain file", &missing, &key, "Unreadable", &missing),
        ("no key file", &chain, &missing, "Unreadable", &missing),
        ("a folder", &chain, &folder.path().to_owned(), "Unreadable", &folder.path().to_owned()),
        ("the key of another certificate", &chain, &other_key, "KeyMismatch", &other_key),
        ("half a key", &chain, &half, "BadPrivateKey", &half),
        ("a key that is not base64", &chain, &not_base64, "NotPem", &not_base64),
        ("a key without its end", &chain, &no_end, "NotPem", &no_end),
        ("a key without its beginning", &chain, &bad_begin, "NotPem", &bad_begin),
        ("a key without its lines", &chain, &no_armor, "NoPrivateKey", &no_armor),
        ("an encrypted key", &chain, &encrypted, "NoPrivateKey", &encrypted),
        ("an empty key", &chain, &empty, "NoPrivateKey", &empty),
        ("a certificate in place of the key", &chain, &chain, "NoPrivateKey", &chain),
        ("the key in place of the certificate", &key, &key, "NoCertificate", &key),
        ("an empty chain", &empty, &key, "NoCertificate", &empty),
        ("a certificate that is none", &no_certificate, &key, "BadCertificate", &no_certificate),
        ("an intermediate that is none", &second, &key, "BadCertificate", &second),
    ] {
        let broken = || Identity::from_pem_files(chain, key);
        let first = ServerCredentials::tls(broken()).build().map(drop);
        let after_a_good_one = ServerCredentials::tls(identity(&good)).and_identity(broken());
        for outcome in [first, after_a_good_one.build().map(drop)] {
            let error = outcome.expect_err(name);
            assert_eq!(variant(&error), expected, "{name}: {error}");
            let file = at_fault.display().to_string();
            assert!(error.to_string().contains(&file), "{name}: no file in: {error}");
            assert!(!error.hint().is_empty(), "{name}");
            assert_is_hidden(&key_text, &everything(&error));
            assert_is_hidden(&other.key_pem(), &everything(&error));
        }
    }
    ServerCredentials::tls(Identity::from_pem_files(chain, key)).build().expect("the right pair");
}

#[test]
fn an_identity_given_as_text_is_named_as_what_it_was_given_as() {
    let ca = CertificateAuthority::new("test CA");
    let (good, other) = (ca.server(&["localhost"]), ca.server(&["localhost"]));
    for (chain, key, says) in [
        (good.chain_pem(), other.key_pem(), "the private key in what was given as a private key"),
        (good.chain_pem(), good.chain_pem().into(), "given as a private key holds no private key"),
        (good.key_pem().to_string(), good.key_pem(), "a certificate chain holds no certificate"),
    ] {
        let error = ServerCredentials::tls(Identity::from_pem(chain, key)).build().map(drop);
        let error = error.expect_err(says);
        assert!(error.to_string().contains(says), "{error}");
        assert_is_hidden(&good.key_pem(), &everything(&error));
    }
}

#[test]
fn debug_never_shows_a_key() {
    let ca = CertificateAuthority::new("test CA");
    let certificate = ca.server(&["localhost"]);
    let tls = ServerCredentials::tls(identity(&certificate));
    let text = format!("{:?} {tls:?} {:?}", identity(&certificate), tls.clone().build());
    assert_is_hidden(&certificate.key_pem(), &text);
    let file = Identity::from_pem_files(Path::new("server.pem"), Path::new("server.key"));
    assert!(format!("{file:?}").contains("server.pem"), "{file:?}");
}

#[test]
fn roots_and_versions_that_cannot_be_used_fail_when_they_are_built() {
    let ca = CertificateAuthority::new("test CA");
    let nobody = RootCertificates::default();
    for clients in
        [ClientCertificates::required(nobody.clone()), ClientCertificates::optional(nobody)]
    {
        let error = localhost(&ca).client_certificates(clients).build().map(drop);
        assert_eq!(variant(&error.expect_err("no roots")), "NoRoots");
    }
    let missing = RootCertificates::from_pem_file("/no/such/clients-ca.pem");
    let clients = ClientCertificates::required(missing);
    let error = localhost(&ca).client_certificates(clients).build().map(drop);
    let error = error.expect_err("no such file");
    assert_eq!(variant(&error), "Unreadable");
    assert!(error.to_string().contains("/no/such/clients-ca.pem"), "{error}");
    let error = localhost(&ca).versions([]).build().map(drop).expect_err("no version");
    assert_eq!(variant(&error), "Rejected", "{error}");

    localhost(&ca)
        .client_certificates(ClientCertificates::required(roots(&ca)))
        .versions([TlsVersion::Tls13])
        .build()
        .expect("roots and a version");
}

// Client certificates.

/// Connects with `config`, and returns the server's side if it let the client in.
async fn attempt(credentials: &ServerCredentials, config: ClientConfig) -> Option<ServerIo> {
    let mut guests = Guests::on_loopback(credentials).await;
    // With TLS 1.3 a client may believe that it is in when it is not.
    let mut client = tls_and_http2(guests.address(), &Arc::new(config)).await;
    until("the handshake is judged", || !credentials.handshakes().snapshot().is_empty()).await;
    if credentials.handshakes().get(HandshakeResult::Success) > 0 {
        return Some(guests.next().await);
    }
    if let Ok(client) = &mut client {
        last_words(client).await;
    }
    assert!(guests.nobody_else());
    None
}

#[tokio::test]
async fn client_certificates_are_asked_for_and_judged_as_was_said() {
    let ca = CertificateAuthority::new("test CA");
    let (clients, foreign) =
        (CertificateAuthority::new("clients CA"), CertificateAuthority::new("foreign CA"));
    let alice = clients.client(&["spiffe://test/alice"]);
    let stranger = foreign.client(&["spiffe://test/alice"]);
    let expired = clients.issue().uri("spiffe://test/alice").for_client().expired().build();
    let server = clients.issue().uri("spiffe://test/alice").for_server().build();

    #[derive(Debug, PartialEq)]
    enum Outcome {
        In,
        InAs(&'static str),
        Refused(HandshakeResult),
    }
    use HandshakeResult as Result;
    use Outcome::{In, InAs, Refused};
    type Mode = fn(RootCertificates) -> ClientCertificates;
    let modes: [(&str, Mode); 3] = [
        ("none", |_| ClientCertificates::none()),
        ("optional", ClientCertificates::optional),
        ("required", ClientCertificates::required),
    ];
    let known = InAs("spiffe://test/alice");
    let unknown = Refused(Result::CertificateAuthorityInvalid);
    let late = Refused(Result::CertificateExpired);
    let unfit = Refused(Result::CertificateVerificationFailed);
    for versions in [TLS12, TLS13] {
        for (shown, certificate, outcomes) in [
            ("nothing", None, [&In, &In, &unfit]),
            ("a good one", Some(&alice), [&In, &known, &known]),
            ("one of another CA", Some(&stranger), [&In, &unknown, &unknown]),
            ("an expired one", Some(&expired), [&In, &late, &late]),
            ("one for servers", Some(&server), [&In, &unfit, &unfit]),
        ] {
            for ((mode, clients_of), expected) in modes.iter().zip(outcomes) {
                let credentials = localhost(&ca)
                    .client_certificates(clients_of(roots(&clients)))
                    .build()
                    .expect("credentials");
                let mut config = client_config_with(&ca, provider(), versions);
                if let Some(certificate) = certificate {
                    config = showing(config, certificate);
                }
                let io = attempt(&credentials, config).await;
                let id = io.as_ref().and_then(|io| io.peer().spiffe_id()).map(ToString::to_string);
                let counted = credentials.handshakes().snapshot();
                let name = format!("{mode}, {shown}, {versions:?}: {counted:?}");
                match expected {
                    In => assert!(io.is_some_and(|io| io.peer().certificate().is_none()), "{name}"),
                    InAs(spiffe_id) => assert_eq!(id.as_deref(), Some(*spiffe_id), "{name}"),
                    Refused(result) => {
                        assert!(io.is_none(), "{name}");
                        assert_eq!(counted, [(*result, Resumption::FullHandshake, 1)], "{name}");
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn a_certificate_without_its_key_is_refused() {
    use rustls::sign::{CertifiedKey, SingleCertAndKey};
    let ca = CertificateAuthority::new("test CA");
    let (alice, mallory) = (ca.client(&["spiffe://test/alice"]), ca.client(&["mallory"]));
    for versions in [TLS12, TLS13] {
        let credentials = localhost(&ca)
            .client_certificates(ClientCertificates::required(roots(&ca)))
            .build()
            .expect("credentials");
        let mut config = client_config_with(&ca, provider(), versions);
        let key = provider().key_provider.load_private_key(mallory.key_der()).expect("a key");
        let stolen = CertifiedKey::new(alice.chain_der(), key);
        config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(stolen));
        assert!(attempt(&credentials, config).await.is_none(), "{versions:?}");
        let counters = credentials.handshakes();
        assert_eq!(counters.get(HandshakeResult::SignatureVerificationFailed), 1, "{counters:?}");
    }
}

// Resumption.

/// Connects, and takes what tickets there are; whether the session was resumed, as both ends say.
async fn comes_by(guests: &mut Guests, config: &Arc<ClientConfig>) -> bool {
    let mut client = tls_and_http2(guests.address(), config).await.expect("connected");
    let mut io = guests.next().await;
    // Tickets come before the first bytes that a client reads.
    io.write_all(b"!").await.expect("written");
    io.flush().await.expect("flushed");
    client.read_exact(&mut [0]).await.expect("read");
    let resumed = io.peer().tls().expect("TLS").resumed;
    let kind = client.get_ref().1.handshake_kind();
    assert_eq!(resumed, kind == Some(HandshakeKind::Resumed), "{kind:?}");
    resumed
}

/// The same twice with one session cache.
async fn connects_twice(credentials: &ServerCredentials, config: ClientConfig) -> [bool; 2] {
    let mut guests = Guests::on_loopback(credentials).await;
    let config = Arc::new(config);
    [comes_by(&mut guests, &config).await, comes_by(&mut guests, &config).await]
}

/// A store in the server would have room for so many.
#[tokio::test]
async fn however_many_clients_come_back_all_of_them_resume() {
    let ca = CertificateAuthority::new("test CA");
    for versions in [TLS12, TLS13] {
        let mut guests = Guests::on_loopback(&localhost(&ca).build().expect("credentials")).await;
        let clients: Vec<_> =
            (0..300).map(|_| Arc::new(client_config_with(&ca, provider(), versions))).collect();
        for resumed in [false, true, true] {
            for client in &clients {
                assert_eq!(comes_by(&mut guests, client).await, resumed, "{versions:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_session_is_of_one_loading_of_the_credentials() {
    let ca = CertificateAuthority::new("test CA");
    for versions in [TLS12, TLS13] {
        let first = localhost(&ca).build().expect("credentials");
        let anew = localhost(&ca).build().expect("credentials");
        let client = Arc::new(client_config_with(&ca, provider(), versions));
        for (credentials, resumed) in [(&first, false), (&first, true), (&anew, false)] {
            let mut guests = Guests::on_loopback(credentials).await;
            assert_eq!(comes_by(&mut guests, &client).await, resumed, "{versions:?}");
        }
    }
}

#[tokio::test]
async fn a_session_is_never_resumed_where_client_certificates_are_asked_for() {
    let ca = CertificateAuthority::new("test CA");
    let alice = ca.client(&["spiffe://test/alice"]);
    for versions in [TLS12, TLS13] {
        for (mode, clients, shows, second_resumes) in [
            ("none", ClientCertificates::none(), false, true),
            ("optional, none shown", ClientCertificates::optional(roots(&ca)), false, false),
            ("optional, one shown", ClientCertificates::optional(roots(&ca)), true, false),
            ("required", ClientCertificates::required(roots(&ca)), true, false),
        ] {
            let credentials =
                localhost(&ca).client_certificates(clients).build().expect("credentials");
            let mut config = client_config_with(&ca, provider(), versions);
            if shows {
                config = showing(config, &alice);
            }
            let resumed = connects_twice(&credentials, config).await;
            assert_eq!(resumed, [false, second_resumes], "{mode} {versions:?}");
            let counters = credentials.handshakes();
            let count = |resumption| counters.get_with(HandshakeResult::Success, resumption);
            let (full, resumed) =
                (count(Resumption::FullHandshake), count(Resumption::ResumedHandshake));
            let expected = if second_resumes { (1, 1) } else { (2, 0) };
            assert_eq!((full, resumed), expected, "{mode} {versions:?}");
        }
    }
}

#[tokio::test]
async fn allowing_http1_does_not_bring_resumption_back() {
    let ca = CertificateAuthority::new("test CA");
    let config = showing(client_config(&ca), &ca.client(&["spiffe://test/alice"]));
    let credentials = localhost(&ca)
        .client_certificates(ClientCertificates::required(roots(&ca)))
        .build()
        .expect("credentials")
        .allow_http1();
    assert_eq!(connects_twice(&credentials, config).await, [false, false]);
}

// Versions, suites and groups.

#[tokio::test]
async fn versions_meet_at_the_highest_that_both_allow_or_not_at_all() {
    use TlsVersion::{Tls12, Tls13};
    let ca = CertificateAuthority::new("test CA");
    let sets = [vec![Tls12], vec![Tls13], vec![Tls12, Tls13]];
    for client in &sets {
        for server in &sets {
            let name = format!("client {client:?}, server {server:?}");
            let credentials = localhost(&ca).versions(server.clone()).build().expect("credentials");
            let mut guests = Guests::on_loopback(&credentials).await;
            let target = format!("https://localhost:{}", guests.address().port());
            let tls = ClientTls::only_roots(roots(&ca)).versions(client.clone());
            let connecting = tokio::spawn(connect(target, ChannelCredentials::tls(tls)));
            let in_common = [Tls13, Tls12]
                .into_iter()
                .find(|version| client.contains(version) && server.contains(version));
            let Some(version) = in_common else {
                let error = connecting.await.expect("no panic").map(drop).expect_err(&name);
                assert_eq!(error.code(), "TLS_VERSION_MISMATCH", "{name}: {error}");
                until(&name, || {
                    let counters = credentials.handshakes();
                    counters.get(HandshakeResult::ProtocolVersionUnsupported) == 1
                })
                .await;
                continue;
            };
            let mut io = guests.next().await;
            let negotiated = io.peer().tls().expect("TLS").version;
            let expected = if version == Tls13 { "TLSv1.3" } else { "TLSv1.2" };
            assert_eq!(negotiated, expected, "{name}");
            io.write_all(server_support::wire::SETTINGS).await.expect("written");
            io.flush().await.expect("flushed");
            within("connected", connecting).await.expect("no panic").expect(&name);
        }
    }
}

/// A ClientHello of TLS 1.2 or before: `legacy_version` and these suites, and what it takes to
/// agree on ECDHE with an ECDSA certificate (RFC 5246 §7.4.1.2).
fn client_hello(version: [u8; 2], suites: &[[u8; 2]]) -> Vec<u8> {
    fn with_length(bytes: &[u8]) -> Vec<u8> {
        let length = u16::try_from(bytes.len()).expect("short").to_be_bytes();
        [&length, bytes].concat()
    }
    let extension = |kind: u8, body: &[u8]| [&[0, kind], with_length(body).as_slice()].concat();
    let extensions = [
        extension(10, &with_length(&[0, 0x1d, 0, 0x17])),
        extension(11, &[1, 0]),
        extension(13, &with_length(&[4, 3])),
        extension(16, &with_length(b"\x02h2")),
    ];
    let body = [
        version.as_slice(),
        &[7; 32],
        &[0],
        &with_length(&suites.concat()),
        &[1, 0],
        &with_length(&extensions.concat()),
    ]
    .concat();
    let handshake = [&[1, 0], with_length(&body).as_slice()].concat();
    [&[0x16, 3, 1], with_length(&handshake).as_slice()].concat()
}

#[tokio::test]
async fn what_is_older_than_tls_1_2_or_without_forward_secrecy_is_refused_with_an_alert() {
    const ECDHE_ECDSA_AES_128_GCM_SHA256: [u8; 2] = [0xc0, 0x2b];
    const ECDHE_ECDSA_AES_128_CBC_SHA: [u8; 2] = [0xc0, 0x09];
    const RSA_AES_128_CBC_SHA: [u8; 2] = [0x00, 0x2f];
    const HANDSHAKE_FAILURE: u8 = 40;
    const PROTOCOL_VERSION: u8 = 70;
    let ca = CertificateAuthority::new("test CA");
    let modern = ECDHE_ECDSA_AES_128_GCM_SHA256;
    let version = (PROTOCOL_VERSION, HandshakeResult::ProtocolVersionUnsupported);
    let suite = (HANDSHAKE_FAILURE, HandshakeResult::CipherSuiteMismatch);
    for (name, hello, refused) in [
        ("SSL 3.0", client_hello([3, 0], &[modern]), Some(version)),
        ("TLS 1.0", client_hello([3, 1], &[modern]), Some(version)),
        ("TLS 1.1", client_hello([3, 2], &[modern]), Some(version)),
        ("TLS 1.2", client_hello([3, 3], &[modern]), None),
        ("static RSA", client_hello([3, 3], &[RSA_AES_128_CBC_SHA]), Some(suite)),
        ("CBC", client_hello([3, 3], &[ECDHE_ECDSA_AES_128_CBC_SHA]), Some(suite)),
        ("a modern one too", client_hello([3, 3], &[RSA_AES_128_CBC_SHA, modern]), None),
    ] {
        let credentials = tls_credentials(&ca);
        let mut guests = Guests::on_loopback(&credentials).await;
        let mut io = dial(guests.address()).await;
        io.write_all(&hello).await.expect("written");
        let Some((alert, result)) = refused else {
            let mut begin = [0; 6];
            within("an answer", io.read_exact(&mut begin)).await.expect("an answer");
            assert_eq!((begin[0], begin[5]), (0x16, 2), "{name}: not a ServerHello: {begin:?}");
            continue;
        };
        let words = last_words(&mut io).await;
        assert_eq!(words.first(), Some(&0x15), "{name}: not an alert: {words:?}");
        assert_eq!(words[5..], [2, alert], "{name}");
        assert_eq!(credentials.handshakes().get(result), 1, "{name}");
        assert!(guests.nobody_else(), "{name}");
    }
}

#[tokio::test]
async fn keys_are_exchanged_by_x25519mlkem768_unless_the_client_cannot() {
    let ca = CertificateAuthority::new("test CA");
    let mut guests = Guests::on_loopback(&tls_credentials(&ca)).await;
    let target = format!("https://localhost:{}", guests.address().port());
    let tls = ClientTls::only_roots(roots(&ca));
    let connecting = tokio::spawn(connect(target, ChannelCredentials::tls(tls)));
    let io = guests.next().await;
    let group = io.peer().tls().expect("TLS").key_exchange_group;
    assert_eq!(group, Some("X25519MLKEM768"), "both ends ours");
    connecting.abort();

    for (name, groups, expected) in [
        ("rustls' own", aws_lc_rs::DEFAULT_KX_GROUPS.to_vec(), NamedGroup::X25519MLKEM768),
        ("X25519 alone", vec![aws_lc_rs::kx_group::X25519], NamedGroup::X25519),
        ("P-256 alone", vec![aws_lc_rs::kx_group::SECP256R1], NamedGroup::secp256r1),
    ] {
        let provider = CryptoProvider { kx_groups: groups, ..provider() };
        let config = client_config_with(&ca, provider, TLS13);
        let client = tls_and_http2(guests.address(), &Arc::new(config)).await.expect("TLS");
        let group = guests.next().await.peer().tls().expect("TLS").key_exchange_group;
        assert_eq!(group, Some(format!("{expected:?}").as_str()), "{name}");
        let group = client.get_ref().1.negotiated_key_exchange_group().map(|group| group.name());
        assert_eq!(group, Some(expected), "{name}");
    }
}

#[tokio::test]
async fn our_client_offers_x25519mlkem768_to_servers_that_are_not_ours() {
    let ca = CertificateAuthority::new("test CA");
    let certificate = ca.server(&["localhost"]);
    let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(certificate.chain_der(), certificate.key_der())
        .expect("a server");
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let target = format!("https://localhost:{}", listener.local_addr().expect("address").port());
    let tls = ClientTls::only_roots(roots(&ca));
    let connecting = tokio::spawn(connect(target, ChannelCredentials::tls(tls)));
    let (io, _) = within("a client", listener.accept()).await.expect("accepted");
    let io = within("TLS", acceptor.accept(io)).await.expect("TLS");
    let group = io.get_ref().1.negotiated_key_exchange_group().map(|group| group.name());
    assert_eq!(group, Some(NamedGroup::X25519MLKEM768));
    connecting.abort();
}

// The process.

/// Both ends, with certificates at each, and a call between them.
async fn use_the_library(ca: &CertificateAuthority, client: &Certificate) {
    let credentials = localhost(ca)
        .client_certificates(ClientCertificates::required(roots(ca)))
        .build()
        .expect("credentials");
    let server = TestServer::start(credentials.bind("127.0.0.1:0").await.expect("bound"), None);
    let tls = ClientTls::only_roots(roots(ca)).identity(identity(client));
    let channel = connect(server.https("localhost"), ChannelCredentials::tls(tls)).await;
    let request = HelloRequest { name: "you".to_owned() };
    GreeterClient::new(channel.expect("connected")).say_hello(request).await.expect("greeted");
}

#[tokio::test]
async fn the_crypto_provider_of_the_process_is_neither_set_nor_used() {
    let ca = CertificateAuthority::new("test CA");
    let alice = ca.client(&["spiffe://test/alice"]);
    use_the_library(&ca, &alice).await;
    assert!(CryptoProvider::get_default().is_none(), "somebody has set it");

    // One with which no handshake could succeed.
    let useless = CryptoProvider { cipher_suites: vec![], kx_groups: vec![], ..provider() };
    useless.install_default().expect("nobody has set it");
    use_the_library(&ca, &alice).await;
    let installed = CryptoProvider::get_default().expect("it was set");
    assert!(installed.cipher_suites.is_empty(), "it was replaced");
}
