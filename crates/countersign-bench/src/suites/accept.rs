//! What strangers can do to the accept loop: say nothing, say half of it, or take every
//! descriptor.

use std::error::Error;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::bench::{Bench, chain};
use crate::launch::{Program, Server};
use crate::load::{Handshake, LoadError, Tls, from, handshake, hello_bytes, shake_and_leave};
use crate::options::{Kind, RuntimeKind};
use crate::report::{Chart, Fact, Report, Row, Section};
use crate::stats::{quantile, sorted};

/// Loopback addresses that they come from, so that no limit per address is in play.
const SOURCES: usize = 8;
/// Clients that finish their handshake and then say nothing.
const SHAKEN: usize = 50;
/// The servers' limit on open files where they are to run out of them.
const DESCRIPTORS: u64 = 128;

/// Adds two sections: strangers, and the end of descriptors.
pub(super) async fn run(bench: &Bench<'_>, report: &mut Report) -> Result<(), Box<dyn Error>> {
    let deadline = Duration::from_millis(if bench.options.quick { 500 } else { 10_000 });
    let count = bench.options.requests(400, 1_000) as usize;
    let tls = Tls::new(&bench.material)?;
    let mut strangers = Section::new(
        "accept",
        &format!("Accept: {count} strangers, a deadline of {} s", deadline.as_secs_f64()),
        "ms from connect to the server's SETTINGS",
        Chart::None,
    );
    let mut limits = Section::new(
        "accept-descriptors",
        &format!("Accept: {DESCRIPTORS} descriptors, all of them taken"),
        "CPU while nothing can be accepted",
        Chart::None,
    );
    for (name, program) in servers(bench, deadline) {
        if !bench.options.wants(&name) {
            continue;
        }
        if let Some(reason) = program.missing() {
            strangers.rows.push(Row::missing(&name, &reason));
            continue;
        }
        let kinds = [(Stranger::Silent, count), (Stranger::HalfHello, count)];
        for (kind, count) in kinds.into_iter().chain([(Stranger::Shaken, SHAKEN)]) {
            eprintln!("  accept: {name}, {}", kind.name());
            let label = format!("{name}, {}", kind.name());
            let row = besieged(bench, &program, &tls, kind, count, deadline).await;
            strangers.rows.push(finished(&label, row));
        }
        if let Program::Own { .. } = program {
            eprintln!("  accept: {name}, out of descriptors");
            let program = program.with("--open-files", DESCRIPTORS.to_string());
            limits.rows.push(finished(&name, exhausted(bench, &program, &tls).await));
        }
    }
    let deadlines = "a deadline is ours to keep: stock tonic has none by default, and peers were \
                     not told of one";
    strangers.notes.push(deadlines.to_owned());
    report.push(strangers);
    report.push(limits);
    Ok(())
}

/// Every section with the names of its rows.
#[cfg(test)]
pub(super) fn names(bench: &Bench<'_>) -> super::Names {
    let kinds = [Stranger::Silent, Stranger::HalfHello, Stranger::Shaken];
    let servers = servers(bench, Duration::ZERO);
    let strangers = servers
        .iter()
        .flat_map(|(name, _)| kinds.map(|kind| format!("{name}, {}", kind.name())))
        .collect();
    let own = servers.iter().filter(|(_, program)| matches!(program, Program::Own { .. }));
    let limits = own.map(|(name, _)| name.clone()).collect();
    vec![("accept".to_owned(), strangers), ("accept-descriptors".to_owned(), limits)]
}

fn servers(bench: &Bench<'_>, deadline: Duration) -> Vec<(String, Program)> {
    let own = |kind| Program::own(kind, RuntimeKind::CurrentThread);
    let ours = own(Kind::OursTls).with("--handshake-timeout-ms", deadline.as_millis().to_string());
    let mut found =
        vec![("ours-tls".to_owned(), ours), ("tonic-tls".to_owned(), own(Kind::TonicTls))];
    if !bench.options.no_peers && !bench.options.quick {
        for name in ["go", "java"] {
            found.push((format!("{name} tls"), bench.peer(name, "tls")));
        }
    }
    found
}

fn finished(name: &str, row: Result<Row, Box<dyn Error>>) -> Row {
    match row {
        Ok(row) => Row { name: name.to_owned(), ..row },
        Err(error) => {
            let mut row = Row::of(name, Vec::new());
            row.problems.push(chain(error.as_ref()));
            row
        }
    }
}

/// How a client stays in the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stranger {
    /// Connects and says nothing.
    Silent,
    /// Sends half of its ClientHello.
    HalfHello,
    /// Finishes TLS and says nothing.
    Shaken,
}

impl Stranger {
    fn name(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::HalfHello => "half a ClientHello",
            Self::Shaken => "TLS and then silent",
        }
    }
}

