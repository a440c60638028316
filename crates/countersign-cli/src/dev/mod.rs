//! `countersign dev`: all that a developer's machine needs to try authentication.

mod client;
mod form;
mod issuer;
mod make;
mod rotate;
mod serve;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand};
use serde_json::json;
use tokio::net::TcpListener;

use crate::config::length;
use crate::exit;
use crate::issuer::IssuerStore;
use crate::output::{Failure, Output};
use crate::pki::store::DEFAULT_DIRECTORY;
use crate::pki::text;

/// Make certificates, an issuer of tokens and sample files, and serve the issuer on this machine
///
/// What is there already stays. The issuer answers on a loopback address by plain http, with
/// discovery, a key set and a token endpoint, until Ctrl-C.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct DevArgs {
    #[command(subcommand)]
    command: Option<DevCommand>,

    /// The directory for everything
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DIRECTORY)]
    dir: PathBuf,

    /// Where the issuer listens: a loopback address; its name follows from it [default: the
    /// address that it has, a free port of 127.0.0.1 at first]
    #[arg(long, value_name = "ADDRESS", value_parser = loopback)]
    listen: Option<SocketAddr>,

    /// Change the signing key this often
    #[arg(long, value_name = "TIME", value_parser = interval, conflicts_with = "no_serve")]
    rotate_every: Option<Duration>,

    /// Write the files and end
    #[arg(long)]
    no_serve: bool,

    /// Make everything anew: nothing that was trusted or issued before counts any more
    #[arg(long)]
    force: bool,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand, Debug)]
enum DevCommand {
    Rotate(rotate::RotateArgs),
}

/// Runs the verb. `now` is the time that validity starts from.
pub(crate) fn run(args: &DevArgs, now: SystemTime, output: &mut Output) -> Result<u8, Failure> {
    if let Some(DevCommand::Rotate(args)) = &args.command {
        return rotate::run(args, output);
    }
    output.set_json(args.json);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::config("cannot start the runtime").because(&error))?;
    let outcome = runtime.block_on(play(args, now, output));
    // Nothing that is left is worth waiting for.
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

async fn play(args: &DevArgs, now: SystemTime, output: &mut Output) -> Result<u8, Failure> {
    let store = IssuerStore::in_dir(&args.dir);
    // First, so that nothing is written if the address is taken.
    let (address, listener) = args.listen(&store).await?;
    let issuer = format!("http://{address}");
    let made = make::everything(&args.dir, &issuer, args.force, now, output)?;
    if args.no_serve {
        tell(args, &made, &issuer, output)?;
        return Ok(exit::OK);
    }
    // Before anything is printed, so that whoever has read it can interrupt.
    let interrupted = crate::interrupt::interruption()
        .map_err(|error| Failure::config("cannot wait for Ctrl-C").because(&error))?;
    let listener = match listener {
        Some(listener) => listener,
        None => bind(address).await?,
    };
    let answers = issuer::DevIssuer::open(store.clone())?;
    tell(args, &made, &issuer, output)?;
    output.say("\nThe issuer answers. Ctrl-C ends it.");
    tokio::select! {
        () = serve::serve(listener, answers) => {}
        () = rotate::every(args.rotate_every, &store, output) => {}
        () = interrupted => {}
    }
    Ok(exit::OK)
}

