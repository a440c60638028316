//! The directory that holds a development CA.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use aws_lc_rs::digest::{SHA256, digest};
use clap::Args;
use countersign_testkit::pki::CertificateAuthority;
use zeroize::Zeroizing;

use crate::output::{Failure, Output};
use crate::pki::{files, text};

/// More than any CA's certificate or key has.
const MAX_FILE_BYTES: u64 = 1 << 20;

pub(crate) const DEFAULT_DIRECTORY: &str = ".countersign";

/// Where the CA lives.
#[derive(Args, Debug)]
pub(super) struct StoreArgs {
    /// The directory of the CA and of what it issues
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DIRECTORY)]
    dir: PathBuf,
}

impl StoreArgs {
    pub(super) fn at(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn certificate(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    pub(super) fn key(&self) -> PathBuf {
        self.dir.join("ca.key")
    }

    /// ` --dir DIR` for a command that a message suggests, if it is needed.
    pub(super) fn flag(&self) -> String {
        if self.dir == Path::new(DEFAULT_DIRECTORY) {
            String::new()
        } else {
            format!(" --dir {}", self.dir.display())
        }
    }

    /// Reads the CA, which must be valid at `now`.
    pub(super) fn open(
        &self,
        now: SystemTime,
        output: &mut Output,
    ) -> Result<CertificateAuthority, Failure> {
        let certificate = self.read(&self.certificate())?;
        let key_path = self.key();
        let key = self.read(&key_path)?;
        if let Some(mode) = files::exposed_mode(&key_path) {
            let path = key_path.display();
            output.warning(
                format_args!("others than you can read `{path}` (mode {mode:04o})"),
                Some(&format!("chmod 600 {path}")),
            );
        }
        let unusable = || Failure::config(format!("cannot use the CA in `{}`", self.dir.display()));
        let ca = CertificateAuthority::from_pem(&certificate, &key)
            .map_err(|error| unusable().because(&error))?;
        if ca.not_after() <= now {
            return Err(unusable()
                .cause(format!("it expired on {}", text::time(ca.not_after())))
                .hint(format!("countersign pki init --force{}", self.flag())));
        }
        if now < ca.not_before() {
            return Err(unusable()
                .cause(format!("it is valid only from {}", text::time(ca.not_before())))
                .hint("check this machine's clock"));
        }
        Ok(ca)
    }

    fn read(&self, path: &Path) -> Result<Zeroizing<String>, Failure> {
        let contents = files::read(path, MAX_FILE_BYTES).map_err(|error| {
            let failure = files::cannot("read", path, &error);
            if error.kind() == std::io::ErrorKind::NotFound {
                failure.hint(format!("make a CA first: countersign pki init{}", self.flag()))
            } else {
                failure
            }
        })?;
        // Checked before it is copied, so that a key is in no error and in no lost buffer.
        match std::str::from_utf8(&contents) {
            Ok(contents) => Ok(Zeroizing::new(contents.to_owned())),
            Err(_) => Err(Failure::config(format!("cannot read `{}`", path.display()))
                .cause("it is not text, and so not PEM")),
        }
    }
}

/// The SHA-256 fingerprint of a certificate.
pub(super) fn fingerprint(certificate: &[u8]) -> Vec<u8> {
    digest(&SHA256, certificate).as_ref().to_vec()
}
