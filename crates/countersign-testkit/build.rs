//! Generates the greeter's code without `protoc`: protox compiles the descriptors in Rust.

use std::path::PathBuf;

use prost::Message;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = "proto";
    let file = "proto/countersign/demo/v1/greeter.proto";
    println!("cargo:rerun-if-changed={root}");
    let descriptors = protox::compile([file], [root])?;
    // For reflection, and for tools that read descriptor sets.
    #[expect(clippy::disallowed_methods, reason = "cargo talks to build scripts that way")]
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    std::fs::write(out.join("greeter.binpb"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
