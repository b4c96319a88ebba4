//! Functions of Python on values that are known, and what they become on those that are computed.

use super::interpreter::{Frame, Interpreter};
use super::unsupported::unsupported;
use super::value::Value;
use crate::python::{Binary, Unary};
use qp_abi::sdk::Result;

impl Interpreter<'_> {
    /// A function of `builtins`, `math` or `operator`; `None` when it is none that is known.
    pub(super) fn builtin(
        &mut self,
        module: &str,
        name: &str,
        arguments: &[Value],
        frame: &Frame,
    ) -> Result<Option<Value>> {
        if module == "operator" {
            return self.operator(name, arguments, frame);
        }
        let is_computed = arguments.iter().any(Value::is_computed);
        if is_computed
            && !matches!(
                name,
                "getattr"
                    | "tuple"
                    | "list"
                    | "isinstance"
                    | "zip"
                    | "enumerate"
                    | "reversed"
                    | "sum"
                    | "slice"
                    | "len"
            )
        {
            let operator = match name {
                "int" | "trunc" => "aten::Int",
                "float" => "aten::Float",
                "bool" => "aten::Bool",
                "abs" => "aten::abs",
                "max" => "prim::max",
                "min" => "prim::min",
                "sqrt" => "aten::sqrt",
                "floor" => "aten::floor",
                "ceil" => "aten::ceil",
                _ => return Ok(None),
            };
            return self.emit(operator, None, arguments.to_vec(), Vec::new(), frame).map(Some);
        }
        if module == "math" {
            return Ok(mathematical(name, arguments));
        }
        let wrong = || unsupported(format!("`{name}` is called with arguments that it does not take"));
        Ok(Some(match (name, arguments) {
            ("getattr", [value, Value::Text(name), ..]) => {
                let found = self.attribute(value.clone(), name);
                match (found, arguments.get(2)) {
                    (Err(_), Some(default)) => default.clone(),
                    (found, _) => found?,
                }
            }
            ("len", [Value::Text(text)]) => Value::Int(i64::try_from(text.chars().count()).unwrap_or(0)),
            ("len", [value @ (Value::Computed(_) | Value::Stored(_))]) => {
                self.emit_plain("aten::len", vec![value.clone()])?
            }
            ("len", [value]) => Value::Int(i64::try_from(self.iterated(value)?.len()).unwrap_or(0)),
            ("tuple", [value @ Value::Computed(_)]) => value.clone(),
            ("tuple", [value]) => Value::Tuple(self.iterated(value)?),
            ("tuple", []) => Value::Tuple(Vec::new()),
            ("list", [value @ Value::Computed(_)]) => value.clone(),
            ("list", [value]) => Value::List(self.iterated(value)?),
            ("list", []) => Value::List(Vec::new()),
            ("sorted", [value]) => sorted(self.iterated(value)?).ok_or_else(wrong)?,
            ("str", [Value::Int(number)]) => Value::Text(number.to_string()),
            ("str", [value @ Value::Text(_)]) => value.clone(),
            ("round", [Value::Float(number)]) => Value::Int(number.round_ties_even() as i64),
            ("pow", [base, exponent]) => self.binary(Binary::Power, base.clone(), exponent.clone(), frame)?,
            ("reversed", [value]) => {
                let mut values = self.iterated(value)?;
                values.reverse();
                Value::List(values)
            }
            ("range", _) => range(arguments).ok_or_else(wrong)?,
            ("slice", [stop]) => Value::Slice(Box::new([Value::None, stop.clone(), Value::None])),
            ("slice", [start, stop, rest @ ..]) => {
                let step = rest.first().cloned().unwrap_or(Value::None);
                Value::Slice(Box::new([start.clone(), stop.clone(), step]))
            }
            ("enumerate", [value]) => {
                let values = self.iterated(value)?;
                Value::List(
                    (0..).zip(values).map(|(at, value)| Value::Tuple(vec![Value::Int(at), value])).collect(),
                )
            }
            ("zip", _) => {
                let columns =
                    arguments.iter().map(|value| self.iterated(value)).collect::<Result<Vec<_>>>()?;
                let rows = columns.iter().map(Vec::len).min().unwrap_or(0);
                let row = |at: usize| columns.iter().filter_map(|column| column.get(at).cloned()).collect();
                Value::List((0..rows).map(|at| Value::Tuple(row(at))).collect())
            }
            ("isinstance", [value, class]) => {
                let value = if self.is_number(value) { &Value::Opaque("a number".to_owned()) } else { value };
                Value::Bool(is_instance(value, class).ok_or_else(wrong)?)
            }
            ("int", [value]) => match value {
                Value::Float(number) => Value::Int(number.trunc() as i64),
                value => Value::Int(value.int().ok_or_else(wrong)?),
            },
            ("float", [Value::Text(text)]) => Value::Float(text.parse().map_err(|_| wrong())?),
            ("float", [value]) => Value::Float(value.real().ok_or_else(wrong)?),
            ("bool", [value]) => Value::Bool(value.is_true().ok_or_else(wrong)?),
            ("abs", [Value::Int(number)]) => Value::Int(number.checked_abs().ok_or_else(wrong)?),
            ("abs", [value]) => Value::Float(value.real().ok_or_else(wrong)?.abs()),
            ("all" | "any", [values]) => {
                let flags: Option<Vec<bool>> = self.iterated(values)?.iter().map(Value::is_true).collect();
                let flags = flags.ok_or_else(wrong)?;
                Value::Bool(if name == "all" {
                    flags.iter().all(|flag| *flag)
                } else {
                    flags.contains(&true)
                })
            }
            ("sum", [values]) => self.folded(Binary::Add, values, Value::Int(0), frame)?,
            ("max" | "min", [values @ (Value::List(_) | Value::Tuple(_))]) => {
                extreme(&self.iterated(values)?, name == "max").ok_or_else(wrong)?
            }
            ("max" | "min", values) => extreme(values, name == "max").ok_or_else(wrong)?,
            _ => return Ok(None),
        }))
    }

    /// A function of the module `operator`: what a graph calls for an operator between values.
    fn operator(&mut self, name: &str, arguments: &[Value], frame: &Frame) -> Result<Option<Value>> {
        let binary = match name.trim_matches('_') {
            "add" | "iadd" | "concat" => Binary::Add,
            "sub" | "isub" => Binary::Subtract,
            "mul" | "imul" => Binary::Multiply,
            "truediv" | "itruediv" => Binary::Divide,
            "floordiv" | "ifloordiv" => Binary::FloorDivide,
            "mod" | "imod" => Binary::Remainder,
            "pow" | "ipow" => Binary::Power,
            "matmul" | "imatmul" => Binary::MatrixMultiply,
            "and" | "iand" => Binary::BitAnd,
            "or" | "ior" => Binary::BitOr,
            "xor" | "ixor" => Binary::BitXor,
            "lshift" => Binary::ShiftLeft,
            "rshift" => Binary::ShiftRight,
            "eq" => Binary::Equal,
            "ne" => Binary::NotEqual,
            "lt" => Binary::Less,
            "le" => Binary::LessEqual,
            "gt" => Binary::Greater,
            "ge" => Binary::GreaterEqual,
            "contains" => Binary::In,
            "is" => Binary::Is,
            "is_not" => Binary::IsNot,
            "getitem" => {
                return match arguments {
                    [value, index] => self.index(value.clone(), index.clone()).map(Some),
                    _ => Ok(None),
                };
            }
            "abs" => return self.builtin("builtins", "abs", arguments, frame),
            "neg" | "invert" | "inv" | "not" | "pos" => {
                let operator = match name.trim_matches('_') {
                    "neg" => Unary::Negate,
                    "not" => Unary::Not,
                    "pos" => Unary::Plus,
                    _ => Unary::Invert,
                };
                return match arguments {
                    [value] => self.unary(operator, value.clone(), frame).map(Some),
                    _ => Ok(None),
                };
            }
            _ => return Ok(None),
        };
        let is_in_place = name.trim_matches('_').starts_with('i') && !name.starts_with("is");
        match arguments {
            [left, right] if is_in_place => {
                self.in_place(binary, left.clone(), right.clone(), frame).map(Some)
            }
            [left, right] => self.binary(binary, left.clone(), right.clone(), frame).map(Some),
            _ => Ok(None),
        }
    }

    fn folded(&mut self, operator: Binary, values: &Value, start: Value, frame: &Frame) -> Result<Value> {
        let mut total = start;
        for value in self.iterated(values)? {
            total = self.binary(operator, total, value, frame)?;
        }
        Ok(total)
    }
}

