//! Runs TorchScript, and programs that the plugin has read from other files, through libtorch.
//!
//! The `pytorch` plugin opens this library at the first run, after libtorch, and passes it the models that it has
//! read. The contract between them is in `plugins/pytorch/contract`.

mod callback;
mod engine;
mod error;
mod gate;
mod graph;
mod load;
mod model;
mod operators;
mod prepare;
mod settings;
mod shim;
mod substitution;
mod tensor;

pub use engine::Engine;

qp_pytorch_contract::export_engine!(Engine);
