//! Tensors of a file: where their elements are, how they are read, and those that are computed while they are read.
//!
//! A tensor may be computed from others: [`StoredTensor`], [`Place`] and [`Derived`] are one recursive type, which is why
//! their files import each other.

mod bits;
mod book;
mod data;
mod derived;
mod numbers;
mod packing;
mod stored;

pub use bits::{Bits, can_negate};
pub use book::Book;
pub use data::{Data, Place, Shard};
pub use derived::{Derived, Formula};
pub use numbers::{numbers, reals};
pub use packing::{Packed, Packing};
pub use stored::StoredTensor;
