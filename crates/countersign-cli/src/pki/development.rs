//! What `countersign dev` needs: as `pki init` and `pki issue` make it with their defaults.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use countersign_testkit::pki::CertificateAuthority;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::facts::Facts;
use super::init::{self, InitArgs};
use super::issue::LeafArgs;
use super::store::StoreArgs;
use super::{text, whole_seconds};
use crate::output::{Failure, Output};

/// A file, and whether it was made just now.
pub(crate) struct Made {
    pub(crate) path: PathBuf,
    pub(crate) is_new: bool,
}

/// The CA of a directory, made if it is not there or is to be replaced.
pub(crate) fn authority(
    dir: &Path,
    force: bool,
    now: SystemTime,
    output: &mut Output,
) -> Result<(CertificateAuthority, Made), Failure> {
    let now = whole_seconds(now);
    let store = StoreArgs::at(dir);
    let path = store.certificate();
    let is_there = path.exists() && store.key().exists();
    if is_there && !force {
        return Ok((store.open(now, output)?, Made { path, is_new: false }));
    }
    let args = InitArgs { store, name: "dev CA".to_owned(), days: 3650, force };
    Ok((init::make(&args, now)?, Made { path, is_new: true }))
}

/// A certificate for a `server` or a `client`, made if it is not there or is to be replaced.
pub(crate) fn leaf(
    dir: &Path,
    ca: &CertificateAuthority,
    (role, names): (&str, &[&str]),
    force: bool,
    now: SystemTime,
    output: &mut Output,
) -> Result<Made, Failure> {
    let now = whole_seconds(now);
    let args = LeafArgs::new(StoreArgs::at(dir), names, force);
    let (path, key) = args.paths(role)?;
    if path.exists() && key.exists() && !force {
        if let Some(problem) = stale(&path, ca, now) {
            output.warning(
                format_args!("`{}` {problem}", path.display()),
                Some(&format!(
                    "countersign pki issue {role} {} --force{}",
                    names.join(" "),
                    StoreArgs::at(dir).flag()
                )),
            );
        }
        return Ok(Made { path, is_new: false });
    }
    args.make(ca, role, now)?;
    Ok(Made { path, is_new: true })
}

/// Why a certificate that is there is worth nothing any more.
fn stale(path: &Path, ca: &CertificateAuthority, now: SystemTime) -> Option<String> {
    let der = CertificateDer::from_pem_file(path).ok()?;
    let facts = Facts::read(&der).ok()?;
    if facts.not_after <= now {
        return Some(format!("expired on {}", text::time(facts.not_after)));
    }
    let issuer = Facts::read(&ca.certificate_der()).ok()?;
    (!facts.names_as_issuer(&issuer)).then(|| "is of another CA".to_owned())
}
