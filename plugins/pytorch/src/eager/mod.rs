//! Pickles written by `torch.save`: modules, state dicts, and dictionaries that hold one of them.

mod module;
mod root;
pub mod state_dict;

pub use module::{Module, Modules, attribute, is_parameter_of_codes, packed_parameters, quantization_of};
pub use root::read;
