use std::path::PathBuf;

use countersign::SecurityLevel;
use countersign::credentials::{CallDetails, CallMetadata, ChannelSecurityInfo, TokenRequest};
use countersign_testkit::pki::CertificateAuthority;
use tempfile::TempDir;

use super::*;

/// A folder with what configurations name.
struct Place(TempDir);

impl Place {
    fn new(config: &str) -> Self {
        let place = Self(tempfile::tempdir().expect("a folder"));
        let ca = CertificateAuthority::new("any");
        let client = ca.server(&["localhost"]);
        place.write("client.toml", config);
        place.write("token", "from-the-file\n");
        place.write("secret", "s3cret\n");
        place.write("key.pem", &client.key_pem());
        place.write("client.pem", &client.chain_pem());
        place.write("ca.pem", &ca.certificate_pem());
        place
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("client.toml")
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.path().join(name), text).expect("written");
    }

    fn read(&self) -> Result<ClientConfig, ConfigError> {
        ClientConfig::read(self.path(), |name| match name {
            "TOKEN" => Some(" from-the-variable\n".into()),
            "EMPTY" => Some("".into()),
            "PATH" => Some("/usr/bin:/bin".into()),
            _ => None,
        })
    }
}

fn read(config: &str) -> Result<ClientConfig, ConfigError> {
    Place::new(config).read()
}

/// The `authorization` of a call to this authority.
async fn sent(config: &ClientConfig, authority: &str) -> Result<String, String> {
    let credentials = config.call_credentials();
    let call = CallDetails::new(authority, "/orders.v1.Orders/Get");
    let security = ChannelSecurityInfo::new("tls", SecurityLevel::PrivacyAndIntegrity);
    let mut metadata = CallMetadata::default();
    let asked = credentials.get_metadata(&call, &security, &mut metadata).await;
    asked.map_err(|error| error.to_string())?;
    let value = metadata.get("authorization").expect("a value");
    Ok(String::from_utf8(value.to_vec()).expect("text"))
}

