//! The fuzz target of the command language, run for some seconds: over seeds, and over the same mutations of them each time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "fuzz/src/mutations.rs"]
mod mutations;
#[path = "fuzz/src/script.rs"]
mod targets;

#[test]
fn mutated_scripts_are_checked_run_or_refused() {
    mutations::run("script", targets::script);
}
