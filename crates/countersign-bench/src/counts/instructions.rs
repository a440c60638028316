//! Instructions per operation, counted by callgrind.

use std::path::Path;
use std::process::Command;

use super::{COUNTED, COUNTED_FUNCTION};

/// What makes the count the same on every machine of an architecture, and in every run.
///
/// Callgrind shows a program the processor's own features, and glibc and aws-lc choose their
/// routines by them. Here both are told to use what every x86-64 machine has. The counts are a
/// little higher than those of a fast machine, and comparable.
///
/// The operations' inputs are made beforehand, so many blocks are freed in a row. Their thread's
/// cache is made large enough for all of them, as it is for those of one call: beyond it, malloc
/// tidies up at moments that depend on where the blocks happen to lie.
const SAME_EVERYWHERE: &[(&str, &str)] = &[
    (
        "GLIBC_TUNABLES",
        "glibc.malloc.tcache_count=65535:glibc.cpu.hwcaps=-AVX,-AVX2,-AVX_Usable,-AVX2_Usable,\
         -AVX_Fast_Unaligned_Load,-ERMS,-FSRM,-AVX512F,-AVX512VL,-AVX512BW,-BMI1,-BMI2,-LZCNT,\
         -RTM,-MOVBE",
    ),
    // No AVX, FMA or RDRAND in the first word, nothing at all in the second (AVX2, BMI, ADX, SHA).
    ("OPENSSL_ia32cap", "~0x5000100000000000:~0xffffffffffffffff"),
];

/// Why there is no count.
#[derive(Debug, thiserror::Error)]
pub enum CountError {
    /// A program cannot be started.
    #[error("cannot run `{program}`")]
    Start {
        /// The program.
        program: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// A program failed, or did not say what it was asked for.
    #[error("`{program}` gave no count for {case:?}:\n{said}")]
    NoCount {
        /// The program.
        program: String,
        /// The case.
        case: String,
        /// What it wrote.
        said: String,
    },
}

/// Counts one case, by running `program` (which takes the case's name) under callgrind. What
/// callgrind found stays in `details`, for `callgrind_annotate`.
///
/// # Errors
///
/// When valgrind is missing, or says no count.
pub fn count(program: &Path, case: &str, details: &Path) -> Result<u64, CountError> {
    let mut command = Command::new("valgrind");
    command
        .arg("--tool=callgrind")
        .arg(format!("--toggle-collect={COUNTED_FUNCTION}"))
        .arg(format!("--callgrind-out-file={}", details.display()))
        .arg(program)
        .arg(case)
        .envs(SAME_EVERYWHERE.iter().copied());
    let said = output(command, "valgrind", case)?;
    // ==123== Collected : 1234567
    let collected = said.lines().find_map(|line| line.split_once("Collected : "));
    collected
        .and_then(|(_, number)| number.trim().parse::<u64>().ok())
        .filter(|count| *count > 0)
        .map(|count| (count + COUNTED as u64 / 2) / COUNTED as u64)
        .ok_or_else(|| CountError::NoCount {
            program: "valgrind".to_owned(),
            case: case.to_owned(),
            said,
        })
}

/// Runs a program to its end and returns what it wrote, on either stream.
pub(super) fn output(mut command: Command, name: &str, case: &str) -> Result<String, CountError> {
    let output = command
        .output()
        .map_err(|source| CountError::Start { program: name.to_owned(), source })?;
    let said =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    let said = said.concat();
    match output.status.success() {
        true => Ok(said),
        false => Err(CountError::NoCount { program: name.to_owned(), case: case.to_owned(), said }),
    }
}
