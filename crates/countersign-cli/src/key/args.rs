//! Arguments that several verbs have, checked where they come in.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use countersign::Secret;
use countersign::authentication::api_keys::{KeyId, KeyIssuer, KeyPrefix, KeyStore, Peppers};

use crate::output::{Failure, Output};
use crate::pki::files;

/// More than any pepper has.
const MAX_PEPPER_BYTES: u64 = 4096;

const DAY: u64 = 24 * 60 * 60;

/// How keys are made: what they begin with, and what they are hashed with.
#[derive(Args, Debug)]
pub(super) struct IssuerArgs {
    /// What keys begin with
    #[arg(long, value_name = "VENDOR_ENV", default_value = "cs_live")]
    prefix: KeyPrefix,

    /// A file with 32 random bytes or more that hashes are made with, and its ID [default: the
    /// file's name without extension]; repeat for older ones
    #[arg(long = "pepper-file", value_name = "[ID=]PATH")]
    pepper_files: Vec<String>,
}

impl IssuerArgs {
    pub(super) fn issuer(
        &self,
        store: impl KeyStore,
        output: &mut Output,
    ) -> Result<KeyIssuer, Failure> {
        let peppers = self.peppers(output)?;
        Ok(KeyIssuer::new(store).with_prefix(self.prefix.clone()).with_peppers(peppers))
    }

    fn peppers(&self, output: &mut Output) -> Result<Peppers, Failure> {
        let mut peppers = None;
        for text in &self.pepper_files {
            let (id, path) = pepper(text);
            let unusable =
                || Failure::config(format!("cannot use the pepper `{}`", path.display()));
            let contents = files::read(&path, MAX_PEPPER_BYTES)
                .map_err(|error| files::cannot("read", &path, &error))?;
            if let Some(mode) = files::exposed_mode(&path) {
                let path = path.display();
                output.warning(
                    format_args!("others than you can read `{path}` (mode {mode:04o})"),
                    Some(&format!("chmod 600 {path}")),
                );
            }
            let secret = Secret::new(contents.trim_ascii_end().to_vec());
            let next = match peppers {
                None => Peppers::new(&id, secret),
                Some(peppers) => Peppers::with_old(peppers, &id, secret),
            };
            peppers = Some(next.map_err(|error| {
                unusable().because(&error).hint("openssl rand -hex 32 > pepper-1.txt")
            })?);
        }
        Ok(peppers.unwrap_or_default())
    }
}

/// The ID and the path in `2026-11=pepper.txt` or `2026-11.txt`.
fn pepper(text: &str) -> (String, PathBuf) {
    match text.split_once('=') {
        Some((id, path)) => (id.to_owned(), PathBuf::from(path)),
        None => {
            let path = PathBuf::from(text);
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            (stem, path)
        }
    }
}

/// Where a new key goes.
#[derive(Args, Debug)]
pub(super) struct OutArgs {
    /// Write the key to this file, which only you can read, instead of showing it
    #[arg(long, value_name = "PATH")]
    pub(super) out: Option<PathBuf>,

    /// Replace the file if it is there
    #[arg(long, requires = "out")]
    force: bool,
}

impl OutArgs {
    /// Before a key is made that could not be written.
    pub(super) fn check(&self) -> Result<(), Failure> {
        match &self.out {
            Some(path) if !self.force && path.symlink_metadata().is_ok() => {
                Err(Failure::config(format!("`{}` already exists", path.display()))
                    .cause("files are never replaced unasked")
                    .hint("add `--force` to replace it"))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn write(&self, path: &Path, key: &Secret<String>) -> Result<(), Failure> {
        let contents = key.expose().as_bytes();
        files::write(&[files::NewFile { path, contents, mode: files::PRIVATE }], self.force)
    }
}

/// Which key. Not parsed by clap, which quotes what it does not understand.
#[derive(Args, Debug)]
pub(super) struct IdArg {
    /// The public ID of the key, ten characters
    #[arg(value_name = "ID")]
    id: String,
}

impl IdArg {
    pub(super) fn id(&self) -> Result<KeyId, Failure> {
        self.id.parse().map_err(|error| {
            let failure = Failure::usage("this is not the ID of a key").because(&error);
            let id = self.id.split('_').nth(2).and_then(|part| part.parse::<KeyId>().ok());
            match id {
                Some(id) => failure.hint(format!(
                    "the ID is `{id}`; the whole key is now in your shell's history, so think of \
                     revoking it"
                )),
                None => failure.hint("countersign key list"),
            }
        })
    }
}

/// `90d`, `24h`, `30m`, `10s`, `0`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let problem = || "write a number and a unit: `90d`, `24h`, `30m` or `10s`".to_owned();
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(problem)?;
    let (count, unit) = text.split_at(at);
    let unit = match unit {
        "d" => DAY,
        "h" => 60 * 60,
        "m" => 60,
        "s" => 1,
        _ => return Err(problem()),
    };
    let count: u64 = count.parse().map_err(|_| problem())?;
    // Some centuries are more than any clock shows.
    let most = 36_500 * DAY;
    let seconds = count.checked_mul(unit).filter(|seconds| *seconds <= most);
    seconds.map(Duration::from_secs).ok_or_else(|| "that is more than a hundred years".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_have_a_unit() {
        for (text, seconds) in
            [("90d", 90 * DAY), ("24h", DAY), ("30m", 1_800), ("10s", 10), ("0", 0), ("0h", 0)]
        {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "d", "90", "-1d", "1.5d", "1w", "1d2h", "36501d", "99999999999999999999d"]
        {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_pepper_is_called_as_its_file_unless_it_is_named() {
        assert_eq!(pepper("2026-11=/run/pepper"), ("2026-11".to_owned(), "/run/pepper".into()));
        assert_eq!(pepper("keys/2026-11.txt"), ("2026-11".to_owned(), "keys/2026-11.txt".into()));
    }
}
