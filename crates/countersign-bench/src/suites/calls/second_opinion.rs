//! The same servers under `h2load`, so that our own load generator does not have the only word.

use std::error::Error;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::process::Command;

use super::{BASE_CURRENT, again, full};
use crate::launch::{Program, Server};
use crate::load::{Expect, LoadError, Tally, Tls, prepare};
use crate::options::{Kind, RuntimeKind};
use crate::report::{Chart, Report, Row, Section};
use crate::serve::PATH;
use crate::suites::bench::{Bench, Progress, Variant, collect, order, per_one};

/// Adds the section.
pub(super) async fn run(bench: &Bench<'_>, report: &mut Report) -> Result<(), Box<dyn Error>> {
    let variants = variants(bench)?;
    if bench.options.no_peers || !bench.wants("calls-h2load", &variants) {
        return Ok(());
    }
    let mut section = Section::new(
        "calls-h2load",
        "Calls by h2load: 1 connection × 100 streams",
        "µs of server CPU per call",
        Chart::Bars,
    );
    let Program::Peer { path, missing, .. } = bench.peer("h2load", "") else { return Ok(()) };
    if missing.is_some() || !path.exists() {
        let reason = missing.unwrap_or_else(|| "`h2load` is not installed".to_owned());
        section.rows.extend(variants.iter().map(|one| Row::missing(&one.name, &reason)));
        report.push(section);
        return Ok(());
    }
    let body = bench.material.folder().join("call.bin");
    std::fs::write(&body, prepare(true, None, Expect::Echo).body())?;
    let rounds = bench.options.rounds(2, 11);
    let requests = bench.options.requests(1_500, 8_000) as usize;
    let mut started = bench.start(variants).await;
    let progress = Progress::new("calls-h2load", rounds);
    for round in 0..rounds {
        for index in order(started.len(), round) {
            let one = &mut started[index];
            let Some(server) = &one.server else { continue };
            let token = one.variant.tokens.first().cloned().unwrap_or_default();
            let sample = sample(&path, server, &body, &token, requests, bench.limit()).await;
            one.record(sample);
        }
        progress.round(round);
    }
    collect(started, &mut section).await;
    section.compare("× tonic-tls ct", |_| Some(BASE_CURRENT));
    section.control(BASE_CURRENT, &again(BASE_CURRENT));
    section.notes.push("h2load looks at the HTTP status alone".to_owned());
    report.push(section);
    Ok(())
}

async fn sample(
    program: &Path,
    server: &Server,
    body: &Path,
    token: &str,
    requests: usize,
    limit: Duration,
) -> Result<(f64, Tally), LoadError> {
    load(program, server, body, token, (requests / 4).max(100), limit).await?;
    let clock = server.cpu();
    let before = clock.now()?;
    load(program, server, body, token, requests, limit).await?;
    let spent = clock.now()?.saturating_sub(before);
    let tally = Tally { checked: requests as u64, refused: 0 };
    Ok((per_one(spent, requests), tally))
}

/// Runs h2load to its end. It is born on the load's core, where this thread is.
async fn load(
    program: &Path,
    server: &Server,
    body: &Path,
    token: &str,
    requests: usize,
    limit: Duration,
) -> Result<(), LoadError> {
    let mut command = Command::new(program);
    command
        .args(["-c", "1", "-m", "100", "-t", "1", "--tls13-ciphers", "TLS_AES_128_GCM_SHA256"])
        .args(["--groups", "X25519", "-H", "content-type: application/grpc", "-H", "te: trailers"])
        .arg("-H")
        .arg(format!("authorization: Bearer {token}"))
        .arg("-n")
        .arg(requests.to_string())
        .arg("-d")
        .arg(body)
        .arg(format!("https://{}{PATH}", server.address()))
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(limit, command.output());
    let output = output.await.map_err(|_| LoadError::Timeout(limit))??;
    let said = String::from_utf8_lossy(&output.stdout);
    match succeeded(&said) {
        Some(count) if count == requests => Ok(()),
        count => Err(LoadError::Reply(format!("{count:?} of {requests} calls succeeded"))),
    }
}

/// From `requests: 8 total, 8 started, 8 done, 8 succeeded, 0 failed, ...`.
fn succeeded(said: &str) -> Option<usize> {
    let line = said.lines().find_map(|line| line.strip_prefix("requests:"))?;
    let part = line.split(',').find_map(|part| part.trim().strip_suffix(" succeeded"))?;
    part.parse().ok()
}

pub(super) fn variants(bench: &Bench<'_>) -> Result<Vec<Variant>, Box<dyn Error>> {
    let tokens: Arc<[String]> = bench.material.tokens(1)?.into();
    let tls = Tls::new(&bench.material)?;
    let current = RuntimeKind::CurrentThread;
    let stock = Program::own(Kind::TonicTls, current);
    let programs = [
        (BASE_CURRENT.to_owned(), stock.clone()),
        (again(BASE_CURRENT), stock),
        ("ours-gate-full ct".to_owned(), full(bench, Kind::OursGate, current)),
        ("go tls".to_owned(), bench.peer("go", "tls")),
        ("go tls-jwt-cached".to_owned(), bench.peer("go", "tls-jwt-cached")),
    ];
    let variant = |(name, program)| Variant::new(name, program, Some(tls.clone())).tokens(&tokens);
    Ok(programs.into_iter().map(variant).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_succeeded_is_read_from_what_h2load_says() {
        let said = "finished in 1s\nrequests: 9 total, 9 started, 9 done, 7 succeeded, 2 failed, 0 errored, 0 timeout\n";
        assert_eq!(succeeded(said), Some(7));
        assert_eq!(succeeded("nothing"), None);
    }
}
