//! The command language: a text becomes statements, a statement becomes words. Nothing here touches a file, a model
//! or the terminal.

pub mod line;
pub mod token;
pub mod usage;
pub mod variable;

pub use line::Line;
pub use token::{Part, Problem, Statement, Word, is_incomplete, parse};
pub use variable::Variables;
