//! Running models and reading what their layers compute: batch by batch, so that memory does not grow with the
//! number of samples. Nothing here is shown to anyone.

pub mod batch;
pub mod comparison;
pub mod pairing;
pub mod real;
pub mod survey;

pub use comparison::{Compared, Comparison};
pub use pairing::ActivationPair;
