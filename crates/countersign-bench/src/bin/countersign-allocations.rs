//! Prints how often one case of `bench/gate` allocates per operation.

use std::alloc::System;
use std::process::ExitCode;

use countersign_bench::counts::allocations::per_operation;
use countersign_bench::counts::cases::Case;
use stats_alloc::StatsAlloc;

#[global_allocator]
static ALLOCATOR: StatsAlloc<System> = StatsAlloc::system();

fn main() -> ExitCode {
    let name = std::env::args().nth(1).unwrap_or_default();
    let Some(case) = Case::named(&name) else {
        eprintln!("error: there is no case {name:?}");
        return ExitCode::FAILURE;
    };
    println!("{}", per_operation(&ALLOCATOR, &mut *case.make()));
    ExitCode::SUCCESS
}
