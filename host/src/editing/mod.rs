//! Changes to a quantized model: what a line means (`line`), which codes it is about (`subject`), what the backend has
//! to do for it (`plan`), and what becomes of the session (`apply`); changes in
//! the words of other tools (`forms`); codes of more bits (`widen`); and any set of layers switched (`several`).

mod apply;
mod forms;
mod line;
mod plan;
mod several;
mod subject;
mod widen;

pub use apply::{Changed, Prepared, again, float_variant, make, prepare, step};
pub use forms::{Form, text, translated};
pub use line::{Action, Change, Property, Setting};
pub use plan::Planner;
pub use several::{Switch, Switches};
pub use subject::{Part, Subject};
