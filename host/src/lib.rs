//! The host of qp: the program without its plugins.
//!
//! A line goes from `repl` or a script through `executor` and `language` to one of `commands`, which works on the
//! `playground` and returns a `render::report`; `render::ui` shows it. `backend` is the only module that knows what a
//! plugin is.

pub mod app;
pub mod args;
pub mod array_file;
pub mod backend;
pub mod baseline;
pub mod cache;
pub mod cancel;
pub mod capture;
pub mod catalog;
pub mod checking;
pub mod commands;
pub mod diagnosis;
pub mod dirs;
pub mod documents;
pub mod editing;
pub mod env;
pub mod error;
pub mod executor;
pub mod expression;
pub mod file;
pub mod input;
pub mod inspect;
pub mod journal;
pub mod language;
pub mod lint;
pub mod model;
pub mod parallel;
pub mod playground;
pub mod plot;
pub mod printable;
pub mod quantization;
pub mod regular_file;
pub mod render;
pub mod repl;
pub mod settings;
pub mod shell;
pub mod spelling;
pub mod temporary;
