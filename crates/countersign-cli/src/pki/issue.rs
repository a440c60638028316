//! `countersign pki issue`: certificates for servers and clients.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand, ValueEnum};
use countersign_testkit::pki::{Certificate, CertificateAuthority, KeyAlgorithm};
use serde_json::json;

use crate::exit;
use crate::output::{Failure, Output};
use crate::pki::files::{self, NewFile};
use crate::pki::init::{BACKDATED, MODE_NOTE};
use crate::pki::store::{self, StoreArgs};
use crate::pki::{name, text};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Issue a certificate for a server or a client
#[derive(Args, Debug)]
pub(super) struct IssueArgs {
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand, Debug)]
enum Role {
    /// A certificate that a server shows, for the names it is called by
    Server(LeafArgs),
    /// A certificate that a client shows, for the names it is known by
    Client(LeafArgs),
}

#[derive(Args, Debug)]
pub(super) struct LeafArgs {
    /// A DNS name, IP address, URI (`spiffe://…`) or e-mail address; the same as `--san`
    #[arg(value_name = "NAME", value_parser = name::alternative)]
    names: Vec<String>,

    /// A subject alternative name; repeat for each
    #[arg(long = "san", value_name = "NAME", value_parser = name::alternative)]
    sans: Vec<String>,

    /// The subject's common name [default: the first name, if it has at most 64 characters]
    #[arg(long, value_name = "NAME", value_parser = name::common)]
    common_name: Option<String>,

    /// What to call the files: a name in the CA's directory, or a path, without extension
    /// [default: `server` or `client`]
    #[arg(long, value_name = "NAME")]
    out: Option<String>,

    /// How many days the certificate is valid, at most until the CA ends
    #[arg(long, value_name = "DAYS", default_value_t = 7,
          value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: u32,

    /// The kind of key
    #[arg(long, value_name = "TYPE", value_enum, default_value_t = KeyType::EcdsaP256)]
    key_type: KeyType,

    /// Replace files that are there
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum KeyType {
    #[value(name = "ecdsa-p256")]
    EcdsaP256,
    #[value(name = "ecdsa-p384")]
    EcdsaP384,
    #[value(name = "ed25519")]
    Ed25519,
    #[value(name = "rsa-2048")]
    Rsa2048,
}

impl From<KeyType> for KeyAlgorithm {
    fn from(key_type: KeyType) -> Self {
        match key_type {
            KeyType::EcdsaP256 => Self::EcdsaP256,
            KeyType::EcdsaP384 => Self::EcdsaP384,
            KeyType::Ed25519 => Self::Ed25519,
            KeyType::Rsa2048 => Self::Rsa2048,
        }
    }
}

pub(super) fn run(args: &IssueArgs, now: SystemTime, output: &mut Output) -> Result<u8, Failure> {
    let (args, role) = match &args.role {
        Role::Server(args) => (args, "server"),
        Role::Client(args) => (args, "client"),
    };
    let names = args.checked_names(role)?;
    let (certificate_path, key_path) = args.paths(role)?;
    let ca = args.store.open(now, output)?;
    let (certificate, is_cut) = args.make(&ca, role, now)?;
    args.report(
        &Issued { ca: &ca, certificate: &certificate, names: &names, now, is_cut },
        (&certificate_path, &key_path),
        output,
    );
    Ok(exit::OK)
}

/// What there is to report.
struct Issued<'a> {
    ca: &'a CertificateAuthority,
    certificate: &'a Certificate,
    names: &'a [&'a str],
    now: SystemTime,
    /// Whether the CA's end cut the life that was asked for.
    is_cut: bool,
}

impl LeafArgs {
    /// As the command without further flags has them.
    pub(super) fn new(store: StoreArgs, names: &[&str], force: bool) -> Self {
        Self {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            sans: Vec::new(),
            common_name: None,
            out: None,
            days: 7,
            key_type: KeyType::EcdsaP256,
            force,
            store,
        }
    }

    /// Where certificate and key go.
    pub(super) fn paths(&self, role: &str) -> Result<(PathBuf, PathBuf), Failure> {
        let out = self.out.as_deref().unwrap_or(role);
        let (certificate_path, key_path) = files::pair(self.store.dir(), out);
        // Even `--force` is no wish to lose the CA.
        if certificate_path == self.store.certificate() || key_path == self.store.key() {
            return Err(Failure::usage(format!("`{out}` is where the CA lives"))
                .hint("choose another name for `--out`"));
        }
        Ok((certificate_path, key_path))
    }

