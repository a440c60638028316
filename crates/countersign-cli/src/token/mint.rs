//! `countersign token mint`: tokens of the development issuer, and of no other.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::Args;
use serde_json::{Value, json};

use crate::config::length;
use crate::exit;
use crate::issuer::{ACCESS_TOKEN, Draft, IssuerStore, SigningKey};
use crate::output::{Failure, Output};
use crate::pki::text;

/// Make a token of the development issuer
///
/// The issuer is what `countersign dev` made; its key is in a file beside your code, so nothing
/// but development may trust it. The token goes to standard output.
#[derive(Args, Debug)]
pub(super) struct MintArgs {
    /// The subject
    #[arg(long, value_name = "NAME", default_value = "alice")]
    sub: String,

    /// For whom it is; repeat for several [default: the issuer's own, `dev`]
    #[arg(long, value_name = "NAME")]
    aud: Vec<String>,

    /// What it allows, separated by spaces; repeat for more
    #[arg(long, value_name = "SCOPES")]
    scope: Vec<String>,

    /// How long it holds
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = life)]
    expires: Duration,

    /// A claim, with a value in JSON, such as `groups=["admins"]`; `null` leaves the claim out
    #[arg(long = "claim", value_name = "NAME=JSON", value_parser = claim)]
    claims: Vec<(String, Value)>,

    /// The header's `typ`
    #[arg(long, value_name = "NAME", default_value = ACCESS_TOKEN)]
    typ: String,

    /// The key to sign with, by its id [default: the current one]
    #[arg(long, value_name = "KID")]
    kid: Option<String>,

    /// The directory of the development issuer
    #[arg(long, value_name = "DIR", default_value = crate::pki::store::DEFAULT_DIRECTORY)]
    dir: PathBuf,
}

pub(super) fn run(args: &MintArgs, now: SystemTime, output: &mut Output) -> Result<u8, Failure> {
    let store = IssuerStore::in_dir(&args.dir);
    let facts = store.facts()?;
    let key = args.key(&store)?;
    let audiences = match args.aud.as_slice() {
        [] => vec![facts.audience],
        some => some.to_vec(),
    };
    let mut draft = Draft::access_token(&facts.issuer, &args.sub, &audiences, now, args.expires)?
        .kind(&args.typ)
        .claim("client_id", "countersign-token-mint");
    if !args.scope.is_empty() {
        draft = draft.claim("scope", args.scope.join(" "));
    }
    for (name, value) in &args.claims {
        draft = draft.claim(name, value.clone());
    }
    let minted = draft.sign(&key)?;

    output.warning(
        "this is a DEVELOPMENT token: its key lies in a file, so trust its issuer nowhere else",
        None,
    );
    if output.is_json() {
        output.json(&json!({
            "token": minted.token,
            "development": true,
            "kid": key.kid(),
            "claims": minted.claims,
        }));
    } else {
        let end = text::timestamp(now + args.expires);
        let issuer = &facts.issuer;
        output.say(format_args!("issuer {issuer} · subject {} · until {end}", args.sub));
        output.data(minted.token);
    }
    Ok(exit::OK)
}

impl MintArgs {
    fn key(&self, store: &IssuerStore) -> Result<SigningKey, Failure> {
        let Some(kid) = &self.kid else {
            return store.current();
        };
        let keys = store.published()?;
        let known = keys.iter().map(SigningKey::kid).collect::<Vec<_>>().join(" and ");
        let found = keys.into_iter().find(|key| key.kid() == kid);
        found.ok_or_else(|| {
            Failure::usage(format!("the issuer has no key {kid:?}"))
                .cause(format!("it has {known}"))
                .hint("leave out `--kid` to sign with the current one")
        })
    }
}

/// A token that outlives the year is no token for development.
fn life(text: &str) -> Result<Duration, String> {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
    match length(text)? {
        life if life <= YEAR => Ok(life),
        _ => Err("a token for development lives at most 365d".to_owned()),
    }
}

fn claim(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=JSON")?;
    if name.is_empty() {
        return Err("the claim has no name".to_owned());
    }
    let value = serde_json::from_str(value)
        .map_err(|error| format!("the value is not JSON ({error}); text needs quotes in it"))?;
    Ok((name.to_owned(), value))
}
