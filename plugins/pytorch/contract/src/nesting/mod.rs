//! Limits on nesting: libtorch's parsers follow it by recursion, and crash when the stack ends.
//!
//! The limits are far above what PyTorch writes, with its short lines, and a fraction of what libtorch can take on
//! the stack that the engine loads with; `tests/checked.rs` goes up to them and beyond.

mod chain;
mod pickle;
mod source;

use chain::Definitions;
pub use pickle::check as check_pickle;

/// Nested operators, brackets, attributes and calls in one expression.
pub const MAX_EXPRESSION: usize = 400;
/// Nested blocks; each `elif` is nested in the one before it.
pub const MAX_BLOCKS: usize = 200;
/// Consecutive empty lines, comments and continued lines.
pub const MAX_BLANK: usize = 2000;
/// Functions and classes that need each other, in a chain.
pub const MAX_CHAIN: usize = 100;
/// Nested lists, tuples, dictionaries and objects of a pickle.
pub const MAX_PICKLED: usize = 1000;

/// The TorchScript sources of an archive.
#[derive(Debug, Default)]
pub struct Sources {
    definitions: Definitions,
}

impl Sources {
    /// Reads the source with this name in the archive, `code/__torch__/net.py`.
    ///
    /// # Errors
    /// A message for excessive nesting, or a value computed while the source is compiled.
    pub fn read(&mut self, name: &str, bytes: &[u8]) -> Result<(), String> {
        source::read(name, bytes, &mut self.definitions)
    }

    /// Checks all sources together.
    ///
    /// # Errors
    /// A message for functions and classes that need too many others.
    pub fn finish(&self) -> Result<(), String> {
        self.definitions.check()
    }
}
