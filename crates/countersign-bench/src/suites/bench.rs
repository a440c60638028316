//! What the suites that start servers share: variants, samples, rounds.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::launch::{Program, Server};
use crate::load::{Expect, Generator, LoadError, Prepared, Shape, Tally, Tls, prepare};
use crate::material::Material;
use crate::options::Options;
use crate::peers::Peers;
use crate::proc::Placement;
use crate::report::{Fact, Row, Section};

/// One run's surroundings.
pub(super) struct Bench<'a> {
    pub(super) options: &'a Options,
    peers: &'a Peers,
    pub(super) placement: Placement,
    pub(super) material: Material,
}

impl<'a> Bench<'a> {
    pub(super) fn new(
        options: &'a Options,
        peers: &'a Peers,
        placement: Placement,
    ) -> Result<Self, Box<dyn Error>> {
        // The load holds thousands of connections; what is missing shows as an error there.
        crate::proc::open_files(None)?;
        Ok(Self { options, peers, placement, material: Material::new()? })
    }

    /// A foreign server.
    pub(super) fn peer(&self, name: &str, mode: &'static str) -> Program {
        // Absolute, so that it is found wherever it is started from.
        let folder = std::path::absolute(&self.options.peers);
        let folder = folder.unwrap_or_else(|_| self.options.peers.clone());
        let missing = self.peers.missing.get(name).cloned();
        Program::Peer { path: folder.join(name), mode, missing }
    }

    /// Whether a section is asked for, by its name or one of its variants'.
    pub(super) fn wants(&self, section: &str, variants: &[Variant]) -> bool {
        let wants = |name: &str| self.options.wants(name);
        let wanted = wants(section) || variants.iter().any(|one| wants(&one.name));
        wanted && self.options.allows(section)
    }

    /// How long a sample may take before it counts as failed.
    pub(super) fn limit(&self) -> Duration {
        Duration::from_secs(if self.options.quick { 20 } else { 60 })
    }

    /// Starts every variant's server. One that cannot be started is a row that says why.
    pub(super) async fn start(&self, variants: Vec<Variant>) -> Vec<Started> {
        let mut started = Vec::with_capacity(variants.len());
        for variant in variants {
            let row = if let Some(reason) = variant.program.missing() {
                (None, Row::missing(&variant.name, &reason))
            } else {
                let (program, material) = (&variant.program, &self.material);
                let server = if variant.both_cores {
                    Server::start_on_both(program, material, self.placement).await
                } else {
                    Server::start(program, material, self.placement).await
                };
                match server {
                    Ok(server) => (Some(server), Row::of(&variant.name, Vec::new())),
                    Err(error) => {
                        let reason = format!("cannot be started: {error}");
                        let mut row = Row::missing(&variant.name, &reason);
                        if matches!(variant.program, Program::Own { .. }) {
                            row.problems.push(reason);
                        }
                        (None, row)
                    }
                }
            };
            started.push(Started { variant, server: row.0, row: row.1, tally: Tally::default() });
        }
        started
    }
}

/// A section and its rows.
#[cfg(test)]
pub(super) fn named(section: &str, variants: &[Variant]) -> (String, Vec<String>) {
    (section.to_owned(), variants.iter().map(|one| one.name.clone()).collect())
}

/// A server and what is asked of it.
#[derive(Clone)]
pub(super) struct Variant {
    pub(super) name: String,
    pub(super) program: Program,
    pub(super) tls: Option<Tls>,
    /// In turn.
    pub(super) tokens: Arc<[String]>,
    pub(super) expect: Expect,
    /// A foreign server that is asked for nothing but a TLS handshake.
    pub(super) handshake_only: bool,
    /// Whether the server gets the load's core too.
    pub(super) both_cores: bool,
}

impl Variant {
    pub(super) fn new(name: impl Into<String>, program: Program, tls: Option<Tls>) -> Self {
        let (tokens, expect) = (Arc::from([]), Expect::Echo);
        let (handshake_only, both_cores) = (false, false);
        Self { name: name.into(), program, tls, tokens, expect, handshake_only, both_cores }
    }

    pub(super) fn tokens(mut self, tokens: &Arc<[String]>) -> Self {
        self.tokens = Arc::clone(tokens);
        self
    }

    pub(super) fn expect(mut self, expect: Expect) -> Self {
        self.expect = expect;
        self
    }

    /// The load for it.
    pub(super) fn shape(&self, connections: usize, streams: usize) -> Shape {
        let tls = self.tls.is_some();
        let requests: Vec<Prepared> = if self.tokens.is_empty() {
            vec![prepare(tls, None, self.expect)]
        } else {
            self.tokens.iter().map(|token| prepare(tls, Some(token), self.expect)).collect()
        };
        let (tls, requests) = (self.tls.clone(), requests.into());
        Shape { connections, streams, tls, requests, strangers: false }
    }
}

