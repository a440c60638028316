//! `countersign key`: API keys, made, listed, replaced and taken back.

mod args;
mod change;
mod create;
mod look;
mod report;
mod store;
mod verify;

use clap::{Args, Subcommand};

use crate::output::{Failure, Output};

/// Make API keys, list them, replace them and take them back
#[derive(Args, Debug)]
pub(crate) struct KeyArgs {
    /// Print one JSON object on standard output
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Subcommand, Debug)]
enum KeyCommand {
    Create(create::CreateArgs),
    List(look::ListArgs),
    Show(look::ShowArgs),
    Rotate(change::RotateArgs),
    Revoke(change::RevokeArgs),
    Verify(verify::VerifyArgs),
}

/// Runs the verb in a runtime of its own and returns the exit code (see [`crate::exit`]).
pub(crate) fn run(args: &KeyArgs, output: &mut Output) -> Result<u8, Failure> {
    output.set_json(args.json);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::config("cannot start the runtime").because(&error))?;
    runtime.block_on(async {
        match &args.command {
            KeyCommand::Create(args) => create::run(args, output).await,
            KeyCommand::List(args) => look::list(args, output).await,
            KeyCommand::Show(args) => look::show(args, output).await,
            KeyCommand::Rotate(args) => change::rotate(args, output).await,
            KeyCommand::Revoke(args) => change::revoke(args, output).await,
            KeyCommand::Verify(args) => verify::run(args, output).await,
        }
    })
}
