//! Pickles, decoded and never executed.
//!
//! [`decode`] runs the opcodes of protocols 0 to 5 on a machine that knows no callables: what a pickle would
//! call or construct becomes an [`Object`], a description of the call. [`verdict`] says what would have
//! happened: `proof` holds it against the list of harmless names in `names.tsv`, `danger` knows the harmful ones.

mod call;
mod danger;
mod evidence;
pub mod legacy;
mod level;
pub mod list;
mod machine;
mod opcode;
pub mod proof;
mod reader;
mod renamed;
mod rule;
mod scalar;
mod sort;
mod source;
mod subjects;
mod value;
pub mod verdict;

pub use machine::{decode, decode_part};
pub use value::{Change, Creation, Effect, Global, Object, Pickle, Ref, Value};
