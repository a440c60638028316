//! The servers of our own that are measured, each in a process of its own.
//!
//! All speak HTTP/2 with the same bounds and answer the same echo. A server says
//! `listening ADDRESS` when it is ready, and ends when its standard input does.

mod bare_h2;
mod bare_tls;
mod echo;
mod jwt;
mod ours;
mod stock;
mod tls;

use std::error::Error;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;

use tokio::runtime::{Builder, Runtime};

use crate::options::{Kind, RuntimeKind, ServeOptions};
use crate::proc;

pub(crate) use echo::{PATH, Raw, SERVICE};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Streams at a time on a connection, for every server.
const MAX_CONCURRENT_STREAMS: u32 = 200;

/// Runs one server until standard input ends.
///
/// # Errors
///
/// What keeps it from listening.
pub(crate) fn run(options: &ServeOptions) -> Outcome {
    if options.open_files.is_some() {
        proc::open_files(options.open_files)?;
    } else {
        // More is better, and less is no reason not to serve.
        let _ = proc::open_files(None);
    }
    if options.kind == Kind::OursPerCore {
        return ours::serve_per_core(options);
    }
    runtime(options)?.block_on(serve(options))
}

fn runtime(options: &ServeOptions) -> std::io::Result<Runtime> {
    match options.runtime {
        RuntimeKind::CurrentThread => Builder::new_current_thread().enable_all().build(),
        RuntimeKind::MultiThread => {
            Builder::new_multi_thread().worker_threads(options.workers).enable_all().build()
        }
    }
}

/// As under `#[tokio::main]`: accepting is the main thread's, connections are the workers'.
async fn serve(options: &ServeOptions) -> Outcome {
    match options.kind {
        Kind::BareH2 | Kind::BareH2Tls => bare_h2::serve(options).await,
        Kind::BareTls => bare_tls::serve(options).await,
        Kind::TonicPlain | Kind::TonicTls | Kind::TonicTlsJwt => stock::serve(options).await,
        Kind::OursPlain | Kind::OursTls | Kind::OursGate | Kind::OursGateMtls => {
            ours::serve(options).await
        }
        Kind::OursPerCore => Err("it has runtimes of its own".into()),
    }
}

/// Tells whoever started this where it listens, and ends the process when they go away.
fn announce(address: SocketAddr) -> Outcome {
    let mut out = std::io::stdout();
    writeln!(out, "listening {address}")?;
    out.flush()?;
    std::thread::Builder::new().name("stdin".to_owned()).spawn(|| {
        let mut ignored = [0; 64];
        let mut input = std::io::stdin();
        while input.read(&mut ignored).is_ok_and(|read| read > 0) {}
        std::process::exit(0);
    })?;
    Ok(())
}
