//! How deeply anything may be nested.

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
