//! Generates the ONNX messages from `src/onnx.proto`, without `protoc`.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=src/onnx.proto");
    let files = protox::compile(["src/onnx.proto"], ["src"])?;
    // `bytes` fields share the buffer they are decoded from: reading a weight does not copy it.
    prost_build::Config::new().bytes(["."]).compile_fds(files)?;
    Ok(())
}
