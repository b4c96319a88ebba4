//! What a file is before it means anything: its bytes, which kind of file they begin, the entries of an archive, JSON;
//! and the limits that keep what a stranger nested or packed from taking the stack or the memory.

mod archive;
mod directory;
pub mod json;
pub mod kind;
mod source;
mod stack;

pub use archive::Archive;
pub use kind::Kind;
pub use source::Source;
pub use stack::deep;
