//! A file before it means anything: its bytes, its kind, the entries of an archive, JSON; and the limits that keep a
//! malicious file from exhausting the stack or the memory.

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
