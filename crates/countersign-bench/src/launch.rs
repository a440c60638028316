//! Starts servers, ours and foreign, and ends them.

use std::error::Error;
use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::material::{AUDIENCE, ISSUER, Material};
use crate::options::{Kind, RuntimeKind};
use crate::proc::{CpuClock, Placement, resident_kib};

/// How long a server may take to listen: a virtual machine may have to warm up.
const START: Duration = Duration::from_secs(30);

/// A server to be started.
#[derive(Clone, Debug)]
pub(crate) enum Program {
    /// This program itself.
    Own {
        /// What it serves.
        kind: Kind,
        /// On what.
        runtime: RuntimeKind,
        /// Further arguments.
        arguments: Vec<OsString>,
    },
    /// Somebody else's, from `bench/peers`.
    Peer {
        /// The program's path.
        path: PathBuf,
        /// What it serves, for instance `plain` or `tls-jwt`: `bench/peers/README.md` has them.
        mode: &'static str,
        /// Why there is none, if the build said so.
        missing: Option<String>,
    },
}

impl Program {
    /// One of ours.
    pub(crate) fn own(kind: Kind, runtime: RuntimeKind) -> Self {
        Self::Own { kind, runtime, arguments: Vec::new() }
    }

    /// Adds an argument with its value; peers take none but those that everybody has.
    pub(crate) fn with(mut self, name: &str, value: impl Into<OsString>) -> Self {
        if let Self::Own { arguments, .. } = &mut self {
            arguments.push(name.into());
            arguments.push(value.into());
        }
        self
    }

    /// Why it cannot be started here, as far as one sees without trying.
    pub(crate) fn missing(&self) -> Option<String> {
        match self {
            Self::Peer { missing: Some(reason), .. } => Some(reason.clone()),
            Self::Peer { path, .. } if !path.exists() => {
                Some(format!("`{}` is not there; `bench/peers/build` makes it", path.display()))
            }
            _ => None,
        }
    }

    fn is_peer(&self) -> bool {
        matches!(self, Self::Peer { .. })
    }

    fn command(&self, material: &Material) -> io::Result<Command> {
        let files = |command: &mut Command| {
            command.arg("--cert").arg(material.certificate()).arg("--key").arg(material.key());
        };
        Ok(match self {
            Self::Own { kind, runtime, arguments } => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args(["serve", kind.name(), "--runtime", runtime.name()]);
                if kind.is_tls() {
                    files(&mut command);
                }
                if *kind == Kind::OursGateMtls {
                    command.arg("--client-ca").arg(material.ca());
                }
                if *kind == Kind::TonicTlsJwt {
                    command.arg("--jwt-public-key").arg(material.jwt_public_key());
                }
                command.args(arguments);
                command
            }
            Self::Peer { path, mode, .. } => {
                let mut command = Command::new(path);
                command.args(["serve", mode]);
                if *mode != "plain" {
                    files(&mut command);
                }
                if mode.starts_with("mtls") {
                    command.arg("--client-ca").arg(material.ca());
                }
                if *mode == "mtls-authz" {
                    command.arg("--policy").arg(material.policy_for_certificates());
                }
                if mode.starts_with("tls-jwt") {
                    command.arg("--jwt-public-key").arg(material.jwt_public_key());
                    command.args(["--issuer", ISSUER, "--audience", AUDIENCE]);
                }
                // One processor for the Go runtime too, as the server has one core.
                command.env("GOMAXPROCS", "1");
                command
            }
        })
    }
}

/// A server that listens. It ends with this value.
pub(crate) struct Server {
    child: Child,
    address: SocketAddr,
    pid: u32,
    peer: bool,
}

impl Server {
    /// Starts a program on the servers' core, and waits until it listens.
    ///
    /// # Errors
    ///
    /// When it ends or stays silent instead.
    pub(crate) async fn start(
        program: &Program,
        material: &Material,
        placement: Placement,
    ) -> Result<Self, Box<dyn Error>> {
        Self::start_in(program, material, |start| placement.on_server_core(start)).await
    }

    /// The same, on both cores: the load then shares one of them.
    pub(crate) async fn start_on_both(
        program: &Program,
        material: &Material,
        placement: Placement,
    ) -> Result<Self, Box<dyn Error>> {
        Self::start_in(program, material, |start| placement.on_both_cores(start)).await
    }

    async fn start_in(
        program: &Program,
        material: &Material,
        place: impl FnOnce(&mut dyn FnMut() -> io::Result<Child>) -> io::Result<io::Result<Child>>,
    ) -> Result<Self, Box<dyn Error>> {
        let mut command = program.command(material)?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.kill_on_drop(true);
        let mut child = place(&mut || command.spawn())??;
        let pid = child.id().ok_or("the server ended at once")?;
        let out = child.stdout.take().ok_or("its output is piped")?;
        let mut errors = child.stderr.take().ok_or("its errors are piped")?;
        let mut lines = BufReader::new(out).lines();
        let address = loop {
            let line = timeout(START, lines.next_line())
                .await
                .map_err(|_| format!("did not listen within {} s", START.as_secs()))??;
            match line {
                Some(line) => {
                    if let Some(address) = listening(&line) {
                        break address;
                    }
                }
                None => {
                    let mut said = Vec::new();
                    let read = tokio::io::AsyncReadExt::read_to_end(&mut errors, &mut said);
                    // What it said in time is enough.
                    let _ = timeout(Duration::from_secs(1), read).await;
                    return Err(last_line(&String::from_utf8_lossy(&said)).into());
                }
            }
        };
        // Read on, so that a server with much to say is not held up.
        tokio::spawn(async move {
            let _ = tokio::io::copy(&mut errors, &mut tokio::io::sink()).await;
        });
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self { child, address, pid, peer: program.is_peer() })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its CPU time, with that of processes it started.
    pub(crate) fn cpu(&self) -> CpuClock {
        if self.peer { CpuClock::of_tree(self.pid) } else { CpuClock::of(self.pid) }
    }

    pub(crate) fn resident_kib(&self) -> io::Result<u64> {
        resident_kib(self.pid)
    }

    /// Asks it to end, and makes it if it does not.
    pub(crate) async fn stop(mut self) {
        drop(self.child.stdin.take());
        if timeout(Duration::from_secs(5), self.child.wait()).await.is_err() {
            // It may have ended just now.
            let _ = self.child.kill().await;
        }
    }
}

/// The address in `listening 127.0.0.1:1234`.
fn listening(line: &str) -> Option<SocketAddr> {
    line.trim().strip_prefix("listening ")?.trim().parse().ok()
}

fn last_line(text: &str) -> String {
    let line = text.lines().rev().find(|line| !line.trim().is_empty());
    line.map_or_else(|| "it ended without a word".to_owned(), |line| line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_from_what_a_server_says() {
        assert_eq!(listening("listening 127.0.0.1:80\n"), Some(([127, 0, 0, 1], 80).into()));
        assert_eq!(listening("listening on port 80"), None);
        assert_eq!(listening("ready"), None);
    }

    #[test]
    fn a_peer_that_is_not_built_is_missing_and_our_own_is_not() {
        let peer = |missing| Program::Peer { path: "does/not/exist".into(), mode: "tls", missing };
        assert!(peer(None).missing().is_some_and(|reason| reason.contains("does/not/exist")));
        assert_eq!(peer(Some("no Go".into())).missing().as_deref(), Some("no Go"));
        assert!(Program::own(Kind::BareH2, RuntimeKind::CurrentThread).missing().is_none());
    }
}
