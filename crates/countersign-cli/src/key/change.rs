//! `countersign key rotate` and `countersign key revoke`.

use std::time::Duration;

use clap::Args;
use countersign::authentication::api_keys::KeyIssuer;

use crate::exit;
use crate::key::args::{IdArg, IssuerArgs, OutArgs, duration};
use crate::key::store::{StoreArgs, issuer_failure};
use crate::key::{look, report};
use crate::output::{Failure, Output};
use crate::pki::text;

/// Replace a key: the same owner and scopes under a new secret
#[derive(Args, Debug)]
pub(super) struct RotateArgs {
    #[command(flatten)]
    id: IdArg,

    /// How long the old key goes on: `24h`, `7d`, `0`
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = duration)]
    overlap: Duration,

    /// End the old key at once
    #[arg(long, conflicts_with = "overlap")]
    now: bool,

    #[command(flatten)]
    out: OutArgs,

    #[command(flatten)]
    issuer: IssuerArgs,

    #[command(flatten)]
    store: StoreArgs,
}

/// Take a key back, for good
#[derive(Args, Debug)]
pub(super) struct RevokeArgs {
    #[command(flatten)]
    id: IdArg,

    /// Why, for people
    #[arg(long, value_name = "TEXT", default_value = "revoked by an operator")]
    reason: String,

    /// Somebody has it who should not; say when it was used last
    #[arg(long, conflicts_with = "reason")]
    leaked: bool,

    #[command(flatten)]
    store: StoreArgs,
}

pub(super) async fn rotate(args: &RotateArgs, output: &mut Output) -> Result<u8, Failure> {
    let id = args.id.id()?;
    args.out.check()?;
    let store = args.store.open(false).await?;
    let issuer = args.issuer.issuer(store, output)?;
    let overlap = if args.now { Duration::ZERO } else { args.overlap };
    let issued = issuer.rotate(&id, overlap).await.map_err(|error| issuer_failure(&error))?;
    report::issued(&issued, &args.out, output)?;
    match overlap {
        Duration::ZERO => output.note(format_args!("{id} has ended")),
        overlap => {
            let end = text::time(report::now() + overlap);
            output.note(format_args!("{id} goes on until {end}, or its own end before"));
        }
    }
    Ok(exit::OK)
}

pub(super) async fn revoke(args: &RevokeArgs, output: &mut Output) -> Result<u8, Failure> {
    let id = args.id.id()?;
    let store = args.store.open(false).await?;
    let reason = if args.leaked { "leaked" } else { &args.reason };
    let record = KeyIssuer::new(store).revoke(&id, reason).await;
    let record = record.map_err(|error| issuer_failure(&error))?;
    look::show_record(&record, output);
    if args.leaked {
        match record.last_used_at {
            Some(at) => output.warning(
                format_args!("{id} was used last on {}, as {}", text::time(at), record.owner),
                Some("search the server's log for the ID: each refusal from now on names it"),
            ),
            None => output.note(format_args!("no use of {id} is on record")),
        }
    }
    output.note("servers take no notice for 30 s at most, and at once where the store tells them");
    Ok(exit::OK)
}
