//! `countersign token verify`: what a server would say to a token, and why.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::Args;
use countersign::authentication::jwt::{Algorithm, Jwt, KeysReport, Profile, TokenError};
use countersign::identity::{SpiffeId, TokenClaims};
use countersign_testkit::clock::ManualClock;
use serde_json::{Map, Value, json};

use super::check::Check;
use super::decoded::Decoded;
use super::explain::{Fact, Said};
use super::input::TokenInput;
use super::moment;
use crate::config::{self, AuthConfig, IssuerConfig, KeysAt, Trust};
use crate::exit;
use crate::output::{Colour, Failure, Output};

/// Verify a token as a server does, and say which check it fails
///
/// The exit code is 0 for an accepted token, 6 for a rejected one, 7 where the issuer's keys are
/// out of reach, and 3 for a configuration that cannot be used.
#[derive(Args, Debug)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    token: TokenInput,

    /// A file with `[[issuer]]` tables that say what the server is told in code; `countersign dev`
    /// makes one
    #[arg(long, value_name = "FILE", required_unless_present_any = ["issuer", "trust_domain"],
          conflicts_with_all = ["issuer", "trust_domain", "audience", "jwks", "profile",
                                "algorithms", "leeway", "required", "typ"])]
    config: Option<PathBuf>,

    /// Who has to have issued it, exactly as `iss` says it
    #[arg(long, value_name = "URL", requires = "audience", conflicts_with = "trust_domain")]
    issuer: Option<String>,

    /// Which SPIFFE trust domain it has to be of
    #[arg(long, value_name = "NAME", requires_all = ["audience", "jwks"])]
    trust_domain: Option<String>,

    /// For whom it has to be; repeat for any of several
    #[arg(long, value_name = "NAME")]
    audience: Vec<String>,

    /// The issuer's keys: a file or a URL [default: discovery at the issuer]
    #[arg(long, value_name = "FILE|URL")]
    jwks: Option<String>,

    /// Which kind of token it has to be: access-token, rfc9068, id-token, jwt-svid or k8s-sa
    /// [default: access-token]
    #[arg(long, value_name = "NAME", value_parser = config::profile)]
    profile: Option<Profile>,

    /// An algorithm that the issuer may use; repeat for several
    /// [default: RS256, PS256, ES256, EdDSA]
    #[arg(long = "algorithm", value_name = "ALG", value_parser = config::algorithm)]
    algorithms: Vec<Algorithm>,

    /// How far clocks may be apart, at most 300s [default: 60s]
    #[arg(long, value_name = "TIME", value_parser = config::length)]
    leeway: Option<Duration>,

    /// A claim that has to be there; repeat for several
    #[arg(long = "require", value_name = "CLAIM")]
    required: Vec<String>,

    /// The header's `typ`, beside what the profile says
    #[arg(long, value_name = "NAME")]
    typ: Option<String>,

    /// Verify as if it were this time: RFC 3339, or seconds since 1970
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    now: Option<SystemTime>,
}

pub(super) fn run(args: &VerifyArgs, now: SystemTime, output: &mut Output) -> Result<u8, Failure> {
    let now = args.now.unwrap_or(now);
    let auth = args.auth()?;
    let token = args.token.read(output)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::config("cannot start the runtime").because(&error))?;
    let decoded = Decoded::read(&token);
    let judged = runtime.block_on(judge(&auth, &token, &decoded, now))?;
    for key in judged.keys.iter().flat_map(|keys| &keys.skipped) {
        let kid = key.kid.as_deref().unwrap_or("without kid");
        output.warning(format_args!("the key {kid} is passed over: {}", key.reason), None);
    }
    let trusts_domains = auth.issuers.iter().any(|one| matches!(one.trust, Trust::TrustDomain(_)));
    let said = Said::new(&decoded, now);
    Ok(match &judged.verdict {
        Ok(claims) => accepted(claims, &said, output),
        Err(error) => rejected(error, Check::failed(error, trusts_domains), &said, &judged, output),
    })
}

impl VerifyArgs {
    fn auth(&self) -> Result<AuthConfig, Failure> {
        if let Some(path) = &self.config {
            return Ok(AuthConfig::read(path)?);
        }
        let trust = match (&self.issuer, &self.trust_domain) {
            (Some(issuer), _) => Trust::Issuer(issuer.clone()),
            (None, Some(domain)) => Trust::TrustDomain(domain.clone()),
            (None, None) => return Err(Failure::usage("nobody is trusted")),
        };
        let default = match trust {
            Trust::Issuer(_) => Profile::default(),
            Trust::TrustDomain(_) => Profile::JwtSvid,
        };
        let keys = match &self.jwks {
            None => KeysAt::Discovery,
            Some(url) if url.contains("://") => KeysAt::Url(url.clone()),
            Some(path) => KeysAt::File(PathBuf::from(path)),
        };
        let profile = self.profile.unwrap_or(default);
        if (profile == Profile::JwtSvid) != (default == Profile::JwtSvid) {
            return Err(Failure::usage("`jwt-svid` and `--trust-domain` belong together"));
        }
        Ok(AuthConfig {
            issuers: vec![IssuerConfig {
                trust,
                audiences: self.audience.clone(),
                keys,
                profile,
                algorithms: self.algorithms.clone(),
                leeway: self.leeway,
                required_claims: self.required.clone(),
                token_type: self.typ.clone(),
            }],
        })
    }
}

struct Verdict<'a> {
    verdict: Result<TokenClaims, TokenError>,
    /// The keys of the issuer that it names, if they were asked for.
    keys: Option<KeysReport>,
    /// What the configuration says of that issuer.
    issuer: Option<&'a IssuerConfig>,
}

