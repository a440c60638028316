//! Good callers while somebody from another address sends forged tokens: how long they wait.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use super::{again, forge, full};
use crate::launch::{Program, Server};
use crate::load::{Expect, Generator, LoadError, Prepared, Shape, Tally, Tls, prepare};
use crate::options::{Kind, RuntimeKind};
use crate::report::{Chart, Fact, Report, Section};
use crate::stats::{quantile, sorted};
use crate::suites::bench::{Bench, Progress, Variant, collect, order, per_one};

/// Calls in one pattern of good and forged ones.
const PATTERN: usize = 10;
/// Of so many calls, so many are forged.
const FORGED: [usize; 4] = [0, 1, 5, 9];
/// Good callers.
const CALLERS: usize = 100;
/// Of the load.
const STREAMS: usize = 32;

/// Adds the section.
pub(super) async fn run(bench: &Bench<'_>, report: &mut Report) -> Result<(), Box<dyn Error>> {
    let rounds = bench.options.rounds(3, 15);
    let requests = bench.options.requests(1_000, 8_000) as usize;
    let mixes = mixes(bench)?;
    let mut started = bench.start(mixes.iter().map(|mix| mix.variant.clone()).collect()).await;
    let mut seen: Vec<Seen> = mixes.iter().map(|_| Seen::default()).collect();
    let progress = Progress::new("calls-forged", rounds);
    for round in 0..rounds {
        for index in order(started.len(), round) {
            let one = &mut started[index];
            let Some(server) = &one.server else { continue };
            let sample = sample(server, &mixes[index], requests, bench.limit(), &mut seen[index]);
            let sample = sample.await;
            one.record(sample);
        }
        progress.round(round);
    }
    let title = format!("Good calls beside forged ones: 1 connection each × {STREAMS} streams");
    let mut section =
        Section::new("calls-forged", &title, "ms, the 99th percentile of good calls", Chart::Bars);
    collect(started, &mut section).await;
    for (row, seen) in section.rows.iter_mut().zip(&seen) {
        let all = sorted(&seen.milliseconds);
        for (name, fraction) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)] {
            if let Some(value) = quantile(&all, fraction) {
                row.fact(name, Fact::Number(value));
            }
        }
        if let Some(value) = quantile(&sorted(&seen.server), 0.5) {
            row.fact("µs of server CPU per call", Fact::Number(value));
        }
    }
    let names: Vec<String> = mixes.iter().map(|mix| mix.variant.name.clone()).collect();
    section.compare("× none forged", |row| {
        let (server, _) = row.name.rsplit_once(", ")?;
        let none = format!("{server}, {}", share(0));
        names.iter().find(|name| **name == none).map(String::as_str)
    });
    let first = &names[0];
    section.control(first, &again(first));
    section.notes.push(format!(
        "{CALLERS} good callers with tokens that are remembered; forged ones come from another \
         address over another connection, each with another signature"
    ));
    section.notes.push(
        "`throttle`: after 10 bad credentials in a minute, others from that address are refused \
         unseen"
            .to_owned(),
    );
    section.notes.push(
        "the load is as fast as the server answers, so a good call waits for the forged ones \
         before it"
            .to_owned(),
    );
    report.push(section);
    Ok(())
}

/// What was seen beside the samples.
#[derive(Default)]
struct Seen {
    /// How long each good call of all rounds took.
    milliseconds: Vec<f64>,
    /// Server CPU per call of each round, in µs.
    server: Vec<f64>,
}

/// The 99th percentile of good calls, in milliseconds.
async fn sample(
    server: &Server,
    mix: &Mix,
    requests: usize,
    limit: Duration,
    seen: &mut Seen,
) -> Result<(f64, Tally), LoadError> {
    let generator = Generator::open(mix.shape.clone(), server).await?;
    // Every good caller comes by before it counts.
    generator.run(mix.shape.requests.len().max(requests / 4), limit).await?;
    let clock = server.cpu();
    let before = clock.now()?;
    let (tally, latencies) = generator.run_timed(requests, limit).await?;
    seen.server.push(per_one(clock.now()?.saturating_sub(before), requests));
    generator.close().await;
    let milliseconds: Vec<f64> = latencies.iter().map(|took| took.as_secs_f64() * 1e3).collect();
    let last = quantile(&sorted(&milliseconds), 0.99);
    seen.milliseconds.extend(milliseconds);
    Ok((last.unwrap_or(f64::NAN), tally))
}

