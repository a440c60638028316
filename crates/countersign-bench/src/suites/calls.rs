//! Server CPU per call over loopback.

mod authz;
mod first;
mod forged;
mod latency;
mod second_opinion;

use std::error::Error;
use std::sync::Arc;

#[cfg(test)]
use super::bench::named;
use super::bench::{Bench, Progress, Started, Variant, calls, collect, has_turn, order};
use crate::launch::Program;
use crate::load::{Expect, Tls};
use crate::options::{Kind, RuntimeKind};
use crate::report::{Chart, Report, Section};

/// What people would use without us: stock tonic over TLS on tokio's default runtime.
const BASE: &str = "tonic-tls mt";
/// The same on the current-thread runtime.
const BASE_CURRENT: &str = "tonic-tls ct";
/// gRPC's code for a caller who was not proven.
const UNAUTHENTICATED: u8 = 16;

/// Shapes that a look leaves out: connections and streams.
const MORE: [(&str, usize, usize); 5] = [
    ("calls-10x10", 10, 10),
    ("calls-1x1", 1, 1),
    ("calls-work", 1, 100),
    ("calls-two-cores", 10, 10),
    ("calls-two-cores-work", 10, 10),
];

/// Adds a section per shape of the load.
pub(super) async fn run(bench: &Bench<'_>, report: &mut Report) -> Result<(), Box<dyn Error>> {
    let main = variants(bench)?;
    if bench.wants("calls", &main) {
        report.push(shape(bench, "calls", 1, 100, main).await?);
    }
    let callers = many_callers(bench)?;
    if bench.wants("calls-callers", &callers) {
        report.push(shape(bench, "calls-callers", 1, 100, callers).await?);
    }
    authz::run(bench, report).await?;
    forged::run(bench, report).await?;
    first::run(bench, report).await?;
    second_opinion::run(bench, report).await?;
    if !bench.options.quick && bench.options.requests.is_none() {
        for (name, connections, streams) in MORE {
            let variants = match name {
                "calls-work" => runtimes(bench, 1, 50)?,
                "calls-two-cores" => runtimes(bench, 2, 0)?,
                "calls-two-cores-work" => runtimes(bench, 2, 50)?,
                _ => variants(bench)?,
            };
            if bench.wants(name, &variants) {
                report.push(shape(bench, name, connections, streams, variants).await?);
            }
        }
    }
    Ok(())
}

/// Every section with the names of its rows.
#[cfg(test)]
pub(super) fn names(bench: &Bench<'_>) -> Result<super::Names, Box<dyn Error>> {
    let (main, runtimes) = (variants(bench)?, runtimes(bench, 2, 0)?);
    let mut found = vec![
        named("calls-callers", &many_callers(bench)?),
        named("calls-authz", &authz::variants(bench)?),
        named("calls-forged", &forged::variants(bench)?),
        named("calls-first", &first::variants(bench)?),
        named("calls-h2load", &second_opinion::variants(bench)?),
    ];
    found.extend(["calls", "calls-10x10", "calls-1x1"].map(|name| named(name, &main)));
    let others = ["calls-work", "calls-two-cores", "calls-two-cores-work"];
    found.extend(others.map(|name| named(name, &runtimes)));
    Ok(found)
}

