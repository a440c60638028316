//! `countersign dev rotate`: another signing key, while tokens of the one before go on.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use crate::exit;
use crate::issuer::IssuerStore;
use crate::output::{Failure, Output};
use crate::pki::store::DEFAULT_DIRECTORY;

/// Make another signing key, and keep the one before for what it has signed
///
/// The key before that is published no more, so its tokens are refused. An issuer that runs uses
/// the new key from then on.
#[derive(Args, Debug)]
pub(super) struct RotateArgs {
    /// The directory of the development issuer
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DIRECTORY)]
    dir: PathBuf,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &RotateArgs, output: &mut Output) -> Result<u8, Failure> {
    output.set_json(args.json);
    let rotated = IssuerStore::in_dir(&args.dir).rotate()?;
    if output.is_json() {
        output.json(&json!({
            "current": rotated.current,
            "previous": rotated.previous,
            "dropped": rotated.dropped,
        }));
    } else {
        output.data(format_args!("signs      {}", rotated.current));
        output.data(format_args!("published  {}", rotated.previous));
        if let Some(kid) = &rotated.dropped {
            output.data(format_args!("dropped    {kid}"));
        }
    }
    Ok(exit::OK)
}

/// Rotates again and again, or never.
pub(super) async fn every(interval: Option<Duration>, store: &IssuerStore, output: &mut Output) {
    let Some(interval) = interval else {
        return std::future::pending().await;
    };
    loop {
        tokio::time::sleep(interval).await;
        match store.rotate() {
            Ok(rotated) => output.say(format_args!("rotated: {} signs now", rotated.current)),
            Err(failure) => output.failure(&failure),
        }
    }
}
