use std::fs::{OpenOptions, remove_file};
use std::path::{Path, PathBuf};

/// A named pipe: opening it to read hangs until somebody writes, as a file system does whose
/// server is gone.
pub(crate) struct Pipe {
    path: PathBuf,
}

impl Pipe {
    pub(crate) fn new(path: PathBuf) -> Self {
        let made = std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo");
        assert!(made.success());
        Self { path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Lets everybody go who hangs in it: a runtime does not end before its threads do. To be dropped
/// before the runtime is.
impl Drop for Pipe {
    fn drop(&mut self) {
        // Who opens it for both waits for nobody. Who comes later finds nothing.
        let both = OpenOptions::new().read(true).write(true).open(&self.path);
        let _ = remove_file(&self.path);
        drop(both);
    }
}
