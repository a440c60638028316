//! `countersign token fetch`, the real program: what it asks, prints and returns.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Output, Stdio};
use std::thread::JoinHandle;

use countersign_testkit::pki::CertificateAuthority;
use serde_json::Value;
use tempfile::TempDir;

/// A directory to run the program in.
struct Place(TempDir);

/// What a run left.
struct Run {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Place {
    fn new(config: &str) -> Self {
        let place = Self(tempfile::tempdir().expect("a temporary directory"));
        place.write("client.toml", config);
        place
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.path().join(name), text).expect("written");
    }

    /// Runs `token fetch` with these arguments and variables, from somewhere else.
    fn fetch(&self, args: &[&str], variables: &[(&str, &str)]) -> Run {
        let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
        command.args(["token", "fetch", "--config"]).arg(self.0.path().join("client.toml"));
        command.args(args).envs(variables.iter().copied()).stdin(Stdio::null());
        let Output { status, stdout, stderr } = command.output().expect("the program starts");
        Run {
            code: status.code().expect("the program is not killed"),
            stdout: String::from_utf8(stdout).expect("text"),
            stderr: String::from_utf8(stderr).expect("text"),
        }
    }
}

/// `{"sub":"me","exp":4000000000,"secret":"hunter2"}`
const JWT: &str = "e30.eyJzdWIiOiJtZSIsImV4cCI6NDAwMDAwMDAwMCwic2VjcmV0IjoiaHVudGVyMiJ9.c2ln";
/// `{"exp":1}`
const ENDED: &str = "e30.eyJleHAiOjF9.c2ln";

/// Answers one HTTP request by this, and returns the request.
fn server(status: &str, body: &str) -> (SocketAddr, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = listener.local_addr().expect("an address");
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let served = std::thread::spawn(move || {
        let (mut io, _) = listener.accept().expect("a connection");
        let (mut request, mut piece) = (String::new(), [0; 4096]);
        // The form comes last, and has its audience last.
        while !request.contains("orders") {
            let length = io.read(&mut piece).expect("a request");
            assert_ne!(length, 0, "{request}");
            request.push_str(&String::from_utf8_lossy(&piece[..length]));
        }
        io.write_all(answer.as_bytes()).expect("written");
        request
    });
    (address, served)
}

fn client_credentials(address: SocketAddr) -> Place {
    let place = Place::new(&format!(
        r#"
[token.client_credentials]
endpoint = "http://{address}/token"
client = {{ id = "me", secret_file = "secret" }}
audience = "orders"
"#
    ));
    place.write("secret", "s3cret\n");
    place
}

#[test]
fn a_token_is_described_and_not_shown_unless_asked_for() {
    let place = Place::new("token.file = { path = \"token\", jwt = true }");
    place.write("token", JWT);
    let run = place.fetch(&[], &[]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stdout.starts_with("source    file\ntoken     "), "{}", run.stdout);
    assert!(run.stdout.contains("\nexpires   in "), "{}", run.stdout);
    assert!(run.stdout.contains("\nsub       \"me\"\n"), "{}", run.stdout);
    assert!(!run.stdout.contains("e30.") && !run.stdout.contains("hunter2"), "{}", run.stdout);

    let raw = place.fetch(&["--raw"], &[]);
    assert_eq!((raw.code, raw.stdout), (0, format!("{JWT}\n")));

    let json = place.fetch(&["--json"], &[]);
    let told: Value = serde_json::from_str(&json.stdout).expect("one JSON object");
    assert_eq!((&told["source"], &told["bytes"]), (&"file".into(), &JWT.len().into()));
    assert_eq!(told["claims"]["sub"], "me");
    assert_eq!(told["name"].as_str().expect("a name").len(), 8);
    assert!(told.get("token").is_none() && told["claims"].get("secret").is_none());
    let json = place.fetch(&["--json", "--raw"], &[]);
    let told: Value = serde_json::from_str(&json.stdout).expect("one JSON object");
    assert_eq!(told["token"], JWT);
}

#[test]
fn a_token_is_taken_from_the_variable_that_is_named() {
    let place = Place::new("token.environment = { variable = \"MY_TOKEN\" }");
    let run = place.fetch(&["--raw"], &[("MY_TOKEN", " opaque\n")]);
    assert_eq!((run.code, run.stdout.as_str()), (0, "opaque\n"));
    let run = place.fetch(&[], &[("MY_TOKEN", "opaque")]);
    assert!(run.stdout.contains("expires   never"), "{}", run.stdout);
    let run = place.fetch(&[], &[("MY_TOKEN", ENDED)]);
    assert_eq!(run.code, 6, "{}", run.stderr);
    assert!(run.stderr.starts_with("warning: the token in the variable `MY_TOKEN` has expired"));
    let run = place.fetch(&[], &[]);
    assert_eq!(run.code, 3);
    assert!(run.stderr.contains("the variable `MY_TOKEN` holds no token"), "{}", run.stderr);
}

