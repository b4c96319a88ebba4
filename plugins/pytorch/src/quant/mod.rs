//! Quantization as PyTorch writes it, in the contract's terms.

pub mod dtype;
mod parameters;

pub use parameters::{Quantizer, Scheme};