/// A variant whose server runs, or whose row says why it does not.
pub(super) struct Started {
    pub(super) variant: Variant,
    pub(super) server: Option<Server>,
    pub(super) row: Row,
    tally: Tally,
}

impl Started {
    /// Leaves a round out. The others keep their place, so that rows are compared within rounds.
    pub(super) fn sit_out(&mut self) {
        self.row.samples.push(None);
    }

    /// Takes a round's sample in.
    pub(super) fn record(&mut self, sample: Result<(f64, Tally), LoadError>) {
        match sample {
            Ok((value, tally)) => {
                self.row.samples.push(Some(value));
                self.tally.checked += tally.checked;
                self.tally.refused += tally.refused;
            }
            Err(error) => {
                self.row.samples.push(None);
                let problem = chain(&error);
                if !self.row.problems.contains(&problem) {
                    self.row.problems.push(problem);
                }
            }
        }
    }

    /// The finished row, with what was counted.
    fn finish(self) -> Row {
        let mut row = Row { facts: self.row.facts, ..Row::of(&self.row.name, self.row.samples) };
        (row.missing, row.problems) = (self.row.missing, self.row.problems);
        (row.series, row.x) = (self.row.series, self.row.x);
        if row.missing.is_none() {
            row.fact("checked", Fact::Count(self.tally.checked));
            row.fact("refused", Fact::Count(self.tally.refused));
        }
        row
    }
}

/// Puts the rows of a suite into its section; the servers end meanwhile, all at once.
pub(super) async fn collect(mut started: Vec<Started>, section: &mut Section) {
    let mut stopping = JoinSet::new();
    for server in started.iter_mut().filter_map(|one| one.server.take()) {
        stopping.spawn(server.stop());
    }
    section.rows.extend(started.into_iter().map(Started::finish));
    stopping.join_all().await;
}

/// An error and its causes, in one line.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// The order of a round: every other one is reversed, so that what drifts hits all alike.
pub(super) fn order(count: usize, round: u32) -> Vec<usize> {
    if round.is_multiple_of(2) { (0..count).collect() } else { (0..count).rev().collect() }
}

/// Whether a row has a turn in a round, of which it takes so many, spread over all.
pub(super) fn has_turn(round: u32, rounds: u32, turns: u32) -> bool {
    let until = |round: u32| u64::from(round) * u64::from(turns) / u64::from(rounds.max(1));
    until(round + 1) > until(round)
}

/// Tells how far a suite is.
pub(super) struct Progress {
    what: String,
    rounds: u32,
    begun: Instant,
}

impl Progress {
    pub(super) fn new(what: &str, rounds: u32) -> Self {
        Self { what: what.to_owned(), rounds, begun: Instant::now() }
    }

    pub(super) fn round(&self, round: u32) {
        let (seconds, done) = (self.begun.elapsed().as_secs_f64(), round + 1);
        let left = seconds / f64::from(done) * f64::from(self.rounds.saturating_sub(done));
        let (what, rounds) = (&self.what, self.rounds);
        eprintln!("  {what}: round {done} of {rounds} done after {seconds:.1} s, {left:.0} s left");
    }
}

/// Server CPU per call in µs: connections are opened, warmed up, loaded, and closed.
pub(super) async fn calls(
    server: &Server,
    shape: Shape,
    warm_up: usize,
    requests: usize,
    limit: Duration,
) -> Result<(f64, Tally), LoadError> {
    let generator = Generator::open(shape, server).await?;
    generator.run(warm_up, limit).await?;
    let clock = server.cpu();
    let before = clock.now()?;
    let tally = generator.run(requests, limit).await?;
    let spent = clock.now()?.saturating_sub(before);
    generator.close().await;
    Ok((per_one(spent, requests), tally))
}

/// µs for each.
#[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
pub(super) fn per_one(spent: Duration, count: usize) -> f64 {
    spent.as_secs_f64() * 1e6 / count.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_other_round_is_reversed() {
        assert_eq!(order(3, 0), [0, 1, 2]);
        assert_eq!(order(3, 1), [2, 1, 0]);
        assert_eq!(order(3, 2), [0, 1, 2]);
    }

    #[test]
    fn turns_are_spread_over_all_rounds_and_over_both_orders() {
        let turns: Vec<u32> = (0..31).filter(|&round| has_turn(round, 31, 11)).collect();
        assert_eq!(turns.len(), 11);
        assert!(turns.windows(2).all(|pair| pair[1] - pair[0] <= 3), "{turns:?}");
        assert!(turns.iter().filter(|round| **round % 2 == 1).count() >= 4, "{turns:?}");
        assert!((0..5).all(|round| has_turn(round, 5, 5)));
    }

    #[test]
    fn time_is_shared_out_in_microseconds() {
        assert_eq!(per_one(Duration::from_millis(2), 1000), 2.0);
    }
}
