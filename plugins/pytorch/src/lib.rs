//! The `pytorch` backend: reads every file format of PyTorch without executing it, and runs TorchScript,
//! exported programs and eager modules through libtorch, which the engine library links and which is opened at the first
//! run.

pub mod archive;
mod backend;
mod book;
mod calls;
mod derived;
mod document;
mod eager;
mod export;
mod forward;
mod json;
mod judge;
mod kind;
mod legacy;
mod listing;
mod model;
mod obstacle;
mod open;
mod operator_judgement;
pub mod pickle;
mod precision;
mod python;
mod quant;
mod rebuild;
mod runtime;
mod safetensors;
mod sharded;
mod source;
mod stack;
mod tar;
mod tensor;
mod torchscript;
mod weight;

pub use backend::Backend;
pub use open::describe;

qp_abi::export_plugin!(Backend);
