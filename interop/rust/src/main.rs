//! The Rust peer of the interop matrix; `interop/README.md` has what every peer understands.

mod certificates;
mod client;
mod server;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Writes the certificates that all peers use.
    Certificates { dir: PathBuf },
    /// Greets until standard input ends.
    Server(ServerArgs),
    /// Makes one call and prints what came of it.
    Client(ClientArgs),
}

#[derive(Args)]
struct ServerArgs {
    #[arg(long)]
    listen: String,
    #[arg(long, requires = "key", required_unless_present = "plaintext")]
    cert: Option<PathBuf>,
    #[arg(long, requires = "cert")]
    key: Option<PathBuf>,
    #[arg(long, requires = "cert")]
    client_ca: Option<PathBuf>,
    #[arg(long)]
    token: Option<String>,
    #[arg(long, conflicts_with = "cert")]
    plaintext: bool,
}

#[derive(Args)]
struct ClientArgs {
    #[arg(long)]
    target: String,
    #[arg(long)]
    ca: Option<PathBuf>,
    #[arg(long)]
    server_name: Option<String>,
    #[arg(long, requires = "key")]
    cert: Option<PathBuf>,
    #[arg(long, requires = "cert")]
    key: Option<PathBuf>,
    #[arg(long)]
    token: Option<String>,
    #[arg(long)]
    plaintext: bool,
    #[arg(long, default_value_t = 10_000)]
    timeout_ms: u64,
    #[arg(long)]
    stream: Option<u32>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let done: Result<(), Box<dyn Error>> = match Cli::parse().command {
        Command::Certificates { dir } => certificates::write(&dir).map_err(Into::into),
        Command::Server(args) => server::serve(args).await,
        Command::Client(args) => client::call(args).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
