//! `countersign pki init`: a CA for development.

use std::time::{Duration, SystemTime};

use clap::Args;
use countersign_testkit::pki::{CertificateAuthority, KeyAlgorithm};
use serde_json::json;

use crate::exit;
use crate::output::{Failure, Output};
use crate::pki::files::{self, NewFile};
use crate::pki::store::{self, StoreArgs};
use crate::pki::{name, text};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How far before now validity begins, for peers whose clocks run late.
pub(super) const BACKDATED: Duration = Duration::from_secs(60 * 60);

/// Make a certificate authority for development
///
/// Writes `ca.pem`, which peers trust, and `ca.key`, which only you can read. A new directory also
/// gets a `.gitignore` that keeps its keys out of version control.
#[derive(Args, Debug)]
pub(super) struct InitArgs {
    #[command(flatten)]
    pub(super) store: StoreArgs,

    /// The CA's common name
    #[arg(long, value_name = "NAME", default_value = "dev CA", value_parser = name::common)]
    pub(super) name: String,

    /// How many days the CA is valid
    #[arg(long, value_name = "DAYS", default_value_t = 3650,
          value_parser = clap::value_parser!(u32).range(1..=36_500))]
    pub(super) days: u32,

    /// Replace a CA that is there; what it issued is then trusted no longer
    #[arg(long)]
    pub(super) force: bool,
}

/// Makes the CA and writes it.
pub(super) fn make(args: &InitArgs, now: SystemTime) -> Result<CertificateAuthority, Failure> {
    let (certificate_path, key_path) = (args.store.certificate(), args.store.key());
    let ca = CertificateAuthority::builder(&args.name)
        .valid(now - BACKDATED, now + DAY * args.days)
        .key(KeyAlgorithm::default())
        .try_build()
        .map_err(|error| Failure::config("cannot make a CA").because(&error))?;

    let is_new = files::make_directory(args.store.dir())?;
    files::write(
        &[
            NewFile { path: &key_path, contents: ca.key_pem().as_bytes(), mode: files::PRIVATE },
            NewFile {
                path: &certificate_path,
                contents: ca.certificate_pem().as_bytes(),
                mode: files::PUBLIC,
            },
        ],
        args.force,
    )?;
    if is_new {
        let path = args.store.dir().join(".gitignore");
        files::write(&[NewFile { path: &path, contents: b"*\n", mode: files::PUBLIC }], false)?;
    }
    Ok(ca)
}

pub(super) fn run(args: &InitArgs, now: SystemTime, output: &mut Output) -> Result<u8, Failure> {
    let (certificate_path, key_path) = (args.store.certificate(), args.store.key());
    let algorithm = KeyAlgorithm::default();
    let ca = make(args, now)?;
    let fingerprint = store::fingerprint(&ca.certificate_der());
    if output.is_json() {
        output.json(&json!({
            "ca": {
                "subject": ca.subject(),
                "path": certificate_path.display().to_string(),
                "fingerprint_sha256": text::hex(&fingerprint),
            },
            "key": { "algorithm": algorithm.to_string(), "path": key_path.display().to_string() },
            "valid": {
                "not_before": text::timestamp(ca.not_before()),
                "not_after": text::timestamp(ca.not_after()),
            },
        }));
    } else {
        let name = format!(
            "{} (fingerprint {})",
            text::printable(&args.name),
            text::short_hex(&fingerprint)
        );
        let valid = format!("{}, until {}", days(args.days), text::time(ca.not_after()));
        output.data(text::table(&[
            ["ca", &name, &certificate_path.display().to_string()],
            ["key", &format!("{algorithm}{}", MODE_NOTE), &key_path.display().to_string()],
            ["valid", &valid, ""],
        ]));
    }
    let flag = args.store.flag();
    output.say(format_args!("next: countersign pki issue server --san localhost{flag}"));
    Ok(exit::OK)
}

/// Modes are a Unix matter.
pub(super) const MODE_NOTE: &str = if cfg!(unix) { ", mode 0600" } else { "" };

fn days(days: u32) -> String {
    if days == 1 { "1 day".to_owned() } else { format!("{days} days") }
}
