//! First calls: a hundred at the same time with one token that the server has not seen, beside a
//! call with such a token that comes alone.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use super::latency::Seen;
use super::{again, full};
use crate::launch::{Program, Server};
use crate::load::{Expect, Generator, LoadError, Prepared, Tally, Tls, prepare};
use crate::options::{Kind, RuntimeKind};
use crate::report::{Chart, Report, Section};
use crate::suites::bench::{Bench, Progress, Variant, collect, order};

/// Calls at the same time.
const AT_ONCE: usize = 100;
/// What everything is compared with.
const ALONE: &str = "ours-gate-full ct: one call, a new token";
/// The same crowd, whose token is verified once.
const ONE_OF_THEM: &str = "ours-gate-full ct: 100 at once, one of them with a new token";

/// Which tokens the calls of a crowd have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tokens {
    /// All the same, which the server has not seen.
    OneNew,
    /// One has a new one, and the others one that is remembered.
    OneOfThemNew,
    /// One that is remembered.
    Remembered,
    /// Each a new one.
    EachNew,
}

/// What a row measures.
#[derive(Clone, Copy, Debug)]
struct Way {
    /// So many calls at the same time.
    crowd: usize,
    tokens: Tokens,
}

/// Adds the section.
pub(super) async fn run(bench: &Bench<'_>, report: &mut Report) -> Result<(), Box<dyn Error>> {
    let rounds = bench.options.rounds(2, 11);
    let crowds = bench.options.requests(400, 8_000) as usize / AT_ONCE;
    let known: Arc<[String]> = bench.material.tokens(1)?.into();
    let ways = ways(bench, &known)?;
    let variants: Vec<Variant> = ways.iter().map(|(variant, _)| variant.clone()).collect();
    if !bench.wants("calls-first", &variants) {
        return Ok(());
    }
    let mut started = bench.start(variants).await;
    let mut seen: Vec<Seen> = ways.iter().map(|_| Seen::default()).collect();
    let mut fresh = Fresh { bench, next: 1 };
    let progress = Progress::new("calls-first", rounds);
    for round in 0..rounds {
        for index in order(started.len(), round) {
            let one = &mut started[index];
            let Some(server) = &one.server else { continue };
            let (variant, way) = &ways[index];
            // As many that come alone say enough of their 99th percentile.
            let crowds = if way.crowd == 1 { 2 * AT_ONCE } else { crowds.max(1) };
            let calls = fresh.calls(*way, &known[0], crowds + WARM_UP)?;
            let sample = sample(server, variant, *way, &calls, bench.limit(), &mut seen[index]);
            one.record(sample.await);
        }
        progress.round(round);
    }
    let title = format!("First calls: {AT_ONCE} at the same time on 1 connection");
    let unit = "ms, the 99th percentile";
    let mut section = Section::new("calls-first", &title, unit, Chart::Bars);
    collect(started, &mut section).await;
    for (row, seen) in section.rows.iter_mut().zip(&seen) {
        seen.tell(row, &[("p50", 0.5), ("p99", 0.99)]);
    }
    section.compare("× one call", |_| Some(ALONE));
    section.compare("× one of them new", |row| {
        row.name.contains("100 at once").then_some(ONE_OF_THEM)
    });
    section.control(ONE_OF_THEM, &again(ONE_OF_THEM));
    section.notes.extend([
        "a call that comes alone waits for its verification; one of a hundred waits for those \
         before it too, on a server with one core, whatever their tokens"
            .to_owned(),
        "`tonic-tls-jwt` verifies every call's token".to_owned(),
    ]);
    report.push(section);
    Ok(())
}

/// Crowds that come first and are not counted.
const WARM_UP: usize = 2;

/// The 99th percentile of all calls of these crowds, in milliseconds.
async fn sample(
    server: &Server,
    variant: &Variant,
    way: Way,
    calls: &[Arc<[Prepared]>],
    limit: Duration,
    seen: &mut Seen,
) -> Result<(f64, Tally), LoadError> {
    let generator = Generator::open(variant.shape(1, way.crowd), server).await?;
    // The token of the variant is remembered from here on.
    generator.run_one_each(limit).await?;
    let (warm_up, counted) = calls.split_at(WARM_UP.min(calls.len()));
    for crowd in warm_up {
        generator.run_these(crowd, crowd.len(), limit).await?;
    }
    let clock = server.cpu();
    let before = clock.now()?;
    let (mut tally, mut latencies) = (Tally::default(), Vec::new());
    for crowd in counted {
        let (one, took) = generator.run_these(crowd, crowd.len(), limit).await?;
        tally.checked += one.checked;
        tally.refused += one.refused;
        latencies.extend(took);
    }
    let cpu = clock.now()?.saturating_sub(before);
    let calls = latencies.len();
    let last = seen.round(&[latencies], calls, cpu);
    generator.close().await;
    Ok((last, tally))
}