/// A server with strangers in its door.
async fn besieged(
    bench: &Bench<'_>,
    program: &Program,
    tls: &Tls,
    kind: Stranger,
    count: usize,
    deadline: Duration,
) -> Result<Row, Box<dyn Error>> {
    let server = Server::start(program, &bench.material, bench.placement).await?;
    let way = Handshake { address: server.address(), tls: tls.clone(), source: None };
    let samples = if bench.options.quick { 40 } else { 300 };
    latencies(&way, samples / 4).await?;
    let alone = latencies(&way, samples).await?;
    let before = server.resident_kib()?;

    let begun = Instant::now();
    let mut strangers = Vec::with_capacity(count);
    let hello = hello_bytes(tls)?;
    for number in 0..count {
        strangers.push(stranger(kind, &way, &hello, number).await?);
    }
    let last = begun.elapsed();
    // The server takes them in when it gets to it.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let pending = server.resident_kib()?.saturating_sub(before);
    let beside = latencies(&way, samples).await?;

    // The last of them has its deadline, and a second more.
    let until = last + deadline + Duration::from_secs(1);
    tokio::time::sleep(until.saturating_sub(begun.elapsed())).await;
    let closed = strangers.iter().filter(|stream| is_closed(stream)).count();
    drop(strangers);
    let after = latencies(&way, samples / 4).await?;
    server.stop().await;

    let mut row = Row::measured("", beside.iter().copied());
    let at = |of: &[f64], fraction| quantile(&sorted(of), fraction).unwrap_or(f64::NAN);
    row.fact("p50 alone", Fact::Number(at(&alone, 0.5)));
    row.fact("p50", Fact::Number(at(&beside, 0.5)));
    row.fact("p99 alone", Fact::Number(at(&alone, 0.99)));
    row.fact("p99", Fact::Number(at(&beside, 0.99)));
    row.fact("p50 afterwards", Fact::Number(at(&after, 0.5)));
    #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
    let each = pending as f64 / count as f64;
    row.fact("KiB each", Fact::Number(each));
    let closed = format!("{closed} of {}", count);
    row.fact("closed in deadline + 1 s", Fact::Text(closed));
    Ok(row)
}

async fn stranger(
    kind: Stranger,
    way: &Handshake,
    hello: &[u8],
    number: usize,
) -> Result<TcpStream, LoadError> {
    let last = u8::try_from(2 + number % SOURCES).unwrap_or(2);
    let mut stream = from(Ipv4Addr::new(127, 0, 0, last), way.address).await?;
    match kind {
        Stranger::Silent => {}
        Stranger::HalfHello => stream.write_all(&hello[..hello.len() / 2]).await?,
        Stranger::Shaken => return shake_and_leave(way, stream).await,
    }
    Ok(stream)
}

/// Whether the server has closed a connection. What it said before is read and forgotten.
fn is_closed(stream: &TcpStream) -> bool {
    let mut buffer = [0; 4096];
    loop {
        match stream.try_read(&mut buffer) {
            // The rest of a handshake, or an alert.
            Ok(1..) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return false,
            Ok(0) | Err(_) => return true,
        }
    }
}

/// Milliseconds of one new connection after another.
async fn latencies(way: &Handshake, count: usize) -> Result<Vec<f64>, LoadError> {
    let mut found = Vec::with_capacity(count);
    for _ in 0..count {
        let begun = Instant::now();
        let stream = handshake(way, true).await?;
        found.push(begun.elapsed().as_secs_f64() * 1e3);
        drop(stream);
    }
    Ok(found)
}

/// A server that has no descriptor left.
async fn exhausted(bench: &Bench<'_>, program: &Program, tls: &Tls) -> Result<Row, Box<dyn Error>> {
    let server = Server::start(program, &bench.material, bench.placement).await?;
    let way = Handshake { address: server.address(), tls: tls.clone(), source: None };
    let mut held = Vec::new();
    for number in 0..DESCRIPTORS {
        // Those that are not accepted wait in the backlog.
        let last = u8::try_from(2 + number % 8).unwrap_or(2);
        held.push(from(Ipv4Addr::new(127, 0, 0, last), way.address).await?);
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let clock = server.cpu();
    let (before, begun) = (clock.now()?, Instant::now());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let busy = (clock.now()? - before).as_secs_f64() / begun.elapsed().as_secs_f64();
    drop(held);
    let begun = Instant::now();
    let recovery = match handshake(&way, true).await {
        Ok(_) => Fact::Number(begun.elapsed().as_secs_f64()),
        Err(error) => Fact::Text(chain(&error)),
    };
    server.stop().await;
    let mut row = Row::of("", Vec::new());
    row.fact("CPU %", Fact::Number(busy * 100.0));
    row.fact("recovered after s", recovery);
    Ok(row)
}