fn mathematical(name: &str, arguments: &[Value]) -> Option<Value> {
    let number = arguments.first()?.real()?;
    let second = || arguments.get(1)?.real();
    Some(match name {
        "sqrt" if number >= 0.0 => Value::Float(number.sqrt()),
        "exp" => Value::Float(number.exp()),
        "log" if number > 0.0 && arguments.len() == 1 => Value::Float(number.ln()),
        "pow" => Value::Float(number.powf(second()?)),
        "floor" => Value::Int(number.floor() as i64),
        "ceil" => Value::Int(number.ceil() as i64),
        "trunc" => Value::Int(number.trunc() as i64),
        "fabs" => Value::Float(number.abs()),
        "prod" => return None,
        _ => return None,
    })
}

fn sorted(mut values: Vec<Value>) -> Option<Value> {
    if values.iter().any(|value| value.real().is_none()) {
        return None;
    }
    values.sort_by(|one, other| {
        let numbers = one.real().zip(other.real());
        numbers.map_or(std::cmp::Ordering::Equal, |(one, other)| one.total_cmp(&other))
    });
    Some(Value::List(values))
}

fn range(arguments: &[Value]) -> Option<Value> {
    let numbers: Vec<i64> = arguments.iter().map(Value::int).collect::<Option<_>>()?;
    let (start, stop, step) = match numbers[..] {
        [stop] => (0, stop, 1),
        [start, stop] => (start, stop, 1),
        [start, stop, step] if step != 0 => (start, stop, step),
        _ => return None,
    };
    let mut values = Vec::new();
    let mut at = start;
    while if step > 0 { at < stop } else { at > stop } {
        if values.len() > super::interpreter::MAX_ELEMENTS {
            return None;
        }
        values.push(Value::Int(at));
        at = at.checked_add(step)?;
    }
    Some(Value::List(values))
}

