//! Cost at N over cost at the first N, along each axis on which a server may grow.

use std::cell::Cell;
use std::error::Error;
use std::sync::Arc;

use super::bench::{Bench, Progress, Started, Variant, calls, collect, order};
use crate::launch::Program;
use crate::load::{Generator, Tls};
use crate::material::opaque_tokens;
use crate::options::{Kind, RuntimeKind};
use crate::report::{Chart, Report, Section};

/// Our gate, and what it is compared with.
const GATE: &str = "ours-gate";
const CONTROL: &str = "tonic-tls";

/// A point on an axis.
struct Point {
    variant: Variant,
    series: &'static str,
    x: usize,
    streams: usize,
    /// Connections that are open beside the load.
    idle: usize,
}

/// Adds a section per axis.
pub(super) async fn run(bench: &Bench<'_>, report: &mut Report) -> Result<(), Box<dyn Error>> {
    let (tls, quick) = (Tls::new(&bench.material)?, bench.options.quick);
    let axes = Axes { bench, tls, quick, lists: Cell::new(0) };
    for (name, axis, points) in [
        ("curves-streams", "streams at a time", axes.streams()?),
        ("curves-callers", "callers", axes.callers()?),
        ("curves-token-bytes", "bytes of the token", axes.token_bytes()?),
        ("curves-idle", "idle connections", axes.idle()?),
        ("curves-rules", "rules", axes.rules()?),
    ] {
        if bench.wants(name, &[]) {
            report.push(axes.measure(name, axis, points).await?);
        }
    }
    Ok(())
}

/// Every section with the names of its rows.
#[cfg(test)]
pub(super) fn names(bench: &Bench<'_>) -> Result<super::Names, Box<dyn Error>> {
    let tls = Tls::new(&bench.material)?;
    let axes = Axes { bench, tls, quick: false, lists: Cell::new(0) };
    let all = [
        ("curves-streams", axes.streams()?),
        ("curves-callers", axes.callers()?),
        ("curves-token-bytes", axes.token_bytes()?),
        ("curves-idle", axes.idle()?),
        ("curves-rules", axes.rules()?),
    ];
    let rows = |points: Vec<Point>| points.into_iter().map(|point| point.variant.name).collect();
    Ok(all.into_iter().map(|(name, points)| (name.to_owned(), rows(points))).collect())
}

struct Axes<'a> {
    bench: &'a Bench<'a>,
    tls: Tls,
    quick: bool,
    /// Files with tokens made so far: each gate has its own.
    lists: Cell<usize>,
}

