//! Static quantization: which values and tensors of a float model get codes, with the rules of
//! `onnxruntime.quantization`'s `QDQQuantizer` (1.31). The changes that make the quantized graph are in
//! [`edit`](crate::edit).

mod mark;
mod operator;
mod plan;

pub use plan::plan;
