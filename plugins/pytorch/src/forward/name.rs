//! Values of names that no variable has.

use super::value::Value;
use crate::python::is_builtin;
use crate::quant::dtype::{ElementType, from_torch_name, quantized_scalar_type, scalar_type};

/// Modules that a graph uses without an import of its own.
const MODULES: [&str; 5] = ["torch", "math", "operator", "torchvision", "qp"];

/// What a name stands for that no variable has.
pub(super) fn of_name(name: &str) -> Option<Value> {
    match name {
        "inf" => Some(Value::Float(f64::INFINITY)),
        "nan" => Some(Value::Float(f64::NAN)),
        "device" => Some(Value::Path("torch.device".to_owned())),
        "Ellipsis" => Some(Value::Ellipsis),
        "NoneType" => Some(Value::Opaque("NoneType".to_owned())),
        "_operator" => Some(Value::Path("operator".to_owned())),
        _ if is_builtin(name) => Some(Value::Path(format!("builtins.{name}"))),
        _ if MODULES.contains(&name) => Some(Value::Path(name.to_owned())),
        _ => None,
    }
}

/// What a dotted path stands for: a constant of PyTorch's or Python's, or the path itself.
pub(super) fn of_path(path: &str) -> Value {
    match path {
        "math.inf" | "torch.inf" => return Value::Float(f64::INFINITY),
        "math.nan" | "torch.nan" => return Value::Float(f64::NAN),
        "math.pi" | "torch.pi" => return Value::Float(std::f64::consts::PI),
        "math.e" => return Value::Float(std::f64::consts::E),
        "torch.contiguous_format" | "torch.strided" => return Value::Code(0),
        "torch.preserve_format" => return Value::Code(1),
        "torch.channels_last" => return Value::Code(2),
        "torch.channels_last_3d" => return Value::Code(3),
        _ => {}
    }
    let dtype = path.strip_prefix("torch.").and_then(from_torch_name).and_then(number);
    dtype.map_or_else(|| Value::Path(path.to_owned()), Value::Dtype)
}

/// What is imported from a path: `operator` is written in C under another name.
pub(super) fn of_import(path: &str) -> Value {
    match path.strip_prefix("_operator.") {
        Some(name) => of_path(&format!("operator.{name}")),
        None => of_path(path),
    }
}

fn number(element: ElementType) -> Option<i64> {
    if element.is_quantized { quantized_scalar_type(element.dtype) } else { scalar_type(element.dtype) }
}
