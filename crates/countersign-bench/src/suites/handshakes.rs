//! Server CPU per connection: connect, TLS handshake, HTTP/2 preface, first SETTINGS, close.

mod returning;

use std::error::Error;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;

use super::bench::{Bench, Progress, Started, Variant, collect, has_turn, order, per_one};
use crate::launch::{Program, Server};
use crate::load::{Handshake, LoadError, Tally, Tls, handshake, handshake_alone};
use crate::options::{Kind, RuntimeKind};
use crate::report::{Chart, Report, Section};

/// The floor that others are compared with.
const BASE: &str = "bare-tls";
const AGAIN: &str = "bare-tls (again)";
const BASE_MUTUAL: &str = "bare-tls mtls";
/// The floor of a connection that can take calls: the same, with the h2 crate on top.
const HTTP2: &str = "bare-h2-tls";
const HTTP2_MUTUAL: &str = "bare-h2-tls mtls";
/// What a goal lies within a few per cent of, and what it is compared with.
const JUDGED: [&str; 9] = [
    BASE,
    AGAIN,
    HTTP2,
    "tonic-tls",
    "ours-tls",
    BASE_MUTUAL,
    HTTP2_MUTUAL,
    "tonic-tls mtls",
    "ours-gate-mtls",
];

/// How long a server may take to notice that connections are closed, before its time is read.
const SETTLE: Duration = Duration::from_millis(20);

/// Adds both sections.
pub(super) async fn run(bench: &Bench<'_>, report: &mut Report) -> Result<(), Box<dyn Error>> {
    let variants = variants(bench)?;
    if bench.wants("handshakes", &variants) {
        report.push(costs(bench, variants).await);
    }
    returning::run(bench, report).await
}

async fn costs(bench: &Bench<'_>, variants: Vec<Variant>) -> Section {
    let rounds = bench.options.rounds(2, 31);
    let fewer = bench.options.fewer(rounds, 11);
    let connections = bench.options.requests(40, 300) as usize;
    let mut started = bench.start(variants).await;
    if !bench.options.quick {
        warm_virtual_machines(bench, &started).await;
    }
    let progress = Progress::new("handshakes", rounds);
    for round in 0..rounds {
        for index in order(started.len(), round) {
            let one = &mut started[index];
            let turns = if JUDGED.contains(&one.variant.name.as_str()) { rounds } else { fewer };
            if one.server.is_some() && !has_turn(round, rounds, turns) {
                one.sit_out();
                continue;
            }
            let sample = sample(one, connections, bench.limit()).await;
            if let Some(sample) = sample {
                one.record(sample);
            }
        }
        progress.round(round);
    }
    let mut section = Section::new(
        "handshakes",
        "Handshakes: TLS 1.3, AES-128-GCM, X25519, ECDSA P-256",
        "µs of server CPU per connection",
        Chart::Bars,
    );
    collect(started, &mut section).await;
    section.compare("× bare-tls", |_| Some(BASE));
    section.compare("× bare-tls mtls", |row| row.name.contains("mtls").then_some(BASE_MUTUAL));
    section.compare("× bare-h2-tls", |row| {
        Some(if row.name.contains("mtls") { HTTP2_MUTUAL } else { HTTP2 })
    });
    section.control(BASE, AGAIN);
    section.notes.push(
        "bare-tls answers with one SETTINGS frame and reads no HTTP/2; bare-h2-tls is the h2 crate \
         on the same acceptor, in one task, and so the floor of a connection that can take calls"
            .to_owned(),
    );
    section.notes.push(
        "ours never resumes sessions where client certificates are asked for: a resumed session \
         would skip their check"
            .to_owned(),
    );
    section.notes.push(
        "openssl speaks no HTTP/2: its connections end after the handshake, or the ticket; nginx \
         and openssl send a ticket where sessions are resumed, and no others"
            .to_owned(),
    );
    section
}

/// Every section with the names of its rows.
#[cfg(test)]
pub(super) fn names(bench: &Bench<'_>) -> Result<super::Names, Box<dyn Error>> {
    Ok(vec![super::bench::named("handshakes", &variants(bench)?), returning::names(bench)?])
}

/// Lets just-in-time compilers see the code long before it is measured.
async fn warm_virtual_machines(bench: &Bench<'_>, started: &[Started]) {
    const CONNECTIONS: usize = 3_000;
    for one in started.iter().filter(|one| one.variant.name.starts_with("java")) {
        // What goes wrong here goes wrong in the samples too, and is reported there.
        let _ = sample(one, CONNECTIONS, bench.limit()).await;
    }
}

async fn sample(
    one: &Started,
    connections: usize,
    limit: Duration,
) -> Option<Result<(f64, Tally), LoadError>> {
    let server = one.server.as_ref()?;
    let tls = one.variant.tls.clone()?;
    let way = Handshake { address: server.address(), tls, source: None };
    let work = cost(server, &way, connections, one.variant.handshake_only);
    Some(tokio::time::timeout(limit, work).await.unwrap_or(Err(LoadError::Timeout(limit))))
}

