//! The command language: a text becomes statements, a statement becomes words. Nothing here touches a file, a model
//! or the terminal.

pub mod block;
pub mod line;
pub mod token;
pub mod usage;
pub mod variable;

pub use block::{Node, blocks, is_incomplete, separate_lines};
pub use line::Line;
pub use token::{Part, Problem, Statement, Word, parse, quoted};
pub use variable::Variables;
