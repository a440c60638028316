//! Generates the greeter's code without `protoc`: protox compiles the descriptors in Rust.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = "proto";
    let file = "proto/countersign/demo/v1/greeter.proto";
    println!("cargo:rerun-if-changed={root}");
    let descriptors = protox::compile([file], [root])?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
