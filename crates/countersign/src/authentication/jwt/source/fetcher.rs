//! One reading of an issuer's keys, from wherever they are.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL};
use http::{HeaderMap, Request, StatusCode};
use tokio::time::Instant;

use super::super::KeySet;
use super::discovery::MetadataUrls;
use super::{KeySettings, KeysError};
use crate::digest::sha256;
use crate::fetch::{FetchError, Url};

/// Where keys are read, and what was learned on the way.
#[derive(Debug)]
pub(super) enum Fetcher {
    File(PathBuf),
    Url(Url),
    Discovery {
        issuer: String,
        metadata: Box<MetadataUrls>,
        /// Where the keys were, when that was found out, and whether they were there.
        known: Option<Known>,
    },
}

#[derive(Debug)]
pub(super) struct Known {
    keys: Url,
    at: Instant,
    was_good: bool,
}

/// What one reading brought.
pub(super) struct Fetched {
    pub(super) keys: KeySet,
    /// SHA-256 of the text.
    pub(super) digest: [u8; 32],
    /// How long the issuer says that it is good.
    pub(super) max_age: Option<Duration>,
}

impl Fetcher {
    /// What messages call it.
    pub(super) fn origin(&self) -> String {
        match self {
            Self::File(path) => format!("`{}`", path.display()),
            Self::Url(url) => url.to_string(),
            Self::Discovery { known: Some(known), .. } => known.keys.to_string(),
            Self::Discovery { metadata, .. } => metadata.urls[0].to_string(),
        }
    }

    pub(super) async fn fetch(&mut self, settings: &KeySettings) -> Result<Fetched, KeysError> {
        match self {
            Self::File(path) => {
                let read = read_file(path.clone(), settings.limits.max_bytes).await;
                let text = read.map_err(|source| KeysError::File { path: path.clone(), source })?;
                key_set(&text, None, &self.origin(), settings)
            }
            Self::Url(url) => keys_at(url, settings).await,
            Self::Discovery { issuer, metadata, known } => {
                let keys = match known {
                    Some(known) if known.is_fresh() => known.keys.clone(),
                    _ => match (discover(issuer, metadata, settings).await, &known) {
                        (Ok(keys), _) => {
                            let found = Known { keys, at: Instant::now(), was_good: false };
                            known.insert(found).keys.clone()
                        }
                        // The keys may be where they were although nobody says so now. Not when
                        // somebody says otherwise.
                        (Err(error), Some(before)) if !error.is_authoritative() => {
                            tracing::debug!(%issuer, %error, "no metadata");
                            before.keys.clone()
                        }
                        (Err(error), _) => {
                            *known = None;
                            return Err(error);
                        }
                    },
                };
                let fetched = keys_at(&keys, settings).await;
                if let Some(known) = known {
                    known.was_good = fetched.is_ok();
                }
                fetched
            }
        }
    }
}

impl Known {
    /// How long metadata is believed while the keys are where it says.
    const GOOD_FOR: Duration = Duration::from_secs(3600);

    fn is_fresh(&self) -> bool {
        self.was_good && self.at.elapsed() < Self::GOOD_FOR
    }
}

/// Asks in both places. What is found in neither is reported as the second tells it, unless the
/// first spoke for somebody else.
async fn discover(
    issuer: &str,
    metadata: &MetadataUrls,
    settings: &KeySettings,
) -> Result<Url, KeysError> {
    let [first, second] = &metadata.urls;
    let ask = async |url: &Url| {
        let (document, _) = get(url, settings).await?;
        metadata.keys_url(issuer, url, &document)
    };
    match ask(first).await {
        Ok(keys) => Ok(keys),
        // Who cannot be reached there cannot be reached elsewhere.
        Err(error @ KeysError::Fetch { .. }) => Err(error),
        Err(one) => match (ask(second).await, one) {
            (Ok(keys), _) => Ok(keys),
            (Err(_), error @ KeysError::OtherIssuer { .. }) => Err(error),
            (Err(error), _) => Err(error),
        },
    }
}

