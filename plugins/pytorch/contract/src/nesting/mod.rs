//! Limits on nesting: libtorch's parsers follow it by recursion, and crash when the stack ends.
//!
//! The limits are far above what PyTorch writes, with its short lines, and a fraction of what libtorch can take on
//! the stack that the engine loads with; `tests/checked.rs` goes up to them and beyond.

mod chain;
mod limit;
mod pickle;
mod source;

use chain::Definitions;
pub use limit::{MAX_BLANK, MAX_BLOCKS, MAX_CHAIN, MAX_EXPRESSION, MAX_PICKLED};
pub use pickle::check as check_pickle;

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
