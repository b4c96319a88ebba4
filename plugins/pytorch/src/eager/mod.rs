//! Pickles written by `torch.save`: modules, state dicts, and dictionaries that hold one of them.

mod module;
mod root;
mod state_dict;

pub use root::read;
