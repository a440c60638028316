//! Planted secrets that must not be found: in no `Debug`, in no error, in no log.

#[path = "support/reached.rs"]
mod support;

use std::error::Error;
use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use countersign::authentication::{CallEvidence, Evidence};
use countersign::credentials::{CallDetails, CallMetadata, ChannelSecurityInfo};
use countersign::identity::PeerIdentity;
use countersign::tls::TlsConfigError;
use countersign::{
    ApiKey, BearerToken, CallCredentials, CallError, Channel, ChannelCredentials,
    ClientCertificates, ClientRequestExt, ClientTls, CompositeCallCredentials, Gate, Identity,
    MutualTls, RootCertificates, Rules, Secret, ServerCredentials, StaticTokens, connect,
    connect_lazy,
};
use countersign_testkit::greeter::proto::HelloRequest;
use countersign_testkit::greeter::{GreeterClient, SAY_HELLO};
use countersign_testkit::pki::CertificateAuthority;
use support::{
    RawClient, Reached, Served, collect_logs, greeter, identity, roots, serve, trusting,
};
use tonic::{Code, Request, Status};
use tower_layer::Layer;

const TOKEN: &str = "planted-token-correct-horse-battery-staple";
const OTHER_TOKEN: &str = "planted-other-token-which-no-gate-knows";
const API_KEY: &str = "planted-key-7Xv3kTMd9QaXwcQ1aB2cD";
const FILE_TOKEN: &str = "planted-file-token-a1b2c3d4e5f6";

/// Everything that was planted, in every form in which it might come out.
struct Planted {
    forms: Vec<(&'static str, String)>,
}

impl Planted {
    fn new() -> Self {
        let mut planted = Self { forms: Vec::new() };
        for (name, text) in [
            ("the token", TOKEN),
            ("the other token", OTHER_TOKEN),
            ("the API key", API_KEY),
            ("the token file's text", FILE_TOKEN),
        ] {
            planted.plant(name, text.as_bytes());
        }
        planted
    }

    /// Plants a private key in PEM, line by line and as what the lines mean.
    fn and_key(mut self, pem: &str) -> Self {
        let lines: Vec<_> = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        assert!(!lines.is_empty(), "a key has lines");
        for line in &lines {
            self.plant("a line of the private key", line.as_bytes());
        }
        let der = STANDARD.decode(lines.concat()).expect("base64");
        for piece in der.chunks_exact(16) {
            self.plant("a piece of the private key", piece);
        }
        self
    }

    fn plant(&mut self, name: &'static str, secret: &[u8]) {
        assert!(secret.len() >= 12, "long enough to be there by no accident");
        let decimal: Vec<_> = secret.iter().map(u8::to_string).collect();
        let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        if let Ok(text) = std::str::from_utf8(secret) {
            self.forms.push((name, text.to_owned()));
        }
        self.forms.push((name, secret.escape_ascii().to_string()));
        self.forms.push((name, decimal.join(",")));
        self.forms.push((name, hex.to_uppercase()));
        self.forms.push((name, hex));
        for base64 in [STANDARD.encode(secret), URL_SAFE.encode(secret)] {
            // Its end depends on what comes after it.
            let whole = &base64[..base64.len() / 4 * 4 - 4];
            self.forms.push((name, whole.to_owned()));
        }
    }

    /// What is found in a text, white space aside.
    fn found_in(&self, text: &str) -> Option<&'static str> {
        let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let found = self.forms.iter().find(|(_, form)| text.contains(form.as_str()));
        found.map(|(name, _)| *name)
    }

    fn is_not_in(&self, what: &str, text: &str) {
        if let Some(name) = self.found_in(text) {
            panic!("{name} is in {what}: {text}");
        }
    }

    /// Neither `Debug` in either form shows it.
    fn is_not_shown_by(&self, what: &str, value: &dyn Debug) {
        self.is_not_in(what, &format!("{value:?}"));
        self.is_not_in(what, &format!("{value:#?}"));
    }

