//! `countersign pki`: certificates for development, and a look into any others.

pub(crate) mod development;
mod facts;
pub(crate) mod files;
mod init;
mod inspect;
mod issue;
pub(crate) mod lint;
mod name;
pub(crate) mod store;
pub(crate) mod text;

use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand};

use crate::output::{Failure, Output};

/// Make certificates for development, and look into any others
#[derive(Args, Debug)]
pub(crate) struct PkiArgs {
    /// Print one JSON object on standard output
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    command: PkiCommand,
}

#[derive(Subcommand, Debug)]
enum PkiCommand {
    Init(init::InitArgs),
    Issue(issue::IssueArgs),
    Inspect(inspect::InspectArgs),
}

/// Runs the verb and returns the exit code (see [`crate::exit`]).
///
/// `now` is the time that validity starts from and is judged by.
pub(crate) fn run(args: &PkiArgs, now: SystemTime, output: &mut Output) -> Result<u8, Failure> {
    output.set_json(args.json);
    let now = whole_seconds(now);
    match &args.command {
        PkiCommand::Init(args) => init::run(args, now, output),
        PkiCommand::Issue(args) => issue::run(args, now, output),
        PkiCommand::Inspect(args) => inspect::run(args, now, output),
    }
}

/// Certificates count in whole seconds; so do we, lest seven days look like six and a bit.
fn whole_seconds(time: SystemTime) -> SystemTime {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs())
}