    /// Makes the certificate and writes it. Also says whether the CA's end cut its life.
    pub(super) fn make(
        &self,
        ca: &CertificateAuthority,
        role: &str,
        now: SystemTime,
    ) -> Result<(Certificate, bool), Failure> {
        let names = self.checked_names(role)?;
        let (certificate_path, key_path) = self.paths(role)?;
        let mut not_after = now + DAY * self.days;
        let is_cut = ca.not_after() < not_after;
        if is_cut {
            not_after = ca.not_after();
        }
        let not_before = ca.not_before().max(now - BACKDATED);
        let certificate = self
            .certificate(ca, role, &names, (not_before, not_after))
            .map_err(|error| Failure::config("cannot issue the certificate").because(&error))?;
        files::write(
            &[
                NewFile {
                    path: &key_path,
                    contents: certificate.key_pem().as_bytes(),
                    mode: files::PRIVATE,
                },
                NewFile {
                    path: &certificate_path,
                    contents: certificate.chain_pem().as_bytes(),
                    mode: files::PUBLIC,
                },
            ],
            self.force,
        )?;
        Ok((certificate, is_cut))
    }

    /// The names, each once, if they make sense together.
    fn checked_names(&self, role: &str) -> Result<Vec<&str>, Failure> {
        let mut names: Vec<&str> = Vec::new();
        for name in self.names.iter().chain(&self.sans) {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        if names.is_empty() && role == "server" {
            return Err(Failure::usage("a server certificate needs a name")
                .cause(
                    "clients compare the name they call with those in the certificate, \
                        and not with its common name",
                )
                .hint("countersign pki issue server --san localhost --san 127.0.0.1"));
        }
        if names.is_empty() && self.common_name.is_none() {
            return Err(Failure::usage("a client certificate needs a name")
                .hint("countersign pki issue client --san spiffe://dev/alice"));
        }
        let uris = names.iter().filter(|name| name.contains("://")).count();
        if uris > 1 && names.iter().any(|name| name.starts_with("spiffe://")) {
            return Err(Failure::usage("a certificate with a SPIFFE ID holds no other URI")
                .cause("peers refuse it otherwise (X509-SVID §2)")
                .hint("issue a certificate for each"));
        }
        Ok(names)
    }

    fn common_name<'a>(&'a self, names: &[&'a str]) -> Option<&'a str> {
        let fits = |name: &&str| name.chars().count() <= name::MAX_COMMON_NAME_CHARS;
        self.common_name.as_deref().or(names.first().copied().filter(fits))
    }

    fn certificate(
        &self,
        ca: &CertificateAuthority,
        role: &str,
        names: &[&str],
        (not_before, not_after): (SystemTime, SystemTime),
    ) -> Result<Certificate, countersign_testkit::pki::PkiError> {
        let mut builder = ca.issue().valid(not_before, not_after).key(self.key_type.into());
        builder = if role == "server" { builder.for_server() } else { builder.for_client() };
        if let Some(common_name) = self.common_name(names) {
            builder = builder.common_name(common_name);
        }
        names.iter().fold(builder, |builder, name| builder.name(name)).try_build()
    }

    fn report(&self, issued: &Issued<'_>, (pem, key): (&Path, &Path), output: &mut Output) {
        let Issued { ca, certificate, names, now, is_cut } = issued;
        let ca_path = self.store.certificate();
        let ca_fingerprint = store::fingerprint(&ca.certificate_der());
        let algorithm = KeyAlgorithm::from(self.key_type);
        let chain = certificate.chain_der();
        if output.is_json() {
            output.json(&json!({
                "ca": {
                    "subject": ca.subject(),
                    "path": ca_path.display().to_string(),
                    "fingerprint_sha256": text::hex(&ca_fingerprint),
                },
                "leaf": {
                    "names": names,
                    "common_name": self.common_name(names),
                    "path": pem.display().to_string(),
                    "certificates": chain.len(),
                    "fingerprint_sha256": text::hex(&store::fingerprint(&chain[0])),
                },
                "key": { "algorithm": algorithm.to_string(), "path": key.display().to_string() },
                "valid": {
                    "not_before": text::timestamp(certificate.not_before()),
                    "not_after": text::timestamp(certificate.not_after()),
                    "cut_to_ca": is_cut,
                },
            }));
        } else {
            let subject = text::printable(ca.subject());
            let ca_name = format!(
                "{} (fingerprint {})",
                subject.strip_prefix("CN=").unwrap_or(&subject),
                text::short_hex(&ca_fingerprint)
            );
            let leaf = match (names.is_empty(), &self.common_name) {
                (true, Some(common_name)) => text::printable(common_name),
                _ => names.join(", "),
            };
            let included = if chain.len() > 1 { "  (chain included)" } else { "" };
            let life = certificate.not_after().duration_since(*now).unwrap_or_default();
            output.data(text::table(&[
                ["ca", &ca_name, &ca_path.display().to_string()],
                ["leaf", &leaf, &format!("{}{included}", pem.display())],
                ["key", &format!("{algorithm}{MODE_NOTE}"), &key.display().to_string()],
                [
                    "valid",
                    &format!(
                        "{}, until {}",
                        text::duration(life),
                        text::time(certificate.not_after())
                    ),
                    "renew: the same command with --force",
                ],
            ]));
        }
        if *is_cut {
            output.note(format_args!(
                "the certificate ends with its CA on {}, before the {} days asked for",
                text::time(ca.not_after()),
                self.days
            ));
        }
    }
}
