use std::error::Error;
use std::io::Write;
use std::time::Duration;

use countersign::{
    ClientCertificates, Gate, Identity, MutualTls, RootCertificates, Rules, ServerCredentials,
    StaticTokens, server_builder,
};
use countersign_testkit::greeter::{GREETER, Greeter};
use tokio::io::AsyncReadExt;

use crate::ServerArgs;

pub(crate) async fn serve(args: ServerArgs) -> Result<(), Box<dyn Error>> {
    let credentials = match (&args.cert, &args.key) {
        (Some(cert), Some(key)) => {
            let clients = match &args.client_ca {
                Some(ca) => ClientCertificates::required(RootCertificates::from_pem_file(ca)),
                None => ClientCertificates::none(),
            };
            let tls = ServerCredentials::tls(Identity::from_pem_files(cert, key));
            tls.client_certificates(clients).build()?
        }
        _ => ServerCredentials::insecure(),
    };
    let rules = match (&args.token, &args.client_ca) {
        (Some(_), _) => Rules::new().authenticated_by(GREETER, [StaticTokens::NAME]),
        (None, Some(_)) => Rules::new().authenticated(GREETER),
        (None, None) => Rules::new().public(GREETER),
    };
    let tokens = match args.token {
        Some(token) => StaticTokens::new().with_token("bearer", token),
        None => StaticTokens::new(),
    };
    let gate = Gate::builder()
        .authenticate(tokens)
        .authenticate(MutualTls::new())
        .authorize(rules)
        .build()?;

    let incoming = credentials.bind(&args.listen).await?;
    let address = incoming.local_addr().ok_or("not a TCP listener")?;
    println!("listening {address}");
    std::io::stdout().flush()?;
    let shutdown = incoming.drain().after(until_told(), Duration::from_secs(1));
    server_builder()
        .layer(gate)
        .add_service(Greeter.service())
        .serve_with_incoming_shutdown(incoming, shutdown)
        .await?;
    Ok(())
}

/// Ends with standard input, or with SIGTERM.
async fn until_told() {
    let mut input = tokio::io::stdin();
    let mut ignored = [0; 256];
    let ended = async { while matches!(input.read(&mut ignored).await, Ok(1..)) {} };
    let mut terminate =
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(signal) => signal,
            Err(_) => return ended.await,
        };
    tokio::select! {
        () = ended => {}
        _ = terminate.recv() => {}
    }
}
