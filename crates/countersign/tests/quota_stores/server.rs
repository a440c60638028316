//! A Valkey or Redis server of the test's own.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use countersign_testkit::pki::{Certificate, CertificateAuthority};
use countersign_testkit::wait::until;
use tempfile::TempDir;

use super::ports::ClosedPort;

/// A server without any keys, until this is dropped.
pub(crate) struct Server {
    folder: TempDir,
    /// Its own, also while it does not run.
    port: ClosedPort,
    tls: bool,
    options: Vec<String>,
    child: Child,
}

impl Server {
    /// Starts one that listens on a Unix socket and on loopback, with more options as they stand
    /// in its configuration.
    ///
    /// A machine without one fails the test, by the name of what is missing.
    pub(crate) async fn start(options: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().expect("a folder"), options, false).await
    }

    /// Starts one that speaks TLS on loopback.
    pub(crate) async fn start_with_tls(
        ca: &CertificateAuthority,
        certificate: &Certificate,
    ) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).expect("written");
            path.display().to_string()
        };
        let options = [
            "--tls-cert-file",
            &write("server.pem", &certificate.chain_pem()),
            "--tls-key-file",
            &write("server.key", &certificate.key_pem()),
            "--tls-ca-cert-file",
            &write("ca.pem", &ca.certificate_pem()),
            "--tls-auth-clients",
            "no",
        ];
        Self::start_in(folder, &options, true).await
    }

    async fn start_in(folder: TempDir, options: &[&str], tls: bool) -> Self {
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        let port = ClosedPort::new();
        let child = serve(folder.path(), port.address(), tls, &options);
        let mut server = Self { folder, port, tls, options, child };
        server.is_up().await;
        server
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Its address on loopback, by this name.
    pub(crate) fn over_tcp(&self, host: &str) -> String {
        let s = if self.tls { "s" } else { "" };
        format!("valkey{s}://{host}:{}", self.port.address().port())
    }

    /// The address of its Unix socket.
    pub(crate) fn over_unix(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// Ends it as a power cut would.
    pub(crate) fn stop(&mut self) {
        self.child.kill().expect("it ran");
        self.child.wait().expect("it ended");
    }

    /// Starts it again; it has forgotten everything.
    pub(crate) async fn start_again(&mut self) {
        self.child = serve(self.folder.path(), self.port.address(), self.tls, &self.options);
        self.is_up().await;
    }

    async fn is_up(&mut self) {
        let log = self.folder.path().join("log");
        let read = || fs::read_to_string(&log).unwrap_or_default();
        let child = &mut self.child;
        let ready = || {
            let ended = child.try_wait().expect("its state");
            assert_eq!(ended, None, "the server ended: {}", read());
            read().contains("Ready to accept connections")
        };
        until("the server is up", ready).await;
        fs::write(&log, "").expect("emptied");
    }

    /// Asks it something over a connection of its own.
    pub(crate) fn ask(&self, command: &[&str]) -> String {
        let mut stream = UnixStream::connect(self.socket()).expect("connected");
        let mut request = format!("*{}\r\n", command.len());
        for word in command {
            request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        stream.write_all(request.as_bytes()).expect("written");
        reply(&mut BufReader::new(stream))
    }

    /// How often a command was run since the last `CONFIG RESETSTAT`, by scripts too.
    pub(crate) fn times(&self, command: &str) -> u64 {
        let start = format!("cmdstat_{command}:calls=");
        let stats = self.ask(&["INFO", "commandstats"]);
        let line = stats.lines().find_map(|line| line.strip_prefix(&start));
        let calls = line.map(|line| line.split(',').next().unwrap_or_default());
        calls.map_or(0, |calls| calls.parse().expect("a number"))
    }

    /// All its keys.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.ask(&["KEYS", "*"]).lines().map(str::to_owned).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// A reply of RESP2 as text, with a line for each element.
fn reply(stream: &mut BufReader<UnixStream>) -> String {
    let mut line = String::new();
    stream.read_line(&mut line).expect("a line");
    let (kind, rest) = line.trim_end().split_at(1);
    match kind {
        "$" => {
            let Ok(length) = rest.parse::<usize>() else { return String::new() };
            let mut bytes = vec![0; length + 2];
            stream.read_exact(&mut bytes).expect("a text");
            bytes.truncate(length);
            String::from_utf8(bytes).expect("UTF-8")
        }
        "*" => {
            let elements = 0..rest.parse::<usize>().expect("a number");
            elements.map(|_| reply(stream)).collect::<Vec<_>>().join("\n")
        }
        _ => rest.to_owned(),
    }
}

fn serve(folder: &Path, address: SocketAddr, tls: bool, options: &[String]) -> Child {
    let log = fs::OpenOptions::new().append(true).create(true).open(folder.join("log"));
    let log = log.expect("a log");
    let port = address.port().to_string();
    let ports = if tls { ["0", &port] } else { [&port, "0"] };
    let mut command = Command::new(program());
    command.args(["--port", ports[0], "--bind", "127.0.0.1", "--unixsocket"]);
    command.arg(folder.join("socket")).args(["--save", "", "--appendonly", "no", "--dir"]);
    command.arg(folder);
    if tls {
        command.args(["--tls-port", ports[1]]);
    }
    command.args(options).stdin(Stdio::null()).stdout(log).stderr(Stdio::null());
    command.spawn().expect("the server starts")
}

/// Valkey where it is, or else Redis.
#[expect(clippy::disallowed_methods, reason = "a test looks for programs as a shell does")]
fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> = std::env::split_paths(&path).collect();
    let candidates = ["valkey-server", "redis-server"]
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    candidates.into_iter().find(|file| file.is_file()).expect(
        "valkey-server and redis-server are missing: install one (Debian: `valkey-server` or \
         `redis-server`)",
    )
}
