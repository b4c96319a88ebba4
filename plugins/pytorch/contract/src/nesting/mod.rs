//! What libtorch's parsers are spared: they follow whatever is nested by recursion, and die where the stack ends.
//!
//! The limits are far above what PyTorch writes, whose lines are short, and a fraction of what libtorch takes on the
//! stack that the engine loads with; `tests/checked.rs` goes up to them and beyond.

mod chain;
mod pickle;
mod source;

use chain::Definitions;
pub use pickle::check as check_pickle;

/// Operators, brackets, attributes and calls within each other in one expression.
pub const MAX_EXPRESSION: usize = 400;
/// Blocks within each other; each `elif` is one within that before it.
pub const MAX_BLOCKS: usize = 200;
/// Empty lines, comments and continued lines in a row.
pub const MAX_BLANK: usize = 2000;
/// Functions and classes that need each other, one after the other.
pub const MAX_CHAIN: usize = 100;
/// Lists, tuples, dictionaries and objects of a pickle within each other.
pub const MAX_PICKLED: usize = 1000;

/// The TorchScript sources of an archive.
#[derive(Debug, Default)]
pub struct Sources {
    definitions: Definitions,
}

impl Sources {
    /// Reads the source with that name in the archive, `code/__torch__/net.py`.
    ///
    /// # Errors
    /// A message for what is nested too deep, or is computed while the source is compiled.
    pub fn read(&mut self, name: &str, bytes: &[u8]) -> Result<(), String> {
        source::read(name, bytes, &mut self.definitions)
    }

    /// Looks at all sources together.
    ///
    /// # Errors
    /// A message for functions and classes that need too many others.
    pub fn finish(&self) -> Result<(), String> {
        self.definitions.check()
    }
}
