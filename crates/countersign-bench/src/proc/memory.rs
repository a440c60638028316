//! How much memory a server occupies.

use std::fs;
use std::io;

/// The memory of a process that is in RAM, in KiB.
///
/// # Errors
///
/// When the process is gone.
pub(crate) fn resident_kib(pid: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    resident_in(&status)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the status has no VmRSS"))
}

fn resident_in(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_from_the_status() {
        assert_eq!(resident_in("VmHWM:\t  9 kB\nVmRSS:\t  5120 kB\n"), Some(5120));
        assert_eq!(resident_in("VmHWM:\t  9 kB\n"), None);
    }
}
