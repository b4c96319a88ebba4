//! Modules and state dicts as pickles have them.

pub mod attribute;
mod convolution;
pub mod module;
mod packed;
mod quantization;
pub mod state_dict;

pub use attribute::{attribute, attribute_bytes};
pub use module::{Code, Module, Modules};
pub use packed::{is_packed, owner_of_packed, packed_parameters, without_packer};
pub use quantization::{is_parameter_of_codes, quantization_of};
pub use state_dict::StateDict;
