//! The programs do what they say.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use countersign_testkit::pki::CertificateAuthority;

fn certificates() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let ca = CertificateAuthority::new("examples CA");
    std::fs::write(folder.path().join("ca.pem"), ca.certificate_pem()).expect("written");
    ca.server(&["localhost"]).write(folder.path(), "server").expect("written");
    ca.client(&["spiffe://example.test/alice"]).write(folder.path(), "client").expect("written");
    folder
}

fn run(program: &str, folder: &Path, more: &[&str]) -> Output {
    Command::new(program).arg(folder).args(more).output().expect("the program starts")
}

/// Ends with its value.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn serve(folder: &Path) -> (Server, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tls_server"))
        .arg(folder)
        .arg("127.0.0.1:0")
        .stdout(Stdio::piped())
        .spawn()
        .expect("the server starts");
    let mut line = String::new();
    let out = child.stdout.take().expect("piped");
    BufReader::new(out).read_line(&mut line).expect("a line");
    let port = line.trim().rsplit(':').next().expect("a port").to_owned();
    (Server(child), port)
}

#[test]
fn the_tls_client_greets_the_tls_server() {
    let folder = certificates();
    let (_server, port) = serve(folder.path());
    let client = env!("CARGO_BIN_EXE_tls_client");
    let done = run(client, folder.path(), &[&format!("https://localhost:{port}")]);
    assert!(done.status.success(), "{done:?}");
    assert_eq!(String::from_utf8_lossy(&done.stdout), "Hello, TLS\n");
}

#[test]
fn the_tls_client_says_why_it_cannot_greet() {
    let (folder, other) = (certificates(), certificates());
    let (_server, port) = serve(folder.path());
    let client = env!("CARGO_BIN_EXE_tls_client");
    let done = run(client, other.path(), &[&format!("https://localhost:{port}")]);
    assert_eq!(done.status.code(), Some(1), "{done:?}");
    let words = String::from_utf8_lossy(&done.stderr);
    assert!(words.contains("stage tls, code TLS_UNKNOWN_ISSUER, permanent"), "{words}");
}

#[test]
fn the_right_token_is_alices_and_another_is_nobodys() {
    let done = run(env!("CARGO_BIN_EXE_bearer_token"), certificates().path(), &[]);
    assert_eq!(
        String::from_utf8_lossy(&done.stdout),
        "Hello, token (the server knows us as alice)\n\
         Unauthenticated: call credentials were not accepted\n",
        "{done:?}"
    );
}

#[test]
fn a_configured_token_is_alices_wherever_it_comes_from() {
    let folder = certificates();
    let program = env!("CARGO_BIN_EXE_configured_token");
    let write = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).expect("written");
    };
    write("token", "a-token-that-somebody-issued\n");
    write("another", "another-token\n");
    for (source, words) in [
        (
            "token.file = { path = \"token\" }",
            "Hello, configuration (the server knows us as alice)\n",
        ),
        (
            "token.static = { file = \"token\" }",
            "Hello, configuration (the server knows us as alice)\n",
        ),
        (
            "token.static = { file = \"another\" }",
            "Unauthenticated: call credentials were not accepted\n",
        ),
    ] {
        write("client.toml", source);
        let done = run(program, folder.path(), &[]);
        assert_eq!(String::from_utf8_lossy(&done.stdout), words, "{source} {done:?}");
    }
    write("client.toml", "[token.fil]\npath = \"token\"\n");
    let done = run(program, folder.path(), &[]);
    assert_eq!(done.status.code(), Some(1), "{done:?}");
    assert!(String::from_utf8_lossy(&done.stderr).contains("`fil`"), "{done:?}");
}

#[test]
fn mutual_tls_knows_the_certificate_and_nobody_without_one() {
    let done = run(env!("CARGO_BIN_EXE_mutual_tls"), certificates().path(), &[]);
    assert_eq!(
        String::from_utf8_lossy(&done.stdout),
        "Hello, mutual TLS (the server knows us as spiffe://example.test/alice)\n\
         TLS_CLIENT_CERTIFICATE_REQUIRED: the server requires a client certificate and was shown \
         none (TLS alert CertificateRequired)\n",
        "{done:?}"
    );
}
