//! Call credentials of one's own making, and a server that knows the token.
//!
//! `bearer_token [FOLDER]` runs both ends in one process, with `server.pem`, `server.key` and
//! `ca.pem` of the folder. A ready-made `BearerToken` exists; this one shows the trait.

use std::error::Error;

use countersign::credentials::{
    CallCredentialsError, CallDetails, CallMetadata, ChannelSecurityInfo,
};
use countersign::{
    CallCredentials, ChannelCredentials, ClientTls, Gate, Identity, RootCertificates, Rules,
    Secret, ServerCredentials, StaticTokens, async_trait, connect,
};
use countersign_examples::{certificates, tell};
use countersign_testkit::greeter::proto::HelloRequest;
use countersign_testkit::greeter::{GREETER, GreeterClient, TestServer};

const TOKEN: &str = "a-token-that-somebody-issued";

/// Sends one token with every call. `Secret` keeps it out of the derived `Debug`.
#[derive(Debug)]
struct MyToken(Secret<String>);

#[async_trait]
impl CallCredentials for MyToken {
    // Asked once per call, under its deadline, and only when the connection protects what is
    // said: `minimum_channel_security_level` is privacy and integrity unless it is lowered.
    async fn get_metadata(
        &self,
        _call: &CallDetails,
        _security: &ChannelSecurityInfo,
        metadata: &mut CallMetadata,
    ) -> Result<(), CallCredentialsError> {
        metadata.insert("authorization", &format!("Bearer {}", self.0.expose()))?;
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = certificates();

    // The server: who sends the token is alice, and whoever is proven may greet.
    let identity = Identity::from_pem_files(folder.join("server.pem"), folder.join("server.key"));
    let gate = Gate::builder()
        .authenticate(StaticTokens::new().with_token("alice", TOKEN))
        .authorize(Rules::new().authenticated(GREETER))
        .build()?;
    let incoming = ServerCredentials::tls(identity).build()?.bind("127.0.0.1:0").await?;
    let server = TestServer::start(incoming, Some(gate));

    for token in [TOKEN, "another-token"] {
        let roots = RootCertificates::from_pem_file(folder.join("ca.pem"));
        let credentials = ChannelCredentials::tls(ClientTls::only_roots(roots))
            .with_call_credentials(MyToken(token.into()));
        let channel = connect(server.https("localhost"), credentials).await?;
        let request = HelloRequest { name: "token".to_owned() };
        tell(GreeterClient::new(channel).say_hello(request).await);
    }
    Ok(())
}
