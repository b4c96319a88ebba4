//! Runs models and reads what their layers compute: batch by batch, so memory does not grow with the number of
//! samples. Nothing here is displayed.

pub mod ahead;
mod alone;
pub mod batch;
pub mod branches;
pub mod by_value;
pub mod comparison;
pub mod edits;
pub mod emulation;
pub mod evaluation;
pub mod follow;
pub mod in_step;
pub mod order;
pub mod pairing;
pub mod products;
pub mod real;
pub mod scores;
pub mod sensitivity;
pub mod side;
pub mod streaming;
pub mod survey;
pub mod switched;

pub use alone::Alone;
pub use batch::Feed;
pub use comparison::{Compared, Comparison};
pub use pairing::ActivationPair;
pub use side::{Execution, Side, can_be_captured, can_emulate};
