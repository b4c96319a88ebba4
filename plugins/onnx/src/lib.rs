//! The `onnx` backend of qp: reads ONNX models without a runtime, and runs them with ONNX Runtime.
//!
//! A model is read in four steps, each in its own module: [`source`] gives the file's bytes, [`proto`] decodes them
//! (after [`wire`] has limited what that may cost), [`graph`] turns all graphs of the model into one index with
//! unique names, and [`quant`] finds out which values and tensors are integer codes and what they stand for. [`info`]
//! puts that into the ABI's form. Weights stay in the file's own bytes: [`convert`] and [`external_data`] give slices
//! of them.
//!
//! [`runtime`] finds ONNX Runtime, loads it at the first run and keeps one session in each open [`model`].

pub mod backend;
pub mod convert;
pub mod document;
mod edit;
mod expansion;
mod export;
pub mod external_data;
pub mod findings;
pub mod graph;
pub mod held;
pub mod info;
mod kind;
pub mod model;
mod origin;
pub mod proto;
pub mod quant;
mod quantize;
pub mod runtime;
pub mod shape;
pub mod source;
pub mod value_type;
pub mod wire;

pub use backend::OnnxBackend;

qp_abi::export_plugin!(OnnxBackend);
