//! Good callers while somebody from another address sends forged tokens: how long they wait.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use super::latency::Seen;
use super::{again, forge, full};
use crate::launch::{Program, Server};
use crate::load::{Expect, Generator, LoadError, Prepared, Shape, Tally, Tls, prepare};
use crate::options::{Kind, RuntimeKind};
use crate::report::{Chart, Report, Section};
use crate::suites::bench::{Bench, Progress, Variant, collect, order};

/// Calls in one pattern of good and forged ones.
const PATTERN: usize = 10;
/// Of so many calls, so many are forged.
const FORGED: [usize; 4] = [0, 1, 5, 9];
/// Good callers.
const CALLERS: usize = 100;
/// Of the load.
const STREAMS: usize = 32;
/// Parts of a round. A sample is the median of their 99th percentiles: what holds the machine up
/// for a moment holds up every stream of one part, and would be the 99th percentile of the whole.
const PARTS: usize = 8;

/// Adds the section.
pub(super) async fn run(bench: &Bench<'_>, report: &mut Report) -> Result<(), Box<dyn Error>> {
    let rounds = bench.options.rounds(2, 21);
    let requests = bench.options.requests(600, 8_000) as usize;
    let tokens: Arc<[String]> = bench.material.tokens(CALLERS)?.into();
    let mixes = mixes(bench, &tokens)?;
    let variants: Vec<Variant> = mixes.iter().map(|mix| mix.variant.clone()).collect();
    if !bench.wants("calls-forged", &variants) {
        return Ok(());
    }
    let mut started = bench.start(variants).await;
    let mut seen: Vec<Seen> = mixes.iter().map(|_| Seen::default()).collect();
    let progress = Progress::new("calls-forged", rounds);
    let mut forgeries = 0;
    for round in 0..rounds {
        for index in order(started.len(), round) {
            let one = &mut started[index];
            let Some(server) = &one.server else { continue };
            let mix = &mixes[index];
            let calls = pattern(&tokens, mix.forged, requests, &mut forgeries);
            let sample = sample(server, mix, &calls, bench.limit(), &mut seen[index]).await;
            one.record(sample);
        }
        progress.round(round);
    }
    let title = format!("Good calls beside forged ones: 1 connection each × {STREAMS} streams");
    let mut section =
        Section::new("calls-forged", &title, "ms, the 99th percentile of good calls", Chart::Bars);
    collect(started, &mut section).await;
    for (row, seen) in section.rows.iter_mut().zip(&seen) {
        seen.tell(row, &[("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)]);
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
        "a sample is the median of {PARTS} parts' 99th percentiles, so that what holds the machine \
         up for a moment does not count; p99 and p99.9 are those of all calls"
    ));
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

/// The 99th percentile of good calls in the median part, in milliseconds.
async fn sample(
    server: &Server,
    mix: &Mix,
    calls: &Arc<[Prepared]>,
    limit: Duration,
    seen: &mut Seen,
) -> Result<(f64, Tally), LoadError> {
    let shape = Shape { strangers: true, ..mix.variant.shape(1, STREAMS) };
    let generator = Generator::open(shape, server).await?;
    // Every good caller comes by before it counts.
    generator.run(CALLERS.max(calls.len() / 4), limit).await?;
    let clock = server.cpu();
    let before = clock.now()?;
    let (mut tally, mut parts) = (Tally::default(), Vec::with_capacity(PARTS));
    for part in calls.chunks(calls.len().div_ceil(PARTS)) {
        let (one, took) = generator.run_these(&part.into(), part.len(), limit).await?;
        tally.checked += one.checked;
        tally.refused += one.refused;
        parts.push(took);
    }
    let cpu = clock.now()?.saturating_sub(before);
    let last = seen.round(&parts, calls.len(), cpu);
    generator.close().await;
    Ok((last, tally))
}

/// A server, and how many calls in a pattern are forged.
struct Mix {
    variant: Variant,
    forged: usize,
}

fn share(forged: usize) -> String {
    match forged {
        0 => "none forged".to_owned(),
        _ => format!("{} % forged", 100 * forged / PATTERN),
    }
}

/// One for each mix.
#[cfg(test)]
pub(super) fn variants(bench: &Bench<'_>) -> Result<Vec<Variant>, Box<dyn Error>> {
    let tokens: Arc<[String]> = bench.material.tokens(1)?.into();
    Ok(mixes(bench, &tokens)?.into_iter().map(|mix| mix.variant).collect())
}

fn mixes(bench: &Bench<'_>, tokens: &Arc<[String]>) -> Result<Vec<Mix>, Box<dyn Error>> {
    let current = RuntimeKind::CurrentThread;
    let tls = Tls::new(&bench.material)?;
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
    let mut add = |name: String, program: &Program, forged: usize| {
        let variant = Variant::new(name, program.clone(), Some(tls.clone())).tokens(tokens);
        found.push(Mix { variant, forged });
    };
    for (server, program) in &servers {
        for forged in FORGED {
            add(format!("{server}, {}", share(forged)), program, forged);
        }
    }
    let (server, program) = &servers[0];
    add(again(&format!("{server}, {}", share(FORGED[0]))), program, FORGED[0]);
    Ok(found)
}

/// So many calls, good ones of each caller in turn and forged ones spread among them. No forgery
/// comes twice, so that nobody can remember that it was bad.
fn pattern(
    tokens: &[String],
    forged: usize,
    requests: usize,
    forgeries: &mut usize,
) -> Arc<[Prepared]> {
    (0..requests)
        .map(|at| {
            let token = &tokens[at % tokens.len()];
            if is_forged(at, forged) {
                *forgeries += 1;
                let token = forge_nth(token, *forgeries);
                prepare(true, Some(&token), Expect::Denied).by_stranger()
            } else {
                prepare(true, Some(token), Expect::Echo)
            }
        })
        .collect()
}

/// Of each [`PATTERN`] calls in a row so many, evenly spread.
fn is_forged(at: usize, forged: usize) -> bool {
    let upto = |at: usize| at * forged / PATTERN;
    upto(at % PATTERN + 1) > upto(at % PATTERN)
}

/// The same token with one of many other signatures.
fn forge_nth(token: &str, n: usize) -> String {
    let forged = forge(token);
    let at = forged.len() - 40;
    format!("{}{n:08}{}", &forged[..at], &forged[at + 8..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_are_forged_as_the_share_says() {
        let tokens: Vec<String> = (0..3).map(|n| format!("{n}").repeat(120)).collect();
        for forged in FORGED {
            let mut forgeries = 0;
            let pattern = pattern(&tokens, forged, 50, &mut forgeries);
            let bad = pattern.iter().filter(|request| request.is_from_stranger()).count();
            assert_eq!(bad * PATTERN, pattern.len() * forged);
            assert_eq!(bad, forgeries);
        }
    }

    #[test]
    fn every_forgery_is_another_of_the_same_length() {
        let token = "t".repeat(661);
        assert_eq!(forge_nth(&token, 1).len(), token.len());
        assert_ne!(forge_nth(&token, 1), forge_nth(&token, 2));
    }
}
