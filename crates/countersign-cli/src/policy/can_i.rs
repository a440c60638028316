//! `countersign can-i`: whether a policy lets a caller call a method, and why not.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::SystemTime;

use clap::Args;
use countersign::authentication::Reason;
use countersign::authorization::Explanation;
use serde_json::{Map, Value, json};

use super::load;
use super::request::{Caller, Certificate, Peer, Request, Transport};
use crate::exit;
use crate::output::{Colour, Failure, Output};

/// Ask a policy whether a caller may call a method
///
/// The answer is that of the server's own engine for a caller as described; nothing is proven.
/// Exit code 0 is yes, 1 is no.
#[derive(Args, Debug)]
pub(crate) struct CanIArgs {
    /// The method: package.Service/Method, with or without the leading slash
    #[arg(value_name = "METHOD")]
    method: String,

    /// The policy
    #[arg(long, value_name = "FILE", default_value = "policy.json")]
    policy: PathBuf,

    #[command(flatten)]
    annotations: load::AnnotationArgs,

    /// A caller with a token of this subject
    #[arg(long = "as", value_name = "SUBJECT")]
    subject: Option<String>,

    /// The token's issuer
    #[arg(long, value_name = "ISSUER")]
    issuer: Option<String>,

    /// A scope of the token; repeat it for more
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,

    /// A claim of the token, its value in JSON or as text; repeat it for more
    #[arg(long = "claim", value_name = "NAME=VALUE")]
    claims: Vec<String>,

    /// The authenticator that proves the caller [default: jwt]
    #[arg(long, value_name = "NAME")]
    authenticator: Option<String>,

    /// A caller with an API key of this owner
    #[arg(long, value_name = "OWNER", conflicts_with_all = ["subject", "issuer", "authenticator"])]
    api_key_of: Option<String>,

    /// A URI name in the client certificate; repeat it for more
    #[arg(long = "uri-san", value_name = "URI")]
    uri_sans: Vec<String>,

    /// A DNS name in the client certificate; repeat it for more
    #[arg(long = "dns-san", value_name = "NAME")]
    dns_sans: Vec<String>,

    /// The client certificate's subject, as in CN=orders,O=Example
    #[arg(long, value_name = "NAME")]
    cert_subject: Option<String>,

    /// The connection is not TLS
    #[arg(long, conflicts_with_all = ["uri_sans", "dns_sans", "cert_subject"])]
    plaintext: bool,

    /// A header of the call; repeat it for more
    #[arg(long = "header", value_name = "NAME:VALUE")]
    headers: Vec<String>,

    /// The caller's address
    #[arg(long, value_name = "IP")]
    address: Option<IpAddr>,

    /// When the call comes, as 2026-11-22T16:00:00Z [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<String>,

    /// Print one JSON object on standard output
    #[arg(long)]
    json: bool,
}

/// Runs the verb and returns the exit code (see [`crate::exit`]).
pub(crate) fn run(args: &CanIArgs, now: SystemTime, output: &mut Output) -> Result<u8, Failure> {
    output.set_json(args.json);
    let policy = load::policy_with(&args.policy, &args.annotations.options()?)?;
    let request = request(args)?;
    let anonymous = request.callers.is_empty() && request.peer.certificate.is_none();
    let told = request.ask(now, |request| {
        let told = policy.explain(request);
        answer(args, &told, anonymous, output);
        told.decision.is_allowed()
    });
    let allowed = told.map_err(|error| Failure::usage(error).cause(request.path.clone()))?;
    Ok(if allowed { exit::OK } else { exit::DENIED })
}

