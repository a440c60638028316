//! Where keys are kept.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use clap::Args;
use countersign::authentication::api_keys::{
    FileKeys, KeyIssuerError, KeyStore, KeyStoreError, KeyStoreErrorKind,
};

use crate::exit;
use crate::output::Failure;
use crate::pki::files;

const DEFAULT: &str = "file:.countersign/keys.json";

/// Where keys are kept.
#[derive(Args, Debug)]
pub(super) struct StoreArgs {
    /// Where keys are kept: `file:PATH`; `sqlite:PATH`, `postgres:URL` or `postgres:@PATH` (a file
    /// with the URL) where this program was built with that feature
    #[arg(long, value_name = "STORE", default_value = DEFAULT)]
    store: Place,
}

#[derive(Clone)]
enum Place {
    File(PathBuf),
    #[cfg_attr(not(feature = "sqlite"), allow(dead_code, reason = "told that it is missing"))]
    Sqlite(PathBuf),
    #[cfg_attr(not(feature = "postgres"), allow(dead_code, reason = "told that it is missing"))]
    Postgres(String),
}

/// Without the URL, which may hold a password.
impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Postgres(_) => f.write_str("postgres:.."),
        }
    }
}

impl FromStr for Place {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.into())),
            Some(("sqlite", path)) if !path.is_empty() => Ok(Self::Sqlite(path.into())),
            Some(("postgres" | "postgresql", rest)) if rest.starts_with("//") => {
                Ok(Self::Postgres(text.to_owned()))
            }
            Some(("postgres", url)) if !url.is_empty() => Ok(Self::Postgres(url.to_owned())),
            _ => Err("a store is `file:PATH`, `sqlite:PATH` or `postgres:URL`"),
        }
    }
}

impl StoreArgs {
    /// Opens the store; one that is not there is made if `create` is set.
    pub(super) async fn open(&self, create: bool) -> Result<Arc<dyn KeyStore>, Failure> {
        match &self.store {
            Place::File(path) => file(path, create),
            Place::Sqlite(path) => sqlite(path, create),
            Place::Postgres(address) => postgres(address, create).await,
        }
    }
}

fn file(path: &Path, create: bool) -> Result<Arc<dyn KeyStore>, Failure> {
    if create {
        make_folder(path)?;
        FileKeys::open_or_create(path).map(shared).map_err(|error| failure(&error))
    } else {
        ensure_there(path)?;
        FileKeys::open(path).map(shared).map_err(|error| failure(&error))
    }
}

#[cfg(feature = "sqlite")]
fn sqlite(path: &Path, create: bool) -> Result<Arc<dyn KeyStore>, Failure> {
    use countersign::authentication::api_keys::SqliteKeys;
    match create {
        true => make_folder(path)?,
        false => ensure_there(path)?,
    }
    SqliteKeys::open(path).map(shared).map_err(|error| failure(&error))
}

#[cfg(not(feature = "sqlite"))]
fn sqlite(_: &Path, _: bool) -> Result<Arc<dyn KeyStore>, Failure> {
    Err(not_built("sqlite"))
}

#[cfg(feature = "postgres")]
async fn postgres(address: &str, create: bool) -> Result<Arc<dyn KeyStore>, Failure> {
    use countersign::authentication::api_keys::PostgresKeys;
    let from_file = match address.strip_prefix('@') {
        Some(path) => {
            let path = Path::new(path);
            let contents = files::read(path, 64 * 1024)
                .map_err(|error| files::cannot("read", path, &error))?;
            let contents = String::from_utf8_lossy(&contents).trim().to_owned();
            Some(zeroize::Zeroizing::new(contents))
        }
        None => None,
    };
    let address = from_file.as_ref().map_or(address, |contents| contents.as_str());
    let store = PostgresKeys::at(address).map_err(|error| failure(&error))?;
    if create {
        store.prepare().await.map_err(|error| out_of_reach(&error))?;
    }
    Ok(shared(store))
}

#[cfg(not(feature = "postgres"))]
async fn postgres(_: &str, _: bool) -> Result<Arc<dyn KeyStore>, Failure> {
    Err(not_built("postgres"))
}

#[cfg(not(all(feature = "sqlite", feature = "postgres")))]
fn not_built(feature: &str) -> Failure {
    Failure::config(format!("this program was built without `{feature}`"))
        .hint(format!("cargo build -p countersign-cli --features {feature}"))
}

fn shared(store: impl KeyStore) -> Arc<dyn KeyStore> {
    Arc::new(store)
}

fn make_folder(path: &Path) -> Result<(), Failure> {
    match path.parent() {
        Some(folder) if folder != Path::new("") => files::make_directory(folder).map(drop),
        _ => Ok(()),
    }
}

fn ensure_there(path: &Path) -> Result<(), Failure> {
    if path.exists() {
        return Ok(());
    }
    Err(Failure::config(format!("there is no key store `{}`", path.display()))
        .hint("make a first key: countersign key create --owner ci --scope orders:read"))
}

/// What a store's error means to whoever runs the program.
pub(super) fn failure(error: &KeyStoreError) -> Failure {
    match error.kind() {
        KeyStoreErrorKind::NotFound => {
            Failure::new(exit::DENIED, error.to_string()).hint("countersign key list")
        }
        _ => Failure::config("the key store cannot be used").because(error),
    }
}

#[cfg(feature = "postgres")]
fn out_of_reach(error: &KeyStoreError) -> Failure {
    Failure::new(exit::NETWORK, "the key store cannot be reached").because(error)
}

/// The same for what makes and changes keys.
pub(super) fn issuer_failure(error: &KeyIssuerError) -> Failure {
    match error {
        KeyIssuerError::Store(error) => failure(error),
        KeyIssuerError::Invalid(error) => {
            Failure::usage("a key cannot be like this").because(error)
        }
        KeyIssuerError::NotActive { .. } | KeyIssuerError::AlreadyRotated { .. } => {
            Failure::new(exit::DENIED, error.to_string())
        }
        _ => Failure::config(error.to_string()),
    }
}
