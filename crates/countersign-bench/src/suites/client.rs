//! CPU of a client per call: credentials that stay fresh beside a hard-coded header.

use std::error::Error;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::bench::{Bench, Progress, chain, has_turn, order};
use crate::call::Said;
use crate::launch::{Program, Server};
use crate::load::LoadError;
use crate::options::{Caller, Kind, RuntimeKind};
use crate::report::{Chart, Fact, Report, Row, Section};

const HEADER: &str = "ours: hard-coded header";
const AGAIN: &str = "ours: hard-coded header (again)";
const GO_HEADER: &str = "go: hard-coded header";

/// A client and how it comes by its token.
struct Client {
    name: &'static str,
    /// Our own, or a mode of the Go peer's.
    kind: ClientKind,
    row: Row,
    fetched: Option<u64>,
}

enum ClientKind {
    Own(Caller),
    Go(&'static str),
}

/// Adds the section.
pub(super) async fn run(bench: &Bench<'_>, report: &mut Report) -> Result<(), Box<dyn Error>> {
    let rounds = bench.options.rounds(2, 31);
    let fewer = bench.options.fewer(rounds, 11);
    let calls = bench.options.requests(1_500, 8_000) as usize;
    let files = Files::write(bench)?;
    // The same for all, and it looks at no token.
    let program = Program::own(Kind::TonicTls, RuntimeKind::CurrentThread);
    let server = Server::start(&program, &bench.material, bench.placement).await?;
    let mut clients = clients(bench);
    let progress = Progress::new("client", rounds);
    for round in 0..rounds {
        for index in order(clients.len(), round) {
            let client = &mut clients[index];
            if client.row.missing.is_some() {
                continue;
            }
            let turns = if client.name.starts_with("ours") { rounds } else { fewer };
            if !has_turn(round, rounds, turns) {
                client.row.samples.push(None);
                continue;
            }
            let command = command(bench, client, &server, &files, calls)?;
            match sample(command, bench.limit()).await {
                Ok(said) => {
                    #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
                    let each = said.cpu_ns as f64 / 1e3 / said.calls.max(1) as f64;
                    client.row.samples.push(Some(each));
                    client.fetched = said.fetched;
                }
                Err(error) => {
                    client.row.samples.push(None);
                    let problem = chain(&error);
                    if !client.row.problems.contains(&problem) {
                        client.row.problems.push(problem);
                    }
                }
            }
        }
        progress.round(round);
    }
    server.stop().await;
    report.push(section(clients));
    Ok(())
}

/// The section with the names of its rows.
#[cfg(test)]
pub(super) fn names(bench: &Bench<'_>) -> super::Names {
    let rows = clients(bench).iter().map(|client| client.name.to_owned()).collect();
    vec![("client".to_owned(), rows)]
}

fn section(clients: Vec<Client>) -> Section {
    let title = "A client's calls: 1 connection × 100 at a time, TLS, a token of 661 bytes";
    let mut section = Section::new("client", title, "µs of client CPU per call", Chart::Bars);
    for Client { row, fetched, .. } in clients {
        let (missing, problems) = (row.missing, row.problems);
        let mut row = Row { missing, problems, ..Row::of(&row.name, row.samples) };
        if let Some(fetched) = fetched {
            row.fact("fetches", Fact::Count(fetched));
        }
        section.rows.push(row);
    }
    section.compare("× its own hard-coded header", |row| {
        if row.name.starts_with("go") {
            Some(GO_HEADER)
        } else {
            row.name.starts_with("ours").then_some(HEADER)
        }
    });
    section.compare("× ours", |_| Some(HEADER));
    section.control(HEADER, AGAIN);
    section.notes.extend([
        "all call the same stock tonic server, which looks at no token and has another core"
            .to_owned(),
        "fetches: how often the source was asked, for all calls of a process".to_owned(),
        "go's `NewJWTAccessFromKey` signs a token for each call, so it makes fewer of them"
            .to_owned(),
        "differences below 5 % are judged by `micro-client` and `bench/gate`, not here".to_owned(),
    ]);
    section
}

fn clients(bench: &Bench<'_>) -> Vec<Client> {
    let mut found = Vec::new();
    let mut add = |name, kind, missing: Option<String>| {
        let row = match missing {
            Some(reason) => Row::missing(name, &reason),
            None => Row::of(name, Vec::new()),
        };
        found.push(Client { name, kind, row, fetched: None });
    };
    for (name, caller) in [
        (HEADER, Caller::Header),
        (AGAIN, Caller::Header),
        ("ours: bearer token", Caller::Bearer),
        ("ours: cached, file", Caller::File),
        ("ours: cached, client credentials", Caller::ClientCredentials),
        ("ours: cached, self-signed", Caller::SelfSigned),
        ("tonic: interceptor", Caller::Tonic),
    ] {
        add(name, ClientKind::Own(caller), None);
    }
    if !bench.options.no_peers {
        let missing = bench.peer("go", "").missing();
        for (name, mode) in [
            (GO_HEADER, "header"),
            ("go: oauth.TokenSource", "oauth"),
            ("go: oauth.NewJWTAccessFromKey", "jwt-access"),
        ] {
            add(name, ClientKind::Go(mode), missing.clone());
        }
    }
    let bases = [HEADER, AGAIN, GO_HEADER];
    found.retain(|one| bench.options.wants(one.name) || bases.contains(&one.name));
    found
}

/// What clients are told by file.
struct Files {
    token: String,
    token_file: PathBuf,
    key_file: PathBuf,
}

impl Files {
    fn write(bench: &Bench<'_>) -> Result<Self, Box<dyn Error>> {
        let token = bench.material.tokens(1)?.remove(0);
        let token_file = bench.material.folder().join("token");
        std::fs::write(&token_file, &token)?;
        let key_file = bench.material.service_account()?;
        Ok(Self { token, token_file, key_file })
    }
}

fn command(
    bench: &Bench<'_>,
    client: &Client,
    server: &Server,
    files: &Files,
    calls: usize,
) -> std::io::Result<Command> {
    let mut calls = calls;
    let mut command = match client.kind {
        ClientKind::Own(caller) => {
            let mut command = Command::new(std::env::current_exe()?);
            command.args(["call", caller.name()]);
            command.arg("--token-file").arg(&files.token_file);
            command
        }
        ClientKind::Go(mode) => {
            let Program::Peer { path, .. } = bench.peer("go", "") else {
                return Err(std::io::Error::other("a peer is one"));
            };
            let mut command = Command::new(path);
            command.args(["client", "--mode", mode, "--token", &files.token]);
            command.args(["--server-name", "localhost"]).env("GOMAXPROCS", "1");
            if mode == "jwt-access" {
                calls = (calls / 8).max(1);
            }
            command
        }
    };
    command.arg("--key-file").arg(&files.key_file);
    command.arg("--target").arg(server.address().to_string());
    command.arg("--ca").arg(bench.material.ca());
    command.arg("--calls").arg(calls.to_string());
    command.arg("--warm-up").arg((calls / 4).max(1).to_string());
    command.stdin(Stdio::null()).kill_on_drop(true);
    Ok(command)
}

/// Runs a client to its end. It is born on the load's core, where this thread is.
async fn sample(mut command: Command, limit: Duration) -> Result<Said, LoadError> {
    let output = tokio::time::timeout(limit, command.output()).await;
    let output = output.map_err(|_| LoadError::Timeout(limit))??;
    if !output.status.success() {
        return Err(LoadError::Reply(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    let said = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(said.trim()).map_err(|error| LoadError::Reply(error.to_string()))
}