/// The server's own engine judges. It asks the issuer that the token names, and only for a token
/// that nothing else is wrong with.
async fn judge<'a>(
    auth: &'a AuthConfig,
    token: &str,
    decoded: &Decoded,
    now: SystemTime,
) -> Result<Verdict<'a>, Failure> {
    let mut builder = Jwt::builder().clock(ManualClock::new(now));
    for issuer in &auth.issuers {
        builder = builder.issuer(issuer.issuer()?);
    }
    let engine = builder
        .build()
        .map_err(|error| Failure::config("cannot verify tokens so").because(&error))?;
    let verdict = engine.verify(token).await;
    let issuer = auth.issuers.iter().find(|one| is_named(one, decoded));
    let named = |keys: &KeysReport| issuer.is_some_and(|issuer| issuer.name() == keys.issuer);
    let keys = engine.keys().into_iter().find(named);
    if let (Err(TokenError::Unavailable { .. }), Some(issuer)) = (&verdict, issuer) {
        return Err(out_of_reach(issuer, keys.and_then(|keys| keys.last_error)));
    }
    Ok(Verdict { verdict, keys, issuer })
}

/// Nobody can tell: a file is our own affair, an issuer is not.
fn out_of_reach(issuer: &IssuerConfig, error: Option<String>) -> Failure {
    let code = match issuer.keys {
        KeysAt::File(_) => exit::CONFIG,
        KeysAt::Url(_) | KeysAt::Discovery => exit::VERIFIER_UNAVAILABLE,
    };
    let failure = Failure::new(code, format!("cannot get the keys of `{}`", issuer.name()));
    failure.cause(error.unwrap_or_else(|| "there was no answer in time".to_owned()))
}

/// Whether the token says that it is of this issuer.
fn is_named(issuer: &IssuerConfig, decoded: &Decoded) -> bool {
    let Decoded::Signed { claims, .. } = decoded else {
        return false;
    };
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    match &issuer.trust {
        Trust::Issuer(name) => text("iss") == Some(name),
        Trust::TrustDomain(domain) => text("sub")
            .and_then(|subject| SpiffeId::parse(subject).ok())
            .is_some_and(|id| id.trust_domain() == domain),
    }
}

fn accepted(claims: &TokenClaims, said: &Said<'_>, output: &mut Output) -> u8 {
    if output.is_json() {
        output.json(&json!({
            "verdict": "accepted",
            "passed": Check::ALL.map(Check::name),
            "claims": claims.object(),
        }));
        return exit::OK;
    }
    let word = output.paint("accepted", Colour::Green);
    let subject = claims.subject().unwrap_or_default();
    output.data(format_args!("{word}: {}", crate::pki::text::printable(subject)));
    let checks = Check::ALL.map(|check| said.passed(check));
    print_checks(&checks, output);
    exit::OK
}

fn rejected(
    error: &TokenError,
    check: Check,
    said: &Said<'_>,
    judged: &Verdict<'_>,
    output: &mut Output,
) -> u8 {
    let code = match error {
        TokenError::Unavailable { .. } => exit::VERIFIER_UNAVAILABLE,
        _ => exit::AUTHENTICATION,
    };
    let mut facts = said.facts(error, judged.keys.as_ref());
    facts.extend(judged.issuer.and_then(|issuer| configured(error, issuer)));
    if output.is_json() {
        let facts: Map<String, Value> =
            facts.into_iter().map(|fact| (fact.name.replace(' ', "_"), fact.value)).collect();
        output.json(&json!({
            "verdict": "rejected",
            "reason": error.reason().as_str(),
            "check": check.name(),
            "message": error.to_string(),
            "facts": facts,
            "passed": check.passed().map(Check::name).collect::<Vec<_>>(),
            "not_reached": check.not_reached().map(Check::name).collect::<Vec<_>>(),
        }));
        return code;
    }
    let word = output.paint("rejected", Colour::Red);
    output.data(format_args!("{word}: {}", error.reason()));
    output.data(format_args!("  {}: {error}", check.name()));
    let width = facts.iter().map(|fact| fact.name.chars().count()).max().unwrap_or(0);
    for fact in &facts {
        output.data(format_args!("  {:width$}   {}", fact.name, fact.shown()));
    }
    let passed: Vec<_> = check.passed().map(|check| said.passed(check)).collect();
    print_checks(&passed, output);
    let not_reached: Vec<_> = check.not_reached().map(Check::name).collect();
    if !not_reached.is_empty() {
        output.data(format_args!("  not reached: {}", not_reached.join(", ")));
    }
    code
}

/// The setting that the token did not meet, or where its key should have been.
fn configured(error: &TokenError, issuer: &IssuerConfig) -> Option<Fact> {
    match error {
        TokenError::Type { .. } => {
            issuer.token_type.as_deref().map(|name| Fact::new("typ configured", name))
        }
        TokenError::UnknownKey { .. } | TokenError::Signature => {
            let place = match &issuer.keys {
                KeysAt::File(path) => path.display().to_string(),
                KeysAt::Url(url) => url.clone(),
                KeysAt::Discovery => format!("discovery at {}", issuer.name()),
            };
            Some(Fact::new("keys from", place))
        }
        _ => None,
    }
}

/// The checks that passed, the last one first: it says most.
fn print_checks(checks: &[String], output: &mut Output) {
    for line in checks.iter().rev().cloned().collect::<Vec<_>>().chunks(5) {
        output.data(format_args!("  {}", line.join(" · ")));
    }
}
