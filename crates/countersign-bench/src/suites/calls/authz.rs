//! Our gate beside grpc-go's `authz` interceptor: the same policy file, the same calls, and what
//! each adds to its own server without it.

use std::error::Error;
use std::sync::Arc;

use super::{again, shape};
use crate::launch::Program;
use crate::load::Tls;
use crate::options::{Kind, RuntimeKind};
use crate::report::{Fact, Report, Section};
use crate::stats::{quantile, sorted};
use crate::suites::bench::{Bench, Variant};

const OURS: &str = "ours-tls mtls ct";
const OURS_WITH: &str = "ours-gate-mtls ct, policy";
const GO: &str = "go mtls";
const GO_WITH: &str = "go mtls-authz";

/// Adds the section.
pub(super) async fn run(bench: &Bench<'_>, report: &mut Report) -> Result<(), Box<dyn Error>> {
    let variants = variants(bench)?;
    if !bench.wants("calls-authz", &variants) {
        return Ok(());
    }
    let mut section = shape(bench, "calls-authz", 1, 100, variants).await?;
    // They are about tokens, which nobody has here.
    section.notes.clear();
    section.title = "Calls with a client certificate: what a policy adds".to_owned();
    section.compare("× its server without", |row| match row.name.as_str() {
        OURS_WITH => Some(OURS),
        GO_WITH => Some(GO),
        _ => None,
    });
    section.control(OURS, &again(OURS));
    let ours = added(&section, OURS_WITH, OURS);
    let go = added(&section, GO_WITH, GO);
    let beside = ours.zip(go).filter(|(_, go)| *go > 0.0).map(|(ours, go)| ours / go);
    for row in &mut section.rows {
        let (added, over) = match row.name.as_str() {
            OURS_WITH => (ours, beside),
            GO_WITH => (go, None),
            _ => continue,
        };
        if let Some(added) = added {
            row.fact("µs added", Fact::Number(added));
        }
        if let Some(over) = over {
            row.fact("added / added by grpc-go", Fact::Number(over));
        }
    }
    section.notes.push(
        "one policy of gRFC A43 for both, of ten rules: the last one lets in the client's \
         certificate"
            .to_owned(),
    );
    section.notes.push("µs added: the median of the rounds' differences".to_owned());
    report.push(section);
    Ok(())
}

/// The median of what a row has more than another, round by round.
fn added(section: &Section, row: &str, over: &str) -> Option<f64> {
    let samples = |name| section.row(name).map(|row| row.samples.as_slice()).unwrap_or_default();
    let pairs = samples(row).iter().zip(samples(over));
    let differences: Vec<f64> =
        pairs.filter_map(|(more, less)| Some((*more)? - (*less)?)).collect();
    quantile(&sorted(&differences), 0.5)
}

pub(super) fn variants(bench: &Bench<'_>) -> Result<Vec<Variant>, Box<dyn Error>> {
    let (material, current) = (&bench.material, RuntimeKind::CurrentThread);
    let mutual = Tls::mutual(material)?;
    let without = Program::own(Kind::OursTls, current).with("--client-ca", material.ca());
    let with = Program::own(Kind::OursGateMtls, current)
        .with("--policy", material.policy_for_certificates());
    let again = again(OURS);
    let mut programs = vec![(OURS, without.clone()), (again.as_str(), without), (OURS_WITH, with)];
    if !bench.options.no_peers {
        programs.push((GO, bench.peer("go", "mtls")));
        programs.push((GO_WITH, bench.peer("go", "mtls-authz")));
    }
    let none: Arc<[String]> = Arc::from([]);
    let variant = |(name, program)| Variant::new(name, program, Some(mutual.clone())).tokens(&none);
    Ok(programs.into_iter().map(variant).collect())
}