    /// Neither an error nor any of its causes says it.
    fn is_not_told_by(&self, what: &str, error: &(dyn Error + 'static)) {
        let mut next = Some(error);
        while let Some(error) = next {
            self.is_not_in(what, &error.to_string());
            self.is_not_shown_by(what, &error);
            next = error.source();
        }
    }
}

fn token() -> BearerToken {
    BearerToken::new(TOKEN).expect("a token")
}

fn key() -> ApiKey {
    ApiKey::new(API_KEY).expect("a key")
}

fn tokens() -> StaticTokens {
    StaticTokens::new()
        .with_token("ci", TOKEN)
        .with_token("robot", API_KEY)
        .with_token("file", FILE_TOKEN)
}

fn gate() -> Gate {
    Gate::builder()
        .authenticate(tokens())
        .authenticate(MutualTls::new())
        .authorize(Rules::new().authenticated("/countersign.demo.v1.Greeter/SayHello*"))
        .build()
        .expect("a gate")
}

fn hello() -> Request<HelloRequest> {
    Request::new(HelloRequest { name: "you".to_owned() })
}

async fn greet(channel: &Channel, request: Request<HelloRequest>) -> Result<(), Status> {
    GreeterClient::new(channel.clone()).say_hello(request).await.map(drop)
}

/// A file with a token in it, in a folder that goes with the test.
fn token_file(folder: &tempfile::TempDir) -> PathBuf {
    let path = folder.path().join("token");
    std::fs::write(&path, format!("{FILE_TOKEN}\n")).expect("written");
    path
}

#[test]
fn the_search_finds_what_is_there() {
    let ca = CertificateAuthority::new("test CA");
    let key = ca.server(&["localhost"]).key_pem();
    let planted = Planted::new().and_key(&key);
    let der = STANDARD.decode(key.lines().filter(|it| !it.starts_with('-')).collect::<String>());
    let der = der.expect("base64");
    for (form, text) in [
        ("text", format!("token={TOKEN}!")),
        ("bytes", format!("{:?}", TOKEN.as_bytes())),
        ("bytes, line by line", format!("{:#?}", TOKEN.as_bytes())),
        ("base64", STANDARD.encode(format!("{TOKEN}and more"))),
        ("PEM", key.to_string()),
        ("one line of PEM", key.lines().nth(1).expect("a line").to_owned()),
        ("DER", format!("{der:?}")),
        ("DER, line by line", format!("{der:#?}")),
        ("bytes of one line of PEM", format!("{:?}", key.lines().nth(1).map(str::as_bytes))),
        ("DER in hexadecimal", der.iter().map(|byte| format!("{byte:02x}")).collect()),
    ] {
        assert!(planted.found_in(&text).is_some(), "{form}");
    }
    assert_eq!(planted.found_in("planted-token"), None);
}

#[tokio::test]
async fn no_public_type_shows_the_secret_that_it_holds() {
    let ca = CertificateAuthority::new("test CA");
    let server = ca.server(&["localhost"]);
    let planted = Planted::new().and_key(&server.key_pem());
    let folder = tempfile::tempdir().expect("a folder");
    let file = BearerToken::from_file(token_file(&folder));

    let mut metadata = CallMetadata::default();
    let call = CallDetails::new("localhost", SAY_HELLO);
    let security = ChannelSecurityInfo::new("tls", countersign::SecurityLevel::PrivacyAndIntegrity);
    // Read, so that it holds the text.
    file.get_metadata(&call, &security, &mut metadata).await.expect("a token");
    key().get_metadata(&call, &security, &mut metadata).await.expect("a key");
    metadata.insert("x-other", OTHER_TOKEN).expect("text");
    metadata.insert_bin("x-other-bin", TOKEN.as_bytes()).expect("bytes");

    let composite = CompositeCallCredentials::new(token(), file.clone()).and(key());
    let client_tls = trusting(&ca).identity(identity(&server));
    let server_tls = ServerCredentials::tls(identity(&server))
        .and_identity(identity(&server))
        .client_certificates(ClientCertificates::optional(roots(&ca)));
    let server_credentials = server_tls.clone().build().expect("server credentials");
    let incoming = server_credentials.bind("127.0.0.1:0").await.expect("bound");
    let channel_credentials =
        ChannelCredentials::tls(client_tls.clone()).with_call_credentials(composite.clone());
    let channel = connect_lazy("https://localhost:1", channel_credentials.clone());
    let peer = PeerIdentity::unknown();
    let request = hello().call_credentials(composite.clone());
    let gate = gate();
    let values: [(&str, &dyn Debug); 29] = [
        ("Secret", &Secret::from(TOKEN)),
        ("Secret of bytes", &Secret::new(TOKEN.as_bytes().to_vec())),
        ("BearerToken", &token()),
        ("BearerToken of a file", &file),
        ("ApiKey", &key()),
        ("ApiKey under another name", &key().under("x-orders-key").expect("a name")),
        ("CompositeCallCredentials", &composite),
        ("Arc of call credentials", &(Arc::new(token()) as Arc<dyn CallCredentials>)),
        ("CallMetadata", &metadata),
        ("ChannelCredentials over TLS", &channel_credentials),
        ("ChannelCredentials", &ChannelCredentials::local().with_call_credentials(token())),
        ("ChannelBuilder", &Channel::builder("https://localhost:1", channel_credentials.clone())),
        ("Channel", &channel.expect("a channel")),
        ("a request with call credentials", &request),
        ("its extensions", request.extensions()),
        ("ClientTls", &client_tls),
        ("Identity", &identity(&server)),
        ("RootCertificates", &RootCertificates::from_pem(&*server.key_pem())),
        ("ClientCertificates", &ClientCertificates::required(roots(&ca))),
        ("ServerTls", &server_tls),
        ("ServerCredentials", &server_credentials),
        ("Incoming", &incoming),
        ("StaticTokens", &tokens()),
        ("CallEvidence::Bearer", &CallEvidence::Bearer(TOKEN)),
        ("CallEvidence::ApiKey", &CallEvidence::ApiKey(API_KEY)),
        ("CallEvidence::Other", &CallEvidence::Other { scheme: OTHER_TOKEN, value: TOKEN }),
        ("Evidence", &Evidence::new(&peer, CallEvidence::Bearer(TOKEN))),
        ("Gate", &gate),
        ("GateBuilder", &Gate::builder().authenticate(tokens())),
    ];
    for (name, value) in values {
        planted.is_not_shown_by(name, value);
        assert!(!format!("{value:?}").is_empty(), "{name}");
    }
}

#[tokio::test]
async fn no_error_of_a_credential_quotes_it() {
    let planted = Planted::new();
    let folder = tempfile::tempdir().expect("a folder");
    for (name, spoilt) in [
        ("a space", format!("{TOKEN} {FILE_TOKEN}")),
        ("a control character", format!("{TOKEN}\u{1}")),
        ("a newline inside", format!("{TOKEN}\n{FILE_TOKEN}")),
        ("not ASCII", format!("{TOKEN}ä")),
        ("too long", TOKEN.repeat(1_000)),
    ] {
        let error = BearerToken::new(spoilt.clone()).expect_err(name);
        planted.is_not_told_by(name, &error);
        if name != "too long" {
            let error = ApiKey::new(spoilt.clone()).expect_err(name);
            planted.is_not_told_by(name, &error);
            let error = CallMetadata::default().insert("a-bin", &spoilt).expect_err(name);
            planted.is_not_told_by(name, &error);
        }
        let path = folder.path().join("spoilt");
        std::fs::write(&path, &spoilt).expect("written");
        let (call, security) = (
            CallDetails::new("localhost", SAY_HELLO),
            ChannelSecurityInfo::new("tls", countersign::SecurityLevel::PrivacyAndIntegrity),
        );
        let file = BearerToken::from_file(&path);
        let asked = file.get_metadata(&call, &security, &mut CallMetadata::default()).await;
        planted.is_not_told_by(name, &asked.expect_err(name));
    }
    let mut metadata = CallMetadata::default();
    let error = metadata.insert("x-token", &format!("{TOKEN}\u{1}")).expect_err("a bad value");
    planted.is_not_told_by("a bad value", &error);
    metadata.insert("x-token", TOKEN).expect("a value");
    let error = metadata.insert("x-token", OTHER_TOKEN).expect_err("a second value");
    planted.is_not_told_by("a second value", &error);
}

#[test]
fn no_error_of_a_token_list_quotes_what_somebody_put_into_it() {
    let planted = Planted::new();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tokens.json");
    for (name, text) in [
        ("the bare token", TOKEN.to_owned()),
        ("a string", format!(r#""{TOKEN}""#)),
        ("a list of tokens", format!(r#"{{"tokens":["{TOKEN}"]}}"#)),
        ("a token in place of the list", format!(r#"{{"tokens":"{TOKEN}"}}"#)),
        ("tokens as keys", format!(r#"{{"{TOKEN}":"ci"}}"#)),
        ("tokens as keys of the list", format!(r#"{{"tokens":[{{"{TOKEN}":"ci"}}]}}"#)),
        ("a token in place of its hash", record(&format!(r#""{TOKEN}""#))),
        ("a token beside its hash", record(&format!(r#""{}","token":"{TOKEN}""#, hash()))),
        ("a token that is no hash's type", record(&format!(r#"["{TOKEN}"]"#))),
        ("text after the end", format!("{} {TOKEN}", record(&format!(r#""{}""#, hash())))),
    ] {
        std::fs::write(&path, text).expect("written");
        let error = StaticTokens::from_file(&path).expect_err(name);
        planted.is_not_told_by(name, &error);
        assert!(error.to_string().contains("tokens.json"), "{name}: {error}");
    }
    std::fs::write(&path, record(&format!(r#""{}""#, hash()))).expect("written");
    StaticTokens::from_file(&path).expect("a hash where a hash belongs");
}

fn record(sha256: &str) -> String {
    format!(r#"{{"tokens":[{{"principal":"ci","sha256":{sha256}}}]}}"#)
}

fn hash() -> String {
    "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".to_owned()
}

#[tokio::test]
async fn no_error_about_a_private_key_quotes_it() {
    let ca = CertificateAuthority::new("test CA");
    let (server, other) = (ca.server(&["localhost"]), ca.server(&["localhost"]));
    let pem = other.key_pem();
    let planted = Planted::new().and_key(&pem);
    let lines: Vec<_> = pem.lines().collect();
    let (first, last) = (lines[0], lines[lines.len() - 1]);
    let body = lines[1..lines.len() - 1].join("\n");
    let folder = tempfile::tempdir().expect("a folder");
    let mut kinds = Vec::new();
    for (name, key) in [
        ("another certificate's key", pem.to_string()),
        ("cut short", format!("{first}\n{body}\n")),
        ("a malformed first line", format!("-----BEGIN {body}\n{last}")),
        ("without its first line", format!("{body}\n{last}")),
        ("not base64", format!("{first}\n{body}\n!{body}\n{last}\n")),
        ("half of it", format!("{first}\n{}\n{last}\n", &body[..body.len() / 8 * 4])),
        ("another kind's label", pem.replace("PRIVATE KEY", "RSA PRIVATE KEY")),
        ("an encrypted key's label", pem.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY")),
    ] {
        let path = folder.path().join("spoilt.key");
        std::fs::write(&path, &key).expect("written");
        let chain = folder.path().join("chain.pem");
        std::fs::write(&chain, server.chain_pem()).expect("written");
        for identity in [
            Identity::from_pem(server.chain_pem(), &key),
            Identity::from_pem_files(&chain, &path),
            // The two files taken for each other.
            Identity::from_pem(&key, server.chain_pem()),
            Identity::from_pem_files(&path, &chain),
        ] {
            planted.is_not_shown_by(name, &identity);
            let error = ServerCredentials::tls(identity.clone()).build().expect_err(name);
            planted.is_not_told_by(name, &error);
            kinds.push(std::mem::discriminant(&error));
            let tls = trusting(&ca).identity(identity);
            planted.is_not_told_by(name, &tls.check().expect_err(name));
            let error = connect("https://localhost:1", ChannelCredentials::tls(tls)).await;
            planted.is_not_told_by(name, &error.expect_err(name));
        }
        let roots = RootCertificates::from_pem_file(&path);
        let error = ClientTls::only_roots(roots).check().expect_err(name);
        planted.is_not_told_by(name, &error);
    }
    let mismatch = TlsConfigError::KeyMismatch { certificate: String::new(), key: String::new() };
    assert!(kinds.contains(&std::mem::discriminant(&mismatch)), "all kinds of faults were met");
    Identity::from_pem(other.chain_pem(), &*pem);
    ServerCredentials::tls(identity(&other)).build().expect("its own certificate fits");
}

/// A greeter behind the gate, over TLS.
async fn tls_server(ca: &CertificateAuthority, own: Identity) -> (Served, Reached) {
    let reached = Reached::default();
    let incoming = ServerCredentials::tls(own)
        .client_certificates(ClientCertificates::optional(roots(ca)))
        .build()
        .expect("server credentials")
        .bind("127.0.0.1:0")
        .await
        .expect("bound");
    (serve(incoming, gate().layer(greeter(&reached))), reached)
}

/// What a session of accepted and refused calls leaves behind.
#[tokio::test]
async fn neither_the_log_nor_any_status_of_a_session_tells_a_secret() {
    let logs = collect_logs();
    let ca = CertificateAuthority::new("test CA");
    let (own, alice) = (ca.server(&["localhost"]), ca.client(&["spiffe://test/alice"]));
    let planted = Planted::new().and_key(&own.key_pem()).and_key(&alice.key_pem());
    let folder = tempfile::tempdir().expect("a folder");
    let file = token_file(&folder);
    let (server, reached) = tls_server(&ca, identity(&own)).await;
    let plain = trusting(&ca);
    let with_certificate = trusting(&ca).identity(identity(&alice));

    // Accepted.
    let channel = |tls: &ClientTls, credentials: Option<Arc<dyn CallCredentials>>| {
        let base = ChannelCredentials::tls(tls.clone());
        let credentials = match credentials {
            Some(credentials) => base.with_call_credentials(credentials),
            None => base,
        };
        let target = server.https("localhost");
        async move { connect(target, credentials).await.expect("connected") }
    };
    let from_file = BearerToken::from_file(&file);
    for credentials in
        [Arc::new(token()) as Arc<dyn CallCredentials>, Arc::new(key()), Arc::new(from_file)]
    {
        let channel = channel(&plain, Some(credentials)).await;
        greet(&channel, hello()).await.expect("let in");
    }
    greet(&channel(&with_certificate, None).await, hello()).await.expect("let in");
    assert_eq!(reached.count(), 4);

    // Refused by the gate.
    let unknown = BearerToken::new(OTHER_TOKEN).expect("a token");
    let both = CompositeCallCredentials::new(token(), key());
    let nobody = channel(&plain, None).await;
    let mut refused: Vec<(&str, Status)> = Vec::new();
    let mut keep = |name, outcome: Result<(), Status>| {
        refused.push((name, outcome.expect_err(name)));
    };
    keep("nobody", greet(&nobody, hello()).await);
    keep("unknown token", greet(&nobody, hello().call_credentials(unknown.clone())).await);
    let certificate_too = channel(&with_certificate, Some(Arc::new(unknown))).await;
    keep("unknown token, certificate", greet(&certificate_too, hello()).await);
    keep("two credentials", greet(&nobody, hello().call_credentials(both)).await);
    let reset = Request::new(countersign_testkit::greeter::proto::ResetRequest {});
    let mut client = GreeterClient::new(nobody.clone());
    keep("no rule", client.reset(reset.call_credentials(token())).await.map(drop));

    // Refused by the channel.
    let mut by_hand = hello().call_credentials(token());
    let value = format!("Bearer {OTHER_TOKEN}").parse().expect("ASCII");
    by_hand.metadata_mut().insert("authorization", value);
    keep("two authorizations", greet(&nobody, by_hand).await);
    let twice = CompositeCallCredentials::new(token(), token());
    keep("one key twice", greet(&nobody, hello().call_credentials(twice)).await);
    let incoming = ServerCredentials::insecure().bind("127.0.0.1:0").await.expect("bound");
    let plaintext = serve(incoming, gate().layer(greeter(&reached)));
    let insecure = connect(plaintext.http("localhost"), ChannelCredentials::insecure()).await;
    let insecure = insecure.expect("connected");
    let all = CompositeCallCredentials::new(token(), BearerToken::from_file(&file)).and(key());
    keep("over plaintext", greet(&insecure, hello().call_credentials(all)).await);
    std::fs::write(&file, format!("{FILE_TOKEN} {TOKEN}")).expect("written");
    let spoilt = BearerToken::from_file(&file);
    keep("spoilt file", greet(&nobody, hello().call_credentials(spoilt)).await);

    // A peer that keeps to no rule.
    let mut raw = RawClient::connect(&plaintext).await;
    let garbage = format!("{OTHER_TOKEN} {TOKEN}");
    for (name, metadata) in [
        ("garbage", &[("authorization", garbage.as_str())][..]),
        ("a token for a scheme", &[("authorization", TOKEN)]),
        ("a spoilt key", &[("x-api-key", garbage.as_str())]),
        ("two keys", &[("x-api-key", API_KEY), ("x-api-key", TOKEN)]),
    ] {
        let answer = raw.call(SAY_HELLO, metadata).await;
        planted.is_not_in(name, &answer.without_decision());
        refused.push((name, answer.grpc()));
    }

    // No connection at all.
    let stranger = CertificateAuthority::new("other CA").client(&["spiffe://test/alice"]);
    let foreign = trusting(&ca).identity(identity(&stranger));
    let both_ways = ChannelCredentials::tls(foreign).with_call_credentials(token());
    let error = connect(server.https("localhost"), both_ways).await.expect_err("a stranger");
    planted.is_not_told_by("a foreign certificate", &error);
    let untrusting = ChannelCredentials::tls(trusting(&CertificateAuthority::new("other CA")));
    let lazy = connect_lazy(server.https("localhost"), untrusting.with_call_credentials(token()));
    let lazy = lazy.expect("a channel");
    refused.push(("an unknown server", greet(&lazy, hello()).await.expect_err("unknown")));
    planted.is_not_shown_by("the channel", &lazy);

    for (name, status) in &refused {
        assert_ne!(status.code(), Code::Ok, "{name}");
        planted.is_not_told_by(name, status);
        if let Some(error) = CallError::of(status) {
            planted.is_not_told_by(name, error);
        }
    }
    assert_eq!(reached.count(), 4, "nobody else was let in");

    // At `DEBUG`, so HTTP/2's own lines are among them.
    let text = logs.text();
    assert!(logs.lines_with("a call was refused").len() >= 9, "{text}");
    assert!(text.contains("DEBUG h2::") && text.contains("DEBUG"), "{text}");
    for line in text.lines() {
        planted.is_not_in("the log", line);
    }
}
