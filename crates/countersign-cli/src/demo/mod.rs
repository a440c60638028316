//! `countersign demo`: who gets in, who does not, and why, on real sockets.

mod attempts;
mod stage;
mod table;
mod tokens;

use std::time::Duration;

use clap::Args;
use serde_json::json;

use crate::exit;
use crate::interrupt::interruption;
use crate::output::{Failure, Output};
use stage::Stage;

/// Start a server with certificates made for the occasion, call it in every way that matters, and
/// show what came back and why
///
/// The exit code is 0 if every attempt came out as it must, and 1 if one did not.
#[derive(Args)]
pub(crate) struct DemoArgs {
    /// Leave the server running, and print commands to call it with
    #[arg(long)]
    keep: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the demo in a runtime of its own.
pub(crate) fn run(args: &DemoArgs, output: &mut Output) -> Result<u8, Failure> {
    output.set_json(args.json);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::config("cannot start the runtime").because(&error))?;
    let outcome = runtime.block_on(play(args, output));
    // Nothing that is left is worth waiting for.
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

async fn play(args: &DemoArgs, output: &mut Output) -> Result<u8, Failure> {
    let stage = Stage::build().await?;
    if !output.is_json() {
        output.say(format_args!(
            "A greeter listens on {}: TLS, client certificates optional, everything else denied.\n",
            stage.address()
        ));
    }
    let attempts = attempts::make(&stage).await?;
    let unexpected = attempts.iter().filter(|attempt| !attempt.is_as_it_must()).count();
    if output.is_json() {
        output.json(&json!({
            "attempts": attempts.iter().map(attempts::Attempt::to_json).collect::<Vec<_>>(),
            "as_expected": attempts.len() - unexpected,
            "unexpected": unexpected,
        }));
    } else {
        table::print(&attempts, output);
    }
    if args.keep {
        keep(&stage, output).await?;
    }
    stage.clear().await;
    Ok(if unexpected == 0 { exit::OK } else { exit::DENIED })
}

/// Leaves the server running until Ctrl-C.
async fn keep(stage: &Stage, output: &mut Output) -> Result<(), Failure> {
    // Before anything is printed, so that whoever has read it can interrupt.
    let interrupted = interruption()
        .map_err(|error| Failure::config("cannot wait for Ctrl-C").because(&error))?;
    let folder = stage.write_certificates()?;
    let dir = folder.path().display();
    let port = stage.address().port();
    let method = "countersign.demo.v1.Greeter/SayHello";
    let data = "-d '{\"name\":\"you\"}'";
    output.say("\nThe server goes on. In another terminal:\n");
    for (what, flags) in [
        ("with a token", format!("-H 'authorization: Bearer {}' ", stage::TOKEN)),
        ("with a client certificate", format!("-cert {dir}/bob.pem -key {dir}/bob.key ")),
        ("without either, which is refused", String::new()),
    ] {
        output.say(format_args!(
            "  # {what}\n  grpcurl -cacert {dir}/ca.pem {flags}{data} localhost:{port} {method}\n"
        ));
    }
    output.say("Ctrl-C ends it.");
    interrupted.await;
    Ok(())
}
