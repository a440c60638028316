//! `countersign token fetch`: runs the token source of a client's configuration once.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Args;
use countersign::credentials::{TokenError, TokenRequest};
use countersign_config::{ClientConfig, ConfiguredToken};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::exit;
use crate::output::{Failure, Output};

/// Fetch a token from the source that a client's configuration names
///
/// What is printed says which token it is and not the token itself, unless --raw asks for it.
#[derive(Args, Debug)]
pub(super) struct FetchArgs {
    /// The configuration: a TOML file with a table such as `[token.client_credentials]`, or with
    /// `[[target]]`s that have one each
    #[arg(long, value_name = "FILE")]
    config: PathBuf,

    /// The host to be called, for tokens that are for one host each
    #[arg(long, value_name = "HOST[:PORT]")]
    host: Option<String>,

    /// Print the token itself, and nothing else
    #[arg(long)]
    raw: bool,
}

/// What may be told of a token.
#[derive(Serialize)]
struct Fetched {
    source: &'static str,
    /// The first 8 hex digits of its SHA-256: what logs call it.
    name: String,
    bytes: usize,
    expires_in_seconds: Option<u64>,
    fetched_in_milliseconds: u64,
    /// Of a JWT, those that say who, for whom and how long. Nothing is verified.
    claims: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

pub(super) fn run(args: &FetchArgs, now: SystemTime, output: &mut Output) -> Result<u8, Failure> {
    let config = ClientConfig::read(&args.config, environment)?;
    let configured = choose(&config, args.host.as_deref())?;
    warn_of_the_past(configured, now, output);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| Failure::config("cannot start a runtime").because(&error))?;
    let credentials = configured.token();
    let request = match &args.host {
        Some(host) => TokenRequest::for_host(host.strip_suffix(":443").unwrap_or(host)),
        None => TokenRequest::any(),
    };
    let token = runtime
        .block_on(credentials.token(&request))
        .map_err(|error| failed(&error, args.host.is_none()))?;
    let token = token.expose();
    if args.raw && !output.is_json() {
        output.data(token);
        return Ok(exit::OK);
    }
    let telemetry = credentials.telemetry();
    let fetched = Fetched {
        source: telemetry.source,
        name: name_of(token),
        bytes: token.len(),
        expires_in_seconds: telemetry.time_to_expiry.map(|left| left.as_secs()),
        fetched_in_milliseconds: millis(telemetry.last_latency),
        claims: claims_of(token),
        token: args.raw.then(|| token.clone()),
    };
    match output.is_json() {
        true => output.json(&fetched),
        false => print(&fetched, output),
    }
    Ok(exit::OK)
}

fn print(fetched: &Fetched, output: &mut Output) {
    output.data(format_args!("source    {}", fetched.source));
    output.data(format_args!("token     {} ({} bytes, not shown)", fetched.name, fetched.bytes));
    match fetched.expires_in_seconds {
        Some(seconds) => output.data(format_args!("expires   in {seconds} s")),
        None => output.data("expires   never, as far as is known"),
    }
    output.data(format_args!("fetched   in {} ms", fetched.fetched_in_milliseconds));
    for (name, value) in fetched.claims.iter().flatten() {
        // As JSON, so that no claim can write lines or colours of its own.
        output.data(format_args!("{name:<9} {value}"));
    }
}

/// The one source, or the one for the host.
fn choose<'a>(
    config: &'a ClientConfig,
    host: Option<&str>,
) -> Result<&'a ConfiguredToken, Failure> {
    let hosts = || {
        let hosts = config.tokens().iter().filter_map(ConfiguredToken::authority);
        format!("there are sources for {}", hosts.collect::<Vec<_>>().join(", "))
    };
    match (config.tokens(), host) {
        (_, Some(host)) => config.token_for(host).ok_or_else(|| {
            Failure::config(format!("there is no source for `{host}`")).hint(hosts())
        }),
        ([one], None) => Ok(one),
        _ => Err(Failure::usage("each target has a source of its own: say --host").hint(hosts())),
    }
}

#[expect(clippy::disallowed_methods, reason = "the program reads its environment")]
fn environment(name: &str) -> Option<std::ffi::OsString> {
    std::env::var_os(name)
}

/// What a fixed token has to say is known before anything is asked.
fn warn_of_the_past(configured: &ConfiguredToken, now: SystemTime, output: &mut Output) {
    let Some((place, token)) = configured.fixed() else { return };
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let end = claims_of(token.expose()).and_then(|claims| claims.get("exp")?.as_f64());
    if end.is_some_and(|end| since.as_secs_f64() >= end) {
        output.warning(format!("the token in {place} has expired"), Some("put a new one there"));
    }
}

fn failed(error: &TokenError, no_host: bool) -> Failure {
    let code = match error.is_transient() {
        true => exit::NETWORK,
        false => exit::AUTHENTICATION,
    };
    let failure = Failure::new(code, "the source has no token").because(error);
    if no_host && error.to_string().contains("needs an audience") {
        return failure.hint("say which host is to be called: --host orders.example");
    }
    match error.is_transient() {
        true => failure.hint("it may work later without anyone's help"),
        false => failure,
    }
}

fn name_of(token: &str) -> String {
    let digest = digest::digest(&digest::SHA256, token.as_bytes());
    digest.as_ref()[..4].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The claims that are no secret.
fn claims_of(token: &str) -> Option<Map<String, Value>> {
    let mut parts = token.split('.');
    let (_, claims, _) = (parts.next()?, parts.next()?, parts.next()?);
    let claims = URL_SAFE_NO_PAD.decode(claims).ok()?;
    let claims: Map<String, Value> = serde_json::from_slice(&claims).ok()?;
    let told = ["iss", "sub", "aud", "client_id", "scope", "iat", "exp"];
    Some(claims.into_iter().filter(|(name, _)| told.contains(&name.as_str())).collect())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
