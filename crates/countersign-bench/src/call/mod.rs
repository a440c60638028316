//! A client in a process of its own, which counts its own CPU time: ours and stock tonic's.
//!
//! It speaks to the bench as the Go peer's client does: options in, and one line of JSON out.

mod ours;
mod stock;

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tonic::body::Body;
use tonic::client::{Grpc, GrpcService};
use tonic::metadata::{Ascii, MetadataValue};

use crate::load::echo_message;
use crate::options::{CallOptions, Caller};
use crate::serve::{PATH, Raw};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// What a client says when it is done.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Said {
    /// Calls that counted.
    pub(crate) calls: u64,
    /// CPU time of the whole process for them.
    pub(crate) cpu_ns: u64,
    /// How often a token was fetched, before or meanwhile; peers do not say.
    #[serde(default)]
    pub(crate) fetched: Option<u64>,
}

/// How often credentials fetched a token by now.
type Fetches = Box<dyn Fn() -> u64>;

/// Makes the calls, and says what they cost.
///
/// # Errors
///
/// What keeps it from calling, or a reply that is not what was sent.
pub(crate) fn run(options: &CallOptions) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let said = runtime.block_on(async {
        match options.caller {
            Caller::Tonic => calls(stock::channel(options).await?, None, None, options).await,
            Caller::Header => {
                let (channel, _) = ours::channel(options).await?;
                calls(channel, Some(header(options)?), None, options).await
            }
            _ => {
                let (channel, fetches) = ours::channel(options).await?;
                calls(channel, None, fetches, options).await
            }
        }
    })?;
    println!("{}", serde_json::to_string(&said)?);
    Ok(())
}

/// A hard-coded value, as our credentials mark theirs.
fn header(options: &CallOptions) -> Outcome<MetadataValue<Ascii>> {
    let token = std::fs::read_to_string(&options.token_file)?;
    let mut value: MetadataValue<Ascii> = format!("Bearer {token}").parse()?;
    value.set_sensitive(true);
    Ok(value)
}

async fn calls<S>(
    channel: S,
    header: Option<MetadataValue<Ascii>>,
    fetches: Option<Fetches>,
    options: &CallOptions,
) -> Outcome<Said>
where
    S: GrpcService<Body> + Clone + Send + 'static,
    S::ResponseBody: Send + 'static,
    <S::ResponseBody as http_body::Body>::Data: Send,
    <S::ResponseBody as http_body::Body>::Error: Into<Box<dyn Error + Send + Sync>>,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    S::Future: Send,
{
    all(&channel, header.as_ref(), options.warm_up, options).await?;
    let before = cpu_time();
    all(&channel, header.as_ref(), options.calls, options).await?;
    let spent = cpu_time().saturating_sub(before);
    Ok(Said {
        calls: options.calls as u64,
        cpu_ns: u64::try_from(spent.as_nanos())?,
        fetched: fetches.map(|fetches| fetches()),
    })
}

/// Makes so many calls, some at a time, and looks at every reply.
async fn all<S>(
    channel: &S,
    header: Option<&MetadataValue<Ascii>>,
    calls: usize,
    options: &CallOptions,
) -> Outcome
where
    S: GrpcService<Body> + Clone + Send + 'static,
    S::ResponseBody: Send + 'static,
    <S::ResponseBody as http_body::Body>::Data: Send,
    <S::ResponseBody as http_body::Body>::Error: Into<Box<dyn Error + Send + Sync>>,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    S::Future: Send,
{
    let taken = Arc::new(AtomicUsize::new(0));
    let mut callers = JoinSet::new();
    for _ in 0..options.concurrency {
        let (channel, taken, header) = (channel.clone(), Arc::clone(&taken), header.cloned());
        callers.spawn(async move {
            let mut grpc = Grpc::new(channel);
            while taken.fetch_add(1, Ordering::Relaxed) < calls {
                one(&mut grpc, header.as_ref()).await?;
            }
            Ok::<(), Box<dyn Error + Send + Sync>>(())
        });
    }
    while let Some(done) = callers.join_next().await {
        done?.map_err(|error| -> Box<dyn Error> { error })?;
    }
    Ok(())
}

async fn one<S>(
    grpc: &mut Grpc<S>,
    header: Option<&MetadataValue<Ascii>>,
) -> Result<(), Box<dyn Error + Send + Sync>>
where
    S: GrpcService<Body>,
    S::ResponseBody: Send + 'static,
    <S::ResponseBody as http_body::Body>::Data: Send,
    <S::ResponseBody as http_body::Body>::Error: Into<Box<dyn Error + Send + Sync>>,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
{
    grpc.ready().await.map_err(Into::into)?;
    let message: Bytes = echo_message();
    let mut request = tonic::Request::new(message.clone());
    if let Some(header) = header {
        request.metadata_mut().insert("authorization", header.clone());
    }
    let reply = grpc.unary(request, PathAndQuery::from_static(PATH), Raw).await?;
    if reply.into_inner() == message { Ok(()) } else { Err("a reply differs".into()) }
}

/// Of all threads of this process.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
