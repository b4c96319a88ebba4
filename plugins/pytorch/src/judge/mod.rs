//! The verdict on a file: every pickle in it, every operator that its code calls.

mod file;
mod operators;

pub use file::{Origin, add_pickles, of_archive, of_pickles};
pub use operators::{Judgement, UNKNOWN, unsafe_name};
