//! The suites, and what they share.

mod accept;
mod bench;
mod calls;
mod client;
mod curves;
mod handshakes;
mod memory;
mod micro;

use std::error::Error;

use bench::Bench;

use crate::options::{Options, Suite};
use crate::peers::Peers;
use crate::proc::Placement;
use crate::report::Report;

/// Sections and their rows.
#[cfg(test)]
pub(crate) type Names = Vec<(String, Vec<String>)>;

/// Every section of a full run with the names of its rows, which others refer to.
#[cfg(test)]
pub(crate) fn names() -> Result<Names, Box<dyn Error>> {
    use clap::Parser as _;

    use crate::options::{Cli, Command};

    let Command::All(options) = Cli::try_parse_from(["countersign-bench", "all"])?.command else {
        return Err("`all` is a command".into());
    };
    let peers = Peers::default();
    let bench = Bench::new(&options, &peers, Placement::Unpinned)?;
    let mut found = micro::names();
    found.extend(calls::names(&bench)?);
    found.extend(client::names(&bench));
    found.extend(handshakes::names(&bench)?);
    found.extend(accept::names(&bench));
    found.extend(memory::names(&bench)?);
    found.extend(curves::names(&bench)?);
    Ok(found)
}

/// Runs one suite and adds what it finds to the report.
///
/// # Errors
///
/// What kept the suite from measuring anything; a sample that goes wrong is in the report.
pub(crate) fn run(
    suite: Suite,
    options: &Options,
    peers: &Peers,
    placement: Placement,
    report: &mut Report,
) -> Result<(), Box<dyn Error>> {
    if suite == Suite::Micro {
        micro::run(options, placement, report);
        return Ok(());
    }
    let bench = Bench::new(options, peers, placement)?;
    // One thread, so that the load stays on its core.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match suite {
            Suite::Calls => calls::run(&bench, report).await,
            Suite::Client => client::run(&bench, report).await,
            Suite::Handshakes => handshakes::run(&bench, report).await,
            Suite::Accept => accept::run(&bench, report).await,
            Suite::Memory => memory::run(&bench, report).await,
            Suite::Curves => curves::run(&bench, report).await,
            Suite::Micro => Ok(()),
        }
    })?;
    if suite == Suite::Curves && options.sections.is_empty() {
        micro::curves(options, report);
    }
    Ok(())
}
