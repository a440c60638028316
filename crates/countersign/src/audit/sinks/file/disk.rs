//! What the sink needs of a file system, so that a test can have one that is full.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::time::SystemTime;

pub(super) trait Disk: Send {
    /// Opens a file for appending, and creates it if it is not there.
    fn open(&self, path: &Path, mode: u32) -> io::Result<Box<dyn LogFile>>;
    /// Does nothing if there is no such file.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove(&self, path: &Path) -> io::Result<()>;
}

pub(super) trait LogFile: Send {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;
    fn sync(&mut self) -> io::Result<()>;
    fn length(&self) -> io::Result<u64>;
    /// When it was begun, if there is something in it.
    fn begun(&self) -> Option<SystemTime>;
    fn ends_within_a_line(&self) -> io::Result<bool>;
    /// Whether it is the one that stands there.
    fn is_at(&self, path: &Path) -> bool;
}

/// The operating system's.
pub(super) struct RealDisk;

impl Disk for RealDisk {
    fn open(&self, path: &Path, mode: u32) -> io::Result<Box<dyn LogFile>> {
        // Asked before: opening a pipe would wait for its reader.
        let is_new = match fs::metadata(path) {
            Ok(known) if !known.is_file() => {
                let message = "an audit file is a regular file; `JsonLines::to` writes to others";
                return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
            }
            Ok(_) => false,
            Err(_) => true,
        };
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
        #[cfg(not(unix))]
        let _ = mode;
        let file = options.open(path)?;
        if is_new {
            sync_folder_of(path);
        }
        Ok(Box::new(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        match fs::rename(from, to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
}

/// A new name is on disk when its folder is. Not every file system can, and none has to.
fn sync_folder_of(path: &Path) {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Ok(folder) = File::open(folder.unwrap_or(Path::new("."))) {
        let _ = folder.sync_all();
    }
}

impl LogFile for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::Write::write(self, bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn begun(&self) -> Option<SystemTime> {
        let known = self.metadata().ok().filter(|known| known.len() > 0)?;
        known.created().or_else(|_| known.modified()).ok()
    }

    fn ends_within_a_line(&self) -> io::Result<bool> {
        if self.length()? == 0 {
            return Ok(false);
        }
        let (mut file, mut last) = (self, [0]);
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        Ok(last != *b"\n")
    }

    #[cfg(unix)]
    fn is_at(&self, path: &Path) -> bool {
        use std::os::unix::fs::MetadataExt as _;
        let id = |known: fs::Metadata| (known.dev(), known.ino());
        match (self.metadata(), fs::metadata(path)) {
            (Ok(own), Ok(there)) => id(own) == id(there),
            _ => false,
        }
    }

    #[cfg(not(unix))]
    fn is_at(&self, path: &Path) -> bool {
        path.exists()
    }
}
