//! The numbers of qp: pure functions over slices. No files, no clock, no terminal, no plugin.

#![forbid(unsafe_code)]

pub mod element;

pub use element::ElementType;
