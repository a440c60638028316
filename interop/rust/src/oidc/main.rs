//! Meets a certified OpenID provider: our gate before a greeter, with tokens that the provider
//! gives out. `interop/oidc/README.md` has the rest.

mod dpop;
mod grpc_go;
mod introspection;
mod jwt;
mod provider;
mod sources;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::world::{Failure, Scenario, World};

#[derive(Parser)]
struct Cli {
    /// The provider's program.
    #[arg(long)]
    provider: PathBuf,
    /// The grpc-go peer's program.
    #[arg(long)]
    grpc_go: PathBuf,
    /// Where certificates are written to.
    #[arg(long)]
    certificates: PathBuf,
    /// Only scenarios whose name holds this.
    #[arg(long, default_value = "")]
    only: String,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli).await {
        Ok((passed, failed)) => {
            println!("{passed} passed, {failed} failed");
            if failed > 0 { ExitCode::from(1) } else { ExitCode::SUCCESS }
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

/// Every scenario has a provider of its own, so that none finds what another left.
async fn run(cli: &Cli) -> Result<(usize, usize), Failure> {
    let all: Vec<Scenario> = [introspection::scenarios(), jwt::scenarios(), sources::scenarios()]
        .into_iter()
        .flatten()
        .collect();
    let (mut passed, mut failed) = (0, 0);
    for scenario in all.into_iter().filter(|scenario| scenario.name.contains(&cli.only)) {
        let outcome = match World::start(&cli.provider, &cli.grpc_go, &cli.certificates).await {
            Ok(world) => (scenario.run)(world).await,
            Err(failure) => Err(failure),
        };
        match outcome {
            Ok(()) => {
                passed += 1;
                println!("ok    {}", scenario.name);
            }
            Err(failure) => {
                failed += 1;
                println!("FAIL  {}: {failure}", scenario.name);
            }
        }
    }
    match passed + failed {
        0 => Err(format!("no scenario is named like `{}`", cli.only).into()),
        _ => Ok((passed, failed)),
    }
}
