//! What the commands that look inside a model share: its graph, its stored numbers, its variants' tensors side by
//! side. Nothing here is displayed.

pub mod contrast;
pub mod elements;
pub mod graph;
pub mod pairing;
pub mod quantized;
pub mod range;
pub mod residual;
mod structure;
pub mod summary;
pub mod survey;
pub mod suspicion;
pub mod weight;

pub use contrast::Errors;
pub use elements::Elements;
pub use summary::{CodeSummary, Summary};