async fn shape(
    bench: &Bench<'_>,
    name: &str,
    connections: usize,
    streams: usize,
    variants: Vec<Variant>,
) -> Result<Section, Box<dyn Error>> {
    let (rounds, fewer) = rounds(bench, name);
    // One call at a time is mostly waiting.
    let full = if connections * streams == 1 { 2_000 } else { 8_000 };
    let requests = bench.options.requests(1_000, full) as usize;
    let mut started = bench.start(variants).await;
    warm_virtual_machines(bench, &started, connections, streams).await;
    let progress = Progress::new(name, rounds);
    for round in 0..rounds {
        for index in order(started.len(), round) {
            let one = &mut started[index];
            let Some(server) = &one.server else { continue };
            let turns = if is_judged(&one.variant.name) { rounds } else { fewer };
            if !has_turn(round, rounds, turns) {
                one.sit_out();
                continue;
            }
            let shape = one.variant.shape(connections, streams);
            // Every caller comes by once before it counts.
            let warm_up = (requests / 4).max(one.variant.tokens.len()).max(1);
            let sample = calls(server, shape, warm_up, requests, bench.limit()).await;
            one.record(sample);
        }
        progress.round(round);
    }
    let title = title(name, connections, streams);
    let mut section = Section::new(name, &title, "µs of server CPU per call", Chart::Bars);
    collect(started, &mut section).await;
    section.compare("× tonic-tls mt", |_| Some(BASE));
    section.compare("× ours-tls", |row| {
        let ours = row.name.starts_with("ours-");
        let without = if row.name.contains(" mt") { "ours-tls mt" } else { "ours-tls ct" };
        ours.then_some(without)
    });
    section.compare("× tonic-tls ct", |row| (!row.name.contains(" mt")).then_some(BASE_CURRENT));
    for base in [BASE, BASE_CURRENT] {
        if section.row(&again(base)).is_some() {
            section.control(base, &again(base));
        }
    }
    if name.contains("two-cores") {
        section
            .notes
            .push("servers have two cores, and share one of them with the load".to_owned());
    }
    if name.contains("work") {
        section.notes.push("the handler makes 50 digests (SHA-256) of a KiB".to_owned());
    }
    if name.contains("callers") {
        section.notes.push("calls come from 1,000 callers in turn".to_owned());
    }
    section.notes.push(
        "every caller sends a token of 661 bytes, whether the server looks at it or not, except \
         where the name says `no token` or mTLS proves the caller"
            .to_owned(),
    );
    section.notes.push(
        "tonic-tls is stock tonic over a plain tokio-rustls acceptor: the same code as its TLS \
         features, which this workspace does not allow"
            .to_owned(),
    );
    section
        .notes
        .push("overheads below 5 % are judged in process or by counts, not here".to_owned());
    section.notes.push(
        "`full` is a remembered JWT, a policy of ten rules, and a quota for each caller; \
         `audit` adds a record of every call in a file, whose writing is part of the cost; \
         `ours-tls` is the same server without a gate"
            .to_owned(),
    );
    Ok(section)
}

/// What a section is about, and nothing else is.
fn title(name: &str, connections: usize, streams: usize) -> String {
    let many = |count, what| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let (connections, streams) = (many(connections, "connection"), many(streams, "stream"));
    let what = match name {
        "calls-callers" => "Calls of 1,000 callers",
        "calls-work" => "Calls of a handler that works",
        "calls-two-cores" => "Calls to servers with two cores",
        "calls-two-cores-work" => "Calls of a handler that works, to servers with two cores",
        _ => "Calls",
    };
    format!("{what}: {connections} × {streams}, echo of 100 bytes")
}

/// How many rounds a shape has, for what is judged by a few per cent and for the rest.
///
/// 31 rounds resolve about 3 %, 11 no better than 10 %, which is enough for rows that differ by
/// more or that nothing is judged by.
fn rounds(bench: &Bench<'_>, name: &str) -> (u32, u32) {
    let full = match name {
        "calls" | "calls-10x10" | "calls-1x1" => 31,
        _ => 11,
    };
    let rounds = bench.options.rounds(2, full);
    (rounds, bench.options.fewer(rounds, if name == "calls" { 11 } else { 9 }))
}

/// Whether a goal lies within a few per cent of this row: ours as they serve good callers, what
/// they are compared with, and the A/A pairs.
fn is_judged(name: &str) -> bool {
    let kind = name.split([' ', ',']).next().unwrap_or_default();
    let judged = ["tonic-tls", "ours-tls", "ours-gate", "ours-gate-full", "ours-per-core"];
    judged.contains(&kind) && !name.contains("refused") && !name.contains("no token")
}

/// Lets just-in-time compilers see the code long before it is measured.
async fn warm_virtual_machines(
    bench: &Bench<'_>,
    started: &[Started],
    connections: usize,
    streams: usize,
) {
    let requests = if bench.options.quick { 2_000 } else { 40_000 };
    for one in started.iter().filter(|one| one.variant.name.starts_with("java")) {
        let Some(server) = &one.server else { continue };
        let shape = one.variant.shape(connections, streams);
        // What goes wrong here goes wrong in the samples too, and is reported there.
        let _ = calls(server, shape, 1, requests, bench.limit()).await;
    }
}

