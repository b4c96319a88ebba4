//! Element types of tensors: one table of codes, names and widths, which the host and the contract make their types of,
//! and elements as numbers: from packed little-endian bytes to `f64`, and back. No files, no clock, no plugins.
//!
//! The small float formats follow the OCP 8-bit floating point specification (E4M3FN, E5M2), the ONNX
//! documentation of their FNUZ forms, and the OCP microscaling specification (E2M1, E8M0). NF4 is a table of 16
//! numbers: the paper on QLoRA, appendix E.

#![forbid(unsafe_code)]

mod code_count;
mod decode;
mod element;
mod small_float;
mod table;

pub use code_count::CodeCounts;
pub use decode::BLOCK_ELEMENTS;
pub use element::ElementType;
pub use small_float::NF4;
