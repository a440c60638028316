//! A client whose tokens come from wherever its configuration says.
//!
//! `configured_token [FOLDER [CONFIG]]` runs both ends in one process, with `server.pem`,
//! `server.key` and `ca.pem` of the folder; the configuration is the folder's `client.toml` unless
//! another is named. `countersign token fetch --config CONFIG` tries the same file.

use std::error::Error;

use countersign::{
    ChannelCredentials, ClientTls, Gate, Identity, RootCertificates, Rules, ServerCredentials,
    StaticTokens, connect,
};
use countersign_config::ClientConfig;
use countersign_examples::{certificates, second_argument, tell};
use countersign_testkit::greeter::proto::HelloRequest;
use countersign_testkit::greeter::{GREETER, GreeterClient, TestServer};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = certificates();

    // The server: who sends this token is alice.
    let identity = Identity::from_pem_files(folder.join("server.pem"), folder.join("server.key"));
    let gate = Gate::builder()
        .authenticate(StaticTokens::new().with_token("alice", "a-token-that-somebody-issued"))
        .authorize(Rules::new().authenticated(GREETER))
        .build()?;
    let incoming = ServerCredentials::tls(identity).build()?.bind("127.0.0.1:0").await?;
    let server = TestServer::start(incoming, Some(gate));

    // The client: a file, a variable, a token endpoint, a program; no matter which.
    let config = second_argument(&folder.join("client.toml").to_string_lossy());
    let config = ClientConfig::read(config, environment)?;
    let roots = RootCertificates::from_pem_file(folder.join("ca.pem"));
    let credentials = ChannelCredentials::tls(ClientTls::only_roots(roots))
        .with_call_credentials(config.call_credentials());
    let channel = connect(server.https("localhost"), credentials).await?;
    let request = HelloRequest { name: "configuration".to_owned() };
    tell(GreeterClient::new(channel).say_hello(request).await);
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a program reads its environment, and hands it in")]
fn environment(name: &str) -> Option<std::ffi::OsString> {
    std::env::var_os(name)
}