/// The same token with another signature.
fn forge(token: &str) -> String {
    let (signed, signature) = token.split_at(token.len() - 86);
    let swapped = if signature.starts_with('A') { 'B' } else { 'A' };
    format!("{signed}{swapped}{}", &signature[1..])
}

/// The second of a pair.
fn again(name: &str) -> String {
    format!("{name} (again)")
}

fn variants(bench: &Bench<'_>) -> Result<Vec<Variant>, Box<dyn Error>> {
    let tokens: Arc<[String]> = bench.material.tokens(1)?.into();
    let none: Arc<[String]> = Arc::from([]);
    let jwks = bench.material.jwks();
    let tls = Tls::new(&bench.material)?;
    let mutual = Tls::mutual(&bench.material)?;
    let gate = |kind, runtime| Program::own(kind, runtime).with("--jwks", &jwks);

    let mut found = Vec::new();
    for runtime in RuntimeKind::BOTH {
        let mut add = |name: &str, program: Program, tls: Option<&Tls>, tokens| {
            let name = name.replace("RT", runtime.short());
            found.push(Variant::new(name, program, tls.cloned()).tokens(tokens));
        };
        let own = |kind| Program::own(kind, runtime);
        add("bare-h2 RT", own(Kind::BareH2), None, &tokens);
        add("tonic-plain RT", own(Kind::TonicPlain), None, &tokens);
        add("tonic-tls RT", own(Kind::TonicTls), Some(&tls), &tokens);
        add("tonic-tls RT (again)", own(Kind::TonicTls), Some(&tls), &tokens);
        add("tonic-tls RT, no token", own(Kind::TonicTls), Some(&tls), &none);
        add("tonic-tls-jwt RT", own(Kind::TonicTlsJwt), Some(&tls), &tokens);
        add("ours-tls RT", own(Kind::OursTls), Some(&tls), &tokens);
        add("ours-gate RT", gate(Kind::OursGate, runtime), Some(&tls), &tokens);
        let whole = full(bench, Kind::OursGate, runtime);
        add("ours-gate-full RT", whole.clone(), Some(&tls), &tokens);
        let file = bench.material.audit_file(runtime.short());
        add("ours-gate-full RT, audit", whole.with("--audit", file), Some(&tls), &tokens);
        add("ours-gate-mtls RT", own(Kind::OursGateMtls), Some(&mutual), &none);
    }
    let current = RuntimeKind::CurrentThread;
    let per_core = gate(Kind::OursPerCore, current);
    found.push(Variant::new("ours-per-core", per_core, Some(tls.clone())).tokens(&tokens));
    let per_core = full(bench, Kind::OursPerCore, current);
    let file = bench.material.audit_file("per-core");
    let audited = per_core.clone().with("--audit", file);
    for (name, program) in
        [("ours-per-core, full", per_core), ("ours-per-core, full, audit", audited)]
    {
        found.push(Variant::new(name, program, Some(tls.clone())).tokens(&tokens));
    }
    found.push(
        Variant::new("ours-gate ct, refused", gate(Kind::OursGate, current), Some(tls.clone()))
            .expect(Expect::Refusal(UNAUTHENTICATED)),
    );
    let expired: Arc<[String]> = Arc::from([bench.material.expired_token()?]);
    let forged: Arc<[String]> = tokens.iter().map(|token| forge(token)).collect();
    for (name, refused) in [("expired", &expired), ("forged", &forged)] {
        let name = format!("ours-gate ct, refused: {name}");
        // Forgeries are not remembered either, so that each costs a verification.
        let program = gate(Kind::OursGate, current).with("--remember", "0");
        found.push(
            Variant::new(name, program, Some(tls.clone()))
                .tokens(refused)
                .expect(Expect::Refusal(UNAUTHENTICATED)),
        );
    }
    for runtime in RuntimeKind::BOTH {
        // A connection remembers its last token, so each call brings another one.
        let many: Arc<[String]> = bench.material.tokens(256)?.into();
        let name = format!("ours-gate-uncached {}", runtime.short());
        let program = gate(Kind::OursGate, runtime).with("--remember", "0");
        found.push(Variant::new(name, program, Some(tls.clone())).tokens(&many));
    }
    if !bench.options.no_peers {
        for (name, mode) in [
            ("go", "plain"),
            ("go", "tls"),
            ("go", "tls-jwt"),
            ("go", "tls-jwt-cached"),
            ("java", "tls"),
            ("cpp", "plain"),
        ] {
            let tls = (mode != "plain").then(|| tls.clone());
            let program = bench.peer(name, mode);
            found.push(Variant::new(format!("{name} {mode}"), program, tls).tokens(&tokens));
        }
        // The C++ of Debian's packages refuses a client that offers X25519 alone; once shaken,
        // hands are the same.
        let p256 = Tls::p256(&bench.material, false)?;
        let program = bench.peer("cpp", "tls");
        found.push(Variant::new("cpp tls", program, Some(p256)).tokens(&tokens));
    }
    // What others are compared with is there in any case.
    let bases = [BASE.to_owned(), BASE_CURRENT.to_owned(), again(BASE), again(BASE_CURRENT)];
    found.retain(|one| bench.options.wants(&one.name) || bases.contains(&one.name));
    Ok(found)
}

