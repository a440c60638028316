//! `countersign key verify`.

use std::path::PathBuf;

use clap::Args;
use countersign::Secret;
use countersign::authentication::api_keys::{Judgement, KeyIssuerError, KeyState};
use serde_json::json;

use crate::exit;
use crate::key::args::IssuerArgs;
use crate::key::report;
use crate::key::store::{StoreArgs, issuer_failure};
use crate::output::{Failure, Output};
use crate::pki::files;

/// More than any key has, and a line end.
const MAX_BYTES: u64 = 1024;

/// Say whether a key is good: the same steps as a server's, without networks and methods
#[derive(Args, Debug)]
pub(super) struct VerifyArgs {
    /// The file that the key is in; `-` is standard input
    #[arg(long, value_name = "PATH", default_value = "-")]
    key_file: PathBuf,

    #[command(flatten)]
    issuer: IssuerArgs,

    #[command(flatten)]
    store: StoreArgs,
}

pub(super) async fn run(args: &VerifyArgs, output: &mut Output) -> Result<u8, Failure> {
    let contents = files::read(&args.key_file, MAX_BYTES)
        .map_err(|error| files::cannot("read", &args.key_file, &error))?;
    // What is not text is no key; its bytes are nobody's business.
    let key = Secret::from(std::str::from_utf8(contents.trim_ascii()).unwrap_or_default());
    let store = args.store.open(false).await?;
    let issuer = args.issuer.issuer(store, output)?;
    let judged = issuer.verify(&key).await.map_err(|error| match &error {
        KeyIssuerError::Store(_) | KeyIssuerError::CannotTell { .. } => {
            Failure::new(exit::VERIFIER_UNAVAILABLE, "nobody can tell whether the key is good")
                .because(&error)
        }
        _ => issuer_failure(&error),
    })?;
    let (is_good, reason) = match &judged {
        Judgement::Known(_, KeyState::Active) => (true, "active"),
        Judgement::Known(_, other) => (false, report::state(*other)),
        Judgement::Malformed => (false, "malformed"),
        Judgement::OtherPrefix => (false, "other prefix"),
        _ => (false, "unknown"),
    };
    let record = match &judged {
        Judgement::Known(record, _) => Some(&**record),
        _ => None,
    };
    if output.is_json() {
        let record = record.map(report::to_json);
        output.json(&json!({ "good": is_good, "reason": reason, "record": record }));
    } else {
        output.data(format_args!("{}   {reason}", if is_good { "yes" } else { "no" }));
        for line in record.into_iter().flat_map(report::facts) {
            output.say(line);
        }
    }
    Ok(if is_good { exit::OK } else { exit::DENIED })
}
