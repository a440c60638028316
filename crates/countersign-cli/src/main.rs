//! The program `countersign`.

mod conformance;
mod demo;
mod exit;
mod interrupt;
mod output;
mod pki;

use std::process::ExitCode;
use std::time::SystemTime;

use clap::{Parser, Subcommand};

use crate::output::Output;

/// Who is calling, how do we know, and why not.
#[derive(Parser)]
#[command(name = "countersign", version)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Conformance(conformance::ConformanceArgs),
    Demo(demo::DemoArgs),
    Pki(pki::PkiArgs),
}

fn main() -> ExitCode {
    run(Cli::parse())
}

#[expect(clippy::disallowed_methods, reason = "the program reads the time and hands it in")]
fn run(cli: Cli) -> ExitCode {
    let mut output = Output::standard();
    let done = match cli.verb {
        Verb::Conformance(args) => conformance::run(&args),
        Verb::Demo(args) => demo::run(&args, &mut output),
        Verb::Pki(args) => pki::run(&args, SystemTime::now(), &mut output),
    };
    let code = done.unwrap_or_else(|failure| {
        output.failure(&failure);
        failure.code
    });
    output.finish(code)
}
