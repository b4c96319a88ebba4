//! Functions of our library's own, in the module `qp`: what only the file, or the way so far, can tell.

use super::interpreter::{Frame, Interpreter};
use super::unsupported::unsupported;
use super::value::Value;
use crate::quant::dtype::{quantized_scalar_type, scalar_type};
use crate::tensor::numbers;
use qp_abi::sdk::{DType, RString, Result};
use qp_pytorch_contract::program::{Argument, PYTHON};

impl Interpreter<'_> {
    /// A function of the module `qp`; `None` when it is none that is known, or is called with something else.
    pub(super) fn of_file(
        &mut self,
        name: &str,
        arguments: &[Value],
        keywords: &[(String, Value)],
        frame: &Frame,
    ) -> Result<Option<Value>> {
        let [first, rest @ ..] = arguments else { return Ok(None) };
        Ok(Some(match (name, first) {
            // An operator whose name is put together, with or without its overload.
            ("operator", Value::Text(operator)) => {
                let (operator, overload) = match operator.split_once('.') {
                    Some((operator, overload)) => (operator, Some(overload)),
                    None => (operator.as_str(), None),
                };
                self.emit(operator, overload, rest.to_vec(), keywords.to_vec(), frame)?
            }
            // The elements of a short stored tensor as numbers.
            ("numbers", Value::List(_) | Value::Tuple(_)) => first.clone(),
            ("numbers", Value::Int(_) | Value::Float(_) | Value::Bool(_)) => Value::List(vec![first.clone()]),
            ("numbers", _) => match self.stored_name(first) {
                Some(stored) => Value::List(self.stored_numbers(&stored)?),
                None => {
                    return Err(unsupported("what is computed depends on the numbers in a computed tensor"));
                }
            },
            // The same, of a computed tensor by the run.
            ("ints", Value::List(_) | Value::Tuple(_)) => first.clone(),
            ("ints", Value::Int(_)) => Value::List(vec![first.clone()]),
            ("ints", _) => match self.stored_name(first) {
                Some(stored) => Value::List(self.stored_numbers(&stored)?),
                None if self.is_number(first) => first.clone(),
                None => self.emit_plain(&format!("{PYTHON}::ints"), vec![first.clone()])?,
            },
            // Whether the numbers in a value are known before the run.
            ("is_known", _) => Value::Bool(!first.is_computed() || self.stored_name(first).is_some()),
            // Whether a value is a list, known or computed.
            ("is_list", Value::Computed(register)) => Value::Bool(self.lists.contains(register)),
            ("is_list", _) => Value::Bool(first.elements().is_some()),
            // Whether a value is an element type, known or that of a computed tensor.
            ("is_dtype", Value::Dtype(_)) => Value::Bool(true),
            ("is_dtype", _) => Value::Bool(self.is_attribute(first, "dtype")),
            // Whether a value is known to be real.
            ("is_float", Value::Float(_)) => Value::Bool(true),
            ("is_float", _) => {
                let dtype = self.stored_name(first).and_then(|stored| self.stored_dtype(&stored));
                Value::Bool(dtype.is_some_and(DType::is_float))
            }
            // How many axes a tensor has as far as the code suggests it: good for choosing an operator that refuses
            // all but one number of axes, and for nothing else.
            ("rank", Value::Computed(register)) => {
                self.ranks.get(register).map_or(Value::None, |rank| Value::Int(*rank))
            }
            ("rank", _) => Value::None,
            // Whether a module has an attribute with that name in the file.
            ("has", Value::Module(at)) => {
                let [Value::Text(name)] = rest else { return Ok(None) };
                let module = self.module(*at)?;
                let is_child = module.child(name).is_some();
                Value::Bool(
                    is_child || module.tensors.contains_key(name) || module.attributes.contains_key(name),
                )
            }
            _ => return Ok(None),
        }))
    }

    /// Whether a value is a number, or a list of some, that the run computes.
    pub(super) fn is_number(&self, value: &Value) -> bool {
        matches!(value, Value::Computed(register) if self.numbers.contains(register))
    }

    /// Whether a value is what some computed value has as `name`.
    fn is_attribute(&self, value: &Value, name: &str) -> bool {
        let Value::Computed(register) = value else { return false };
        let call = self.producers.get(register).and_then(|(call, _)| self.program.calls.get(*call));
        call.is_some_and(|call| {
            matches!(call.arguments.get(1), Some(Argument::Text(known)) if known == name)
                && call.operator.starts_with(PYTHON)
        })
    }

    /// The stored tensor that a value is, or passes on.
    fn stored_name(&self, value: &Value) -> Option<RString> {
        match value {
            Value::Stored(stored) => Some(stored.clone()),
            Value::Computed(register) => self.passed_on.get(register).cloned(),
            _ => None,
        }
    }

    fn stored_numbers(&self, stored: &RString) -> Result<Vec<Value>> {
        let (tensor, _) = self.tensor(stored)?;
        let is_whole = !tensor.dtype.is_float();
        let value = |number: f64| if is_whole { Value::Int(number as i64) } else { Value::Float(number) };
        let found = numbers(tensor, &self.document.data).map_err(|_| {
            unsupported(format!("what is computed depends on the many numbers in `{stored}`"))
        })?;
        Ok(found.into_iter().map(value).collect())
    }

    fn stored_dtype(&self, stored: &RString) -> Option<DType> {
        self.tensor(stored).ok().map(|(tensor, _)| tensor.dtype)
    }

    /// `shape`, `ndim` or `dtype` of a stored tensor; `None` for what else it may have.
    pub(super) fn stored_attribute(&self, stored: &RString, name: &str) -> Option<Value> {
        let (tensor, info) = self.tensor(stored).ok()?;
        Some(match name {
            "shape" => Value::Tuple(tensor.shape.iter().map(|size| Value::Int(*size)).collect()),
            "ndim" => Value::Int(i64::try_from(tensor.shape.len()).unwrap_or(0)),
            "dtype" if info.quantization.is_some() => Value::Dtype(quantized_scalar_type(tensor.dtype)?),
            "dtype" => Value::Dtype(scalar_type(tensor.dtype)?),
            _ => return None,
        })
    }
}
