//! Our listener, with and without our gate.

use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use countersign::audit::{Audit, AuditWriter, FileSink, WhenFull};
use countersign::authentication::jwt::{KeySet, KeySource};
use countersign::authorization::Policy;
use countersign::quota::{Limit, Quota};
use countersign::{
    ClientCertificates, Gate, Identity, Jwt, MutualTls, PeerInfoLayer, RootCertificates, Rules,
    ServerCredentials, ServerLimits, StaticTokens,
};

use super::echo::{Echo, SERVICE};
use super::stock::builder;
use super::{Outcome, announce};
use crate::material::{AUDIENCE, ISSUER};
use crate::options::{Kind, ServeOptions};

pub(super) async fn serve(options: &ServeOptions) -> Outcome {
    let echo = Echo { work: options.work };
    let incoming = credentials(options)?.bind((options.address, 0)).await?;
    let address = incoming.local_addr().ok_or("a TCP listener has an address")?;
    match options.kind {
        Kind::OursGate | Kind::OursGateMtls => {
            let (gate, _writer) = gate(options)?;
            announce(address)?;
            builder().layer(gate).add_service(echo).serve_with_incoming(incoming).await?;
        }
        _ => {
            announce(address)?;
            builder().layer(PeerInfoLayer).add_service(echo).serve_with_incoming(incoming).await?;
        }
    }
    Ok(())
}

/// The gate on one current-thread runtime per core.
pub(super) fn serve_per_core(options: &ServeOptions) -> Outcome {
    let echo = Echo { work: options.work };
    let (gate, _writer) = gate(options)?;
    let cores = NonZeroUsize::new(options.workers).ok_or("--workers is at least 1")?;
    let listeners = credentials(options)?.bind_per_core((options.address, 0), cores)?;
    let address = listeners.local_addr();
    let workers = listeners.serve(move |worker| {
        let gate = gate.clone();
        async move {
            let (incoming, shutdown) = worker.into_parts();
            builder()
                .layer(gate)
                .add_service(echo)
                .serve_with_incoming_shutdown(incoming, shutdown)
                .await
        }
    })?;
    announce(address)?;
    let waiting = tokio::runtime::Builder::new_current_thread().build()?;
    Ok(waiting.block_on(workers.wait())?)
}

fn credentials(options: &ServeOptions) -> Outcome<ServerCredentials> {
    let credentials = if options.kind == Kind::OursPlain {
        ServerCredentials::insecure()
    } else {
        let chain = options.cert.as_ref().ok_or("--cert is needed for TLS")?;
        let key = options.key.as_ref().ok_or("--key is needed for TLS")?;
        let tls = ServerCredentials::tls(Identity::from_pem_files(chain, key));
        match &options.client_ca {
            None => tls,
            Some(path) => tls.client_certificates(ClientCertificates::required(
                RootCertificates::from_pem_file(path),
            )),
        }
        .build()?
    };
    let mut limits = ServerLimits::default();
    if let Some(milliseconds) = options.handshake_timeout_ms {
        limits = limits.handshake_timeout(Duration::from_millis(milliseconds));
    }
    Ok(credentials.limits(limits))
}

/// The gate, and who writes its records for as long as it is kept.
fn gate(options: &ServeOptions) -> Outcome<(Gate, Option<AuditWriter>)> {
    let gate = match &options.policy {
        Some(path) => Gate::builder().authorize(Policy::from_file(path)?),
        None => Gate::builder().authorize(rules(options.rules)),
    };
    let gate = match quota(options)? {
        Some(quota) => gate.quota(quota),
        None => gate,
    };
    let gate = match &options.tokens {
        Some(path) => gate.authenticate(StaticTokens::from_file(path)?),
        None => gate,
    };
    let gate = match &options.jwks {
        Some(path) => gate.authenticate(tokens(path, options.remember)?),
        None => gate,
    };
    let gate = match &options.client_ca {
        Some(_) => gate.authenticate(MutualTls::new()),
        None => gate,
    };
    let Some(path) = &options.audit else { return Ok((gate.build()?, None)) };
    // Every call is on record, or the load notices.
    let file = FileSink::open(path)?;
    let audit = Audit::builder().sink("file", file, WhenFull::RefuseCall).build()?;
    let writer = audit.start()?;
    Ok((gate.audit(&audit).build()?, Some(writer)))
}

fn quota(options: &ServeOptions) -> Outcome<Option<Quota>> {
    if options.quota.is_none() && options.failures.is_none() {
        return Ok(None);
    }
    let mut quota = Quota::new();
    if let Some(rate) = options.quota {
        quota = quota.per_caller(Limit::new(rate, Duration::from_secs(1))?)?;
    }
    if let Some(failures) = options.failures {
        quota = quota.failures_per_address(Limit::new(failures, Duration::from_secs(60))?)?;
    }
    Ok(Some(quota))
}

/// Tokens of the run's own issuer.
fn tokens(path: &Path, remember: usize) -> Outcome<Jwt> {
    let keys = KeySource::given(KeySet::from_json(&std::fs::read_to_string(path)?)?);
    let issuer = Jwt::issuer(ISSUER).keys(keys).audience(AUDIENCE);
    Ok(Jwt::builder().issuer(issuer).remember_tokens(remember).build()?)
}

/// So many rules, of which one is for the echo; the others are exact ones for other methods.
fn rules(count: usize) -> Rules {
    let others = 0..count.saturating_sub(1);
    others.fold(Rules::new().authenticated(&format!("/{SERVICE}/*")), |rules, other| {
        rules.authenticated(&format!("/countersign.bench.v1.Other{other}/Call"))
    })
}