/// A server and a pattern of good and forged calls.
struct Mix {
    variant: Variant,
    shape: Shape,
}

fn share(forged: usize) -> String {
    match forged {
        0 => "none forged".to_owned(),
        _ => format!("{} % forged", 100 * forged / PATTERN),
    }
}

fn mixes(bench: &Bench<'_>) -> Result<Vec<Mix>, Box<dyn Error>> {
    let current = RuntimeKind::CurrentThread;
    let tls = Tls::new(&bench.material)?;
    let tokens = bench.material.tokens(CALLERS)?;
    let patterns: Vec<(String, Arc<[Prepared]>)> =
        FORGED.iter().map(|&forged| (share(forged), pattern(&tokens, forged))).collect();
    let ours = full(bench, Kind::OursGate, current);
    let mut servers = vec![
        ("ours-gate-full ct".to_owned(), ours.clone()),
        ("ours-gate-full ct, throttle".to_owned(), ours.with("--failures", "10")),
        ("tonic-tls-jwt ct".to_owned(), Program::own(Kind::TonicTlsJwt, current)),
    ];
    if !bench.options.no_peers {
        servers.push(("go tls-jwt-cached".to_owned(), bench.peer("go", "tls-jwt-cached")));
    }
    let mut found = Vec::new();
    let mut add = |name: String, program: &Program, requests: &Arc<[Prepared]>| {
        let (connections, streams) = (1, STREAMS);
        let (tls, requests) = (Some(tls.clone()), Arc::clone(requests));
        let variant = Variant::new(name, program.clone(), tls.clone());
        found.push(Mix { variant, shape: Shape { connections, streams, tls, requests } });
    };
    for (server, program) in &servers {
        for (share, requests) in &patterns {
            add(format!("{server}, {share}"), program, requests);
        }
    }
    let (server, program) = &servers[0];
    let (share, requests) = &patterns[0];
    add(again(&format!("{server}, {share}")), program, requests);
    Ok(found)
}

/// Good calls of each caller, and forged ones spread among them.
fn pattern(tokens: &[String], forged: usize) -> Arc<[Prepared]> {
    let good = |at: usize| prepare(true, Some(&tokens[at % tokens.len()]), Expect::Echo);
    let bad = |at: usize| {
        // Another one each time, so that nobody can remember that it was bad.
        let token = forge_nth(&tokens[at % tokens.len()], at);
        prepare(true, Some(&token), Expect::Denied).by_stranger()
    };
    (0..tokens.len() * PATTERN)
        .map(|at| {
            // Spread evenly: of ten in a row, so many.
            let is_forged = (at % PATTERN * forged) % PATTERN + forged >= PATTERN && forged > 0;
            if is_forged { bad(at) } else { good(at) }
        })
        .collect()
}

/// The same token with one of many other signatures.
fn forge_nth(token: &str, n: usize) -> String {
    let forged = forge(token);
    let at = forged.len() - 40;
    format!("{}{n:06}{}", &forged[..at], &forged[at + 6..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_are_forged_as_the_share_says() {
        let tokens: Vec<String> = (0..3).map(|n| format!("{n}").repeat(120)).collect();
        for forged in FORGED {
            let pattern = pattern(&tokens, forged);
            let bad = pattern.iter().filter(|request| request.is_from_stranger()).count();
            assert_eq!(bad * PATTERN, pattern.len() * forged);
        }
    }

    #[test]
    fn every_forgery_is_another_of_the_same_length() {
        let token = "t".repeat(661);
        assert_eq!(forge_nth(&token, 1).len(), token.len());
        assert_ne!(forge_nth(&token, 1), forge_nth(&token, 2));
    }
}
