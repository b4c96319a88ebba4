//! The fuzz target of the command language, run for some seconds: over seeds, and over the same mutations of them each time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "fuzz/src/mutations.rs"]
mod mutations;
#[path = "fuzz/src/random.rs"]
mod random;

#[path = "fuzz/src/text.rs"]
mod text;

#[path = "fuzz/src/words.rs"]
mod words;

#[path = "fuzz/src/script.rs"]
mod targets;

#[test]
fn mutated_scripts_are_checked_run_or_refused() {
    mutations::run("script", targets::script);
}

#[test]
fn scripts_mutated_word_by_word_are_checked_run_or_refused() {
    mutations::run_some(mutations::FEW, "script", targets::script, |random, seed, other| {
        text::mutate(random, seed, other, &words::SCRIPT)
    });
}
