use std::path::Path;

use bytes::Bytes;
use countersign::ClientTls;
use countersign::authentication::jwt::{InvalidKeySet, KeySet};
use countersign::fetch::{FetchLimits, HttpClient as _, HttpsClient};
use http::{Request, StatusCode};
use serde_json::Value;

use crate::config::{IssuerConfig, KeysAt, Trust};
use crate::exit;
use crate::output::Failure;
use crate::pki::files;

/// An issuer's keys, and where they were.
pub(super) struct FoundKeys {
    pub(super) set: KeySet,
    pub(super) from: String,
    /// The keys by `kid` and `alg`, for people.
    pub(super) known: Vec<String>,
}

/// Finds the keys, once. Trouble with a file is ours, trouble with the issuer is nobody's verdict
/// on the token.
pub(super) async fn find(issuer: &IssuerConfig) -> Result<FoundKeys, Failure> {
    let (from, json, code) = match &issuer.keys {
        KeysAt::File(path) => (path.display().to_string(), read(path)?, exit::CONFIG),
        KeysAt::Url(url) => (url.clone(), get(issuer, url).await?, exit::VERIFIER_UNAVAILABLE),
        KeysAt::Discovery => {
            let url = discover(issuer).await?;
            let json = get(issuer, &url).await?;
            (url, json, exit::VERIFIER_UNAVAILABLE)
        }
    };
    let parse: fn(&str) -> Result<KeySet, InvalidKeySet> = match issuer.trust {
        Trust::Issuer(_) => KeySet::from_json,
        Trust::TrustDomain(_) => KeySet::from_spiffe_bundle,
    };
    let set = parse(&json).map_err(|error| {
        Failure::new(code, format!("cannot use the keys at `{from}`")).because(&error)
    })?;
    let known = names(&json);
    Ok(FoundKeys { set, from, known })
}

fn read(path: &Path) -> Result<String, Failure> {
    let bytes = files::read(path, KeySet::MAX_BYTES as u64)
        .map_err(|error| files::cannot("read", path, &error))?;
    String::from_utf8(bytes.to_vec()).map_err(|_| {
        Failure::config(format!("cannot read `{}`", path.display())).cause("it is not UTF-8")
    })
}

/// Where the issuer's metadata says that its keys are: RFC 8414 first, then OpenID Connect.
async fn discover(issuer: &IssuerConfig) -> Result<String, Failure> {
    let name = issuer.name();
    let host = name.find("://").map_or(0, |scheme| scheme + "://".len());
    let (origin, path) = match name[host..].find('/') {
        Some(slash) => name.split_at(host + slash),
        None => (name, ""),
    };
    let path = path.trim_end_matches('/');
    let places = [
        format!("{origin}/.well-known/oauth-authorization-server{path}"),
        format!("{origin}{path}/.well-known/openid-configuration"),
    ];
    let mut last = None;
    for place in &places {
        match get(issuer, place).await {
            Ok(metadata) => return jwks_uri(issuer, place, &metadata),
            Err(failure) => last = Some(failure),
        }
    }
    Err(last.unwrap_or_else(|| unavailable(issuer)))
}

fn jwks_uri(issuer: &IssuerConfig, place: &str, metadata: &str) -> Result<String, Failure> {
    let metadata: Value =
        serde_json::from_str(metadata).map_err(|error| unavailable(issuer).because(&error))?;
    // RFC 8414 §3.3: somebody else's metadata names somebody else's keys.
    let named = metadata.get("issuer").and_then(Value::as_str).unwrap_or_default();
    if named != issuer.name() {
        return Err(unavailable(issuer)
            .cause(format!("the metadata at `{place}` is that of {named:?}"))
            .hint("the issuer has to be written exactly as it names itself"));
    }
    match metadata.get("jwks_uri").and_then(Value::as_str) {
        Some(url) => Ok(url.to_owned()),
        None => {
            Err(unavailable(issuer).cause(format!("the metadata at `{place}` has no jwks_uri")))
        }
    }
}

async fn get(issuer: &IssuerConfig, url: &str) -> Result<String, Failure> {
    let request = Request::get(url)
        .header(http::header::ACCEPT, "application/json")
        .body(Bytes::new())
        .map_err(|error| unavailable(issuer).because(&error))?;
    let client = HttpsClient::new(ClientTls::system_roots());
    let answer = client
        .send(request, FetchLimits::default())
        .await
        .map_err(|error| unavailable(issuer).because(&error))?;
    if answer.status() != StatusCode::OK {
        let cause = format!("`{url}` answers {}", answer.status());
        return Err(unavailable(issuer).cause(cause));
    }
    String::from_utf8(answer.into_body().to_vec())
        .map_err(|_| unavailable(issuer).cause(format!("what `{url}` answers is not UTF-8")))
}

fn unavailable(issuer: &IssuerConfig) -> Failure {
    let message = format!("cannot get the keys of `{}`", issuer.name());
    Failure::new(exit::VERIFIER_UNAVAILABLE, message)
}

/// `kid (alg)` of each key, whether it can be used or not.
fn names(json: &str) -> Vec<String> {
    let set: Value = serde_json::from_str(json).unwrap_or_default();
    let keys = set.get("keys").and_then(Value::as_array).into_iter().flatten();
    keys.map(|key| {
        let text = |name: &str| key.get(name).and_then(Value::as_str);
        let kid = text("kid").unwrap_or("no kid");
        match text("alg").or(text("crv")).or(text("kty")) {
            Some(kind) => format!("{kid} ({kind})"),
            None => kid.to_owned(),
        }
    })
    .collect()
}
