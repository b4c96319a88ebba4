//! The program as its users see it, one module for each command or concern.

#[path = "../support/mod.rs"]
mod support;

mod cache;
mod errors;
mod examples;
mod formats;
mod input;
mod inspect;
mod open;
mod promises;
mod run;
mod scripts;
mod session;
mod summary;