impl Axes<'_> {
    async fn measure(
        &self,
        name: &str,
        axis: &str,
        points: Vec<Point>,
    ) -> Result<Section, Box<dyn Error>> {
        let bench = self.bench;
        let rounds = bench.options.rounds(2, 11);
        let requests = bench.options.requests(600, 8_000) as usize;
        let (mut variants, mut shapes) = (Vec::new(), Vec::new());
        // The same point twice, for an A/A pair; the second is on no line.
        let first = points.first().ok_or("an axis has a point")?;
        let pair = (first.variant.name.clone(), format!("{} (again)", first.variant.name));
        let mut second = first.variant.clone();
        second.name.clone_from(&pair.1);
        let (x, streams, idle) = (first.x, first.streams, first.idle);
        shapes.push(("", x, streams, idle));
        variants.push(second);
        for point in points {
            shapes.push((point.series, point.x, point.streams, point.idle));
            variants.push(point.variant);
        }
        let mut started = bench.start(variants).await;
        let mut idle = Vec::new();
        for (one, &(series, x, _, connections)) in started.iter_mut().zip(&shapes) {
            #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
            let x = x as f64;
            if !series.is_empty() {
                one.row = std::mem::take(&mut one.row).at(series, x);
            }
            if let (Some(server), 1..) = (&one.server, connections) {
                let generator = Generator::open(one.variant.shape(connections, 1), server).await?;
                generator.run_one_each(bench.limit()).await?;
                idle.push(generator);
            }
        }
        let progress = Progress::new(name, rounds);
        for round in 0..rounds {
            for index in order(started.len(), round) {
                self.sample(&mut started[index], shapes[index].2, requests).await;
            }
            progress.round(round);
        }
        for generator in idle {
            generator.close().await;
        }
        let title = format!("Cost along the number of {axis}, over the cost at the first");
        let chart = Chart::Lines { x: axis.to_owned() };
        let mut section = Section::new(name, &title, "µs of server CPU per call", chart);
        collect(started, &mut section).await;
        section.control(&pair.0, &pair.1);
        let first =
            |series: &str| shapes.iter().find(|shape| shape.0 == series).map(|shape| shape.1);
        let firsts = [GATE, CONTROL].map(|series| first(series).map(|x| (series, row(series, x))));
        section.compare("× first", |row| {
            let series = row.series.as_deref()?;
            let found = firsts.iter().flatten().find(|(name, _)| *name == series)?;
            Some(found.1.as_str())
        });
        let controls: Vec<String> = shapes.iter().map(|shape| row(CONTROL, shape.1)).collect();
        section.compare("× tonic-tls", |row| {
            let beside = row.name.replacen(GATE, CONTROL, 1);
            if beside == row.name {
                return None;
            }
            controls.iter().find(|name| **name == beside).map(String::as_str)
        });
        Ok(section)
    }

    async fn sample(&self, one: &mut Started, streams: usize, requests: usize) {
        let Some(server) = &one.server else { return };
        // Every caller comes by once before it counts.
        let warm_up = one.variant.tokens.len().max(requests / 4).max(1);
        let shape = one.variant.shape(1, streams);
        let sample = calls(server, shape, warm_up, requests, self.bench.limit()).await;
        one.record(sample);
    }

    /// A server of each series with these tokens.
    fn pair(
        &self,
        x: usize,
        streams: usize,
        tokens: &Arc<[String]>,
    ) -> Result<[Point; 2], Box<dyn Error>> {
        Ok([self.gate(x, streams, tokens, 1)?, self.control(x, streams, tokens)])
    }

    fn gate(
        &self,
        x: usize,
        streams: usize,
        tokens: &Arc<[String]>,
        rules: usize,
    ) -> Result<Point, Box<dyn Error>> {
        self.lists.set(self.lists.get() + 1);
        let name = format!("tokens-{}.json", self.lists.get());
        let listed = self.bench.material.list(&name, tokens)?;
        let program = Program::own(Kind::OursGate, RuntimeKind::CurrentThread)
            .with("--tokens", listed)
            .with("--rules", rules.to_string());
        Ok(self.point(GATE, program, x, streams, tokens))
    }

    fn control(&self, x: usize, streams: usize, tokens: &Arc<[String]>) -> Point {
        let program = Program::own(Kind::TonicTls, RuntimeKind::CurrentThread);
        self.point(CONTROL, program, x, streams, tokens)
    }

    fn point(
        &self,
        series: &'static str,
        program: Program,
        x: usize,
        streams: usize,
        tokens: &Arc<[String]>,
    ) -> Point {
        let variant = Variant::new(row(series, x), program, Some(self.tls.clone())).tokens(tokens);
        Point { variant, series, x, streams, idle: 0 }
    }

    fn streams(&self) -> Result<Vec<Point>, Box<dyn Error>> {
        let tokens = self.bench.material.tokens(1)?.into();
        let points: Result<Vec<_>, _> =
            [1, 10, 100].into_iter().map(|streams| self.pair(streams, streams, &tokens)).collect();
        Ok(points?.into_iter().flatten().collect())
    }

    fn callers(&self) -> Result<Vec<Point>, Box<dyn Error>> {
        let numbers: &[usize] =
            if self.quick { &[1, 100, 1_000] } else { &[1, 100, 1_000, 10_000] };
        let mut points = Vec::new();
        for &callers in numbers {
            let tokens = self.bench.material.tokens(callers)?.into();
            points.extend(self.pair(callers, 100, &tokens)?);
        }
        Ok(points)
    }

    fn token_bytes(&self) -> Result<Vec<Point>, Box<dyn Error>> {
        let sizes: &[usize] =
            if self.quick { &[40, 661, 2_048] } else { &[40, 300, 661, 917, 2_048] };
        let mut points = Vec::new();
        for &bytes in sizes {
            points.extend(self.pair(bytes, 100, &opaque_tokens(1, bytes).into())?);
        }
        Ok(points)
    }

    fn idle(&self) -> Result<Vec<Point>, Box<dyn Error>> {
        let numbers: &[usize] = if self.quick { &[10, 500] } else { &[10, 500, 2_000] };
        let tokens = self.bench.material.tokens(1)?.into();
        let mut points = Vec::new();
        for &idle in numbers {
            let pair = self.pair(idle, 100, &tokens)?;
            points.extend(pair.map(|point| Point { idle, ..point }));
        }
        Ok(points)
    }

    fn rules(&self) -> Result<Vec<Point>, Box<dyn Error>> {
        let numbers: &[usize] =
            if self.quick { &[1, 100, 10_000] } else { &[1, 10, 100, 1_000, 10_000] };
        let tokens = self.bench.material.tokens(1)?.into();
        numbers.iter().map(|&rules| self.gate(rules, 100, &tokens, rules)).collect()
    }
}

/// A point's name in the table.
fn row(series: &str, x: usize) -> String {
    format!("{series} @ {x}")
}
