//! The program `countersign`.

mod config;
mod conformance;
mod demo;
mod dev;
mod exit;
mod interrupt;
mod issuer;
mod key;
mod output;
mod pki;
mod policy;
mod token;

use std::process::ExitCode;
use std::time::SystemTime;

use clap::{Parser, Subcommand};

use crate::output::Output;

/// Who is calling, how do we know, and why not.
#[derive(Parser)]
#[command(name = "countersign", version, after_help = exit::HELP)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    CanI(policy::CanIArgs),
    Conformance(conformance::ConformanceArgs),
    Demo(demo::DemoArgs),
    Dev(dev::DevArgs),
    Key(key::KeyArgs),
    Pki(pki::PkiArgs),
    Policy(policy::PolicyArgs),
    Token(token::TokenArgs),
}

fn main() -> ExitCode {
    run(Cli::parse())
}

#[expect(clippy::disallowed_methods, reason = "the program reads the time and hands it in")]
fn run(cli: Cli) -> ExitCode {
    let mut output = Output::standard();
    let done = match cli.verb {
        Verb::CanI(args) => policy::can_i(&args, SystemTime::now(), &mut output),
        Verb::Conformance(args) => conformance::run(&args),
        Verb::Demo(args) => demo::run(&args, &mut output),
        Verb::Dev(args) => dev::run(&args, SystemTime::now(), &mut output),
        Verb::Key(args) => key::run(&args, &mut output),
        Verb::Pki(args) => pki::run(&args, SystemTime::now(), &mut output),
        Verb::Policy(args) => policy::run(&args, SystemTime::now(), &mut output),
        Verb::Token(args) => token::run(&args, SystemTime::now(), &mut output),
    };
    let code = done.unwrap_or_else(|failure| {
        output.failure(&failure);
        failure.code
    });
    output.finish(code)
}
