//! A core for the servers and another for the load.

use std::fmt;
use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Which cores are used for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    /// Servers on the first core, load on the second.
    Apart {
        /// For servers.
        server: usize,
        /// For this process.
        load: usize,
    },
    /// Wherever the system likes: there is one core, or no leave to choose.
    Unpinned,
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Apart { server, load } => {
                write!(f, "servers on core {server}, load on core {load}")
            }
            Self::Unpinned => f.write_str("not pinned to cores"),
        }
    }
}

/// Chooses cores, and puts the calling thread on that of the load.
pub(crate) fn placement() -> Placement {
    let Ok(allowed) = sched_getaffinity(None) else { return Placement::Unpinned };
    let mut cores = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core));
    let (Some(server), Some(load)) = (cores.next(), cores.next()) else {
        return Placement::Unpinned;
    };
    match stay_on(load) {
        Ok(()) => Placement::Apart { server, load },
        Err(_) => Placement::Unpinned,
    }
}

impl Placement {
    /// Both cores, where there are two and leave to choose.
    pub(crate) fn cores(self) -> Option<[usize; 2]> {
        match self {
            Self::Apart { server, load } => Some([server, load]),
            Self::Unpinned => None,
        }
    }

    /// Runs something on the servers' core: a process that it starts is born there, and so are
    /// all its threads.
    pub(crate) fn on_server_core<T>(self, start: impl FnOnce() -> T) -> io::Result<T> {
        let Self::Apart { server, load } = self else { return Ok(start()) };
        stay_on(server)?;
        let started = start();
        stay_on(load)?;
        Ok(started)
    }

    /// Runs something where it may have both cores.
    pub(crate) fn on_both_cores<T>(self, start: impl FnOnce() -> T) -> io::Result<T> {
        let Self::Apart { server, load } = self else { return Ok(start()) };
        let mut both = CpuSet::new();
        both.set(server);
        both.set(load);
        sched_setaffinity(None, &both)?;
        let started = start();
        stay_on(load)?;
        Ok(started)
    }
}

/// Keeps the calling thread, and those that it starts from now on, on one core.
pub(crate) fn stay_on(core: usize) -> io::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    Ok(sched_setaffinity(None, &cores)?)
}

/// Sets the limit on open files, or raises it as far as allowed; returns what it is then.
pub(crate) fn open_files(wanted: Option<u64>) -> io::Result<u64> {
    let now = getrlimit(Resource::Nofile);
    let current = wanted.or(now.maximum);
    setrlimit(Resource::Nofile, Rlimit { current, maximum: now.maximum })?;
    Ok(current.unwrap_or(u64::MAX))
}
