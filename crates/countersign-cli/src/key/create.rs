//! `countersign key create`.

use std::time::Duration;

use clap::Args;
use countersign::authentication::api_keys::{Network, NewKey};

use crate::exit;
use crate::key::args::{IssuerArgs, OutArgs, duration};
use crate::key::report;
use crate::key::store::{StoreArgs, issuer_failure};
use crate::output::{Failure, Output};

/// Make a key and show it, once
#[derive(Args, Debug)]
pub(super) struct CreateArgs {
    /// The principal in whose name the key calls
    #[arg(long, value_name = "NAME")]
    owner: String,

    /// What it may be used for; repeat for each. Never more than its owner may do
    #[arg(long = "scope", value_name = "SCOPE", required = true)]
    scopes: Vec<String>,

    /// The tenant that the owner belongs to
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,

    /// A method that it may call, as rules write it: `/orders.v1.Orders/Get*`; repeat for each
    /// [default: any]
    #[arg(long = "method", value_name = "PATTERN")]
    methods: Vec<String>,

    /// A network that it may be used from: `10.0.0.0/8`; repeat for each [default: any]
    #[arg(long = "network", value_name = "CIDR")]
    networks: Vec<Network>,

    /// How long it is valid: `90d`, `24h`, or `never` with `--force-never`
    #[arg(long, value_name = "TIME", default_value = "90d", value_parser = lifetime)]
    expires: Lifetime,

    /// Yes, `--expires never`: somebody else has to think of its end
    #[arg(long)]
    force_never: bool,

    /// Words for people
    #[arg(long, value_name = "TEXT", default_value = "")]
    description: String,

    /// Who asks for it
    #[arg(long, value_name = "NAME", default_value = "")]
    created_by: String,

    #[command(flatten)]
    out: OutArgs,

    #[command(flatten)]
    issuer: IssuerArgs,

    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Clone, Copy, Debug)]
enum Lifetime {
    For(Duration),
    Never,
}

fn lifetime(text: &str) -> Result<Lifetime, String> {
    match text {
        "never" => Ok(Lifetime::Never),
        _ => match duration(text)? {
            Duration::ZERO => Err("such a key would never be valid".to_owned()),
            length => Ok(Lifetime::For(length)),
        },
    }
}

pub(super) async fn run(args: &CreateArgs, output: &mut Output) -> Result<u8, Failure> {
    if matches!(args.expires, Lifetime::Never) && !args.force_never {
        return Err(Failure::usage("a key that never expires is forgotten, and found by others")
            .hint("add `--force-never` if it has to be; `--expires 365d` if it has not"));
    }
    args.out.check()?;
    let store = args.store.open(true).await?;
    let issuer = args.issuer.issuer(store, output)?;
    let issued = issuer.create(args.wanted()).await.map_err(|error| issuer_failure(&error))?;
    report::issued(&issued, &args.out, output)?;
    Ok(exit::OK)
}

impl CreateArgs {
    fn wanted(&self) -> NewKey {
        let mut new =
            NewKey::new(&*self.owner).description(&*self.description).created_by(&*self.created_by);
        if let Some(tenant) = &self.tenant {
            new = new.tenant(tenant);
        }
        new = self.scopes.iter().fold(new, |new, scope| new.scope(scope));
        new = self.methods.iter().fold(new, |new, method| new.method(method));
        new = self.networks.iter().fold(new, |new, network| new.network(*network));
        match self.expires {
            Lifetime::For(length) => new.lifetime(length),
            Lifetime::Never => new.never_expires(),
        }
    }
}
