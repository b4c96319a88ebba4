//! Values of names, and of what a pickle holds.

use super::interpreter::{Frame, Interpreter, MAX_ELEMENTS};
use super::unsupported;
use super::value::Value;
use crate::pickle::{Ref, Value as Pickled};
use crate::quant::dtype::{ElementType, from_torch_name, quantized_scalar_type, scalar_type};
use qp_abi::sdk::Result;

/// Sequences within sequences in a pickle.
const MAX_DEPTH: u32 = 32;

/// Functions that Python has without an import.
const BUILTINS: [&str; 24] = [
    "abs",
    "all",
    "any",
    "bool",
    "dict",
    "enumerate",
    "float",
    "getattr",
    "int",
    "isinstance",
    "len",
    "list",
    "max",
    "min",
    "pow",
    "range",
    "reversed",
    "round",
    "slice",
    "sorted",
    "str",
    "sum",
    "tuple",
    "zip",
];
/// Modules that a graph uses without an import of its own.
const MODULES: [&str; 5] = ["torch", "math", "operator", "torchvision", "qp"];

/// Whether Python has a function of that name without an import, and it does nothing but compute on what it is given.
pub fn is_builtin(name: &str) -> bool {
    BUILTINS.contains(&name)
}

/// What a name stands for that no variable has.
pub(super) fn of_name(name: &str) -> Option<Value> {
    match name {
        "inf" => Some(Value::Float(f64::INFINITY)),
        "nan" => Some(Value::Float(f64::NAN)),
        "device" => Some(Value::Path("torch.device".to_owned())),
        "Ellipsis" => Some(Value::Ellipsis),
        "NoneType" => Some(Value::Opaque("NoneType".to_owned())),
        "_operator" => Some(Value::Path("operator".to_owned())),
        _ if BUILTINS.contains(&name) => Some(Value::Path(format!("builtins.{name}"))),
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

impl Interpreter<'_> {
    /// The attribute `name` of the module at `at`: a tensor, a child, what the pickle has, or the library's default.
    pub(super) fn module_attribute(&mut self, at: Ref, name: &str) -> Result<Value> {
        let module = self.module(at)?;
        if name == "training" {
            return Ok(Value::Bool(false));
        }
        if let Some(computed) = self.normalized(at, name)? {
            return Ok(computed);
        }
        if let Some(tensor) = module.tensors.get(name) {
            return Ok(Value::Stored(tensor.clone()));
        }
        if let Some(child) = module.child(name) {
            return Ok(if self.modules.all.contains_key(&child) {
                Value::Module(child)
            } else {
                Value::None
            });
        }
        if let Some(value) = module.attributes.get(name) {
            return self.of_pickle(*value, 0, &mut { MAX_ELEMENTS });
        }
        if let Some(class) = self.class_path(at) {
            if let Some(function) = self.library.method(&class, name) {
                return Ok(Value::Bound(function.clone(), at));
            }
            if let Some(value) = self.library.attribute(&class, name).cloned() {
                return self.evaluate(&value, &Frame::default());
            }
        }
        let shown =
            if module.path.is_empty() { "the model".to_owned() } else { format!("`{}`", module.path) };
        Err(unsupported(format!("{shown} has no attribute `{}` in the file", name.escape_debug())))
    }

    /// What stands at a place of the pickle, of `left` values at most: what is used twice is there twice.
    pub(super) fn of_pickle(&self, at: Ref, depth: u32, left: &mut usize) -> Result<Value> {
        let pickle = self.rebuild.pickle;
        if depth > MAX_DEPTH {
            return Err(unsupported("an attribute is nested too deep"));
        }
        *left = left.checked_sub(1).ok_or_else(|| unsupported("an attribute is too long a list"))?;
        if self.modules.all.contains_key(&at) {
            return Ok(Value::Module(at));
        }
        let mut all = |elements: &[Ref]| -> Result<Vec<Value>> {
            elements.iter().map(|element| self.of_pickle(*element, depth + 1, left)).collect()
        };
        Ok(match pickle.get(at) {
            Pickled::None => Value::None,
            Pickled::Bool(flag) => Value::Bool(*flag),
            Pickled::Int(number) => Value::Int(*number),
            Pickled::Float(number) => Value::Float(*number),
            Pickled::Text(text) => Value::Text(text.to_string()),
            Pickled::List(elements) => Value::List(all(elements)?),
            Pickled::Tuple(elements) => Value::Tuple(all(elements)?),
            Pickled::Dict(entries) => Value::Dictionary(
                entries
                    .iter()
                    .map(|(key, value)| {
                        let key = self.of_pickle(*key, depth + 1, left)?;
                        Ok((key, self.of_pickle(*value, depth + 1, left)?))
                    })
                    .collect::<Result<_>>()?,
            ),
            Pickled::Global(global) => {
                let module = if global.module == "_operator" { "operator" } else { global.module.as_str() };
                of_path(&format!("{module}.{}", global.name))
            }
            Pickled::Object(object) => {
                let arguments = pickle.arguments(object);
                let Some(callable) = pickle.callable(object) else {
                    return Ok(Value::Opaque("an object".to_owned()));
                };
                match (callable.module.as_str(), callable.name.as_str(), arguments) {
                    // The one form that PyTorch writes: `getattr(torch._C._VariableFunctionsClass, "add")`.
                    ("builtins", "getattr", [class, name])
                        if pickle
                            .global(*class)
                            .is_some_and(|class| class.is("torch._C", "_VariableFunctionsClass")) =>
                    {
                        of_path(&format!("torch.{}", pickle.text(*name).unwrap_or_default()))
                    }
                    ("torch", "Size", _) => pickle
                        .sequence(at)
                        .map_or(Ok(Value::Tuple(Vec::new())), |elements| all(elements).map(Value::Tuple))?,
                    ("torch", "device", _) => Value::Device,
                    _ => Value::Opaque(callable.to_string()),
                }
            }
            _ => Value::Opaque("an object".to_owned()),
        })
    }
}
