//! `countersign key list` and `countersign key show`.

use clap::Args;
use countersign::authentication::api_keys::{KeyRecord, KeyState, KeyStoreError};
use serde_json::json;

use crate::exit;
use crate::key::args::IdArg;
use crate::key::report;
use crate::key::store::{StoreArgs, failure};
use crate::output::{Failure, Output};

/// How many records are asked for at once.
const PAGE: usize = 500;

/// List keys: whose they are, and what became of them
#[derive(Args, Debug)]
pub(super) struct ListArgs {
    /// Only this owner's
    #[arg(long, value_name = "NAME")]
    owner: Option<String>,

    /// Only those that may be used now
    #[arg(long)]
    active: bool,

    #[command(flatten)]
    store: StoreArgs,
}

/// Show everything on record of a key, which is not the key
#[derive(Args, Debug)]
pub(super) struct ShowArgs {
    #[command(flatten)]
    id: IdArg,

    #[command(flatten)]
    store: StoreArgs,
}

pub(super) async fn list(args: &ListArgs, output: &mut Output) -> Result<u8, Failure> {
    let store = args.store.open(false).await?;
    let mut records: Vec<KeyRecord> = Vec::new();
    let mut after = None;
    loop {
        let page = store.list(after, PAGE).await.map_err(|error| failure(&error))?;
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        let wanted = |record: &KeyRecord| {
            args.owner.as_ref().is_none_or(|owner| *owner == record.owner)
                && (!args.active || record.state(report::now()) == KeyState::Active)
        };
        records.extend(page.into_iter().filter(wanted));
    }
    if output.is_json() {
        let keys: Vec<_> = records.iter().map(report::to_json).collect();
        output.json(&json!({ "keys": keys }));
    } else if records.is_empty() {
        output.note("there are no such keys");
    } else {
        for line in report::lines(&records) {
            output.data(line);
        }
    }
    Ok(exit::OK)
}

pub(super) async fn show(args: &ShowArgs, output: &mut Output) -> Result<u8, Failure> {
    let id = args.id.id()?;
    let store = args.store.open(false).await?;
    let found =
        store.get(&id).await.and_then(|found| found.ok_or_else(|| KeyStoreError::not_found(&id)));
    show_record(&found.map_err(|error| failure(&error))?, output);
    Ok(exit::OK)
}

pub(super) fn show_record(record: &KeyRecord, output: &mut Output) {
    if output.is_json() {
        output.json(&json!({ "record": report::to_json(record) }));
    } else {
        for line in report::facts(record) {
            output.data(line);
        }
    }
}
