//! The `pytorch` backend: reads every file format of PyTorch without executing it, and runs TorchScript, exported programs
//! and eager modules with libtorch. An engine library of its own links libtorch and is opened at the first run.
//!
//! A file goes through these rooms: `container` says what its bytes are, `judge` what loading it would do; `saved`,
//! `torchscript`, `export`, `safetensors` or `sharded` reads it into a `document`; `runtime` runs that. The README lists
//! all rooms, each after those that it imports.

mod backend;
mod code;
mod container;
mod document;
mod eager;
mod export;
mod forward;
mod judge;
mod kernels;
mod open;
pub mod pickle;
mod python;
mod quant;
mod rebuild;
mod runtime;
mod safetensors;
mod saved;
mod sharded;
mod tensor;
mod torchscript;
mod weight;

pub use backend::Backend;
pub use open::describe;

qp_abi::export_plugin!(Backend);