fn answer(args: &CanIArgs, told: &Explanation<'_>, anonymous: bool, output: &mut Output) {
    let place = |line: u32| match line {
        0 => "in its descriptor".to_owned(),
        line => format!("{}:{line}", args.policy.display()),
    };
    let allowed = told.decision.is_allowed();
    let (status, reason) = if allowed { ("OK", None) } else { refusal(told, anonymous) };
    if output.is_json() {
        output.json(&json!({
            "allowed": allowed,
            "status": status,
            "reason": reason.map(Reason::as_str),
            "rule": told.rule.map(|rule| json!({"name": rule.name, "line": rule.line})),
            "nearest": told.nearest.as_ref().map(|near| json!({
                "name": near.rule.name, "line": near.rule.line,
                "met": near.met, "missing": near.missing,
            })),
        }));
        return;
    }
    if allowed {
        let yes = output.paint("yes", Colour::Green);
        let rule = told.rule.map(|rule| format!("  rule {} ({})", rule.name, place(rule.line)));
        output.data(format_args!("{yes}{}", rule.unwrap_or_default()));
        return;
    }
    let no = output.paint("no", Colour::Red);
    let reason = reason.map_or("", Reason::as_str);
    output.data(format_args!("{no}   {status}  {reason}"));
    if let Some(rule) = told.rule {
        output.data(format_args!("  rule  {} ({}) denies it", rule.name, place(rule.line)));
    }
    if let Some(near) = &told.nearest {
        let missing = near.missing.join("; ");
        let line = place(near.rule.line);
        output.data(format_args!("  rule  {} ({line}) needs {missing}", near.rule.name));
        let mut words: Vec<_> = near.met.iter().map(|met| format!("{met} matches")).collect();
        if let [only] = near.missing.as_slice() {
            words.push(format!("{only} is the only gap"));
        }
        if !words.is_empty() {
            output.data(format_args!("  near  {}", words.join("; ")));
        }
    }
}

/// What the caller would learn.
fn refusal(told: &Explanation<'_>, anonymous: bool) -> (&'static str, Option<Reason>) {
    let scopes_alone = told.nearest.as_ref().is_some_and(|near| {
        !near.missing.is_empty() && near.missing.iter().all(|gap| gap.starts_with("scope "))
    });
    if anonymous && told.rule.is_none() {
        ("UNAUTHENTICATED", Some(Reason::CredentialsMissing))
    } else if scopes_alone {
        ("PERMISSION_DENIED", Some(Reason::InsufficientScope))
    } else {
        ("PERMISSION_DENIED", Some(Reason::PolicyDenied))
    }
}

fn request(args: &CanIArgs) -> Result<Request, Failure> {
    let path = format!("/{}", args.method.trim_start_matches('/'));
    let mut headers = Vec::new();
    for header in &args.headers {
        let (name, value) = header.split_once(':').ok_or_else(|| {
            Failure::usage(format!("{header:?} is no header")).hint("write name:value")
        })?;
        headers.push((name.trim().to_owned(), value.trim().to_owned()));
    }
    let shown =
        !(args.uri_sans.is_empty() && args.dns_sans.is_empty() && args.cert_subject.is_none());
    let certificate = shown.then(|| Certificate {
        uri_sans: args.uri_sans.clone(),
        dns_sans: args.dns_sans.clone(),
        subject: args.cert_subject.clone().unwrap_or_default(),
    });
    let transport = if args.plaintext { Transport::Insecure } else { Transport::Tls };
    let peer = Peer { transport, certificate, address: args.address };
    Ok(Request { path, headers, peer, callers: caller(args)?, time: args.at.clone() })
}

fn caller(args: &CanIArgs) -> Result<Vec<Caller>, Failure> {
    let name = args.subject.as_ref().or(args.api_key_of.as_ref());
    let mut claims = Map::new();
    let mut say = |claim: &str, value: Option<&String>| {
        if let Some(value) = value {
            claims.insert(claim.to_owned(), json!(value));
        }
    };
    say("sub", name);
    say("iss", args.issuer.as_ref());
    if !args.scopes.is_empty() {
        say("scope", Some(&args.scopes.join(" ")));
    }
    for claim in &args.claims {
        let (name, value) = claim.split_once('=').ok_or_else(|| {
            Failure::usage(format!("{claim:?} is no claim")).hint("write name=value")
        })?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
        claims.insert(name.to_owned(), value);
    }
    if claims.is_empty() && args.authenticator.is_none() {
        return Ok(Vec::new());
    }
    let by = match (&args.api_key_of, &args.authenticator) {
        (Some(_), _) => "api-keys",
        (None, Some(name)) => name,
        (None, None) => "jwt",
    };
    let name = name.cloned().unwrap_or_default();
    Ok(vec![Caller { name, authenticator: by.to_owned(), claims: Some(claims) }])
}