async fn cost(
    server: &Server,
    way: &Handshake,
    connections: usize,
    alone: bool,
) -> Result<(f64, Tally), LoadError> {
    for number in 0..(connections / 8).max(2) {
        // A session may be left from the last round, or not any more.
        connection(way, number == 0, alone).await?;
    }
    tokio::time::sleep(SETTLE).await;
    let clock = server.cpu();
    let before = clock.now()?;
    for _ in 0..connections {
        connection(way, false, alone).await?;
    }
    tokio::time::sleep(SETTLE).await;
    let spent = clock.now()?.saturating_sub(before);
    let tally = Tally { checked: connections as u64, refused: 0 };
    Ok((per_one(spent, connections), tally))
}

async fn connection(way: &Handshake, first: bool, alone: bool) -> Result<(), LoadError> {
    let mut stream =
        if alone { handshake_alone(way, first).await? } else { handshake(way, first).await? };
    // The server may be faster to close.
    let _ = stream.shutdown().await;
    Ok(())
}

fn variants(bench: &Bench<'_>) -> Result<Vec<Variant>, Box<dyn Error>> {
    let material = &bench.material;
    let full = Tls::new(material)?;
    let mutual = Tls::mutual(material)?;
    let current = RuntimeKind::CurrentThread;
    let own = |kind| Program::own(kind, current);
    let asking = |kind| own(kind).with("--client-ca", material.ca());

    let mut found = Vec::new();
    let mut add = |name: &str, program: Program, tls: &Tls| {
        found.push(Variant::new(name, program, Some(tls.clone())));
    };
    add(BASE, own(Kind::BareTls), &full);
    add(AGAIN, own(Kind::BareTls), &full);
    add(HTTP2, own(Kind::BareH2Tls), &full);
    add("tonic-tls", own(Kind::TonicTls), &full);
    add("ours-tls", own(Kind::OursTls), &full);
    let multi = RuntimeKind::MultiThread;
    add("tonic-tls mt", Program::own(Kind::TonicTls, multi), &full);
    add("ours-tls mt", Program::own(Kind::OursTls, multi), &full);
    // Each has sessions of its own: a client keeps them by the server's name, which is the same.
    for (name, kind) in [
        ("bare-tls resumed", Kind::BareTls),
        ("tonic-tls resumed", Kind::TonicTls),
        ("ours-tls resumed", Kind::OursTls),
    ] {
        add(name, own(kind), &Tls::resumed(material, false)?);
    }
    add("tonic-tls, P-256", own(Kind::TonicTls), &Tls::p256(material, false)?);
    add(BASE_MUTUAL, asking(Kind::BareTls), &mutual);
    add(HTTP2_MUTUAL, asking(Kind::BareH2Tls), &mutual);
    add("tonic-tls mtls", asking(Kind::TonicTls), &mutual);
    add("ours-gate-mtls", own(Kind::OursGateMtls), &mutual);
    add("tonic-tls mtls resumed", asking(Kind::TonicTls), &Tls::resumed(material, true)?);
    if !bench.options.no_peers {
        for name in ["go", "java", "nginx", "openssl"] {
            for (mode, tls) in [("tls", &full), ("mtls", &mutual)] {
                let program = bench.peer(name, mode);
                let mut variant =
                    Variant::new(format!("{name} {mode}"), program, Some(tls.clone()));
                variant.handshake_only = name == "openssl";
                found.push(variant);
            }
        }
        // The C++ of Debian's packages refuses a client that offers X25519 alone.
        for (mode, mutual) in [("tls", false), ("mtls", true)] {
            let (name, tls) = (format!("cpp {mode}, P-256"), Tls::p256(material, mutual)?);
            found.push(Variant::new(name, bench.peer("cpp", mode), Some(tls)));
        }
        for (name, peer, mode, mutual) in [
            ("go tls resumed", "go", "tls", false),
            ("go mtls resumed", "go", "mtls", true),
            ("java tls resumed", "java", "tls", false),
            ("nginx tls resumed", "nginx", "tls-tickets", false),
            ("nginx mtls resumed", "nginx", "mtls-tickets", true),
            ("openssl tls resumed", "openssl", "tls-tickets", false),
            ("openssl mtls resumed", "openssl", "mtls-tickets", true),
        ] {
            let sessions = Tls::resumed(material, mutual)?;
            let mut variant = Variant::new(name, bench.peer(peer, mode), Some(sessions));
            variant.handshake_only = peer == "openssl";
            found.push(variant);
        }
    }
    let bases = [BASE, AGAIN, BASE_MUTUAL, HTTP2, HTTP2_MUTUAL];
    found.retain(|one| bench.options.wants(&one.name) || bases.contains(&one.name.as_str()));
    Ok(found)
}
