use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::json;
use zeroize::{Zeroize as _, Zeroizing};

use super::SigningKey;
use crate::output::Failure;
use crate::pki::files::{self, NewFile};

/// The directory of a development issuer.
///
/// | File | Holds |
/// |---|---|
/// | `issuer.json` | its name and the audience of its tokens |
/// | `current.key` | the key that signs |
/// | `previous.key` | the key before, after a rotation: still published, signs no more |
/// | `jwks.json` | the public keys of both |
/// | `client.json` | the one client of its token endpoint |
#[derive(Clone, Debug)]
pub(crate) struct IssuerStore {
    dir: PathBuf,
}

/// Who the issuer is.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct IssuerFacts {
    /// The `iss` of its tokens, and where it answers.
    pub(crate) issuer: String,
    /// For whom its tokens are, unless told otherwise.
    pub(crate) audience: String,
}

/// A client that may ask for tokens.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DevClient {
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
}

impl IssuerStore {
    /// More than any of its files has.
    const MAX_FILE_BYTES: u64 = 1 << 16;

    /// `dir` is the directory that also holds the CA.
    pub(crate) fn in_dir(dir: &Path) -> Self {
        Self { dir: dir.join("issuer") }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn facts_path(&self) -> PathBuf {
        self.dir.join("issuer.json")
    }

    pub(crate) fn current_path(&self) -> PathBuf {
        self.dir.join("current.key")
    }

    pub(crate) fn previous_path(&self) -> PathBuf {
        self.dir.join("previous.key")
    }

    pub(crate) fn jwks_path(&self) -> PathBuf {
        self.dir.join("jwks.json")
    }

    pub(crate) fn client_path(&self) -> PathBuf {
        self.dir.join("client.json")
    }

    pub(crate) fn facts(&self) -> Result<IssuerFacts, Failure> {
        self.read_json(&self.facts_path())
    }

    pub(crate) fn client(&self) -> Result<DevClient, Failure> {
        self.read_json(&self.client_path())
    }

    /// The key that signs.
    pub(crate) fn current(&self) -> Result<SigningKey, Failure> {
        self.key(&self.current_path())
    }

    /// The keys that are published: the one that signs, and the one before if there is one.
    pub(crate) fn published(&self) -> Result<Vec<SigningKey>, Failure> {
        let mut keys = vec![self.current()?];
        let previous = self.previous_path();
        if previous.exists() {
            keys.push(self.key(&previous)?);
        }
        Ok(keys)
    }

    /// The text of the JWK Set.
    pub(crate) fn jwks(&self) -> Result<String, Failure> {
        let path = self.jwks_path();
        let bytes = self.read(&path)?;
        String::from_utf8(bytes.to_vec()).map_err(|_| unusable(&path).cause("it is not UTF-8"))
    }

    /// Makes a key that signs from now on, and keeps the one before for what it has signed.
    ///
    /// The public key comes first, so that nobody sees a token whose key is not published.
    pub(crate) fn rotate(&self) -> Result<Rotated, Failure> {
        let path = self.current_path();
        let old = self.read(&path)?;
        let before = self.key(&path)?;
        let (new, pem) = SigningKey::generate()?;
        let dropped = self.published()?.into_iter().nth(1).map(|key| key.kid().to_owned());
        let jwks = jwks(&[&new, &before]);
        files::write(
            &[
                NewFile { path: &self.jwks_path(), contents: jwks.as_bytes(), mode: files::PUBLIC },
                NewFile { path: &self.previous_path(), contents: &old, mode: files::PRIVATE },
                NewFile { path: &path, contents: pem.as_bytes(), mode: files::PRIVATE },
            ],
            true,
        )?;
        Ok(Rotated { current: new.kid().to_owned(), previous: before.kid().to_owned(), dropped })
    }

    fn key(&self, path: &Path) -> Result<SigningKey, Failure> {
        SigningKey::from_pem(&self.read(path)?).map_err(|problem| unusable(path).cause(problem))
    }

    fn read_json<T: for<'de> Deserialize<'de>>(&self, path: &Path) -> Result<T, Failure> {
        // No part of the file is quoted: it may hold a secret.
        serde_json::from_slice(&self.read(path)?).map_err(|error| {
            let place = format!("line {}, column {}", error.line(), error.column());
            unusable(path).cause(format!("{place}: it is not what `countersign dev` wrote"))
        })
    }

    fn read(&self, path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
        files::read(path, Self::MAX_FILE_BYTES).map_err(|error| {
            let failure = files::cannot("read", path, &error);
            match error.kind() {
                std::io::ErrorKind::NotFound => {
                    failure.hint("make a development issuer first: countersign dev --no-serve")
                }
                _ => failure,
            }
        })
    }
}

impl Drop for DevClient {
    fn drop(&mut self) {
        self.client_secret.zeroize();
    }
}

/// What a rotation did, by `kid`.
#[derive(Debug)]
pub(crate) struct Rotated {
    pub(crate) current: String,
    pub(crate) previous: String,
    /// The key before the previous one, which is published no more.
    pub(crate) dropped: Option<String>,
}

impl DevClient {
    /// A client with a secret of 256 random bits.
    pub(crate) fn generate() -> Result<Self, Failure> {
        let mut secret = Zeroizing::new([0; 32]);
        aws_lc_rs::rand::fill(&mut *secret).map_err(|error| {
            Failure::config("the system gives no random numbers").because(&error)
        })?;
        Ok(Self {
            client_id: "dev-client".to_owned(),
            client_secret: URL_SAFE_NO_PAD.encode(*secret),
        })
    }
}

/// The text of a JWK Set (RFC 7517 §5).
pub(crate) fn jwks(keys: &[&SigningKey]) -> String {
    let keys: Vec<_> = keys.iter().map(|key| key.jwk()).collect();
    format!("{:#}\n", json!({ "keys": keys }))
}

fn unusable(path: &Path) -> Failure {
    Failure::config(format!("cannot use `{}`", path.display()))
}
