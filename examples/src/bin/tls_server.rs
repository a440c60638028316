//! A server behind TLS.
//!
//! `tls_server [FOLDER] [ADDRESS]` uses `server.pem` and `server.key` of the folder and listens on
//! 127.0.0.1:50051 unless told otherwise. Ctrl-C drains it.

use std::error::Error;
use std::time::Duration;

use countersign::{Gate, Identity, Rules, ServerCredentials, server_builder};
use countersign_examples::{certificates, second_argument};
use countersign_testkit::greeter::{GREETER, Greeter};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = certificates();
    let tls = ServerCredentials::tls(Identity::from_pem_files(
        folder.join("server.pem"),
        folder.join("server.key"),
    ))
    .build()?;
    // TLS protects the wire and says nothing about the caller: that everybody may greet is a
    // rule, and whatever has no rule is denied.
    let gate = Gate::builder().authorize(Rules::new().public(GREETER)).build()?;

    let incoming = tls.bind(second_argument("127.0.0.1:50051")).await?;
    println!("listening on {}", incoming.local_addr().ok_or("not a TCP listener")?);
    let stop = async {
        // Without a signal handler there is nothing to wait for: the server goes on.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let shutdown = incoming.drain().after(stop, Duration::from_secs(10));
    server_builder()
        .layer(gate)
        .add_service(Greeter.service())
        .serve_with_incoming_shutdown(incoming, shutdown)
        .await?;
    Ok(())
}
