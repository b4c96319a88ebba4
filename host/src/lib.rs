//! The host of qp: the program without its plugins.

pub mod backend;
pub mod error;
pub mod model;
