//! Runs TorchScript, and programs that the plugin has read from other files, through libtorch.
//!
//! This is a plugin library of the same contract as every other, but it is no backend that a user sees: the
//! `pytorch` plugin opens it at the first run, after libtorch, and hands it the models that it has read.

mod backend;
mod callback;
mod error;
mod gate;
mod graph;
mod load;
mod model;
/// The same names as the plugin gives: one source of them.
#[path = "../../src/names.rs"]
mod names;
/// What libtorch's parser is spared; tested with the plugin, which links no libtorch.
#[path = "../../src/nesting/mod.rs"]
mod nesting;
/// What a model may call: the plugin's verdict and this engine go by one list.
#[path = "../../src/operator_list.rs"]
mod operator_list;
mod operators;
mod prepare;
/// What the plugin writes, this engine runs: one definition.
#[path = "../../src/program.rs"]
mod program;
mod settings;
mod shim;
mod substitution;
mod tensor;

pub use backend::Engine;

qp_abi::export_plugin!(Engine);
