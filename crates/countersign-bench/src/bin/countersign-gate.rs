//! Counts every case of `bench/gate` and compares the counts with the committed ones.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::Parser;
use countersign_bench::counts::baseline::{Baseline, Counts, Tools};
use countersign_bench::counts::cases::{CASES, Case};
use countersign_bench::counts::compare::{Comparison, TOLERANCE, compare};
use countersign_bench::counts::instructions::CountError;
use countersign_bench::counts::{allocations, instructions, table};

/// Counts instructions and allocations, and fails when one grew.
#[derive(Debug, Parser)]
#[command(name = "bench/gate")]
struct Arguments {
    /// The committed counts.
    #[arg(long, default_value = "bench/baseline.json")]
    baseline: PathBuf,
    /// Writes the counts to the baseline instead of comparing.
    #[arg(long)]
    update: bool,
    /// Where callgrind's findings go, for `callgrind_annotate`.
    #[arg(long, default_value = "target/gate")]
    details: PathBuf,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                eprintln!("  cause: {error}");
                cause = error.source();
            }
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<ExitCode, Box<dyn Error>> {
    std::fs::create_dir_all(&arguments.details)?;
    let committed = match Baseline::read(&arguments.baseline) {
        Err(_) if arguments.update => Baseline::default(),
        read => read?,
    };
    let mut counted = count_all(&arguments.details)?;
    let comparisons = compare(&committed, &counted);
    print!("{}", table::render(&comparisons));
    if arguments.update {
        counted.keep_tolerances_of(&committed);
        counted.write(&arguments.baseline)?;
        println!("wrote `{}`", arguments.baseline.display());
        return Ok(ExitCode::SUCCESS);
    }
    Ok(judge(&comparisons, &committed.made_with, &counted.made_with, &arguments.details))
}

fn judge(comparisons: &[Comparison], committed: &Tools, here: &Tools, details: &Path) -> ExitCode {
    let failed = comparisons.iter().filter(|one| one.fails()).count();
    if failed == 0 {
        println!("no count grew by more than {} %", 100.0 * TOLERANCE);
        return ExitCode::SUCCESS;
    }
    eprintln!("error: {failed} of {} cases do not hold", comparisons.len());
    for (what, committed, here) in [
        ("architecture", &committed.architecture, &here.architecture),
        ("compiler", &committed.compiler, &here.compiler),
        ("valgrind", &committed.valgrind, &here.valgrind),
    ] {
        if committed != here {
            eprintln!("  cause: perhaps another {what}: {here}, and the baseline's is {committed}");
        }
    }
    let details = details.display();
    eprintln!("  hint:  `callgrind_annotate {details}/<case>.out` lists the functions;");
    eprintln!("         if it has to be so, run `bench/gate --update` and say why");
    ExitCode::FAILURE
}

/// Counts case by case, two at a time: a count does not depend on the machine's load.
fn count_all(details: &Path) -> Result<Baseline, Box<dyn Error>> {
    let folder = std::env::current_exe()?.with_file_name("");
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(case) = CASES.get(next.fetch_add(1, Ordering::Relaxed)) {
                    eprintln!("counting {}", case.name);
                    let counts = count(&folder, details, case);
                    results.lock().expect("never poisoned").push((case.name.to_owned(), counts));
                }
            });
        }
    });
    let cases = results.into_inner().expect("never poisoned");
    let cases = cases.into_iter().map(|(name, counts)| Ok((name, counts?)));
    Ok(Baseline { made_with: tools()?, cases: cases.collect::<Result<_, CountError>>()? })
}

fn count(folder: &Path, details: &Path, case: &Case) -> Result<Counts, CountError> {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let details = details.join(case.name.chars().map(plain).collect::<String>() + ".out");
    let program = folder.join("countersign-instructions");
    let instructions = match case.instructions {
        true => Some(instructions::count(&program, case.name, &details)?),
        false => None,
    };
    let allocations = allocations::count(&folder.join("countersign-allocations"), case.name)?;
    Ok(Counts { instructions, allocations, tolerance: None })
}

fn tools() -> Result<Tools, std::io::Error> {
    let version = |program: &str| {
        let output = Command::new(program).arg("--version").output()?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    Ok(Tools {
        architecture: std::env::consts::ARCH.to_owned(),
        compiler: version("rustc")?,
        valgrind: version("valgrind")?,
    })
}
