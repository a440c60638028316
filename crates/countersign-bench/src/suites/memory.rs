//! Memory per idle connection and per entry: what a process grows by, shared out.

use std::error::Error;
use std::time::Duration;

use tokio::process::Command;

use super::bench::{Bench, Progress, Variant, chain, order};
use crate::launch::{Program, Server};
use crate::load::{Generator, Shape, Tls};
use crate::options::{Held, Kind, RuntimeKind};
use crate::report::{Chart, Fact, Report, Row, Section};

/// Connections that come first and stay: what a server needs once is not counted, and what they
/// would leave behind is not used again.
const WARM_UP: usize = 100;

/// Adds the section.
pub(super) async fn run(bench: &Bench<'_>, report: &mut Report) -> Result<(), Box<dyn Error>> {
    let rounds = bench.options.rounds(1, 5);
    let connections = bench.options.requests(250, 2_000) as usize;
    let variants = variants(bench)?;
    let mut rows: Vec<Row> = variants
        .iter()
        .map(|variant| match variant.program.missing() {
            Some(reason) => Row::missing(&variant.name, &reason),
            None => Row::of(&variant.name, Vec::new()),
        })
        .collect();
    let progress = Progress::new("memory", rounds);
    for round in 0..rounds {
        for index in order(variants.len(), round) {
            if rows[index].missing.is_some() {
                continue;
            }
            let sample = grown(bench, &variants[index], connections).await;
            let sample = sample.map_err(|error| rows[index].problems.push(chain(error.as_ref())));
            rows[index].samples.push(sample.ok());
        }
        progress.round(round);
    }
    let title = format!("Memory: {connections} idle connections, one call each");
    let mut section = Section::new("memory", &title, "KiB per connection", Chart::Bars);
    for row in rows {
        let (missing, problems) = (row.missing, row.problems);
        section.rows.push(Row { missing, problems, ..Row::of(&row.name, row.samples) });
    }
    section.compare("× tonic", |row| {
        let tonic = ["plain", "mtls", "tls"].into_iter().find(|kind| row.name.contains(kind))?;
        Some(match tonic {
            "plain" => "tonic-plain",
            "mtls" => "tonic-tls mtls",
            _ => "tonic-tls",
        })
    });
    report.push(section);
    entries(bench, report).await
}

/// What is kept of many, and whether there are a million of them or fewer.
const ENTRIES: [(&str, Held, bool); 4] = [
    ("limiter: a caller", Held::Meters, true),
    ("limiter: a caller, governor by name", Held::Governor, true),
    ("JWT: a token that is remembered", Held::Tokens, false),
    ("API keys: a key, its store included", Held::Keys, false),
];

/// Every section with the names of its rows.
#[cfg(test)]
pub(super) fn names(bench: &Bench<'_>) -> Result<super::Names, Box<dyn Error>> {
    let entries = ENTRIES.iter().map(|(name, ..)| (*name).to_owned()).collect();
    let connections = super::bench::named("memory", &variants(bench)?);
    Ok(vec![connections, ("memory-entries".to_owned(), entries)])
}

/// What is kept of many: bytes for each, by the growth of a process that does nothing else.
async fn entries(bench: &Bench<'_>, report: &mut Report) -> Result<(), Box<dyn Error>> {
    let rounds = bench.options.rounds(1, 3);
    let (many, fewer) = if bench.options.quick { (100_000, 10_000) } else { (1_000_000, 100_000) };
    let all = ENTRIES.map(|(name, held, is_many)| (name, held, if is_many { many } else { fewer }));
    let title = "Memory per entry";
    let mut section = Section::new("memory-entries", title, "bytes per entry", Chart::Bars);
    let progress = Progress::new("memory-entries", rounds);
    let mut samples: [Vec<Option<f64>>; 4] = Default::default();
    let mut problems: [Vec<String>; 4] = Default::default();
    for round in 0..rounds {
        for index in order(all.len(), round) {
            let (name, held, count) = all[index];
            if !bench.options.wants(name) {
                continue;
            }
            let sample = held_by(held, count).await;
            samples[index]
                .push(sample.map_err(|error| problems[index].push(chain(error.as_ref()))).ok());
        }
        progress.round(round);
    }
    for (((name, _, count), samples), problems) in all.into_iter().zip(samples).zip(problems) {
        let mut row = Row { problems, ..Row::of(name, samples) };
        row.fact("entries", Fact::Count(count));
        section.rows.push(row);
    }
    section.notes.push(
        "the resident memory of a process that makes so many and does nothing else, shared out"
            .to_owned(),
    );
    report.push(section);
    Ok(())
}

async fn held_by(held: Held, count: u64) -> Result<f64, Box<dyn Error>> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["hold", held.name(), &count.to_string()]).kill_on_drop(true);
    let output = command.output().await?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().parse()?)
}

/// KiB per connection, of a fresh server.
async fn grown(
    bench: &Bench<'_>,
    variant: &Variant,
    connections: usize,
) -> Result<f64, Box<dyn Error>> {
    let server = Server::start(&variant.program, &bench.material, bench.placement).await?;
    let shape = |connections| Shape { connections, ..variant.shape(1, 1) };
    let first = idle(&server, shape(WARM_UP), bench.limit()).await?;
    let before = server.resident_kib()?;
    let second = idle(&server, shape(connections), bench.limit()).await?;
    let after = server.resident_kib()?;
    first.close().await;
    second.close().await;
    server.stop().await;
    #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
    let each = after.saturating_sub(before) as f64 / connections as f64;
    Ok(each)
}

/// Connections that made one call each and now wait.
async fn idle(server: &Server, shape: Shape, limit: Duration) -> Result<Generator, Box<dyn Error>> {
    let generator = Generator::open(shape, server).await?;
    generator.run_one_each(limit).await?;
    // What the last replies leave to do.
    tokio::time::sleep(Duration::from_millis(50)).await;
    Ok(generator)
}

fn variants(bench: &Bench<'_>) -> Result<Vec<Variant>, Box<dyn Error>> {
    let tokens: std::sync::Arc<[String]> = bench.material.tokens(1)?.into();
    let listed = bench.material.list("tokens.json", &tokens)?;
    let (tls, mutual) = (Tls::new(&bench.material)?, Tls::mutual(&bench.material)?);
    let own = |kind| Program::own(kind, RuntimeKind::CurrentThread);
    let asking = |kind| own(kind).with("--client-ca", bench.material.ca());
    let mut found = vec![
        Variant::new("tonic-plain", own(Kind::TonicPlain), None),
        Variant::new("ours-plain", own(Kind::OursPlain), None),
        Variant::new("tonic-tls", own(Kind::TonicTls), Some(tls.clone())),
        Variant::new("ours-tls", own(Kind::OursTls), Some(tls.clone())),
        Variant::new(
            "ours-gate tls",
            own(Kind::OursGate).with("--tokens", listed),
            Some(tls.clone()),
        )
        .tokens(&tokens),
        Variant::new("tonic-tls mtls", asking(Kind::TonicTls), Some(mutual.clone())),
        Variant::new("ours-gate-mtls", own(Kind::OursGateMtls), Some(mutual)),
    ];
    if !bench.options.no_peers && !bench.options.quick {
        for name in ["go", "java", "cpp"] {
            let program = bench.peer(name, "tls");
            let tls = if name == "cpp" { Tls::p256(&bench.material, false)? } else { tls.clone() };
            found.push(Variant::new(format!("{name} tls"), program, Some(tls)));
        }
    }
    found.retain(|one| bench.options.wants(&one.name) || one.name.starts_with("tonic"));
    Ok(found)
}
