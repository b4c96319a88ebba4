//! The state of quantized convolutions.

use super::quantization::quantization_of;
use crate::pickle::{Pickle, Ref, Value};

/// What `__getstate__` of PyTorch's quantized convolutions gives, in order.
pub const FIELDS: [&str; 15] = [
    "in_channels",
    "out_channels",
    "kernel_size",
    "stride",
    "padding",
    "dilation",
    "transposed",
    "output_padding",
    "groups",
    "padding_mode",
    "weight",
    "bias",
    "scale",
    "zero_point",
    "training",
];

/// The fields of the quantized convolution at `at`; `None` for what is something else.
pub fn state(pickle: &Pickle, at: Ref) -> Option<&[Ref]> {
    let object = pickle.object(at)?;
    let class = pickle.callable(object)?;
    let is_quantized =
        matches!(quantization_of(&class.module), "static" | "dynamic") && class.module.contains(".conv");
    let Value::Tuple(fields) = pickle.get(object.state?) else { return None };
    (is_quantized && fields.len() == FIELDS.len()).then_some(fields)
}
