//! A file that hangs, as one does whose server is gone. For tests.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use countersign_testkit::wait::until;
use rustix::fs::OFlags;

/// Whoever opens it waits until it is fed, or dropped. It is to be dropped before the runtime,
/// which waits for its threads.
pub(crate) struct Fifo {
    path: PathBuf,
}

impl Fifo {
    /// In the place of whatever is there.
    pub(crate) fn at(path: &Path) -> Self {
        let _ = std::fs::remove_file(path);
        let made = std::process::Command::new("mkfifo").arg(path).status().expect("mkfifo");
        assert!(made.success());
        Self { path: path.to_owned() }
    }

    /// Gives this to the one who reads, and waits for one.
    pub(crate) async fn feed(&self, text: impl AsRef<[u8]>) {
        let mut end = None;
        until("somebody reads", || {
            end = write_end(&self.path);
            end.is_some()
        })
        .await;
        end.expect("opened").write_all(text.as_ref()).expect("written");
    }
}

impl Drop for Fifo {
    fn drop(&mut self) {
        // Whoever comes later finds nothing; who is there already finds the end.
        let aside = self.path.with_extension("aside");
        if std::fs::rename(&self.path, &aside).is_ok() {
            drop(write_end(&aside));
            let _ = std::fs::remove_file(&aside);
        }
    }
}

/// `None` while nobody reads.
fn write_end(path: &Path) -> Option<File> {
    let without_waiting = OFlags::NONBLOCK.bits().cast_signed();
    OpenOptions::new().write(true).custom_flags(without_waiting).open(path).ok()
}
