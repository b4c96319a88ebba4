//! Static quantization: which values and stored tensors of a float program get codes, as PyTorch's quantizer for XNNPACK has
//! it: what weighted layers read and compute, operands of additions, products and concatenations that lead to such layers,
//! and what is moved in between. What the program returns stays real, and so do biases. The changes that make the quantized program are in
//! [`edit`](super::edit).

mod plan;
mod walk;

pub use plan::{plan, returned};
