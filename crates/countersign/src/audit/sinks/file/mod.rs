mod builder;
mod disk;
#[cfg(test)]
mod tests;

pub use builder::{FileSinkBuilder, Fsync};

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use self::builder::Settings;
use self::disk::{Disk, LogFile};
use super::push_line;
use crate::audit::{AuditEvent, AuditSink, SinkError};

/// One JSON object a line, to a file that is replaced before it grows too large or too old.
///
/// A new file is readable and writable by its owner alone (0600); one that was there before keeps
/// its permissions. The last line that an earlier process could not finish is closed with a line
/// feed: it stays as the one line that is no JSON.
///
/// What cannot be written now, because the disk is full for instance, is tried again until it can
/// be. A file that was moved away or removed, by `logrotate` for instance, is made anew.
pub struct FileSink {
    path: PathBuf,
    settings: Settings,
    disk: Box<dyn Disk>,
    file: Option<Box<dyn LogFile>>,
    pending: VecDeque<Piece>,
    /// The bytes of the current file, with all that is pending for it.
    size: u64,
    /// The time of its first event, by the events' own clock.
    begun: Option<SystemTime>,
    synced: Instant,
    /// Something was written since.
    is_dirty: bool,
    line: Vec<u8>,
}

/// What is to be written to one file.
#[derive(Default)]
struct Piece {
    /// The file before it has to be put away first.
    rotates: bool,
    bytes: Vec<u8>,
    /// How many of them are written.
    done: usize,
}

impl FileSink {
    /// Opens or creates a file with the defaults of [`FileSinkBuilder`]. Blocks while it does.
    ///
    /// # Errors
    ///
    /// The file cannot be opened for reading and appending.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::builder(path).open()
    }

    /// Chooses when the file is rotated, what is kept, and when it is on disk.
    pub fn builder(path: impl AsRef<Path>) -> FileSinkBuilder {
        FileSinkBuilder::new(path.as_ref().to_owned())
    }

    fn on(path: PathBuf, settings: Settings, disk: Box<dyn Disk>) -> io::Result<Self> {
        let mut sink = Self {
            path,
            settings,
            disk,
            file: None,
            pending: VecDeque::new(),
            size: 0,
            begun: None,
            synced: Instant::now(),
            is_dirty: false,
            line: Vec::new(),
        };
        let file = sink.disk.open(&sink.path, sink.settings.mode)?;
        (sink.size, sink.begun) = (file.length()?, file.begun());
        if file.ends_within_a_line()? {
            sink.size += 1;
            sink.pending.push_back(Piece { bytes: vec![b'\n'], ..Piece::default() });
        }
        sink.file = Some(file);
        Ok(sink)
    }

    /// Puts the file away under `path.1`, that one under `path.2`, and so on.
    fn rotate(&mut self) -> io::Result<()> {
        if let Some(file) = &mut self.file
            && self.settings.fsync != Fsync::Never
        {
            file.sync()?;
        }
        let numbered = |number: u32| {
            let mut path = self.path.clone().into_os_string();
            path.push(format!(".{number}"));
            PathBuf::from(path)
        };
        match self.settings.keep {
            0 => self.disk.remove(&self.path)?,
            keep => {
                // The last one is replaced by the one before it.
                for number in (1..keep).rev() {
                    self.disk.rename(&numbered(number), &numbered(number + 1))?;
                }
                self.disk.rename(&self.path, &numbered(1))?;
            }
        }
        self.file = None;
        Ok(())
    }

    /// Opens the file if there is none, or if it is not where it was any more. Lines that were
    /// begun in another file are begun again.
    fn ensure_file(&mut self) -> io::Result<()> {
        if self.file.as_ref().is_some_and(|file| file.is_at(&self.path)) {
            return Ok(());
        }
        self.file = None;
        let file = self.disk.open(&self.path, self.settings.mode)?;
        let is_torn = file.ends_within_a_line()?;
        if let Some(piece) = self.pending.front_mut() {
            piece.begin_line_again();
            if is_torn {
                piece.bytes.insert(piece.done, b'\n');
            }
            if self.pending.len() == 1 {
                self.size = file.length()? + self.pending[0].left();
            }
        }
        self.file = Some(file);
        Ok(())
    }

    fn write_pending(&mut self) -> io::Result<()> {
        while let Some(piece) = self.pending.front_mut() {
            if std::mem::take(&mut piece.rotates)
                && let Err(error) = self.rotate()
            {
                // A record in a file that is too large is better than none.
                let path = self.path.display();
                tracing::warn!(%path, %error, "an audit file could not be rotated");
            }
            self.ensure_file()?;
            let (Some(piece), Some(file)) = (self.pending.front_mut(), &mut self.file) else {
                break;
            };
            while piece.done < piece.bytes.len() {
                match file.write(&piece.bytes[piece.done..]) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(written) => piece.done += written,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => return Err(error),
                }
                self.is_dirty = true;
            }
            self.pending.pop_front();
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        if let (true, Some(file)) = (self.is_dirty, &mut self.file) {
            file.sync()?;
            self.is_dirty = false;
        }
        self.synced = Instant::now();
        Ok(())
    }
}

impl Piece {
    /// The bytes that are not written.
    fn left(&self) -> u64 {
        (self.bytes.len() - self.done) as u64
    }

    fn begin_line_again(&mut self) {
        let line = self.bytes[..self.done].iter().rposition(|byte| *byte == b'\n');
        self.done = line.map_or(0, |at| at + 1);
    }
}

impl AuditSink for FileSink {
    fn write(&mut self, event: &AuditEvent) -> Result<(), SinkError> {
        self.line.clear();
        push_line(&mut self.line, event, false)?;
        let length = self.line.len() as u64;
        let Settings { max_bytes, max_age, .. } = self.settings;
        let is_full = self.size + length > max_bytes;
        let ends = self.begun.zip(max_age).and_then(|(begun, age)| begun.checked_add(age));
        if self.size > 0 && (is_full || ends.is_some_and(|ends| event.time() >= ends)) {
            self.pending.push_back(Piece { rotates: true, ..Piece::default() });
            (self.size, self.begun) = (0, None);
        }
        if self.pending.is_empty() {
            self.pending.push_back(Piece::default());
        }
        if let Some(piece) = self.pending.back_mut() {
            piece.bytes.extend_from_slice(&self.line);
        }
        self.size += length;
        self.begun.get_or_insert(event.time());
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        self.write_pending()?;
        match self.settings.fsync {
            Fsync::Always => self.sync()?,
            Fsync::Every(time) if self.synced.elapsed() >= time => self.sync()?,
            Fsync::Every(_) | Fsync::Never => {}
        }
        Ok(())
    }

    fn flush_again_in(&self) -> Option<Duration> {
        match self.settings.fsync {
            Fsync::Every(time) if self.is_dirty => Some(time.saturating_sub(self.synced.elapsed())),
            _ => None,
        }
    }

    fn close(&mut self) {
        if self.settings.fsync != Fsync::Never
            && let Err(error) = self.sync()
        {
            let path = self.path.display();
            tracing::warn!(%path, %error, "an audit file's end may not be on disk");
        }
    }
}

impl fmt::Debug for FileSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileSink").field("path", &self.path).finish_non_exhaustive()
    }
}
