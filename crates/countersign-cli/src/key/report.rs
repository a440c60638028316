//! How keys look to people and to programs.

use std::time::SystemTime;

use countersign::authentication::api_keys::{IssuedKey, KeyRecord, KeyState};
use countersign::{Clock, SystemClock};
use serde_json::{Value, json};

use crate::key::args::OutArgs;
use crate::output::{Failure, Output};
use crate::pki::text;

pub(super) fn now() -> SystemTime {
    SystemClock.now()
}

pub(super) fn state(state: KeyState) -> &'static str {
    match state {
        KeyState::Active => "active",
        KeyState::Revoked => "revoked",
        KeyState::Expired => "expired",
        KeyState::NotYetValid => "not yet valid",
        _ => "unknown",
    }
}

/// The record as JSON, with its state, and of the hash only how it was made.
pub(super) fn to_json(record: &KeyRecord) -> Value {
    let mut value = json!(record);
    if let Some(hash) = value.get_mut("hash").and_then(Value::as_object_mut) {
        hash.remove("digest");
    }
    if let Some(object) = value.as_object_mut() {
        object.insert("state".to_owned(), json!(state(record.state(now()))));
    }
    value
}

/// `2027-02-20 11:20 UTC`, or `never`.
fn end(record: &KeyRecord) -> String {
    record.expires_at.map_or_else(|| "never".to_owned(), text::time)
}

/// Shows a new key, or writes it to the file that was asked for. It is the only time.
pub(super) fn issued(
    issued: &IssuedKey,
    out: &OutArgs,
    output: &mut Output,
) -> Result<(), Failure> {
    let record = issued.record();
    if let Some(path) = &out.out {
        out.write(path, issued.key()).map_err(|failure| {
            let id = record.id;
            failure.hint(format!("the key {id} was made and is lost: countersign key revoke {id}"))
        })?;
    }
    let path = out.out.as_ref().map(|path| path.display().to_string());
    if output.is_json() {
        let key = path.is_none().then(|| issued.key().expose());
        output.json(&json!({ "key": key, "path": path, "record": to_json(record) }));
        return Ok(());
    }
    match path {
        Some(path) => output.data(path),
        None => output.data(issued.key().expose()),
    }
    output.say("shown once: only its hash is kept");
    output.say(format_args!(
        "id {} · owner {} · scopes {} · expires {}",
        record.id,
        text::printable(&record.owner),
        record.scopes.join(" "),
        end(record)
    ));
    Ok(())
}

/// One line for each, under a heading.
pub(super) fn lines(records: &[KeyRecord]) -> Vec<String> {
    let heading = ["ID", "OWNER", "STATE", "EXPIRES", "LAST USED", "SCOPES"].map(str::to_owned);
    let row = |record: &KeyRecord| {
        [
            record.id.to_string(),
            text::printable(&record.owner),
            state(record.state(now())).to_owned(),
            end(record),
            record.last_used_at.map_or_else(|| "never".to_owned(), text::time),
            record.scopes.join(" "),
        ]
    };
    let rows: Vec<_> = std::iter::once(heading).chain(records.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: [usize; 6] = std::array::from_fn(|column| width(column).unwrap_or(0));
    let line = |row: &[String; 6]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// Everything on record, one line for each part that is there.
pub(super) fn facts(record: &KeyRecord) -> Vec<String> {
    let mut lines = Vec::new();
    let mut say = |name: &str, value: String| {
        if !value.is_empty() {
            lines.push(format!("{name:<12}{}", text::printable(&value)));
        }
    };
    let hash = match record.hash.pepper() {
        Some(pepper) => format!("HMAC-SHA-256 by the pepper {pepper}"),
        None => "SHA-256, no pepper".to_owned(),
    };
    say("id", record.id.to_string());
    say("state", state(record.state(now())).to_owned());
    say("owner", record.owner.clone());
    say("tenant", record.tenant.clone().unwrap_or_default());
    say("scopes", record.scopes.join(" "));
    say("methods", record.methods.join(" "));
    let networks: Vec<_> = record.networks.iter().map(ToString::to_string).collect();
    say("networks", networks.join(" "));
    say("description", record.description.clone());
    say("created", text::time(record.created_at));
    say("created by", record.created_by.clone());
    say("not before", record.not_before.map(text::time).unwrap_or_default());
    say("expires", end(record));
    say("last used", record.last_used_at.map_or_else(|| "never".to_owned(), text::time));
    if let Some(revoked) = &record.revoked {
        say("revoked", format!("{}: {}", text::time(revoked.at), revoked.reason));
    }
    say("replaces", record.rotated_from.map(|id| id.to_string()).unwrap_or_default());
    say("replaced by", record.rotated_to.map(|id| id.to_string()).unwrap_or_default());
    say("hash", hash);
    say("version", record.version.to_string());
    lines
}