/// A gate that does everything: tokens, policy, and a quota that is never used up.
fn full(bench: &Bench<'_>, kind: Kind, runtime: RuntimeKind) -> Program {
    Program::own(kind, runtime)
        .with("--jwks", bench.material.jwks())
        .with("--policy", bench.material.policy_for_tokens())
        .with("--quota", "1000000000")
}

/// A thousand callers with a token each, over one connection.
fn many_callers(bench: &Bench<'_>) -> Result<Vec<Variant>, Box<dyn Error>> {
    let tokens: Arc<[String]> = bench.material.tokens(1_000)?.into();
    let tls = Tls::new(&bench.material)?;
    let mut found = Vec::new();
    let mut add = |name: &str, program| {
        found.push(Variant::new(name, program, Some(tls.clone())).tokens(&tokens));
    };
    for runtime in RuntimeKind::BOTH {
        let stock = format!("tonic-tls {}", runtime.short());
        add(&stock, Program::own(Kind::TonicTls, runtime));
        add(&again(&stock), Program::own(Kind::TonicTls, runtime));
        let ours = format!("ours-gate-full {}", runtime.short());
        add(&ours, full(bench, Kind::OursGate, runtime));
    }
    add("ours-per-core, full", full(bench, Kind::OursPerCore, RuntimeKind::CurrentThread));
    if !bench.options.no_peers {
        add("go tls-jwt-cached", bench.peer("go", "tls-jwt-cached"));
    }
    Ok(found)
}

/// One runtime against another: on so many cores, with so much work in the handler.
fn runtimes(bench: &Bench<'_>, cores: usize, work: usize) -> Result<Vec<Variant>, Box<dyn Error>> {
    let tokens: Arc<[String]> = bench.material.tokens(1)?.into();
    let jwks = bench.material.jwks();
    let tls = Tls::new(&bench.material)?;
    let (multi, current) = (RuntimeKind::MultiThread, RuntimeKind::CurrentThread);
    let variant = |name: &str, kind, runtime| {
        let mut program = Program::own(kind, runtime)
            .with("--workers", cores.to_string())
            .with("--work", work.to_string());
        if matches!(kind, Kind::OursGate | Kind::OursPerCore) {
            program = program.with("--jwks", &jwks);
        }
        let mut variant = Variant::new(name, program, Some(tls.clone())).tokens(&tokens);
        variant.both_cores = cores > 1;
        variant
    };
    Ok(vec![
        variant(BASE, Kind::TonicTls, multi),
        variant(&again(BASE), Kind::TonicTls, multi),
        variant("ours-gate mt", Kind::OursGate, multi),
        variant("ours-per-core", Kind::OursPerCore, current),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_has_a_title_of_its_own() {
        let shapes = [("calls", 1, 100), ("calls-callers", 1, 100)].into_iter().chain(MORE);
        let titles: Vec<String> = shapes.map(|(name, c, s)| title(name, c, s)).collect();
        for (at, title) in titles.iter().enumerate() {
            assert!(!titles[..at].contains(title), "{title:?} twice");
        }
        assert_eq!(titles[0], "Calls: 1 connection × 100 streams, echo of 100 bytes");
        assert_eq!(title("calls-1x1", 1, 1), "Calls: 1 connection × 1 stream, echo of 100 bytes");
    }
}
