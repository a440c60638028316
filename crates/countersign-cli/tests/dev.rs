//! `countersign dev`, the real program: its files, its issuer, and the commands that it prints.

mod support;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use support::Place;
use tokio::net::TcpSocket;

/// An issuer that runs until it is dropped.
struct Issuer {
    child: Child,
    url: String,
    address: String,
}

impl Issuer {
    fn start(place: &Place, args: &[&str]) -> Self {
        let mut child = place
            .command(&[&["dev"], args].concat())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let words = BufReader::new(child.stderr.take().expect("piped")).lines();
        let answers = words.map(|line| line.expect("a line")).any(|line| line.contains("Ctrl-C"));
        assert!(answers, "it serves");
        let url = place.issuer();
        let address = url.strip_prefix("http://").expect("plain http").to_owned();
        Self { child, url, address }
    }

    /// Status and body of an answer.
    fn ask(&self, head: &str, body: &str) -> (u16, String) {
        let mut io = TcpStream::connect(&self.address).expect("it listens");
        let length = body.len();
        let request = format!(
            "{head}\r\nhost: {}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}",
            self.address
        );
        io.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        io.read_to_string(&mut answer).expect("it answers");
        let status = answer.split(' ').nth(1).and_then(|it| it.parse().ok()).expect("a status");
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
        (status, body.expect("a body"))
    }

    fn get(&self, path: &str) -> Value {
        let (status, body) = self.ask(&format!("GET {path} HTTP/1.1"), "");
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).expect("JSON")
    }

    fn post(&self, form: &str) -> (u16, Value) {
        let head = "POST /token HTTP/1.1\r\ncontent-type: application/x-www-form-urlencoded";
        let (status, body) = self.ask(head, form);
        (status, serde_json::from_str(&body).expect("JSON"))
    }

    fn kids(&self) -> Vec<String> {
        let keys = self.get("/jwks")["keys"].as_array().expect("keys").clone();
        keys.iter().map(|key| key["kid"].as_str().expect("a kid").to_owned()).collect()
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address that nobody else is given as long as the socket is kept, whether the issuer listens
/// there or not. Only Linux lets it listen beside the socket; elsewhere none is kept.
fn port() -> (Option<TcpSocket>, String) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(true).expect("a socket option");
    socket.bind(([127, 0, 0, 1], 0).into()).expect("a port");
    let address = socket.local_addr().expect("an address").to_string();
    (cfg!(target_os = "linux").then_some(socket), address)
}

fn kid_of(place: &Place, token: &str) -> String {
    let inspected = place.ok(&["token", "inspect", token, "--json"]).json();
    inspected["header"]["kid"].as_str().expect("a kid").to_owned()
}

#[test]
fn a_new_directory_gets_all_that_is_needed_and_keys_are_their_owners() {
    let place = Place::new();
    let told = place.ok(&["dev", "--no-serve", "--json"]).json();
    let secret = told["client"]["client_secret"].as_str().expect("shown once").to_owned();
    assert!(place.read(".countersign/issuer/client.json").contains(&secret));
    assert_eq!(place.read(".countersign/.gitignore"), "*\n");
    for name in ["ca.key", "server.key", "client.key", "issuer/current.key", "issuer/client.json"] {
        #[cfg(unix)]
        assert_eq!(support::mode(&place.path(&format!(".countersign/{name}"))), 0o600, "{name}");
    }
    for name in ["server", "client"] {
        let pem = format!(".countersign/{name}.pem");
        place.ok(&["pki", "inspect", &pem, "--as", name, "--lint"]);
    }
}

