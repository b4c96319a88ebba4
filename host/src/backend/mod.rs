//! The safe face of the plugins.
