//! Pickles, decoded and never executed.
//!
//! [`decode`] runs the opcodes of protocols 0 to 5 on a machine that knows no callables: what a pickle would
//! call or construct becomes an [`Object`], a description of the call. [`verdict`] says what would have
//! happened, by the lists in [`globals`].

mod call;
pub mod globals;
mod machine;
mod opcode;
mod reader;
mod renamed;
mod scalar;
mod source;
mod value;
pub mod verdict;

pub use machine::{decode, decode_part};
pub use value::{Change, Creation, Effect, Global, Object, Pickle, Ref, Value};
