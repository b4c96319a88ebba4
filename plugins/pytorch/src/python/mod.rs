//! The part of Python in which modules say what they compute: straight-line code, `if` and `for`, definitions.
//!
//! It is parsed, and never handed to a Python. What is not of this part is an error with its line.

mod builtin;
mod expression;
mod lexer;
mod parser;
mod syntax;

pub use builtin::is_builtin;
pub use lexer::{Kind, Token, tokens};
pub use parser::parse;
pub use syntax::{Argument, Binary, Class, Expression, Function, Statement, Unary};
