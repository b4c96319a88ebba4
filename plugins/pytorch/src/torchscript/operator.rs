//! What is known of PyTorch's functions: which give tensors, and how their results are quantized.

use super::fake_quantize;
use super::symbol::{Symbol, has_value, quantization_of};
use crate::quant::dtype::from_scalar_type;
use qp_abi::sdk::{DType, QuantizationParameters};

/// A function, by its namespace and name: `quantized`, `add_relu`.
#[derive(Debug, Clone)]
pub struct Operator {
    /// `aten`, `quantized`, …
    pub namespace: String,
    /// The name.
    pub name: String,
}

/// Functions of tensors that give numbers, sizes, texts or nothing.
const NO_TENSOR: &[&str] = &[
    "__contains__",
    "__is__",
    "__isnot__",
    "__not__",
    "allclose",
    "dim",
    "equal",
    "format",
    "get_device",
    "is_complex",
    "is_contiguous",
    "is_floating_point",
    "is_nonzero",
    "is_same_size",
    "item",
    "len",
    "numel",
    "percentFormat",
    "q_scale",
    "q_zero_point",
    "qscheme",
    "storage_offset",
    "stride",
    "size",
    "warn",
];

/// Functions of lists and dictionaries, which compute nothing.
const CONTAINERS: &[&str] = &[
    "Delete",
    "__getitem__",
    "_set_item",
    "append",
    "clear",
    "copy",
    "dict",
    "extend",
    "get",
    "insert",
    "items",
    "keys",
    "list",
    "pop",
    "remove",
    "reverse",
    "values",
];

/// Functions that make a tensor of none.
const CREATORS: &[&str] = &[
    "arange",
    "as_tensor",
    "empty",
    "eye",
    "full",
    "linspace",
    "ones",
    "rand",
    "randint",
    "randn",
    "randperm",
    "scalar_tensor",
    "tensor",
    "tril_indices",
    "triu_indices",
    "zeros",
];

/// Functions whose result has the codes and the parameters of what they are given.
const PRESERVES_CODES: &[&str] = &[
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "avg_pool2d",
    "avg_pool3d",
    "channel_shuffle",
    "clamp",
    "clone",
    "contiguous",
    "detach",
    "dropout",
    "expand",
    "flatten",
    "hardtanh",
    "hardtanh_",
    "max_pool1d",
    "max_pool2d",
    "mean",
    "movedim",
    "narrow",
    "permute",
    "pixel_shuffle",
    "relu",
    "relu6",
    "relu_",
    "repeat",
    "reshape",
    "select",
    "slice",
    "squeeze",
    "t",
    "transpose",
    "unsqueeze",
    "upsample_bilinear2d",
    "upsample_nearest2d",
    "view",
];

impl Operator {
    /// The operator that a dotted name in code is: `torch.add`, `ops.quantized.conv2d`,
    /// `__torch__.torch.nn.functional.batch_norm`.
    pub fn of(path: &str) -> Option<Self> {
        let parts: Vec<&str> = path.split('.').collect();
        let (namespace, name) = match parts.as_slice() {
            ["torch", name] => ("aten", *name),
            ["torch", "nn", "functional", name] | ["__torch__", .., name] => ("functional", *name),
            ["ops", namespace, name] => (*namespace, *name),
            _ => return None,
        };
        Some(Self { namespace: namespace.to_owned(), name: name.to_owned() })
    }

    /// Whether the result has the codes and the parameters of what the operator is given.
    pub fn preserves_codes(&self) -> bool {
        PRESERVES_CODES.contains(&self.name.as_str())
    }

    /// Whether the result is a tensor.
    pub fn gives_tensor(&self) -> bool {
        let has_none = NO_TENSOR.contains(&self.name.as_str()) || self.namespace == "prim";
        !has_none && !self.name.contains("pack")
    }

    /// Whether this rounds real numbers to codes and back at once.
    pub fn is_fake_quantizer(&self) -> bool {
        self.name.contains("fake_quant")
    }

    /// Whether this is one of the operators on codes.
    pub fn is_quantized(&self) -> bool {
        self.namespace == "quantized" && !self.name.contains("dynamic")
    }
}

/// The result of a function that computes nothing of tensors: what it is given, a new tensor, or no tensor. `None` for
/// one that is a layer.
pub(super) fn without_computing(operator: &Operator, arguments: &[Symbol]) -> Option<Symbol> {
    let name = operator.name.as_str();
    let has_tensor = arguments.iter().any(has_value);
    match operator.namespace.as_str() {
        "prim" => Some(match (name, arguments) {
            ("unchecked_unwrap_optional" | "data", [value, ..]) => value.clone().surely(),
            ("NumToTensor", _) => Symbol::unnamed(),
            _ => Symbol::Other,
        }),
        "aten" => match (name, arguments) {
            ("__not__", [Symbol::Flag(flag)]) => Some(Symbol::Flag(!flag)),
            _ if CONTAINERS.contains(&name) && has_tensor => Some(Symbol::unnamed()),
            _ if CONTAINERS.contains(&name) => Some(Symbol::Other),
            _ if CREATORS.contains(&name) && !has_tensor => Some(Symbol::unnamed()),
            _ => None,
        },
        _ => None,
    }
}

/// The arguments up to the scale and the zero point of the result, which are the last two but for a few operators whose own
/// parameters come after them.
fn codes_of_result<'a>(name: &str, arguments: &'a [Symbol]) -> &'a [Symbol] {
    match name {
        "elu" | "celu" | "dropout" => arguments.get(..3).unwrap_or(arguments),
        _ => arguments,
    }
}

/// The number that a symbol is, also when it is stored as a tensor of one element.
pub(super) fn number(symbol: &Symbol, stored: &dyn Fn(&Symbol) -> Option<Vec<f64>>) -> Option<f64> {
    match symbol {
        Symbol::Number(number) => Some(*number),
        Symbol::Stored(_, tensor) if tensor.element_count() == Some(1) => stored(symbol)?.first().copied(),
        _ => None,
    }
}

/// The parameters of the result; `stored` reads the numbers of a stored tensor.
pub(super) fn quantization(
    operator: &Operator,
    arguments: &[Symbol],
    stored: &dyn Fn(&Symbol) -> Option<Vec<f64>>,
) -> Option<QuantizationParameters> {
    let first = || arguments.iter().find_map(quantization_of);
    let number = |symbol: &Symbol| number(symbol, stored);
    match (operator.name.as_str(), arguments) {
        ("quantize_per_tensor", [_, scale, zero_point, dtype]) => {
            let dtype = from_scalar_type(number(dtype)? as i64)?.dtype;
            Some(QuantizationParameters::per_tensor(dtype, number(scale)?, number(zero_point)?))
        }
        (name, _) if operator.is_fake_quantizer() => fake_quantize::parameters(name, arguments, stored),
        _ if operator.is_quantized() => match codes_of_result(&operator.name, arguments) {
            // Operators on codes end with the scale and the zero point of their result, which has the type of
            // the activation they are given.
            [_, .., scale, zero_point] => {
                let dtype = first().map_or(DType::UINT8, |parameters| parameters.dtype);
                match (number(scale), number(zero_point)) {
                    (Some(scale), Some(zero_point)) => {
                        Some(QuantizationParameters::per_tensor(dtype, scale, zero_point))
                    }
                    _ => first(),
                }
            }
            _ => first(),
        },
        _ if operator.preserves_codes() => first(),
        _ => None,
    }
}