#[test]
fn the_sample_policy_lets_those_of_development_greet_and_nobody_reset() {
    let place = Place::with_issuer();
    let policy = place.read(".countersign/policy.json");
    let token = |issuer: &str| {
        let claims = json!({"iss": issuer, "sub": "alice"});
        json!({"callers": [{"name": "alice", "authenticator": "jwt", "claims": claims}]})
    };
    let certificate =
        |uri: &str| json!({"peer": {"transport": "tls", "certificate": {"uri_sans": [uri]}}});
    let greet = "/countersign.demo.v1.Greeter/SayHello";
    let reset = "/countersign.demo.v1.Greeter/Reset";
    let rows = [
        (greet, token(&place.issuer()), "allow"),
        (greet, token("https://evil.example"), "deny"),
        (greet, certificate("spiffe://dev.example/client"), "allow"),
        (greet, certificate("spiffe://evil.example/client"), "deny"),
        (greet, json!({}), "deny"),
        ("/grpc.health.v1.Health/Check", json!({}), "allow"),
        (reset, token(&place.issuer()), "deny"),
    ];
    let lines: String = rows
        .iter()
        .map(|(path, request, _)| {
            let mut request = request.clone();
            request["path"] = json!(path);
            format!("{}\n", json!({"policy_text": policy, "request": request}))
        })
        .collect();
    let run = place.feed(&["conformance", "policy"], lines.as_bytes());
    for ((path, request, decision), line) in rows.iter().zip(run.stdout.lines()) {
        let verdict: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(verdict["decision"], *decision, "{path} {request}: {verdict}");
        assert_eq!(verdict["error"], Value::Null, "{verdict}");
    }
    assert_eq!(run.stdout.lines().count(), rows.len());
}

#[test]
fn what_is_there_stays_unless_it_is_to_be_replaced() {
    let place = Place::new();
    place.ok(&["dev", "--no-serve"]);
    let names = ["ca.pem", "server.key", "issuer/current.key", "issuer/client.json", "auth.toml"];
    let read = || names.map(|name| place.read(&format!(".countersign/{name}")));
    let first = read();
    let again = place.ok(&["dev", "--no-serve", "--json"]).json();
    assert_eq!(read(), first);
    assert_eq!(again["client"]["client_secret"], Value::Null, "it was shown once");
    assert!(again["files"].as_array().expect("files").iter().all(|file| file["new"] == false));
    std::fs::remove_file(place.path(".countersign/server.pem")).expect("it was there");
    // Half of a pair cannot be completed, and the other half is not thrown away.
    assert_eq!(place.run(&["dev", "--no-serve"]).code, 3);
    place.ok(&["dev", "--no-serve", "--force"]);
    for (index, (old, new)) in first.iter().zip(read()).enumerate() {
        assert_ne!(*old, new, "{}", names[index]);
    }
}

#[test]
fn an_issuer_is_found_by_discovery_and_changes_its_key_while_it_runs() {
    let place = Place::new();
    let issuer = Issuer::start(&place, &["--listen", "127.0.0.1:0"]);
    for path in ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"] {
        let metadata = issuer.get(path);
        assert_eq!(metadata["issuer"], issuer.url.as_str());
        assert_eq!(metadata["jwks_uri"], format!("{}/jwks", issuer.url));
        assert_eq!(metadata["token_endpoint"], format!("{}/token", issuer.url));
    }
    let by_discovery = |token: &str| {
        let args = ["token", "verify", "--issuer", &issuer.url, "--audience", "dev", "--json"];
        place.feed(&args, token.as_bytes())
    };
    let first = place.mint(&[]);
    assert_eq!(by_discovery(&first).code, 0);
    let old = kid_of(&place, &first);
    assert_eq!(issuer.kids(), [old.as_str()]);

    let rotated = place.ok(&["dev", "rotate", "--json"]).json();
    let second = place.mint(&[]);
    let new = kid_of(&place, &second);
    assert_eq!((&rotated["current"], &rotated["previous"]), (&json!(new), &json!(old)));
    assert_eq!(issuer.kids(), [new.as_str(), old.as_str()]);
    assert_eq!((by_discovery(&first).code, by_discovery(&second).code), (0, 0));
    assert_eq!(kid_of(&place, &place.mint(&["--kid", &old])), old);

    let rotated = place.ok(&["dev", "rotate", "--json"]).json();
    assert_eq!(rotated["dropped"], json!(old));
    let run = by_discovery(&first);
    assert_eq!((run.code, &run.json()["check"]), (6, &json!("key")));
    assert_eq!(by_discovery(&second).code, 0);
}

