use std::process::Stdio;

use tokio::process::{Child, Command};

use crate::world::{Failure, World, first_line};

/// A greeter in grpc-go, which verifies the provider's tokens with code of its own: in a process
/// that ends with this value.
pub(crate) struct GrpcGo {
    pub(crate) target: String,
    _process: Child,
}

impl GrpcGo {
    /// Takes JWTs for the audience `orders`. Client certificates are asked for and not demanded.
    pub(crate) async fn start(world: &World) -> Result<Self, Failure> {
        let mut process = Command::new(&world.grpc_go)
            .args(["server", "--listen", "127.0.0.1:0", "--audience", "orders"])
            .args(["--issuer", &world.provider.issuer])
            .arg("--issuer-ca")
            .arg(world.file("ca.pem"))
            .arg("--client-ca")
            .arg(world.file("ca.pem"))
            .arg("--cert")
            .arg(world.file("server.pem"))
            .arg("--key")
            .arg(world.file("server.key"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("cannot start the grpc-go peer: {error}"))?;
        let line = first_line("the grpc-go peer", &mut process).await?;
        let (_, port) = line.rsplit_once(':').ok_or("the grpc-go peer says no address")?;
        Ok(Self { target: format!("https://localhost:{port}"), _process: process })
    }
}
