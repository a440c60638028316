//! A service to call, and a server to call it on.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use countersign::{Drain, Gate, Incoming, PeerInfoLayer, ServerRequestExt, server_builder};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::{Request, Response, Status};

/// The generated code of `countersign.demo.v1`.
#[allow(missing_docs, reason = "generated")]
pub mod proto {
    tonic::include_proto!("countersign.demo.v1");
}

/// The descriptor set of the greeter's file, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/greeter.binpb"));

pub use proto::greeter_client::GreeterClient;
use proto::greeter_server::{self, GreeterServer};
use proto::{HelloReply, HelloRequest, HelloStreamRequest, ResetReply, ResetRequest};

/// `/countersign.demo.v1.Greeter/SayHello`
pub const SAY_HELLO: &str = "/countersign.demo.v1.Greeter/SayHello";
/// `/countersign.demo.v1.Greeter/*`
pub const GREETER: &str = "/countersign.demo.v1.Greeter/*";

/// Greets, and says as whom the gate knows the caller.
#[derive(Clone, Copy, Debug, Default)]
pub struct Greeter;

impl Greeter {
    /// The service, ready to be added to a server.
    pub fn service(self) -> GreeterServer<Self> {
        GreeterServer::new(self)
    }
}

#[tonic::async_trait]
impl greeter_server::Greeter for Greeter {
    async fn say_hello(
        &self,
        request: Request<HelloRequest>,
    ) -> Result<Response<HelloReply>, Status> {
        let principal = principal_of(&request);
        let name = request.into_inner().name;
        Ok(Response::new(HelloReply { message: format!("Hello, {name}"), principal }))
    }

    type SayHelloStreamStream = Pin<
        Box<dyn tonic::codegen::tokio_stream::Stream<Item = Result<HelloReply, Status>> + Send>,
    >;

    async fn say_hello_stream(
        &self,
        request: Request<HelloStreamRequest>,
    ) -> Result<Response<Self::SayHelloStreamStream>, Status> {
        let principal = principal_of(&request);
        let HelloStreamRequest { name, count } = request.into_inner();
        let reply = HelloReply { message: format!("Hello, {name}"), principal };
        let replies = (0..count).map(move |_| Ok(reply.clone()));
        Ok(Response::new(Box::pin(tonic::codegen::tokio_stream::iter(replies))))
    }

    async fn reset(&self, _request: Request<ResetRequest>) -> Result<Response<ResetReply>, Status> {
        Ok(Response::new(ResetReply {}))
    }
}

fn principal_of<T>(request: &Request<T>) -> String {
    request.principal().map(|principal| principal.name().to_owned()).unwrap_or_default()
}

/// A greeter on loopback, in a task that ends with this value.
#[derive(Debug)]
pub struct TestServer {
    address: Option<SocketAddr>,
    drain: Drain,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<Result<(), tonic::transport::Error>>,
}

impl TestServer {
    /// Serves behind a gate; without one, everybody may call everything.
    ///
    /// Must be called inside a tokio runtime.
    pub fn start(incoming: Incoming, gate: Option<Gate>) -> Self {
        let (stop, stopped) = oneshot::channel();
        let (address, drain) = (incoming.local_addr(), incoming.drain());
        let stopped = async move {
            // Dropped or sent: both mean to stop.
            let _ = stopped.await;
        };
        let shutdown = drain.after(stopped, Duration::from_secs(5));
        let served: Pin<Box<dyn Future<Output = _> + Send>> = match gate {
            Some(gate) => Box::pin(
                server_builder()
                    .layer(gate)
                    .add_service(Greeter.service())
                    .serve_with_incoming_shutdown(incoming, shutdown),
            ),
            None => Box::pin(
                server_builder()
                    .layer(PeerInfoLayer)
                    .add_service(Greeter.service())
                    .serve_with_incoming_shutdown(incoming, shutdown),
            ),
        };
        Self { address, drain, stop: Some(stop), served: tokio::spawn(served) }
    }

    /// Where it listens.
    ///
    /// # Panics
    ///
    /// On a Unix socket.
    pub fn address(&self) -> SocketAddr {
        self.address.expect("a TCP listener")
    }

    /// `https://` and the port, by this host name.
    pub fn https(&self, host: &str) -> String {
        format!("https://{host}:{}", self.address().port())
    }

    /// `http://` and the port, by this host name.
    pub fn http(&self, host: &str) -> String {
        format!("http://{host}:{}", self.address().port())
    }

    /// Stops taking calls, gives those in flight `grace`, and waits for the end.
    pub async fn stop(mut self, grace: Duration) {
        self.drain.start(grace);
        drop(self.stop.take());
        // A server that was cut off ends with an error, and has ended.
        let _ = (&mut self.served).await;
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.served.abort();
    }
}
