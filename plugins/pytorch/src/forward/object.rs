//! Values of what a pickle holds.

use super::interpreter::{Frame, Interpreter, MAX_ELEMENTS};
use super::name::of_path;
use super::unsupported::unsupported;
use super::value::Value;
use crate::pickle::{Ref, Value as Pickled};
use qp_abi::sdk::Result;

/// Sequences within sequences in a pickle.
const MAX_DEPTH: u32 = 32;

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
