//! The smallest complete backend: a text format, four operators, no native library.
//!
//! It is the example to copy: `plugins/README.md` walks through it. In tests it also stands in for a plugin that
//! misbehaves ([`Misbehaviour`]). A `.toy` file is a list of statements, one per line:
//!
//! ```text
//! toy 1
//! input x float32 N,3
//! tensor w int8 3 scale=0.5 zero_point=1 = 3 1 -1
//! tensor b book 3 numbers=-1:0:0.5 scales=2:4 block=2 = 2 0 1
//! layer fc.mul Mul x w -> h
//! layer fc.relu Relu h -> a
//! layer fc.round Quantize a -> y scale=0.25 zero_point=-128
//! output y
//! ```

mod backend;
mod edit;
mod file;
mod listing;
mod misbehaviour;
mod model;
mod network;

pub use backend::ToyBackend;
pub use misbehaviour::Misbehaviour;

qp_abi::export_plugin!(ToyBackend);
