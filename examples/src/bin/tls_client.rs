//! A client that makes a real call over TLS.
//!
//! `tls_client [FOLDER] [TARGET]` trusts `ca.pem` of the folder, and nobody else, and calls
//! https://localhost:50051 unless told otherwise.

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use countersign::{ChannelCredentials, ClientTls, ConnectError, RootCertificates, connect};
use countersign_examples::{certificates, second_argument};
use countersign_testkit::greeter::GreeterClient;
use countersign_testkit::greeter::proto::HelloRequest;
use tonic::Request;

#[tokio::main]
async fn main() -> ExitCode {
    match greet().await {
        Ok(message) => {
            println!("{message}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            // A program can tell causes apart without reading sentences.
            if let Some(error) = error.downcast_ref::<ConnectError>() {
                let kind = if error.is_permanent() { "permanent" } else { "transient" };
                eprintln!("stage {}, code {}, {kind}", error.stage(), error.code());
            }
            ExitCode::FAILURE
        }
    }
}

async fn greet() -> Result<String, Box<dyn Error>> {
    let roots = RootCertificates::from_pem_file(certificates().join("ca.pem"));
    let credentials = ChannelCredentials::tls(ClientTls::only_roots(roots));
    let channel = connect(second_argument("https://localhost:50051"), credentials).await?;

    let mut request = Request::new(HelloRequest { name: "TLS".to_owned() });
    request.set_timeout(Duration::from_secs(5));
    let reply = GreeterClient::new(channel).say_hello(request).await?;
    Ok(reply.into_inner().message)
}
