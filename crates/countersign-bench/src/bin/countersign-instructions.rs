//! Performs one case of `bench/gate`, for callgrind to count.

use std::process::ExitCode;

use countersign_bench::counts;
use countersign_bench::counts::cases::Case;

fn main() -> ExitCode {
    let name = std::env::args().nth(1).unwrap_or_default();
    let Some(case) = Case::named(&name) else {
        eprintln!("error: there is no case {name:?}");
        return ExitCode::FAILURE;
    };
    counts::run(&mut *case.make());
    ExitCode::SUCCESS
}