/// Tokens that nobody has seen.
struct Fresh<'a> {
    bench: &'a Bench<'a>,
    /// The next caller: the first is the one that is remembered.
    next: usize,
}

impl Fresh<'_> {
    fn tokens(&mut self, count: usize) -> Result<Vec<String>, Box<dyn Error>> {
        let callers = self.next..self.next + count;
        self.next = callers.end;
        self.bench.material.tokens_of(callers)
    }

    /// So many crowds of calls.
    fn calls(
        &mut self,
        way: Way,
        known: &str,
        crowds: usize,
    ) -> Result<Vec<Arc<[Prepared]>>, Box<dyn Error>> {
        let mut found = Vec::with_capacity(crowds);
        for _ in 0..crowds {
            let new = self.tokens(way.new_tokens())?;
            let calls = (0..way.crowd).map(|at| new.get(way.token(at)).map_or(known, |one| one));
            let calls = calls.map(|token| prepare(true, Some(token), Expect::Echo));
            found.push(calls.collect());
        }
        Ok(found)
    }
}

impl Way {
    /// How many new tokens a crowd has.
    fn new_tokens(self) -> usize {
        match self.tokens {
            Tokens::OneNew | Tokens::OneOfThemNew => 1,
            Tokens::Remembered => 0,
            Tokens::EachNew => self.crowd,
        }
    }

    /// Which of the new tokens a call has; one that is not there is the token that is remembered.
    fn token(self, at: usize) -> usize {
        match self.tokens {
            Tokens::OneNew => 0,
            Tokens::OneOfThemNew | Tokens::Remembered | Tokens::EachNew => at,
        }
    }
}

/// One for each row.
#[cfg(test)]
pub(super) fn variants(bench: &Bench<'_>) -> Result<Vec<Variant>, Box<dyn Error>> {
    let known: Arc<[String]> = bench.material.tokens(1)?.into();
    Ok(ways(bench, &known)?.into_iter().map(|(variant, _)| variant).collect())
}

fn ways(bench: &Bench<'_>, known: &Arc<[String]>) -> Result<Vec<(Variant, Way)>, Box<dyn Error>> {
    let current = RuntimeKind::CurrentThread;
    let tls = Tls::new(&bench.material)?;
    let ours = full(bench, Kind::OursGate, current);
    let stock = Program::own(Kind::TonicTlsJwt, current);
    let crowd = |tokens| Way { crowd: AT_ONCE, tokens };
    let mut rows = vec![
        (ALONE.to_owned(), &ours, Way { crowd: 1, tokens: Tokens::OneNew }),
        (ONE_OF_THEM.to_owned(), &ours, crowd(Tokens::OneOfThemNew)),
        (again(ONE_OF_THEM), &ours, crowd(Tokens::OneOfThemNew)),
    ];
    for (name, tokens) in [
        ("one new token", Tokens::OneNew),
        ("a remembered token", Tokens::Remembered),
        ("each with a new token", Tokens::EachNew),
    ] {
        rows.push((format!("ours-gate-full ct: 100 at once, {name}"), &ours, crowd(tokens)));
    }
    let name = "tonic-tls-jwt ct: 100 at once, one new token".to_owned();
    rows.push((name, &stock, crowd(Tokens::OneNew)));
    let variant = |name, program: &Program| Variant::new(name, program.clone(), Some(tls.clone()));
    let rows = rows.into_iter();
    Ok(rows.map(|(name, program, way)| (variant(name, program).tokens(known), way)).collect())
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;

    fn ways(tokens: Tokens) -> (usize, Range<usize>) {
        let way = Way { crowd: 3, tokens };
        // The calls whose token is new.
        let new: Vec<usize> =
            (0..way.crowd).filter(|at| way.token(*at) < way.new_tokens()).collect();
        (way.new_tokens(), new.first().copied().unwrap_or(0)..new.last().map_or(0, |at| at + 1))
    }

    #[test]
    fn crowds_have_the_tokens_that_their_name_says() {
        assert_eq!(ways(Tokens::OneNew), (1, 0..3));
        assert_eq!(ways(Tokens::OneOfThemNew), (1, 0..1));
        assert_eq!(ways(Tokens::Remembered), (0, 0..0));
        assert_eq!(ways(Tokens::EachNew), (3, 0..3));
    }
}
