use std::path::Path;
use std::time::SystemTime;

use serde_json::json;

use crate::issuer::{DevClient, IssuerFacts, IssuerStore, SigningKey, jwks};
use crate::output::{Failure, Output};
use crate::pki::development::{self, Made as MadeFile};
use crate::pki::files::{self, NewFile, PRIVATE, PUBLIC};

/// What stands in the directory now.
pub(super) struct Made {
    pub(super) files: Vec<MadeFile>,
    pub(super) audience: String,
    /// The key that signs.
    pub(super) kid: String,
    pub(super) client: DevClient,
    pub(super) is_client_new: bool,
}

/// What the names in client certificates begin with.
const CLIENTS: &str = "spiffe://dev.example";

/// For whom tokens are.
const AUDIENCE: &str = "dev";

/// Makes what is not there; with `force`, everything.
pub(super) fn everything(
    dir: &Path,
    issuer: &str,
    force: bool,
    now: SystemTime,
    output: &mut Output,
) -> Result<Made, Failure> {
    let (ca, ca_file) = development::authority(dir, force, now, output)?;
    let mut files = vec![ca_file];
    for leaf in [
        ("server", &["localhost", "127.0.0.1", "::1"][..]),
        ("client", &[&format!("{CLIENTS}/client")]),
    ] {
        files.push(development::leaf(dir, &ca, leaf, force, now, output)?);
    }

    let store = IssuerStore::in_dir(dir);
    files::make_directory(store.dir())?;
    let facts = IssuerFacts { issuer: issuer.to_owned(), audience: AUDIENCE.to_owned() };
    let facts = format!("{:#}\n", json!(facts));
    files.push(file(&store.facts_path(), PUBLIC, force, || Ok(facts.into_bytes()))?);
    files.push(keys(&store, force)?);
    let client = || {
        let client = DevClient::generate()?;
        serde_json::to_vec_pretty(&client)
            .map_err(|error| Failure::config("cannot write the client").because(&error))
    };
    let client = file(&store.client_path(), PRIVATE, force, client)?;
    let is_client_new = client.is_new;
    files.push(client);

    files.push(file(&dir.join("auth.toml"), PUBLIC, force, || Ok(auth(issuer).into_bytes()))?);
    files.push(file(&dir.join("policy.json"), PUBLIC, force, || Ok(policy(issuer).into_bytes()))?);
    Ok(Made {
        files,
        audience: store.facts()?.audience,
        kid: store.current()?.kid().to_owned(),
        client: store.client()?,
        is_client_new,
    })
}

/// The signing key and its key set, which belong together.
fn keys(store: &IssuerStore, force: bool) -> Result<MadeFile, Failure> {
    let path = store.current_path();
    let is_new = force || !path.exists();
    if is_new {
        let (key, pem) = SigningKey::generate()?;
        let jwks = jwks(&[&key]);
        let previous = store.previous_path();
        if force && previous.exists() {
            std::fs::remove_file(&previous)
                .map_err(|error| files::cannot("remove", &previous, &error))?;
        }
        files::write(
            &[
                NewFile { path: &store.jwks_path(), contents: jwks.as_bytes(), mode: PUBLIC },
                NewFile { path: &path, contents: pem.as_bytes(), mode: PRIVATE },
            ],
            force,
        )?;
    }
    Ok(MadeFile { path, is_new })
}

fn file(
    path: &Path,
    mode: u32,
    force: bool,
    contents: impl FnOnce() -> Result<Vec<u8>, Failure>,
) -> Result<MadeFile, Failure> {
    let is_new = force || !path.exists();
    if is_new {
        let contents = zeroize::Zeroizing::new(contents()?);
        files::write(&[NewFile { path, contents: &contents, mode }], force)?;
    }
    Ok(MadeFile { path: path.to_owned(), is_new })
}

/// The sample configuration. The keys are in a file so that it works without the issuer too.
fn auth(issuer: &str) -> String {
    format!(
        r#"# Whose tokens are accepted: those of the development issuer, for `{AUDIENCE}`.
# `countersign token verify --config` reads this; a server is told the same in code, by `Jwt::issuer`.
[[issuer]]
issuer = "{issuer}"
audience = ["{AUDIENCE}"]
profile = "rfc9068"
# Leave this out to find the keys by discovery, as with an issuer that is somewhere else.
jwks_file = "issuer/jwks.json"
# What else there is, with its default:
# algorithms = ["RS256", "PS256", "ES256", "EdDSA"]
# leeway = "60s"
# required_claims = []
"#
    )
}

/// The sample policy, in the format of gRFC A43 and with what it lacks under `countersign`. Who is
/// not allowed by a rule is denied.
fn policy(issuer: &str) -> String {
    let policy = json!({
        "name": "dev",
        "deny_rules": [
            {
                "name": "nobody-resets",
                "request": { "paths": ["/countersign.demo.v1.Greeter/Reset"] },
            },
        ],
        "allow_rules": [
            { "name": "health-is-public", "request": { "paths": ["/grpc.health.v1.Health/*"] } },
            {
                "name": "certificates-greet",
                "source": { "principals": [format!("{CLIENTS}/*")] },
                "request": { "paths": ["/countersign.demo.v1.Greeter/*"] },
            },
            {
                "name": "tokens-greet",
                "source": { "countersign": { "tokens": [{ "issuers": [issuer] }] } },
                "request": { "paths": ["/countersign.demo.v1.Greeter/*"] },
            },
        ],
    });
    format!("{policy:#}\n")
}
