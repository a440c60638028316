//! `countersign token inspect`: what a token says, believed by nobody.

use std::time::SystemTime;

use clap::Args;
use serde_json::{Map, Value, json};

use super::decoded::Decoded;
use super::input::TokenInput;
use super::lint::{self, Finding};
use super::moment;
use crate::exit;
use crate::output::{Failure, Output};
use crate::pki::lint::Level;
use crate::pki::text;

/// Show what a token says, without trusting it
///
/// Needs no keys and asks nobody. Nothing is verified: anybody can write such a token.
#[derive(Args, Debug)]
pub(super) struct InspectArgs {
    #[command(flatten)]
    token: TokenInput,

    /// Let findings of this level decide the exit code: 1 if there are any [default: error]
    #[arg(long, value_name = "LEVEL", value_enum, num_args = 0..=1, require_equals = true,
          default_missing_value = "error")]
    lint: Option<Level>,
}

pub(super) fn run(args: &InspectArgs, now: SystemTime, output: &mut Output) -> Result<u8, Failure> {
    let token = args.token.read(output)?;
    let decoded = Decoded::read(&token);
    let findings = match &decoded {
        Decoded::Signed { header, claims, .. } => lint::signed(&token, header, claims, now),
        Decoded::Encrypted { .. } => lint::encrypted(),
        Decoded::Opaque { because } => lint::opaque(because),
    };
    if output.is_json() {
        output.json(&as_json(&decoded, &findings, now));
    } else {
        print(&decoded, now, output);
    }
    if matches!(decoded, Decoded::Signed { .. } | Decoded::Encrypted { .. }) {
        output.warning(
            "NOT VERIFIED: anybody could have written this token",
            Some("countersign token verify --issuer URL --audience NAME"),
        );
    }
    for finding in &findings {
        let is_error = finding.level == Level::Error;
        let label = format!("{}[{}]", if is_error { "error" } else { "warning" }, finding.code);
        output.finding(&label, is_error, &finding.message, None, finding.hint.as_deref());
    }
    let decides = |finding: &Finding| args.lint.is_some_and(|level| finding.level >= level);
    Ok(if findings.iter().any(decides) { exit::DENIED } else { exit::OK })
}

/// The claims that are times.
const TIMES: [&str; 4] = ["exp", "nbf", "iat", "auth_time"];

fn as_json(decoded: &Decoded, findings: &[Finding], now: SystemTime) -> Value {
    let (kind, header, claims, signature_bytes) = match decoded {
        Decoded::Signed { header, claims, signature_bytes } => {
            ("jwt", json!(header), json!(claims), json!(signature_bytes))
        }
        Decoded::Encrypted { header } => ("jwe", json!(header), Value::Null, Value::Null),
        Decoded::Opaque { .. } => ("opaque", Value::Null, Value::Null, Value::Null),
    };
    let time = |name: &str| {
        let time = moment::of(claims.get(name)?)?;
        let ahead = match time.duration_since(now) {
            Ok(ahead) => i64::try_from(ahead.as_secs()).ok()?,
            Err(behind) => -i64::try_from(behind.duration().as_secs()).ok()?,
        };
        Some((name.to_owned(), json!({"time": text::timestamp(time), "in_seconds": ahead})))
    };
    let times: Map<String, Value> = TIMES.into_iter().filter_map(time).collect();
    json!({
        "verified": false,
        "kind": kind,
        "header": header,
        "claims": claims,
        "times": times,
        "signature_bytes": signature_bytes,
        "findings": findings,
        "now": text::timestamp(now),
    })
}

fn print(decoded: &Decoded, now: SystemTime, output: &mut Output) {
    let mut members = |title: &str, object: &Map<String, Value>, times: &[&str]| {
        output.data(title);
        let width = object.keys().map(|name| text::printable(name).chars().count()).max();
        for (name, value) in object {
            let time = moment::of(value).filter(|_| times.contains(&name.as_str()));
            let time = time.map(|time| format!("  {}", moment::shown(time, now)));
            output.data(format_args!(
                "  {:2$}  {}{3}",
                text::printable(name),
                text::printable(&value.to_string()),
                width.unwrap_or(0),
                time.unwrap_or_default(),
            ));
        }
    };
    match decoded {
        Decoded::Signed { header, claims, signature_bytes } => {
            members("header", header, &[]);
            members("claims", claims, &TIMES);
            output.data(format_args!("signature\n  {signature_bytes} bytes, not checked"));
        }
        Decoded::Encrypted { header } => members("header", header, &[]),
        Decoded::Opaque { because } => {
            output.data(format_args!("opaque: {because}, so there is nothing to read in it"));
        }
    }
}
