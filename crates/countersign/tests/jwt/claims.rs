//! What a handler learns of its caller's token.

use std::pin::Pin;
use std::sync::Arc;

use countersign::identity::ClaimNames;
use countersign::{Jwt, Rules, ServerCredentials, ServerRequestExt};
use countersign_testkit::greeter::proto::greeter_server::{Greeter, GreeterServer};
use countersign_testkit::greeter::proto::{
    HelloReply, HelloRequest, HelloStreamRequest, ResetReply, ResetRequest,
};
use countersign_testkit::greeter::{GREETER, GreeterClient, SAY_HELLO};
use countersign_testkit::issuer::TokenMint;
use serde::Deserialize;
use serde_json::{Value, json};
use tonic::service::Routes;
use tonic::{Code, Request, Response, Status};
use tower_layer::Layer;

use crate::stage::{ISSUER, alice, at_noon, behind, build, gate, given};
use crate::support::{RawClient, serve};

#[derive(Debug, Deserialize)]
struct Staff {
    department: String,
    #[serde(default)]
    roles: Vec<String>,
}

/// Greets by what the caller's token says.
struct ByDepartment;

#[tonic::async_trait]
impl Greeter for ByDepartment {
    async fn say_hello(
        &self,
        request: Request<HelloRequest>,
    ) -> Result<Response<HelloReply>, Status> {
        let caller = request.principal()?;
        let staff: Arc<Staff> = caller
            .claims::<Staff>()
            .map_err(|_| Status::failed_precondition("the caller has no department"))?;
        let message = format!("{} of {}", staff.roles.join(" and "), staff.department);
        Ok(Response::new(HelloReply { message, principal: caller.name().to_owned() }))
    }

    type SayHelloStreamStream =
        Pin<Box<dyn tokio_stream::Stream<Item = Result<HelloReply, Status>> + Send>>;

    async fn say_hello_stream(
        &self,
        _: Request<HelloStreamRequest>,
    ) -> Result<Response<Self::SayHelloStreamStream>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn reset(&self, _: Request<ResetRequest>) -> Result<Response<ResetReply>, Status> {
        Err(Status::unimplemented("not here"))
    }
}

#[tokio::test]
async fn a_handler_reads_the_claims_as_a_type_of_its_own() {
    let mint = TokenMint::new(ISSUER);
    let jwt = build(Jwt::builder().issuer(given(&mint)).clock(at_noon()));
    let gate = countersign::Gate::builder()
        .authenticate(jwt)
        .authorize(Rules::new().optional(GREETER))
        .clock(at_noon())
        .build()
        .expect("a gate");
    let incoming = ServerCredentials::insecure().bind("127.0.0.1:0").await.expect("bound");
    let routes = Routes::new(GreeterServer::new(ByDepartment));
    let server = serve(incoming, gate.layer(routes));
    let channel = tonic::transport::Endpoint::from_shared(server.http("localhost"))
        .expect("a URL")
        .connect()
        .await
        .expect("connected");
    let ask = |claims: Option<Value>| {
        let mut request = Request::new(HelloRequest { name: "you".to_owned() });
        if let Some(claims) = claims {
            let value = format!("Bearer {}", mint.mint(&claims)).parse().expect("ASCII");
            request.metadata_mut().insert("authorization", value);
        }
        let mut client = GreeterClient::new(channel.clone());
        async move { client.say_hello(request).await.map(Response::into_inner) }
    };

    let mut claims = alice(&mint);
    claims["department"] = json!("billing");
    claims["roles"] = json!(["clerk", "auditor"]);
    // Twice: the second time the token is remembered and its claims are parsed already.
    for _ in 0..2 {
        let reply = ask(Some(claims.clone())).await.expect("greeted");
        assert_eq!(reply.message, "clerk and auditor of billing");
        assert_eq!(reply.principal, format!("{ISSUER}#alice"));
    }
    claims["department"] = json!(7);
    let status = ask(Some(claims)).await.expect_err("a number is no department");
    assert_eq!(status.code(), Code::FailedPrecondition);
    let status = ask(None).await.expect_err("nobody has no claims");
    assert_eq!(status.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn a_handler_knows_subject_client_scopes_and_audience_wherever_the_provider_puts_them() {
    let mint = TokenMint::new(ISSUER);
    let names = ClaimNames {
        subject: "/user/id".to_owned(),
        client: Some("cid".to_owned()),
        scopes: Some("/realm_access/roles".to_owned()),
    };
    for (name, said) in [
        ("RFC 9068", json!({ "client_id": "cli", "azp": "other", "scope": "read write" })),
        ("a list of scopes", json!({ "azp": "cli", "scp": ["read", "write"] })),
    ] {
        let mut all = alice(&mint);
        for (key, value) in said.as_object().expect("an object") {
            all[key] = value.clone();
        }
        let jwt = build(Jwt::builder().issuer(given(&mint)).clock(at_noon()));
        check(name, jwt, &mint.mint(&all)).await;
    }
    let mut all = alice(&mint);
    all["user"] = json!({ "id": "alice" });
    all["sub"] = json!("7f3a");
    all["cid"] = json!("cli");
    all["realm_access"] = json!({ "roles": ["read", "write"] });
    let issuer = given(&mint).claim_names(names);
    let jwt = build(Jwt::builder().issuer(issuer).clock(at_noon()));
    check("names of our own", jwt, &mint.mint(&all)).await;
}

async fn check(name: &str, jwt: Jwt, token: &str) {
    let (server, reached) = behind(gate(jwt)).await;
    let mut raw = RawClient::connect(&server).await;
    let value = format!("Bearer {token}");
    let answer = raw.call(SAY_HELLO, &[("authorization", &value)]).await;
    assert_eq!(answer.grpc().code(), Code::Ok, "{name}");
    let request = reached.last_request();
    let caller = request.principal().expect("a caller");
    assert_eq!(caller.name(), format!("{ISSUER}#alice"), "{name}");
    assert_eq!(caller.authenticator(), Jwt::NAME, "{name}");
    let token = caller.token().expect("a token");
    assert_eq!(token.subject(), Some("alice"), "{name}");
    assert_eq!(token.client(), Some("cli"), "{name}");
    assert_eq!(token.scopes(), ["read", "write"], "{name}");
    assert_eq!(token.audience(), ["orders"], "{name}");
}
