use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::FileSink;
use super::disk::RealDisk;

/// Makes a [`FileSink`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it opens"]
pub struct FileSinkBuilder {
    path: PathBuf,
    settings: Settings,
}

/// When what was written is on disk, and not only with the operating system, which survives the
/// end of the process and not of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fsync {
    /// When the operating system likes.
    Never,
    /// Events that were written less than so long ago may be lost with the machine.
    Every(Duration),
    /// Before an event counts as written. Events that come together share one `fdatasync`.
    Always,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub(super) max_bytes: u64,
    pub(super) max_age: Option<Duration>,
    pub(super) keep: u32,
    pub(super) mode: u32,
    pub(super) fsync: Fsync,
}

impl FileSinkBuilder {
    /// The most files that are kept.
    pub const MAX_KEPT: u32 = 1_000;

    pub(super) fn new(path: PathBuf) -> Self {
        let settings = Settings {
            max_bytes: 100 << 20,
            max_age: None,
            keep: 10,
            mode: 0o600,
            fsync: Fsync::Every(Duration::from_secs(1)),
        };
        Self { path, settings }
    }

    /// The file is put away before it has more bytes than this. Default: 100 MiB. A line is never
    /// divided, so a smaller limit than one means a file for each.
    pub fn rotate_at(mut self, bytes: u64) -> Self {
        self.settings.max_bytes = bytes;
        self
    }

    /// The file is put away before an event that is so much later than its first one. Default:
    /// its size alone counts.
    pub fn rotate_after(mut self, age: Duration) -> Self {
        self.settings.max_age = Some(age);
        self
    }

    /// How many files are kept besides the current one, as `path.1` (the youngest), `path.2` and
    /// so on; the oldest is removed. Default: 10; at most [`MAX_KEPT`](Self::MAX_KEPT).
    pub fn keep(mut self, files: u32) -> Self {
        self.settings.keep = files.min(Self::MAX_KEPT);
        self
    }

    /// When what was written is on disk. Default: every second.
    pub fn fsync(mut self, when: Fsync) -> Self {
        self.settings.fsync = when;
        self
    }

    /// New files are readable by their group as well (0640), for a program that ships them.
    /// Default: by their owner alone (0600).
    pub fn readable_by_group(mut self) -> Self {
        self.settings.mode = 0o640;
        self
    }

    /// Opens or creates the file. Blocks while it does. One process writes a file.
    ///
    /// # Errors
    ///
    /// It cannot be opened for reading and appending, or it is no regular file.
    pub fn open(self) -> io::Result<FileSink> {
        FileSink::on(self.path, self.settings, Box::new(RealDisk))
    }
}
