//! Pickles written by `torch.save`: modules, state dicts, and dictionaries that hold one of them.

mod module;
mod root;
mod state_dict;
mod training;

pub use module::{
    Code, Module, Modules, attribute, attribute_bytes, is_parameter_of_codes, owner_of_packed,
    packed_parameters, quantization_of, without_packer,
};
pub use root::read;
pub use state_dict::StateDict;
