//! Certificates that are replaced while the server runs.

mod support;

use std::path::{Path, PathBuf};
use std::time::Duration;

use countersign::credentials::CertificateWatch;
use countersign::tls::TlsConfigError;
use countersign::{
    ChannelCredentials, ClientCertificates, ClientTls, Gate, Identity, MutualTls, RootCertificates,
    Rules, ServerCredentials, connect,
};
use countersign_testkit::greeter::{GREETER, TestServer};
use countersign_testkit::logs::Logs;
use countersign_testkit::pki::{Certificate, CertificateAuthority};
use countersign_testkit::wait::until;
use support::{call, connect_code, hello, identity, roots, showing};

/// A folder with a server's files, as a volume that somebody else writes.
struct Volume {
    folder: tempfile::TempDir,
}

impl Volume {
    fn new(server: &Certificate, clients: &CertificateAuthority) -> Self {
        let volume = Self { folder: tempfile::tempdir().expect("a folder") };
        volume.put(server);
        volume.trust(clients);
        volume
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn put(&self, server: &Certificate) {
        write(&self.path("tls.crt"), server.chain_pem().as_bytes());
        write(&self.path("tls.key"), server.key_pem().as_bytes());
    }

    fn trust(&self, clients: &CertificateAuthority) {
        write(&self.path("ca.crt"), clients.certificate_pem().as_bytes());
    }

    fn identity(&self) -> Identity {
        Identity::from_pem_files(self.path("tls.crt"), self.path("tls.key"))
    }

    /// Credentials that ask for a client certificate.
    fn credentials(&self) -> ServerCredentials {
        let clients = RootCertificates::from_pem_file(self.path("ca.crt"));
        ServerCredentials::tls(self.identity())
            .client_certificates(ClientCertificates::required(clients))
            .build()
            .expect("server credentials")
    }
}

fn write(path: &Path, contents: &[u8]) {
    std::fs::write(path, contents).expect("written");
}

async fn greeting(credentials: &ServerCredentials) -> TestServer {
    let gate = Gate::builder()
        .authenticate(MutualTls::new())
        .authorize(Rules::new().authenticated(GREETER))
        .build()
        .expect("a gate");
    TestServer::start(credentials.bind("127.0.0.1:0").await.expect("bound"), Some(gate))
}

fn client(trusts: &CertificateAuthority, shows: &Certificate) -> ChannelCredentials {
    ChannelCredentials::tls(ClientTls::only_roots(roots(trusts)).identity(identity(shows)))
}

/// The code with which a new connection fails; empty where a call passes over it.
async fn code(server: &TestServer, credentials: ChannelCredentials) -> &'static str {
    match connect(server.https("localhost"), credentials).await {
        Ok(channel) => match call(&channel, hello()).await {
            Ok(_) => "",
            Err(status) => connect_code(&status),
        },
        Err(error) => error.code(),
    }
}

#[tokio::test]
async fn new_connections_see_the_new_certificate_and_open_ones_go_on() {
    let (old, new) = (CertificateAuthority::new("old CA"), CertificateAuthority::new("new CA"));
    let alice = old.client(&["spiffe://test/alice"]);
    let volume = Volume::new(&old.server(&["localhost"]), &old);
    let credentials = volume.credentials();
    let server = greeting(&credentials).await;
    let open = connect(server.https("localhost"), client(&old, &alice)).await.expect("connected");
    assert_eq!(call(&open, hello()).await.expect("a reply").principal, "spiffe://test/alice");
    assert!(!credentials.reload().expect("the same files"), "nothing changed");

    volume.put(&new.server(&["localhost"]));
    assert!(credentials.clone().reload().expect("good files"), "by a clone");
    assert_eq!(code(&server, client(&new, &alice)).await, "");
    assert_eq!(code(&server, client(&old, &alice)).await, "TLS_UNKNOWN_ISSUER");
    assert_eq!(call(&open, hello()).await.expect("a reply").principal, "spiffe://test/alice");
}

#[tokio::test]
async fn whom_a_new_authority_vouches_for_gets_in_and_the_old_ones_clients_do_not() {
    let ca = CertificateAuthority::new("server CA");
    let (old, new) = (CertificateAuthority::new("old CA"), CertificateAuthority::new("new CA"));
    let (alice, bob) = (old.client(&["spiffe://test/a"]), new.client(&["spiffe://test/b"]));
    let volume = Volume::new(&ca.server(&["localhost"]), &old);
    let credentials = volume.credentials();
    let server = greeting(&credentials).await;
    assert_eq!(code(&server, client(&ca, &alice)).await, "");
    assert_eq!(code(&server, client(&ca, &bob)).await, "TLS_CLIENT_CERTIFICATE_UNKNOWN_ISSUER");

    volume.trust(&new);
    assert!(credentials.reload().expect("good files"));
    assert_eq!(code(&server, client(&ca, &alice)).await, "TLS_CLIENT_CERTIFICATE_UNKNOWN_ISSUER");
    assert_eq!(code(&server, client(&ca, &bob)).await, "");
}