fn extreme(values: &[Value], is_max: bool) -> Option<Value> {
    let mut found: Option<&Value> = None;
    for value in values {
        let number = value.real()?;
        let is_better = match found.and_then(Value::real) {
            Some(best) => (number > best) == is_max && number != best,
            None => true,
        };
        if is_better {
            found = Some(value);
        }
    }
    found.cloned()
}

fn is_instance(value: &Value, class: &Value) -> Option<bool> {
    if let Some(classes) = class.elements() {
        let all: Option<Vec<bool>> = classes.iter().map(|class| is_instance(value, class)).collect();
        return all.map(|flags| flags.contains(&true));
    }
    let Value::Path(class) = class else { return None };
    Some(match class.as_str() {
        "builtins.int" | "torch.SymInt" => matches!(value, Value::Int(_) | Value::Bool(_)),
        "builtins.float" => matches!(value, Value::Float(_)),
        "builtins.bool" => matches!(value, Value::Bool(_)),
        "builtins.str" => matches!(value, Value::Text(_)),
        "torch.dtype" => matches!(value, Value::Dtype(_)),
        "torch.device" => matches!(value, Value::Device),
        "builtins.tuple" | "torch.Size" => matches!(value, Value::Tuple(_)),
        "builtins.list" => matches!(value, Value::List(_)),
        "torch.Tensor" => matches!(value, Value::Computed(_) | Value::Stored(_)),
        _ => return None,
    })
}
