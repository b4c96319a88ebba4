//! The `pytorch` backend: reads every file format of PyTorch without executing it, and runs TorchScript,
//! exported programs and eager modules through libtorch, which the engine library links and which is opened at the first
//! run.

mod backend;
mod code;
mod container;
mod document;
mod eager;
mod export;
mod forward;
mod judge;
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