#[tokio::test]
async fn what_cannot_be_used_changes_nothing() {
    let ca = CertificateAuthority::new("test CA");
    let alice = ca.client(&["spiffe://test/alice"]);
    let volume = Volume::new(&ca.server(&["localhost"]), &ca);
    let credentials = volume.credentials();
    let server = greeting(&credentials).await;

    // Half a rotation: the certificate is there, and its key is not yet.
    let next = ca.server(&["localhost", "also.example"]);
    write(&volume.path("tls.crt"), next.chain_pem().as_bytes());
    let error = credentials.reload().expect_err("another key");
    assert!(matches!(error, TlsConfigError::KeyMismatch { .. }), "{error}");
    assert_eq!(code(&server, client(&ca, &alice)).await, "");

    volume.put(&next);
    write(&volume.path("ca.crt"), b"");
    let error = credentials.reload().expect_err("nobody to trust");
    assert!(matches!(error, TlsConfigError::NoCertificate { .. }), "{error}");
    assert_eq!(code(&server, client(&ca, &alice)).await, "");

    volume.trust(&ca);
    assert!(credentials.reload().expect("good files"));
    assert_eq!(code(&server, client(&ca, &alice)).await, "");
}

#[tokio::test]
async fn what_is_reloaded_still_offers_http1_where_it_did() {
    let (old, new) = (CertificateAuthority::new("old CA"), CertificateAuthority::new("new CA"));
    let volume = Volume::new(&old.server(&["localhost"]), &old);
    let credentials =
        ServerCredentials::tls(volume.identity()).build().expect("credentials").allow_http1();
    let server = TestServer::start(credentials.bind("127.0.0.1:0").await.expect("bound"), None);
    volume.put(&new.server(&["localhost"]));
    assert!(credentials.reload().expect("good files"));

    let mut config = rustls::ClientConfig::builder_with_provider(
        rustls::crypto::aws_lc_rs::default_provider().into(),
    )
    .with_safe_default_protocol_versions()
    .expect("versions")
    .with_root_certificates({
        let mut store = rustls::RootCertStore::empty();
        store.add(new.certificate_der()).expect("a root");
        store
    })
    .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let socket = tokio::net::TcpStream::connect(server.address()).await.expect("connected");
    let name = "localhost".try_into().expect("a name");
    let tls = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    let tls = tls.connect(name, socket).await.expect("a handshake");
    assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
}

#[tokio::test]
async fn credentials_without_files_have_nothing_to_reload() {
    let ca = CertificateAuthority::new("test CA");
    assert!(!showing(&ca.server(&["localhost"])).reload().expect("the same bytes"));
    assert!(!ServerCredentials::insecure().reload().expect("no TLS"));
}

#[tokio::test(start_paused = true)]
async fn watched_files_are_read_every_ten_seconds_and_their_problem_told_once_a_minute() {
    const PROBLEM: &str = "the certificates from before are in use";
    const DONE: &str = "in use as they are now";
    let logs = Logs::collect();
    let ca = CertificateAuthority::new("test CA");
    let volume = Volume::new(&ca.server(&["localhost"]), &ca);
    let credentials = volume.credentials();
    let watching = credentials.watch();

    // Until it was told so often.
    let told = async |words: &str, times: usize| {
        for _ in 0..1_000 {
            if logs.lines_with(words).len() >= times {
                return;
            }
            tokio::time::sleep(CertificateWatch::POLL).await;
        }
        panic!("{words:?} was not told {times} times: {}", logs.text());
    };

    volume.put(&ca.server(&["localhost", "second.example"]));
    told(DONE, 1).await;
    assert!(!credentials.reload().expect("good files"), "it has been read");

    write(&volume.path("tls.key"), b"half a");
    told(PROBLEM, 1).await;
    let began = tokio::time::Instant::now();
    told(PROBLEM, 2).await;
    let after = began.elapsed();
    assert!((Duration::from_secs(50)..=Duration::from_secs(80)).contains(&after), "{after:?}");

    volume.put(&ca.server(&["localhost", "third.example"]));
    told(DONE, 2).await;

    // Nobody watches any more.
    drop(watching);
    until("the watch has ended", || {
        tokio::runtime::Handle::current().metrics().num_alive_tasks() == 0
    })
    .await;
    // Time stands still while a reading is under way that was begun before.
    tokio::time::sleep(CertificateWatch::POLL).await;
    volume.put(&ca.server(&["localhost", "fourth.example"]));
    tokio::time::sleep(CertificateWatch::POLL * 5).await;
    assert_eq!(logs.lines_with(DONE).len(), 2);
    assert!(credentials.reload().expect("good files"), "nobody has read it before");
}
