//! How much CPU time a server has used, to the nanosecond.

use std::fs;
use std::io;
use std::time::Duration;

/// The CPU time of a process, with all its threads and children.
///
/// From the scheduler's statistics of each thread (`schedstat`), whose first field is the time on
/// a CPU in nanoseconds; `stat` counts in ticks of 10 ms.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CpuClock {
    pid: u32,
    children: bool,
}

impl CpuClock {
    /// Of a process without children.
    pub(crate) fn of(pid: u32) -> Self {
        Self { pid, children: false }
    }

    /// Of a process and those that it started: a peer may be a script, or have workers.
    pub(crate) fn of_tree(pid: u32) -> Self {
        Self { pid, children: true }
    }

    /// The time used up to now. Threads that ended are no longer in it.
    ///
    /// # Errors
    ///
    /// When the process is gone, or the system keeps no such statistics.
    pub(crate) fn now(self) -> io::Result<Duration> {
        let mut total = Duration::ZERO;
        for pid in self.processes()? {
            total += process(pid)?;
        }
        Ok(total)
    }

    fn processes(self) -> io::Result<Vec<u32>> {
        let mut found = vec![self.pid];
        if !self.children {
            return Ok(found);
        }
        let parents = parents()?;
        let mut next = 0;
        while let Some(&parent) = found.get(next) {
            found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| pid));
            next += 1;
        }
        Ok(found)
    }
}

fn process(pid: u32) -> io::Result<Duration> {
    let mut total = Duration::ZERO;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        match fs::read_to_string(task?.path().join("schedstat")) {
            Ok(text) => total += on_cpu(&text)?,
            // It ended since it was listed.
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(total)
}

/// Reading a thread that is ending gives either of two errors.
fn is_gone(error: &io::Error) -> bool {
    const NO_SUCH_PROCESS: i32 = 3;
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(NO_SUCH_PROCESS)
}

/// The first field of `schedstat`.
fn on_cpu(schedstat: &str) -> io::Result<Duration> {
    let first = schedstat.split_whitespace().next().and_then(|field| field.parse().ok());
    first.map(Duration::from_nanos).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, format!("cannot read schedstat {schedstat:?}"))
    })
}

/// Every process with its parent.
fn parents() -> io::Result<Vec<(u32, u32)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let parent = fs::read_to_string(entry.path().join("stat"));
        if let Some(parent) = parent.ok().as_deref().and_then(parent_in) {
            found.push((pid, parent));
        }
    }
    Ok(found)
}

/// The fourth field of `stat`. The second is a name in parentheses that may hold anything.
fn parent_in(stat: &str) -> Option<u32> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_field_is_nanoseconds_on_a_cpu() {
        let read = on_cpu("123456789 42 7\n").expect("a number");
        assert_eq!(read, Duration::from_nanos(123_456_789));
        assert!(on_cpu("").is_err());
        assert!(on_cpu("-1 0 0").is_err());
    }

    #[test]
    fn a_parent_is_found_behind_an_odd_name() {
        assert_eq!(parent_in("17 (a) b) (c) S 4 17 17"), Some(4));
        assert_eq!(parent_in("17 a S 4"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_clock_of_this_process_does_not_go_back() {
        let clock = CpuClock::of_tree(std::process::id());
        let before = clock.now().expect("statistics");
        assert!(before > Duration::ZERO);
        // Other tests' threads may end meanwhile, so nothing is said of the second reading.
        clock.now().expect("statistics");
    }

    #[test]
    fn a_process_that_is_not_there_has_no_time() {
        assert!(CpuClock::of(u32::MAX).now().is_err());
    }
}
