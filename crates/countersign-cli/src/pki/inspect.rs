//! `countersign pki inspect`: what is in a file of certificates, and what is wrong with it.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::Args;
use rcgen::{KeyPair, PublicKeyData as _};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::exit;
use crate::output::{Failure, Output};
use crate::pki::facts::Facts;
use crate::pki::lint::{self, Finding, Level, Role};
use crate::pki::{files, text};

/// More than the largest bundle of roots, by far.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// Show what is in certificate files, and what is wrong with them
///
/// Nothing is verified: signatures and trust are not looked at.
#[derive(Args, Debug)]
pub(super) struct InspectArgs {
    /// PEM files, each with one certificate or more, or DER files with one; `-` is standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// The private key that belongs to the file's first certificate
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,

    /// What the files are for [default: told by what they hold]
    #[arg(long = "as", value_name = "ROLE", value_enum)]
    role: Option<Role>,

    /// Let findings of this level decide the exit code: 1 if there are any [default: error]
    #[arg(long, value_name = "LEVEL", value_enum, num_args = 0..=1, require_equals = true,
          default_missing_value = "error")]
    lint: Option<Level>,
}

/// One file and what was found in it.
#[derive(Serialize)]
struct Inspected {
    path: String,
    certificates: Vec<Facts>,
    findings: Vec<Finding>,
}

pub(super) fn run(args: &InspectArgs, now: SystemTime, output: &mut Output) -> Result<u8, Failure> {
    if args.key.is_some() && args.files.len() > 1 {
        return Err(Failure::usage("`--key` belongs to one file of certificates")
            .cause(format!("there are {} files", args.files.len())));
    }
    let mut inspected = Vec::new();
    for path in &args.files {
        let certificates = read(path)?;
        let mut findings = lint::certificates(&certificates, args.role, now);
        if let (Some(key), Some(leaf)) = (&args.key, certificates.first()) {
            findings.extend(lint::key(leaf, &public_key(key)?, key));
            findings.extend(exposed(key));
        }
        let path = path.display().to_string();
        inspected.push(Inspected { path, certificates, findings });
    }

    if output.is_json() {
        output.json(&serde_json::json!({ "files": inspected, "now": text::timestamp(now) }));
    } else {
        for (index, file) in inspected.iter().enumerate() {
            if index > 0 {
                output.data("");
            }
            print(file, now, output);
        }
    }
    for file in &inspected {
        report(file, output);
    }
    let decides = |finding: &Finding| args.lint.is_some_and(|level| finding.level >= level);
    let denied = inspected.iter().flat_map(|file| &file.findings).any(decides);
    Ok(if denied { exit::DENIED } else { exit::OK })
}

fn read(path: &Path) -> Result<Vec<Facts>, Failure> {
    let contents =
        files::read(path, MAX_FILE_BYTES).map_err(|error| files::cannot("read", path, &error))?;
    let cannot = |what: &str| Failure::config(format!("cannot read {what} `{}`", path.display()));
    let certificates = if is_der(&contents) {
        vec![CertificateDer::from(contents.to_vec())]
    } else {
        CertificateDer::pem_slice_iter(&contents)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| cannot("the PEM text in").because(&error))?
    };
    if certificates.is_empty() {
        let failure = Failure::config(format!("no certificate in `{}`", path.display()));
        let holds = |label: &[u8]| contents.windows(label.len()).any(|window| window == label);
        return Err(if holds(b"PRIVATE KEY-----") {
            failure
                .cause("it holds a private key")
                .hint("name the certificate, and the key with `--key`")
        } else {
            failure.cause("it has no `-----BEGIN CERTIFICATE-----`")
        });
    }
    certificates
        .iter()
        .enumerate()
        .map(|(index, certificate)| {
            let what = format!("certificate {} in", index + 1);
            Facts::read(certificate).map_err(|error| cannot(&what).because(&error))
        })
        .collect()
}

/// A DER certificate is a sequence of more than 127 bytes; text begins otherwise.
fn is_der(contents: &[u8]) -> bool {
    matches!(contents, [0x30, 0x81..=0x84, ..])
}

