//! Which values and tensors of a float model get codes: for static quantization with the rules of
//! `onnxruntime.quantization`'s `QDQQuantizer` (1.31), for dynamic with those of its `quantize_dynamic`, and for weights
//! alone. The changes that make the quantized graph are in [`edit`](crate::edit).

mod mark;
mod operator;
mod plan;
mod weights;

pub use plan::plan;
