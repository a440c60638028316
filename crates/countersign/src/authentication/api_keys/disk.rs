//! Files that are replaced whole or not at all, and that only their owner can read.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::random;

/// Reads a file of at most `max_bytes`.
pub(super) fn read(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(max_bytes + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 <= max_bytes {
        true => Ok(bytes),
        false => Err(io::Error::other(format!("it is larger than {max_bytes} bytes"))),
    }
}

/// Makes a file; one that is there stays as it is, which is an error.
pub(super) fn create(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // Written under another name first: nobody sees half of it.
    let staged = stage(path, bytes)?;
    fs::hard_link(&staged.0, path)
}

/// Replaces a file, or makes it.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // Through a link, lest the link itself is replaced.
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let staged = stage(path, bytes)?;
    fs::rename(&staged.0, path)?;
    sync_folder(path);
    Ok(())
}

/// Held while a file is read and replaced. Ends with the value, and with the process.
pub(super) fn lock(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    let lock = owners_only(&mut options).open(beside(path, ".lock"))?;
    #[cfg(unix)]
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)?;
    Ok(lock)
}

/// `keys.json.lock` for `keys.json` and `.lock`.
pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// A file under a temporary name, which goes when it has not become another's.
struct Staged(PathBuf);

impl Drop for Staged {
    fn drop(&mut self) {
        // It is gone already when it was renamed.
        let _ = fs::remove_file(&self.0);
    }
}

fn stage(path: &Path, bytes: &[u8]) -> io::Result<Staged> {
    let mut name = [0; 8];
    random::base62(&mut name).map_err(io::Error::other)?;
    let name = std::str::from_utf8(&name).expect("ASCII");
    let staged = beside(path, &format!(".{name}"));
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    let mut file = owners_only(&mut options).open(&staged)?;
    let staged = Staged(staged);
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(staged)
}

fn owners_only(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

/// That the rename survives a power cut. Where a folder cannot be synced, the system does it.
fn sync_folder(path: &Path) {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
}