/// The public half of a private key.
fn public_key(path: &Path) -> Result<Vec<u8>, Failure> {
    let cannot = || Failure::config(format!("cannot read a private key in `{}`", path.display()));
    let contents =
        files::read(path, MAX_FILE_BYTES).map_err(|error| files::cannot("read", path, &error))?;
    let key = PrivateKeyDer::from_pem_slice(&contents)
        .map_err(|error| cannot().because(&error).hint("it has to be PEM, without a password"))?;
    let pair = KeyPair::try_from(&*Zeroizing::new(key)).map_err(|error| {
        cannot()
            .because(&error)
            .hint("ECDSA on P-256, P-384 or P-521, Ed25519 and RSA from 2048 bits are known here")
    })?;
    Ok(Zeroizing::new(pair).der_bytes().to_vec())
}

fn exposed(key: &Path) -> Option<Finding> {
    let mode = files::exposed_mode(key)?;
    let path = key.display();
    let message = format!("others than its owner can read `{path}` (mode {mode:04o})");
    Some(Finding::new(Level::Warning, "key-permissions", message).hint(format!("chmod 600 {path}")))
}

fn print(file: &Inspected, now: SystemTime, output: &mut Output) {
    let count = file.certificates.len();
    for (index, certificate) in file.certificates.iter().enumerate() {
        let path = &file.path;
        output.data(format_args!("{path}  certificate {} of {count}", index + 1));
        for (label, value) in rows(certificate, now) {
            output.data(format_args!("  {label:11}  {value}"));
        }
    }
}

fn rows(certificate: &Facts, now: SystemTime) -> [(&'static str, String); 10] {
    let or_none = |text: String| {
        if text.is_empty() { "none".to_owned() } else { text }
    };
    let names = certificate
        .names
        .iter()
        .map(|name| format!("{} {}", name.kind, text::printable(&name.value)));
    let names = names.collect::<Vec<_>>().join(", ");
    let usage = match &certificate.extended_key_usage {
        None => "any (no extended key usage)".to_owned(),
        Some(usages) => or_none(usages.join(", ")),
    };
    let key = match certificate.key.bits {
        Some(bits) if certificate.key.algorithm == "RSA" => format!("RSA {bits}"),
        _ => certificate.key.algorithm.clone(),
    };
    let ca = match (certificate.ca, certificate.is_self_issued()) {
        (true, true) => "yes, self-signed",
        (true, false) => "yes",
        (false, true) => "no, self-signed",
        (false, false) => "no",
    };
    [
        ("subject", or_none(text::printable(&certificate.subject))),
        ("issuer", or_none(text::printable(&certificate.issuer))),
        ("serial", certificate.serial.clone()),
        ("names", or_none(names)),
        ("key", key),
        ("signature", certificate.signature_algorithm.clone()),
        ("usage", usage),
        ("ca", ca.to_owned()),
        ("valid", validity(certificate, now)),
        ("fingerprint", format!("sha256 {}", certificate.fingerprint_sha256)),
    ]
}

fn validity(certificate: &Facts, now: SystemTime) -> String {
    let (not_before, not_after) = (certificate.not_before, certificate.not_after);
    let now_is = if let Ok(late) = now.duration_since(not_after)
        && !late.is_zero()
    {
        format!("expired {} ago", text::duration(late))
    } else if let Ok(early) = not_before.duration_since(now)
        && !early.is_zero()
    {
        format!("not for another {}", text::duration(early))
    } else {
        format!("{} left", text::duration(not_after.duration_since(now).unwrap_or_default()))
    };
    format!("{} until {} ({now_is})", text::time(not_before), text::time(not_after))
}

fn report(file: &Inspected, output: &mut Output) {
    for finding in &file.findings {
        let is_error = finding.level == Level::Error;
        let label = format!("{}[{}]", if is_error { "error" } else { "warning" }, finding.code);
        let path = &file.path;
        let message = match finding.certificate {
            Some(number) => {
                let title = file.certificates.get(number - 1).map(Facts::title).unwrap_or_default();
                format!("`{path}` certificate {number}, {title}: {}", finding.message)
            }
            None => format!("`{path}`: {}", finding.message),
        };
        let (cause, hint) = (finding.cause.as_deref(), finding.hint.as_deref());
        output.finding(&label, is_error, &message, cause, hint);
    }
}
