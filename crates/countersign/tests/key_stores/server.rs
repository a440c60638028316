//! A PostgreSQL server of the test's own.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use countersign_testkit::pki::Certificate;
use countersign_testkit::wait::until;
use tempfile::TempDir;

use super::ports::ClosedPort;

/// `nobody`, as whom the server runs when the test is root: PostgreSQL refuses to be root.
const NOBODY: u32 = 65_534;

/// A server with an empty database, until this is dropped.
pub(crate) struct Server {
    folder: TempDir,
    programs: PathBuf,
    is_root: bool,
    /// Its own, also while it does not run.
    port: ClosedPort,
    child: Child,
}

impl Server {
    /// Starts one that listens on a Unix socket and on loopback; with a certificate, over TLS too.
    ///
    /// A machine without PostgreSQL fails the test, by the name of what is missing.
    pub(crate) async fn start(certificate: Option<&Certificate>) -> Self {
        let programs = programs();
        let folder = tempfile::tempdir().expect("a folder");
        let is_root = fs::metadata(folder.path()).expect("it is there").uid() == 0;
        let port = ClosedPort::new();
        if let Some(certificate) = certificate {
            fs::write(folder.path().join("server.pem"), certificate.chain_pem()).expect("written");
            let key = folder.path().join("server.key");
            fs::write(&key, certificate.key_pem().as_bytes()).expect("written");
            let owners_only = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            fs::set_permissions(&key, owners_only).expect("a mode");
        }
        if is_root {
            for path in ["", "server.pem", "server.key"].map(|name| folder.path().join(name)) {
                if path.exists() {
                    chown(path, Some(NOBODY), Some(NOBODY)).expect("given away");
                }
            }
        }
        let made = command(&programs, "initdb", is_root)
            .args(["--no-sync", "-A", "trust", "-U", "gateway", "-E", "UTF8", "--locale=C", "-D"])
            .arg(folder.path().join("data"))
            .output()
            .expect("initdb starts");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let tls = certificate.is_some();
        let child = serve(&programs, folder.path(), is_root, port.address().port(), tls);
        let mut server = Self { folder, programs, is_root, port, child };
        server.is_up().await;
        server
    }

    /// The address of its Unix socket.
    pub(crate) fn address(&self) -> String {
        let folder = self.folder.path().display();
        format!("host={folder} port={} user=gateway dbname=postgres", self.port())
    }

    /// Its address on loopback, by this name.
    pub(crate) fn over_tcp(&self, host: &str) -> String {
        format!("postgres://gateway@{host}:{}/postgres", self.port())
    }

    fn port(&self) -> u16 {
        self.port.address().port()
    }

    /// Ends it as a power cut would.
    pub(crate) fn stop(&mut self) {
        let stopped = command(&self.programs, "pg_ctl", self.is_root)
            .args(["stop", "--silent", "--mode=immediate", "-D"])
            .arg(self.folder.path().join("data"))
            .status();
        assert!(stopped.is_ok_and(|status| status.success()), "pg_ctl stops it");
        self.child.wait().expect("it ended");
    }

    /// Starts it again.
    pub(crate) async fn start_again(&mut self) {
        self.child = serve(&self.programs, self.folder.path(), self.is_root, self.port(), false);
        self.is_up().await;
    }

    async fn is_up(&mut self) {
        let ready = || {
            let ended = self.child.try_wait().expect("its state");
            assert_eq!(ended, None, "the server ended: {}", log(self.folder.path()));
            log(self.folder.path()).contains("ready to accept connections")
        };
        until("the server is up", ready).await;
        fs::write(self.folder.path().join("log"), "").expect("emptied");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // Its children notice, and end as well.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn serve(programs: &Path, folder: &Path, is_root: bool, port: u16, tls: bool) -> Child {
    let log = fs::OpenOptions::new().append(true).create(true).open(folder.join("log"));
    let mut command = command(programs, "postgres", is_root);
    command.arg("-D").arg(folder.join("data")).arg("-k").arg(folder);
    command.args(["-p", &port.to_string(), "-c", "fsync=off", "-c", "shared_buffers=8MB"]);
    command.args(["-c", "listen_addresses=127.0.0.1"]);
    if tls {
        command.args(["-c", "ssl=on", "-c", "ssl_cert_file=../server.pem"]);
        command.args(["-c", "ssl_key_file=../server.key"]);
    }
    command.stderr(log.expect("a log")).stdout(Stdio::null()).spawn().expect("postgres starts")
}

fn log(folder: &Path) -> String {
    fs::read_to_string(folder.join("log")).unwrap_or_default()
}

fn command(programs: &Path, name: &str, is_root: bool) -> Command {
    let mut command = Command::new(programs.join(name));
    command.stdin(Stdio::null()).current_dir("/");
    if is_root {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

/// Where `postgres` and `initdb` are: on the path, or where Debian keeps them.
#[expect(clippy::disallowed_methods, reason = "a test looks for programs as a shell does")]
fn programs() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<_> = std::env::split_paths(&path).collect();
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    folders.extend(versions.map(|version| version.path().join("bin")));
    let has_all = |folder: &PathBuf| {
        ["postgres", "initdb", "pg_ctl"].iter().all(|name| folder.join(name).is_file())
    };
    folders.into_iter().find(has_all).expect(
        "postgres, initdb and pg_ctl are missing: install PostgreSQL (Debian: `postgresql`)",
    )
}
