//! Clients that come back: how many of a thousand resume their session.
//!
//! A server that keeps sessions in a store forgets the oldest when it is full, so with clients
//! that come back in the order in which they came, a store that is too small serves nobody.

use std::error::Error;

use rustls::HandshakeKind;
use tokio::io::AsyncWriteExt as _;

use super::SETTLE;
use crate::launch::Server;
use crate::load::{Handshake, LoadError, Tally, Tls, handshake};
use crate::options::{Kind, RuntimeKind};
use crate::report::{Chart, Fact, Report, Section};
use crate::stats::{quantile, sorted};
use crate::suites::bench::{Bench, Progress, Started, Variant, order, per_one};

const NAME: &str = "handshakes-returning";

/// Adds the section.
pub(super) async fn run(bench: &Bench<'_>, report: &mut Report) -> Result<(), Box<dyn Error>> {
    let rounds = bench.options.rounds(1, 3);
    let clients = bench.options.requests(400, 1_000);
    let variants = variants(bench)?;
    if !bench.wants(NAME, &variants) {
        return Ok(());
    }
    let mut rows: Vec<(Variant, Seen)> =
        variants.into_iter().map(|variant| (variant, Seen::default())).collect();
    let title = format!("Clients that come back: {clients}, one after another, TLS 1.3");
    let mut section = Section::new(NAME, &title, "% that resume their session", Chart::Bars);
    let mut found: Vec<Option<Started>> = rows.iter().map(|_| None).collect();
    let progress = Progress::new(NAME, rounds);
    for round in 0..rounds {
        for index in order(rows.len(), round) {
            let (variant, seen) = &mut rows[index];
            // A fresh one each time, which nobody knows.
            let Some(mut started) = bench.start(vec![variant.clone()]).await.pop() else {
                continue;
            };
            let sample = match &started.server {
                Some(server) => Some(sample(bench, server, clients, seen).await),
                None => None,
            };
            if let Some(server) = started.server.take() {
                server.stop().await;
            }
            let one = found[index].get_or_insert(started);
            if let Some(sample) = sample {
                one.record(sample);
            }
        }
        progress.round(round);
    }
    let started = found.into_iter().flatten().collect();
    crate::suites::bench::collect(started, &mut section).await;
    for (row, (_, seen)) in section.rows.iter_mut().zip(&rows) {
        for (name, spent) in
            [("µs of server CPU, first", &seen.first), ("µs of server CPU, back", &seen.back)]
        {
            if let Some(value) = quantile(&sorted(spent), 0.5) {
                row.fact(name, Fact::Number(value));
            }
        }
    }
    section.notes.extend([
        "every client has a session store of its own, comes by once, and comes back after all \
         others did"
            .to_owned(),
        "servers as they are by default; where client certificates are asked for, ours resumes \
         nothing"
            .to_owned(),
    ]);
    report.push(section);
    Ok(())
}

/// The section with the names of its rows.
#[cfg(test)]
pub(super) fn names(bench: &Bench<'_>) -> Result<(String, Vec<String>), Box<dyn Error>> {
    Ok(crate::suites::bench::named(NAME, &variants(bench)?))
}

/// Server CPU per connection of each round, in µs.
#[derive(Default)]
struct Seen {
    first: Vec<f64>,
    back: Vec<f64>,
}

/// The share of clients that resume when they come back, in per cent.
async fn sample(
    bench: &Bench<'_>,
    server: &Server,
    clients: u32,
    seen: &mut Seen,
) -> Result<(f64, Tally), LoadError> {
    let mut ways = Vec::new();
    for _ in 0..clients {
        let tls = Tls::resumed(&bench.material, false);
        let tls = tls.map_err(|error| LoadError::Negotiated(error.to_string()))?;
        ways.push(Handshake { address: server.address(), tls, source: None });
    }
    let (before, first) = visit(server, &ways).await?;
    let (resumed, back) = visit(server, &ways).await?;
    if before > 0 {
        return Err(LoadError::Negotiated(format!("to resume {before} sessions of nobody")));
    }
    seen.first.push(first);
    seen.back.push(back);
    let tally = Tally { checked: 2 * u64::from(clients), refused: 0 };
    Ok((100.0 * f64::from(resumed) / f64::from(clients), tally))
}

/// Every client comes by once: how many resumed, and µs of server CPU for each.
async fn visit(server: &Server, ways: &[Handshake]) -> Result<(u32, f64), LoadError> {
    let clock = server.cpu();
    let before = clock.now()?;
    let mut resumed = 0;
    for way in ways {
        let mut stream = handshake(way, true).await?;
        resumed += u32::from(stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed));
        // The server may be faster to close.
        let _ = stream.shutdown().await;
    }
    tokio::time::sleep(SETTLE).await;
    Ok((resumed, per_one(clock.now()?.saturating_sub(before), ways.len())))
}

fn variants(bench: &Bench<'_>) -> Result<Vec<Variant>, Box<dyn Error>> {
    let tls = Tls::new(&bench.material)?;
    let own = |kind| crate::launch::Program::own(kind, RuntimeKind::CurrentThread);
    let mut found = vec![
        Variant::new("ours-tls", own(Kind::OursTls), Some(tls.clone())),
        Variant::new("tonic-tls", own(Kind::TonicTls), Some(tls.clone())),
    ];
    if !bench.options.no_peers {
        found.push(Variant::new("go tls", bench.peer("go", "tls"), Some(tls)));
    }
    found.retain(|one| bench.options.wants(NAME) || bench.options.wants(&one.name));
    Ok(found)
}