#[test]
fn a_grant_is_asked_for_with_the_clients_secret() {
    let body = r#"{"access_token":"granted","token_type":"Bearer","expires_in":600}"#;
    let (address, served) = server("200 OK", body);
    let run = client_credentials(address).fetch(&["--json"], &[]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let told: Value = serde_json::from_str(&run.stdout).expect("one JSON object");
    assert_eq!(told["source"], "client_credentials");
    assert!((590..=600).contains(&told["expires_in_seconds"].as_u64().expect("a number")));
    let request = served.join().expect("no panic").to_ascii_lowercase();
    // `me:s3cret`
    assert!(request.contains("authorization: basic bwu6cznjcmv0\r\n"), "{request}");
    assert!(request.ends_with("grant_type=client_credentials&audience=orders"), "{request}");
}

#[test]
fn the_exit_code_tells_a_refusal_from_a_broken_connection() {
    let (address, _served) = server("401 Unauthorized", r#"{"error":"invalid_client"}"#);
    let run = client_credentials(address).fetch(&["--json"], &[]);
    assert_eq!(run.code, 6, "{}", run.stderr);
    let told: Value = serde_json::from_str(&run.stdout).expect("one JSON object");
    let cause = told["error"]["cause"].as_str().expect("a cause");
    assert!(cause.ends_with("/token answered 401 invalid_client"), "{cause}");

    // Bound, so that nobody else listens there either.
    let held = tokio::net::TcpSocket::new_v4().expect("a socket");
    held.bind(([127, 0, 0, 1], 0).into()).expect("a port");
    let nobody = held.local_addr().expect("an address");
    let run = client_credentials(nobody).fetch(&[], &[]);
    assert_eq!(run.code, 4, "{}", run.stderr);
    assert!(run.stderr.starts_with("error: the source has no token\n"), "{}", run.stderr);
}

#[test]
fn an_unknown_key_is_answered_with_its_place_and_the_one_that_was_meant() {
    for (config, place, words) in [
        (
            "[token.file]\npath = \"t\"\nsecret = \"hunter2\"\n",
            "line 3, column 1: `secret`",
            "known are `path`, `jwt`",
        ),
        ("[token.fil]\npath = \"t\"\n", "line 1, column 8: `fil`", "`file` is; all of them are"),
        (
            "[token.client_credentials]\nendpoint = \"x\"\nclient = { id = \"a\", methd = \"hunter2\" }\n",
            "line 3, column 22: `methd`",
            "`method` is",
        ),
        ("[token.file]\n", "line 1, column 1: ", "`path` is missing"),
        ("\n\n= hunter2", "line 3, column 1: ", ""),
    ] {
        let run = Place::new(config).fetch(&[], &[]);
        assert_eq!(run.code, 3, "{config}: {}", run.stderr);
        assert!(run.stderr.contains(place), "{config}: {}", run.stderr);
        assert!(run.stderr.contains(words), "{config}: {}", run.stderr);
        assert!(!run.stderr.contains("hunter2"), "{}", run.stderr);
    }
    let place = Place::new("");
    fs::remove_file(place.0.path().join("client.toml")).expect("removed");
    assert_eq!(place.fetch(&[], &[]).code, 3);
}

#[test]
fn each_target_has_its_own_source() {
    let place = Place::new(
        "[[target]]\nauthority = \"orders.example\"\ntoken.static = { file = \"token\" }\n\
         [[target]]\nauthority = \"billing.example:8443\"\n\
         token.environment = { variable = \"MY_TOKEN\" }\n",
    );
    place.write("token", "one\n");
    let fetch = |host| place.fetch(&["--raw", "--host", host], &[("MY_TOKEN", "another")]);
    assert_eq!(fetch("orders.example:443").stdout, "one\n");
    assert_eq!(fetch("billing.example:8443").stdout, "another\n");
    let nobody = fetch("evil.example");
    assert_eq!((nobody.code, nobody.stdout.as_str()), (3, ""));
    assert!(nobody.stderr.contains("orders.example, billing.example:8443"), "{}", nobody.stderr);
    let which = place.fetch(&["--raw"], &[("MY_TOKEN", "another")]);
    assert_eq!((which.code, which.stdout.as_str()), (2, ""), "{}", which.stderr);
}

#[test]
fn a_bound_token_is_asked_for_with_a_proof() {
    let body = r#"{"access_token":"granted","token_type":"DPoP","expires_in":600}"#;
    for (dpop, answer, code) in [
        ("true", body.to_owned(), 0),
        ("true", body.replace("DPoP", "Bearer"), 6),
        ("false", body.replace("DPoP", "Bearer"), 0),
    ] {
        let (address, served) = server("200 OK", &answer);
        let place = Place::new(&format!(
            "[token.client_credentials]\nendpoint = \"http://{address}/token\"\ndpop = {dpop}\n\
             client = {{ id = \"me\", method = \"none\" }}\naudience = \"orders\"\n"
        ));
        let run = place.fetch(&["--raw"], &[]);
        assert_eq!(run.code, code, "{}", run.stderr);
        let request = served.join().expect("no panic").to_ascii_lowercase();
        assert_eq!(request.contains("\r\ndpop: "), dpop == "true", "{request}");
    }
}

#[test]
fn a_self_signed_token_is_for_a_host() {
    let place = Place::new(
        "[token.self_signed]\nkey = { file = \"key.pem\", id = \"k1\" }\nissuer = \"me\"\n",
    );
    let ca = CertificateAuthority::new("any");
    place.write("key.pem", &ca.server(&["localhost"]).key_pem());
    let run = place.fetch(&[], &[]);
    assert_eq!(run.code, 6);
    assert!(run.stderr.contains("hint:  say which host"), "{}", run.stderr);
    let run = place.fetch(&["--host", "orders.example:443"], &[]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stdout.contains("\naud       \"https://orders.example/\"\n"), "{}", run.stdout);
}

#[cfg(unix)]
#[test]
fn a_program_gets_what_it_is_given_and_no_other_variable() {
    let place = Place::new(
        r#"
[token.exec]
command = "sh"
args = ["-c", '''printf '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"%s-%s"}}' "$GIVEN" "${OURS:-none}"''']
env = { GIVEN = "yes" }
"#,
    );
    let run = place.fetch(&["--raw"], &[("OURS", "hunter2")]);
    assert_eq!((run.code, run.stdout.as_str()), (0, "yes-none\n"), "{}", run.stderr);
}
