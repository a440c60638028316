use std::error::Error;
use std::time::Duration;

use countersign::{
    BearerToken, Channel, ChannelBuilder, ChannelCredentials, ClientRequestExt, ClientTls,
    Identity, RootCertificates,
};
use countersign_testkit::greeter::GreeterClient;
use countersign_testkit::greeter::proto::{HelloReply, HelloRequest, HelloStreamRequest};
use serde_json::json;
use tonic::{Request, Status};
use tonic_types::StatusExt;

use crate::ClientArgs;

pub(crate) async fn call(args: ClientArgs) -> Result<(), Box<dyn Error>> {
    let channel = channel(&args)?;
    let told = match greet(channel, &args).await {
        Ok(reply) => json!({
            "code": "OK",
            "message": reply.message,
            "principal": reply.principal,
        }),
        Err(status) => json!({
            "code": code(&status),
            "message": status.message(),
            "reason": status.get_details_error_info().map(|info| info.reason),
            "challenge": status
                .metadata()
                .get("www-authenticate")
                .and_then(|challenge| challenge.to_str().ok()),
        }),
    };
    println!("{told}");
    Ok(())
}

fn channel(args: &ClientArgs) -> Result<Channel, Box<dyn Error>> {
    let builder = if args.plaintext {
        Channel::builder(format!("http://{}", args.target), ChannelCredentials::insecure())
    } else {
        let mut tls = match &args.ca {
            Some(ca) => ClientTls::only_roots(RootCertificates::from_pem_file(ca)),
            None => ClientTls::system_roots(),
        };
        if let (Some(cert), Some(key)) = (&args.cert, &args.key) {
            tls = tls.identity(Identity::from_pem_files(cert, key));
        }
        let mut credentials = ChannelCredentials::tls(tls);
        if let Some(token) = &args.token {
            credentials = credentials.with_call_credentials(BearerToken::new(token.as_str())?);
        }
        Channel::builder(format!("https://{}", args.target), credentials)
    };
    Ok(named(builder, args).connect_lazy()?)
}

fn named(builder: ChannelBuilder, args: &ClientArgs) -> ChannelBuilder {
    match &args.server_name {
        Some(name) => builder.authority(name),
        None => builder,
    }
}

async fn greet(channel: Channel, args: &ClientArgs) -> Result<HelloReply, Status> {
    let mut greeter = GreeterClient::new(channel);
    let name = "interop".to_owned();
    match args.stream {
        None => {
            let request = prepared(HelloRequest { name }, args)?;
            Ok(greeter.say_hello(request).await?.into_inner())
        }
        Some(count) => {
            let request = prepared(HelloStreamRequest { name, count }, args)?;
            let mut replies = greeter.say_hello_stream(request).await?.into_inner();
            let mut last = None;
            while let Some(reply) = replies.message().await? {
                last = Some(reply);
            }
            last.ok_or_else(|| Status::internal("the stream was empty"))
        }
    }
}

fn prepared<T>(message: T, args: &ClientArgs) -> Result<Request<T>, Status> {
    let mut request = Request::new(message);
    request.set_timeout(Duration::from_millis(args.timeout_ms));
    match &args.token {
        // A token for an insecure channel does not compile; for one call it has to be refused.
        Some(token) if args.plaintext => {
            let token = BearerToken::new(token.as_str())
                .map_err(|error| Status::invalid_argument(error.to_string()))?;
            Ok(request.call_credentials(token))
        }
        _ => Ok(request),
    }
}

/// The code's name as gRPC spells it.
fn code(status: &Status) -> String {
    let mut name = String::new();
    for c in format!("{:?}", status.code()).chars() {
        if c.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(c.to_ascii_uppercase());
    }
    name
}
