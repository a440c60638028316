//! Files that are written whole or not at all, and keys that only their owner can read.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;
use zeroize::Zeroizing;

use crate::output::Failure;

/// The mode of a private key's file: its owner reads and writes it, nobody else does either.
pub(crate) const PRIVATE: u32 = 0o600;

/// The mode of a certificate's file, before the umask.
pub(crate) const PUBLIC: u32 = 0o644;

/// The mode of a directory that holds keys.
#[cfg(unix)]
const DIRECTORY: u32 = 0o700;

/// A file to write.
pub(crate) struct NewFile<'a> {
    pub(crate) path: &'a Path,
    pub(crate) contents: &'a [u8],
    pub(crate) mode: u32,
}

/// Writes files that belong together.
///
/// All of them are complete under temporary names before the first gets its own. A file that is
/// there already is replaced with `force`; without, it is left as it is and none is written.
pub(crate) fn write(files: &[NewFile<'_>], force: bool) -> Result<(), Failure> {
    if !force {
        for file in files {
            // The link itself counts, wherever it points.
            if fs::symlink_metadata(file.path).is_ok() {
                return Err(exists(file.path));
            }
        }
    }
    let staged = files
        .iter()
        .map(|file| stage(file).map_err(|error| cannot("write", file.path, &error)))
        .collect::<Result<Vec<_>, _>>()?;
    let mut written: Vec<&Path> = Vec::new();
    for (file, staged) in files.iter().zip(staged) {
        let placed =
            if force { staged.persist(file.path) } else { staged.persist_noclobber(file.path) };
        if let Err(error) = placed {
            // Another program was faster. What we put there a moment ago goes with us.
            if !force {
                for path in written {
                    let _ = fs::remove_file(path);
                }
            }
            return Err(match error.error.kind() {
                io::ErrorKind::AlreadyExists => exists(file.path),
                _ => cannot("write", file.path, &error.error),
            });
        }
        written.push(file.path);
    }
    Ok(())
}

fn stage(file: &NewFile<'_>) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(file.mode));
    #[cfg(not(unix))]
    let _ = file.mode;
    let mut staged = builder.tempfile_in(parent(file.path))?;
    staged.write_all(file.contents)?;
    staged.as_file().sync_all()?;
    Ok(staged)
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

fn exists(path: &Path) -> Failure {
    Failure::config(format!("`{}` already exists", path.display()))
        .cause("files are never replaced unasked, since a lost key cannot be brought back")
        .hint("add `--force` to replace it")
}

/// Makes a directory that only its owner can enter, and says whether it is new.
pub(crate) fn make_directory(dir: &Path) -> Result<bool, Failure> {
    if dir.is_dir() {
        return Ok(false);
    }
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, DIRECTORY);
    builder.create(dir).map_err(|error| cannot("make", dir, &error))?;
    Ok(true)
}

/// Reads a file of at most `max_bytes`. It may hold a key, so it is wiped after use.
pub(crate) fn read(path: &Path, max_bytes: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    if path.as_os_str() == OsStr::new("-") {
        return read_from(io::stdin().lock(), max_bytes, 0);
    }
    let file = File::open(path)?;
    let expected = file.metadata()?.len().min(max_bytes);
    read_from(file, max_bytes, usize::try_from(expected).unwrap_or(0))
}

fn read_from(
    source: impl io::Read,
    max_bytes: u64,
    expected: usize,
) -> io::Result<Zeroizing<Vec<u8>>> {
    // Room for everything and the end, since a buffer that grows leaves its old copy behind.
    let mut contents = Zeroizing::new(Vec::with_capacity(expected.saturating_add(64)));
    source.take(max_bytes.saturating_add(1)).read_to_end(&mut contents)?;
    if u64::try_from(contents.len()).is_ok_and(|read| read <= max_bytes) {
        Ok(contents)
    } else {
        Err(io::Error::other(format!("it is larger than {max_bytes} bytes")))
    }
}

/// `cannot write `x`` and why.
pub(crate) fn cannot(verb: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::config(format!("cannot {verb} `{}`", path.display())).because(error)
}

/// The mode of a file that others than its owner can read, if they can.
#[cfg(unix)]
pub(crate) fn exposed_mode(path: &Path) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt as _;

    let mode = fs::metadata(path).ok()?.permissions().mode() & 0o777;
    (mode & 0o077 != 0).then_some(mode)
}

/// Modes are a Unix matter.
#[cfg(not(unix))]
pub(crate) fn exposed_mode(_: &Path) -> Option<u32> {
    None
}

/// `name.pem` and `name.key`: in `dir` for a bare name, where it points to for a path.
pub(crate) fn pair(dir: &Path, name: &str) -> (PathBuf, PathBuf) {
    let name = name.strip_suffix(".pem").unwrap_or(name);
    let base =
        if name.contains(std::path::is_separator) { PathBuf::from(name) } else { dir.join(name) };
    let with = |extension: &str| {
        let mut path = base.clone().into_os_string();
        path.push(extension);
        PathBuf::from(path)
    };
    (with(".pem"), with(".key"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files<'a>(first: &'a Path, second: &'a Path, contents: &'a [u8]) -> [NewFile<'a>; 2] {
        [
            NewFile { path: first, contents, mode: PRIVATE },
            NewFile { path: second, contents, mode: PUBLIC },
        ]
    }

    #[test]
    fn files_that_are_not_there_are_written() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (dir.path().join("a"), dir.path().join("b"));
        write(&files(&first, &second, b"new"), false).unwrap();
        assert_eq!(fs::read(&first).unwrap(), b"new");
        assert_eq!(fs::read(&second).unwrap(), b"new");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn one_file_that_is_there_keeps_all_from_being_written() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (dir.path().join("a"), dir.path().join("b"));
        fs::write(&second, "old").unwrap();
        assert!(write(&files(&first, &second, b"new"), false).is_err());
        assert!(!first.exists());
        assert_eq!(fs::read(&second).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn force_replaces_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (dir.path().join("a"), dir.path().join("b"));
        fs::write(&second, "old").unwrap();
        write(&files(&first, &second, b"new"), true).unwrap();
        assert_eq!(fs::read(&second).unwrap(), b"new");
    }

    #[test]
    fn a_file_up_to_the_limit_is_read_and_a_larger_one_is_not() {
        assert_eq!(*read_from(&b"1234"[..], 4, 4).unwrap(), b"1234");
        assert!(read_from(&b"12345"[..], 4, 4).is_err());
    }

    #[test]
    fn a_bare_name_stays_in_the_directory_and_a_path_does_not() {
        let dir = Path::new("store");
        assert_eq!(pair(dir, "server").0, Path::new("store/server.pem"));
        assert_eq!(pair(dir, "server.pem").1, Path::new("store/server.key"));
        assert_eq!(pair(dir, "v1.2").1, Path::new("store/v1.2.key"));
        assert_eq!(pair(dir, "./server").0, Path::new("./server.pem"));
    }
}
