//! Mutual TLS: both ends prove who they are, once per connection.
//!
//! `mutual_tls [FOLDER]` runs both ends in one process, with `server.pem`, `server.key`,
//! `client.pem`, `client.key` and `ca.pem` of the folder. The CA signed both.

use std::error::Error;

use countersign::{
    ChannelCredentials, ClientCertificates, ClientTls, Gate, Identity, MutualTls, RootCertificates,
    Rules, ServerCredentials, connect,
};
use countersign_examples::certificates;
use countersign_testkit::greeter::proto::HelloRequest;
use countersign_testkit::greeter::{GREETER, GreeterClient, TestServer};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = certificates();
    let roots = || RootCertificates::from_pem_file(folder.join("ca.pem"));

    // The server: no certificate, no connection. `MutualTls` makes its names the principal.
    let identity = Identity::from_pem_files(folder.join("server.pem"), folder.join("server.key"));
    let credentials = ServerCredentials::tls(identity)
        .client_certificates(ClientCertificates::required(roots()))
        .build()?;
    let gate = Gate::builder()
        .authenticate(MutualTls::new())
        .authorize(Rules::new().authenticated(GREETER))
        .build()?;
    let server = TestServer::start(credentials.bind("127.0.0.1:0").await?, Some(gate));

    // The client, with its certificate and without.
    let tls = ClientTls::only_roots(roots());
    let ours = Identity::from_pem_files(folder.join("client.pem"), folder.join("client.key"));
    for tls in [tls.clone().identity(ours), tls] {
        match connect(server.https("localhost"), ChannelCredentials::tls(tls)).await {
            Ok(channel) => {
                let request = HelloRequest { name: "mutual TLS".to_owned() };
                let reply = GreeterClient::new(channel).say_hello(request).await?.into_inner();
                println!("{} (the server knows us as {})", reply.message, reply.principal);
            }
            Err(error) => println!("{}: {}", error.code(), error.sentence()),
        }
    }
    Ok(())
}