#[test]
fn the_token_endpoint_knows_its_client_and_nobody_else() {
    let place = Place::new();
    let issuer = Issuer::start(&place, &[]);
    let client: Value =
        serde_json::from_str(&place.read(".countersign/issuer/client.json")).expect("JSON");
    let secret = client["client_secret"].as_str().expect("text");
    let proof = format!("client_id=dev-client&client_secret={secret}");
    let grant = "grant_type=client_credentials";

    let (status, answer) = issuer.post(&format!("{grant}&{proof}&scope=orders%3Aread"));
    assert_eq!((status, &answer["token_type"]), (200, &json!("Bearer")), "{answer}");
    let token = answer["access_token"].as_str().expect("a token");
    let verify = ["token", "verify", "--config", ".countersign/auth.toml", "--json"];
    let told = place.feed(&verify, token.as_bytes()).json();
    assert_eq!(
        (&told["verdict"], &told["claims"]["scope"]),
        (&json!("accepted"), &json!("orders:read"))
    );

    for (name, form, status, error) in [
        ("no proof", grant.to_owned(), 401, "invalid_client"),
        ("another secret", format!("{grant}&{proof}x"), 401, "invalid_client"),
        ("another grant", format!("grant_type=password&{proof}"), 400, "unsupported_grant_type"),
        ("no grant", proof.clone(), 400, "invalid_request"),
        ("twice", format!("{grant}&{grant}&{proof}"), 400, "invalid_request"),
        (
            "too long",
            format!("{grant}&{proof}&x={}", "x".repeat(16 * 1024)),
            413,
            "invalid_request",
        ),
    ] {
        let (seen, answer) = issuer.post(&form);
        assert_eq!((seen, &answer["error"]), (status, &json!(error)), "{name}");
    }
    assert_eq!(issuer.ask("GET /token HTTP/1.1", "").0, 405);
    assert_eq!(issuer.ask("POST /jwks HTTP/1.1", "").0, 405);
    assert_eq!(issuer.ask("GET /issuer/current.key HTTP/1.1", "").0, 404);
}

#[test]
fn an_issuer_keeps_its_name_and_stays_on_this_machine() {
    let (_held, address) = port();
    let place = Place::new();
    place.ok(&["dev", "--no-serve", "--listen", &address]);
    let name = place.issuer();
    {
        let issuer = Issuer::start(&place, &["--listen", "127.0.0.1:0"]);
        assert_eq!(issuer.url, name);
        // Its port is taken now.
        let second = place.run(&["dev"]);
        assert_eq!(second.code, 3, "{}", second.stderr);
    }
    let other = place.run(&["dev", "--no-serve", "--listen", "127.0.0.1:1"]);
    assert_eq!(other.code, 3);
    assert!(other.stderr.contains("--force"), "{}", other.stderr);
    for address in ["0.0.0.0:0", "192.0.2.1:80", "localhost:80", "80"] {
        let run = place.run(&["dev", "--no-serve", "--listen", address]);
        assert_eq!(run.code, 2, "{address}: {}", run.stderr);
    }
}

#[cfg(unix)]
#[test]
fn the_issuer_changes_its_key_by_itself_and_ends_at_ctrl_c() {
    let place = Place::new();
    let (_held, address) = port();
    let mut issuer = Issuer::start(&place, &["--rotate-every", "50ms", "--listen", &address]);
    let first = issuer.kids();
    // Each look is a request, so this waits for the issuer and not for a clock.
    while issuer.kids().first() == first.first() {}
    assert_eq!(issuer.kids().len(), 2);
    let id = issuer.child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().expect("kill runs").success());
    assert_eq!(issuer.child.wait().expect("it ends").code(), Some(0));
    TcpStream::connect(&issuer.address).expect_err("the issuer is gone");
}