#[test]
fn every_source_and_every_client_can_be_written_down() {
    let client = r#"client = { id = "me", secret_file = "secret" }"#;
    let endpoint = r#"endpoint = "https://id.example/token""#;
    let with_client = |client: &str| format!("[token.client_credentials]\n{endpoint}\n{client}");
    let key = r#"key = { file = "key.pem", id = "k1" }"#;
    let tls = "[tls]\nca = \"ca.pem\"\ncertificate = \"client.pem\"\nkey = \"key.pem\"\n";
    for (name, config) in [
        ("fixed", "token.static.file = \"token\"".to_owned()),
        ("fixed", "token.environment.variable = \"TOKEN\"".to_owned()),
        ("file", "[token.file]\npath = \"token\"\njwt = true".to_owned()),
        ("client_credentials", with_client(client)),
        (
            "client_credentials",
            with_client(r#"client = { id = "me", secret_variable = "TOKEN" }"#)
                + "\nscope = \"a b\"\naudience = \"c\"\nresource = \"https://d.example\"",
        ),
        (
            "client_credentials",
            with_client(
                r#"client = { id = "me", method = "client_secret_post", secret_file = "secret" }"#,
            ),
        ),
        (
            "client_credentials",
            with_client(&format!(
                r#"client = {{ id = "me", method = "private_key_jwt", {key}, audience = "i" }}"#
            )),
        ),
        (
            "client_credentials",
            with_client(r#"client = { id = "me", method = "tls_client_auth" }"#) + "\n" + tls,
        ),
        (
            "client_credentials",
            with_client(r#"client = { id = "me", method = "self_signed_tls_client_auth" }"#)
                + "\n"
                + tls,
        ),
        ("client_credentials", with_client(r#"client = { id = "me", method = "none" }"#)),
        (
            "refresh_token",
            format!("[token.refresh_token]\n{endpoint}\n{client}\nstore = \"kept\"\nscope = \"a\""),
        ),
        (
            "jwt_bearer",
            format!(
                "[token.jwt_bearer]\n{endpoint}\n{key}\nissuer = \"me\"\nsubject = \"you\"\n\
                 audience = \"i\"\nscope = \"a\""
            ),
        ),
        (
            "token_exchange",
            format!(
                "[token.token_exchange]\n{endpoint}\n{client}\naudience = \"c\"\n\
                 subject = {{ file = \"token\", type = \"jwt\" }}\n\
                 actor = {{ variable = \"TOKEN\", type = \"access_token\" }}\n\
                 resource = \"https://d.example\"\nscope = \"a\"\nrequested_type = \"jwt\""
            ),
        ),
        (
            "token_exchange",
            format!(
                "[token.token_exchange]\n{endpoint}\naudience_of_each_host = true\n\
                 subject = {{ file = \"token\", type = \"urn:example:type\" }}"
            ),
        ),
        (
            "self_signed_jwt",
            format!("[token.self_signed]\n{key}\nissuer = \"me\"\nlifetime_seconds = 600"),
        ),
        (
            "exec",
            "[token.exec]\ncommand = \"sh\"\nargs = [\"-c\", \"true\"]\nenv = { A = \"b\" }\n\
             pass_env = [\"PATH\"]\ntimeout_seconds = 5"
                .to_owned(),
        ),
    ] {
        let read = read(&config).unwrap_or_else(|error| panic!("{config}\n{error}"));
        let [token] = read.tokens() else { panic!("{config}") };
        assert_eq!(token.token().telemetry().source, name, "{config}");
        assert!(token.authority().is_none() && token.dpop_key().is_none(), "{config}");
        assert!(!format!("{read:?}").contains("s3cret"), "{read:?}");
    }
}

#[test]
fn the_sample_of_the_documentation_is_one() {
    let sample = include_str!("../../client.sample.toml");
    let place = Place::new(sample);
    let read = place.read().expect("the sample");
    assert_eq!(read.tokens().len(), 1);
    // What is commented out is right too, each by itself.
    let mut tables = Vec::new();
    for line in sample.lines().filter_map(|line| line.strip_prefix("#:")) {
        let line = line.strip_prefix(' ').unwrap_or(line);
        if line.starts_with("[token.") {
            tables.push(String::new());
        }
        let table = tables.last_mut().expect("a table comes first");
        *table += &format!("{line}\n");
    }
    assert_eq!(tables.len(), 8, "all sources but the one that is shown");
    for table in tables {
        place.write("client.toml", &table);
        place.read().unwrap_or_else(|error| panic!("{table}\n{error}"));
    }
}

#[test]
fn bound_tokens_have_a_key_of_their_own() {
    let config = |dpop: &str| {
        format!(
            "[token.client_credentials]\nendpoint = \"https://id.example/token\"\n\
             client = {{ id = \"me\", secret_file = \"secret\" }}\n{dpop}"
        )
    };
    let bound = read(&config("dpop = true")).expect("a configuration");
    let credentials = format!("{:?}", bound.call_credentials());
    let key = bound.tokens()[0].dpop_key().expect("a key");
    assert!(credentials.starts_with("DpopToken") && credentials.contains(key.thumbprint()));
    let unbound = read(&config("dpop = false")).expect("a configuration");
    assert!(unbound.tokens()[0].dpop_key().is_none());
    assert!(format!("{:?}", unbound.call_credentials()).starts_with("CachedToken"));
}

#[test]
fn what_a_file_holds_is_not_shown() {
    let place = Place::new("[token.exec]\ncommand = \"p\"\nenv = { KEY = \"hunter2\" }\n");
    let document = Document::read(&place.path()).expect("a file");
    let mut root = document.root().expect("TOML");
    let shown = format!("{document:?} {root:?}");
    assert!(shown.contains("client.toml") && shown.contains("token"), "{shown}");
    let token = root.table("token", "[token]").expect("a table").expect("is there");
    let shown = format!("{shown} {token:?}");
    assert!(shown.contains("exec") && !shown.contains("hunter2"), "{shown}");
}

#[tokio::test]
async fn each_target_has_its_own_token_and_others_have_none() {
    let config = read(
        "[[target]]\nauthority = \"Orders.example:443\"\ntoken.static = { file = \"token\" }\n\
         [[target]]\nauthority = \"billing.example:8443\"\n\
         token.environment = { variable = \"TOKEN\" }\n",
    );
    let config = config.expect("a configuration");
    for (authority, token) in [
        ("orders.example", Some("from-the-file")),
        ("orders.example:443", Some("from-the-file")),
        ("billing.example:8443", Some("from-the-variable")),
        ("billing.example", None),
        ("evil.example", None),
    ] {
        let sent = sent(&config, authority).await;
        match token {
            Some(token) => assert_eq!(sent, Ok(format!("Bearer {token}")), "{authority}"),
            None => {
                assert!(sent.expect_err(authority).contains("no call credentials"), "{authority}");
            }
        }
        let source = config.token_for(authority);
        assert_eq!(source.is_some(), token.is_some(), "{authority}");
        if let (Some(source), Some(token)) = (source, token) {
            let fetched = source.token().token(&TokenRequest::any()).await.expect("a token");
            assert_eq!(fetched.expose(), token);
        }
    }
    let one = read("token.static = { file = \"token\" }").expect("a configuration");
    assert_eq!(sent(&one, "anybody.example").await, Ok("Bearer from-the-file".to_owned()));
    let (place, token) = one.tokens()[0].fixed().expect("known beforehand");
    assert!(place.ends_with("token`") && token.expose() == "from-the-file", "{place}");
}

#[test]
fn what_is_wrong_is_said_with_its_place_and_what_was_meant() {
    let endpoint = "endpoint = \"https://id.example/token\"\n";
    let with = |client: &str| format!("[token.client_credentials]\n{endpoint}client = {client}");
    for (config, place, words, meant) in [
        ("", "line 1, column 1", "there is no source", "[token.client_credentials]"),
        ("[token]", "line 1, column 1", "there is no source", "[token.file]"),
        (
            "\n[token.fil]\npath = \"t\"",
            "line 2, column 8",
            "`fil` is not a setting of `[token]`",
            "`file` is",
        ),
        ("[token.file]\npath = \"t\"\npass = 1", "line 3, column 1", "`pass`", "`path` is"),
        ("[token.file]\njwt = true", "line 1, column 1", "`path` is missing", ""),
        ("[token.file]\npath = 1", "line 2, column 8", "text is wanted", ""),
        ("[token.file]\npath = \"\"", "line 2, column 8", "it is empty", ""),
        ("[token.file]\npath = \"t\"\njwt = \"yes\"", "line 3, column 7", "`true` or `false`", ""),
        ("[tokn.file]\npath = \"t\"", "line 1, column 2", "`tokn` is not known", "`token` is"),
        ("token = 1", "line 1, column 9", "a table is wanted", ""),
        ("a = hunter2", "line 1, column 5", "", ""),
        (
            "[token.file]\npath = \"t\"\n[token.exec]\ncommand = \"x\"",
            "line 3, column 1",
            "more than one source",
            "",
        ),
        ("[token.static]\nfile = \"none\"", "line 1, column 1", "cannot read", ""),
        ("[token.environment]\nvariable = \"EMPTY\"", "line 1", "`EMPTY` holds no token", ""),
        ("[token.environment]\nvariable = \"NONE\"", "line 1", "`NONE` holds no token", ""),
        (
            &with("{ idd = \"me\" }"),
            "line 3, column 12",
            "`idd` is not a setting of `client`",
            "`id` is",
        ),
        (&with("{ id = \"me\" }"), "line 3, column 10", "no one secret", "secret_file"),
        (
            &with("{ id = \"me\", secret_file = \"secret\", secret_variable = \"TOKEN\" }"),
            "line 3",
            "no one secret",
            "",
        ),
        (
            &with("{ id = \"me\", method = \"basic\" }"),
            "line 3",
            "known are client_secret_basic",
            "",
        ),
        (
            &with("{ id = \"me\", method = \"none\", secret_file = \"secret\" }"),
            "line 3",
            "`none` has no secret",
            "",
        ),
        (
            &with("{ id = \"me\", method = \"tls_client_auth\" }"),
            "line 3",
            "needs a certificate",
            "[tls]",
        ),
        (&with("{ id = \"me\", method = \"private_key_jwt\" }"), "line 3", "has no key", ""),
        (
            &with("{ id = \"me\", method = \"private_key_jwt\", key = { file = \"secret\" } }"),
            "line 3",
            "cannot use the key",
            "",
        ),
        (
            &with("{ id = \"me\", secret_file = \"secret\", audience = \"a\" }"),
            "line 3",
            "neither `key` nor `audience`",
            "",
        ),
        (
            "[token.client_credentials]\nendpoint = \"http://id.example/token\"\n\
             client = { id = \"me\", secret_file = \"secret\" }",
            "line 1",
            "`endpoint` cannot be used",
            "",
        ),
        (
            &format!("[token.client_credentials]\n{endpoint}"),
            "line 1",
            "`client` is missing",
            "id = ",
        ),
        ("[token.client_credentials]", "line 1", "`client` is missing", ""),
        (
            &format!(
                "[token.token_exchange]\n{endpoint}audience = \"a\"\naudience_of_each_host = true\n\
                 subject = {{ file = \"token\", type = \"jwt\" }}"
            ),
            "line 1",
            "one of `audience` and",
            "",
        ),
        (
            &format!("[token.token_exchange]\n{endpoint}subject = {{ type = \"jwt\" }}"),
            "line 3",
            "one of `file` and `variable`",
            "",
        ),
        ("[token.self_signed]\nissuer = \"me\"", "line 1", "no one key", "service_account"),
        (
            "[token.self_signed]\nkey = { file = \"key.pem\" }\nissuer = \"me\"\nlifetime_seconds = 0",
            "line 4, column 20",
            "a number of seconds",
            "",
        ),
        (
            "[token.exec]\ncommand = \"x\"\nenv = { A = 1 }",
            "line 3, column 13",
            "a table of texts",
            "",
        ),
        (
            "[tls]\ncertificate = \"client.pem\"\n[token.file]\npath = \"t\"",
            "line 1",
            "needs its key",
            "",
        ),
        ("[[target]]\nauthority = \"a b\"\ntoken.file = { path = \"t\" }", "line 1", "a b", ""),
        ("[[target]]\nauthority = \"a\"", "line 1", "has no source", ""),
        ("[[target]]\ntoken.file = { path = \"t\" }", "line 1", "`authority` is missing", ""),
        (
            "[[target]]\nauthority = \"a\"\ntoken.file = { path = \"t\" }\n\
             [[target]]\nauthority = \"A:443\"\ntoken.file = { path = \"t\" }",
            "line 4",
            "the same authority",
            "",
        ),
        (
            "[token.file]\npath = \"t\"\n[[target]]\nauthority = \"a\"\ntoken.file = { path = \"t\" }",
            "line 1",
            "both `[token]` and `[[target]]`",
            "",
        ),
    ] {
        let error = read(config).expect_err(config);
        let cause = error.cause().expect("a cause");
        assert!(error.message().ends_with("client.toml`"), "{config}\n{error}");
        assert!(cause.starts_with(place), "{config}\n{error}");
        assert!(cause.contains(words), "{config}\n{error}");
        assert!(error.to_try().unwrap_or_default().contains(meant), "{config}\n{error}");
        assert!(!error.to_string().contains("hunter2"), "{config}\n{error}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let place = Place::new("");
    std::fs::write(place.path(), [0xff]).expect("written");
    let error = place.read().expect_err("not text");
    assert_eq!(error.cause(), Some("it is not UTF-8"));
    std::fs::write(place.path(), vec![b'#'; (1 << 20) + 1]).expect("written");
    let error = place.read().expect_err("too large");
    assert_eq!(error.cause(), Some("it is larger than 1 MiB"));
    std::fs::remove_file(place.path()).expect("removed");
    let error = place.read().expect_err("not there");
    assert!(error.message().starts_with("cannot read `"), "{error}");
}