impl DevArgs {
    /// The address that the issuer is named by, and a listener on it if there had to be one.
    async fn listen(
        &self,
        store: &IssuerStore,
    ) -> Result<(SocketAddr, Option<TcpListener>), Failure> {
        if store.facts_path().exists() && !self.force {
            let facts = store.facts()?;
            let path = store.facts_path();
            let address = facts.issuer.strip_prefix("http://").and_then(|it| loopback(it).ok());
            let address = address.ok_or_else(|| {
                Failure::config(format!("cannot use `{}`", path.display()))
                    .cause("the issuer is no http URL of this machine")
            })?;
            return match self.listen {
                Some(wanted) if wanted.port() != 0 && wanted != address => {
                    Err(Failure::config(format!("the issuer is `{}` already", facts.issuer))
                        .cause("its name is in every token and in `auth.toml`")
                        .hint("leave out `--listen`, or make everything anew with `--force`"))
                }
                _ => Ok((address, None)),
            };
        }
        let listener = bind(self.listen.unwrap_or(([127, 0, 0, 1], 0).into())).await?;
        let address = listener
            .local_addr()
            .map_err(|error| Failure::config("cannot listen on this machine").because(&error))?;
        Ok((address, Some(listener)))
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        Failure::config(format!("cannot listen on {address}"))
            .because(&error)
            .hint("does another `countersign dev` run? `--dir` chooses another directory")
    })
}

fn tell(
    args: &DevArgs,
    made: &make::Made,
    issuer: &str,
    output: &mut Output,
) -> Result<(), Failure> {
    let client = &made.client;
    if output.is_json() {
        let files: Vec<_> = made
            .files
            .iter()
            .map(|file| json!({"path": file.path.display().to_string(), "new": file.is_new}))
            .collect();
        output.json(&json!({
            "issuer": issuer,
            "audience": made.audience,
            "kid": made.kid,
            "jwks_uri": format!("{issuer}{}", issuer::JWKS),
            "token_endpoint": format!("{issuer}{}", issuer::TOKEN),
            "client": {
                "client_id": client.client_id,
                "client_secret": made.is_client_new.then_some(client.client_secret.as_str()),
            },
            "files": files,
        }));
    } else {
        for file in &made.files {
            let word = if file.is_new { "made" } else { "kept" };
            output.data(format_args!("{word}  {}", file.path.display()));
        }
        let secret = match made.is_client_new {
            true => format!("secret {}  (shown once)", client.client_secret),
            false => "secret as before".to_owned(),
        };
        output.data(text::table(&[
            ["issuer", issuer, &format!("audience {}", made.audience)],
            ["key", &made.kid, "ES256"],
            ["client", &client.client_id, &secret],
        ]));
    }
    let id = &client.client_id;
    next(&args.dir, issuer, id, &made.audience, args.no_serve, output);
    Ok(())
}

/// Commands that work as they stand, from the directory that this one ran in.
fn next(
    dir: &Path,
    issuer: &str,
    client: &str,
    audience: &str,
    no_serve: bool,
    output: &mut Output,
) {
    let flag = match dir == Path::new(DEFAULT_DIRECTORY) {
        true => String::new(),
        false => format!(" --dir {}", dir.display()),
    };
    let mint = format!("countersign token mint{flag}");
    let auth = dir.join("auth.toml");
    let auth = auth.display();
    output.say("\nnext:");
    let mut say = |what: &str, command: String| {
        output.say(format_args!("  # {what}\n  {command}\n"));
    };
    say(
        "a token, and what a server with the sample configuration says to it",
        format!("{mint} | countersign token verify --config {auth}"),
    );
    if no_serve {
        say("serve the issuer", format!("countersign dev{flag}"));
    } else {
        say(
            "the same by discovery, for a token for somebody else",
            format!(
                "{mint} --aud other | countersign token verify --issuer {issuer} --audience {audience}"
            ),
        );
        say(
            "a token as a program gets it; asks for the secret",
            format!("curl -u {client} -d grant_type=client_credentials {issuer}{}", issuer::TOKEN),
        );
    }
    say(
        "another signing key; tokens of the one before go on",
        format!("countersign dev rotate{flag}"),
    );
    say("who gets in and who does not, on real sockets", "countersign demo".to_owned());
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr =
        text.parse().map_err(|_| format!("{text:?} is no address such as 127.0.0.1:9400"))?;
    match address.ip().is_loopback() {
        true => Ok(address),
        false => {
            Err("a development issuer speaks plain http, so it stays on this machine".to_owned())
        }
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    match length(text)? {
        Duration::ZERO => Err("it has to be longer than nothing".to_owned()),
        interval => Ok(interval),
    }
}
