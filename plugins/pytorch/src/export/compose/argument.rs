//! Arguments of calls in the words of the export schema.

use super::composer::Composer;
use super::number::number_argument;
use super::schema::{Arguments, Kind, Parameter};
use super::unsupported;
use crate::quant::dtype::{export_type, from_scalar_type};
use qp_abi::sdk::Result;
use qp_pytorch_contract::program::Argument;
use serde_json::{Value, json};

/// How an argument is given: by position, or by name.
const POSITIONAL: i64 = 1;
const KEYWORD: i64 = 2;

impl Composer<'_> {
    /// The arguments of a node.
    pub(super) fn inputs(&mut self, arguments: &Arguments<'_>) -> Result<Vec<Value>> {
        let mut inputs = Vec::with_capacity(arguments.len());
        for (parameter, argument) in arguments {
            self.spend(self.length(argument))?;
            let value = self.input(parameter, argument)?;
            let kind = if parameter.is_keyword { KEYWORD } else { POSITIONAL };
            inputs.push(json!({"name": parameter.name, "arg": value, "kind": kind}));
        }
        Ok(inputs)
    }

    /// About how many bytes an argument takes.
    fn length(&self, argument: &Argument) -> usize {
        /// What belongs to every value.
        const VALUE: usize = 64;
        match argument {
            Argument::List(list) => list.iter().map(|element| self.length(element)).sum::<usize>() + VALUE,
            Argument::Text(text) => text.len() + VALUE,
            argument => self.tensor_of(argument).map_or(0, |tensor| tensor.name.len()) + VALUE,
        }
    }

    fn input(&mut self, parameter: &Parameter, argument: &Argument) -> Result<Value> {
        let wrong = || unsupported(format!("`{}` is given what it does not take", parameter.name));
        Ok(match (parameter.kind, argument) {
            (_, Argument::None) => json!({"as_none": true}),
            (Kind::Tensors, Argument::List(list)) => {
                let names = list.iter().map(|element| Some(json!({"name": self.tensor_of(element)?.name})));
                json!({"as_tensors": names.collect::<Option<Vec<Value>>>().ok_or_else(wrong)?})
            }
            (Kind::Int, argument) => {
                let number = self.number_of(argument).ok_or_else(wrong)?;
                number_argument(self.written_number(&number)?)
            }
            (Kind::Ints(count), argument) => self.ints(count, argument)?.ok_or_else(wrong)?,
            (Kind::Float, Argument::Int(number)) => json!({"as_float": *number as f64}),
            (Kind::Floats, Argument::List(list)) => {
                json!({"as_floats": list.iter().map(real).collect::<Vec<_>>()})
            }
            (Kind::Dtype, Argument::Code(number)) => {
                let dtype = from_scalar_type(*number).filter(|found| !found.is_quantized);
                let number = dtype.and_then(|found| export_type(found.dtype)).ok_or_else(wrong)?;
                json!({"as_scalar_type": number})
            }
            // Contiguous, as it was, channels last in two and in three dimensions.
            (Kind::MemoryFormat, Argument::Code(number)) => {
                let formats = [1, 4, 2, 3];
                let format =
                    usize::try_from(*number).ok().and_then(|at| formats.get(at)).ok_or_else(wrong)?;
                json!({"as_memory_format": format})
            }
            (_, Argument::Bool(flag)) => json!({"as_bool": flag}),
            (_, Argument::Int(number)) => json!({"as_int": number}),
            (_, Argument::Float(_)) => json!({"as_float": real(argument)}),
            (_, Argument::Text(text)) => json!({"as_string": text.as_str()}),
            (Kind::Tensor, argument) => {
                json!({"as_tensor": {"name": self.tensor_of(argument).ok_or_else(wrong)?.name}})
            }
            _ => return Err(wrong()),
        })
    }

    /// A list of whole numbers; a single one counts for each of `count` dimensions.
    fn ints(&mut self, count: Option<usize>, argument: &Argument) -> Result<Option<Value>> {
        let numbers = match (argument, self.number_of(argument)) {
            (_, Some(one)) => vec![one; count.unwrap_or(1)],
            (argument, None) => match self.list_of(argument) {
                Some(list) => list,
                None => return Ok(None),
            },
        };
        let mut written = Vec::with_capacity(numbers.len());
        for number in &numbers {
            written.push(self.written_number(number)?);
        }
        let known: Option<Vec<&Value>> = written.iter().map(|number| number.get("as_int")).collect();
        Ok(Some(match known {
            Some(numbers) => json!({"as_ints": numbers}),
            None => json!({"as_sym_ints": written}),
        }))
    }
}

/// A real number; what JSON has no number for is a text.
fn real(argument: &Argument) -> Value {
    match argument {
        Argument::Float(number) if number.is_nan() => json!("NaN"),
        Argument::Float(number) if number.is_infinite() => {
            json!(if *number > 0.0 { "Infinity" } else { "-Infinity" })
        }
        Argument::Float(number) => json!(number),
        Argument::Int(number) => json!(*number as f64),
        _ => Value::Null,
    }
}