async fn keys_at(url: &Url, settings: &KeySettings) -> Result<Fetched, KeysError> {
    let (text, headers) = get(url, settings).await?;
    key_set(&text, max_age(&headers), &url.to_string(), settings)
}

async fn get(url: &Url, settings: &KeySettings) -> Result<(Bytes, HeaderMap), KeysError> {
    let mut request = Request::new(Bytes::new());
    *request.uri_mut() = url.uri().clone();
    let accepted = http::HeaderValue::from_static("application/jwk-set+json, application/json");
    request.headers_mut().insert(ACCEPT, accepted);
    let limits = settings.limits;
    let timeout = limits.timeout;
    // A client that somebody brought is not trusted with the time: what never ends would be the
    // last reading that there ever is.
    let answer = tokio::time::timeout(timeout, settings.client.send(request, limits))
        .await
        .unwrap_or_else(|_| Err(FetchError::Timeout { host: url.host_and_port(), timeout }))
        .map_err(|source| KeysError::Fetch { url: url.to_string(), source })?;
    if answer.status() != StatusCode::OK {
        let status = answer.status().as_u16();
        return Err(KeysError::Status { url: url.to_string(), status });
    }
    let (head, body) = answer.into_parts();
    Ok((body, head.headers))
}

/// Off the runtime's threads, and never more than the limit: a path can be a pipe or a disk.
async fn read_file(path: PathBuf, max_bytes: usize) -> std::io::Result<Vec<u8>> {
    fn read(path: &Path, max_bytes: usize) -> std::io::Result<Vec<u8>> {
        use std::io::Read;
        // Before it is opened, which for a pipe would wait for a writer.
        if !std::fs::metadata(path)?.is_file() {
            return Err(std::io::Error::other("it is not a file"));
        }
        let file = std::fs::File::open(path)?;
        let mut text = Vec::new();
        // One byte more shows that there is more.
        file.take(max_bytes as u64 + 1).read_to_end(&mut text)?;
        Ok(text)
    }
    tokio::task::spawn_blocking(move || read(&path, max_bytes)).await?
}

fn key_set(
    text: &[u8],
    max_age: Option<Duration>,
    origin: &str,
    settings: &KeySettings,
) -> Result<Fetched, KeysError> {
    let read = match std::str::from_utf8(text) {
        Ok(text) => KeySet::read(text, settings.key_use),
        // Which it then is not, and says so in its own words.
        Err(_) => KeySet::read("\u{fffd}", settings.key_use),
    };
    let keys = read.map_err(|source| KeysError::NotKeys { origin: origin.to_owned(), source })?;
    if keys.is_empty() {
        let (origin, count) = (origin.to_owned(), keys.skipped().len());
        return Err(KeysError::NoUsableKey { origin, count });
    }
    Ok(Fetched { keys, digest: sha256(text), max_age })
}

/// The shortest `max-age` (RFC 9111 §5.2.2.1).
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    headers
        .get_all(CACHE_CONTROL)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|directive| {
            let (name, seconds) = directive.split_once('=')?;
            if !name.trim().eq_ignore_ascii_case("max-age") {
                return None;
            }
            let seconds = seconds.trim().trim_matches('"');
            let is_number = !seconds.is_empty() && seconds.bytes().all(|b| b.is_ascii_digit());
            // A number too large for us is a long time (RFC 9111 §1.2.2).
            is_number.then(|| Duration::from_secs(seconds.parse().unwrap_or(u32::MAX.into())))
        })
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_max_age_counts() {
        let read = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CACHE_CONTROL, http::HeaderValue::from_static(value));
            }
            max_age(&headers).map(|age| age.as_secs())
        };
        assert_eq!(read(&["max-age=60"]), Some(60));
        assert_eq!(read(&["public, Max-Age = \"60\", must-revalidate"]), Some(60));
        assert_eq!(read(&["max-age=60, max-age=30", "max-age=90"]), Some(30));
        assert_eq!(read(&["max-age=99999999999999999999"]), Some(u32::MAX.into()));
        for none in
            ["", "no-store", "max-age", "max-age=", "max-age=-1", "max-age=1x", "s-maxage=1"]
        {
            assert_eq!(read(&[none]), None, "{none}");
        }
    }
}
