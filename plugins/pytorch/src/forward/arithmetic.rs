//! Operators of Python: on known numbers at once, on computed values as calls.

use super::interpreter::{Frame, Interpreter};
use super::unsupported::unsupported;
use super::value::Value;
use crate::python::{Binary, Unary};
use qp_abi::sdk::Result;

impl Interpreter<'_> {
    /// An operator before its operand.
    pub(super) fn unary(&mut self, operator: Unary, operand: Value, frame: &Frame) -> Result<Value> {
        if operand.is_computed() {
            let name = match operator {
                Unary::Negate => "aten::neg",
                Unary::Invert => "aten::bitwise_not",
                Unary::Not => "aten::__not__",
                Unary::Plus => return Ok(operand),
            };
            return self.emit(name, None, vec![operand], Vec::new(), frame);
        }
        let wrong = || unsupported(format!("the code computes with {}", operand.kind()));
        match operator {
            Unary::Not => operand.is_true().map(|flag| Value::Bool(!flag)).ok_or_else(wrong),
            Unary::Plus => Ok(operand),
            Unary::Invert => operand.int().map(|number| Value::Int(!number)).ok_or_else(wrong),
            Unary::Negate => match operand {
                Value::Float(number) => Ok(Value::Float(-number)),
                _ => operand.int().and_then(i64::checked_neg).map(Value::Int).ok_or_else(wrong),
            },
        }
    }

    /// `left operator= right`: a tensor is changed in its place, of anything else there is a new value.
    pub(super) fn in_place(
        &mut self,
        operator: Binary,
        left: Value,
        right: Value,
        frame: &Frame,
    ) -> Result<Value> {
        let is_tensor = matches!(left, Value::Computed(_) | Value::Stored(_)) && !self.is_number(&left);
        match name_in_place(operator).filter(|_| is_tensor) {
            Some(name) => self.emit(name, None, vec![left, right], Vec::new(), frame),
            None => self.binary(operator, left, right, frame),
        }
    }

    /// An operator between its operands.
    pub(super) fn binary(
        &mut self,
        operator: Binary,
        left: Value,
        right: Value,
        frame: &Frame,
    ) -> Result<Value> {
        match operator {
            Binary::Is | Binary::IsNot => {
                let same = left == right;
                return Ok(Value::Bool(same == (operator == Binary::Is)));
            }
            Binary::In | Binary::NotIn => {
                let contains = match (&left, &right) {
                    (Value::Text(part), Value::Text(whole)) => whole.contains(part.as_str()),
                    _ => self.iterated(&right)?.contains(&left),
                };
                return Ok(Value::Bool(contains == (operator == Binary::In)));
            }
            _ => {}
        }
        let is_sequence = |value: &Value| matches!(value, Value::List(_) | Value::Tuple(_));
        // A shape and a list are joined by the run; two lists are joined here, whatever is in them.
        let is_joined =
            is_sequence(&left) != is_sequence(&right) && (self.is_number(&left) || self.is_number(&right));
        let is_apart = !is_sequence(&left) && !is_sequence(&right);
        if (left.is_computed() || right.is_computed()) && (is_apart || is_joined) {
            // A comparison with `None` is known: a computed value never is.
            if matches!(left, Value::None) || matches!(right, Value::None) {
                return match operator {
                    Binary::Equal => Ok(Value::Bool(false)),
                    Binary::NotEqual => Ok(Value::Bool(true)),
                    _ => Err(unsupported("the code computes with `None`")),
                };
            }
            return self.emit(name(operator), None, vec![left, right], Vec::new(), frame);
        }
        known(operator, &left, &right).ok_or_else(|| {
            unsupported(format!("the code computes with {} and {}", left.kind(), right.kind()))
        })
    }
}

/// The operator that changes a tensor in its place; `None` for what none does.
fn name_in_place(operator: Binary) -> Option<&'static str> {
    Some(match operator {
        Binary::Add => "aten::add_",
        Binary::Subtract => "aten::sub_",
        Binary::Multiply => "aten::mul_",
        Binary::Divide => "aten::div_",
        Binary::FloorDivide => "aten::floor_divide_",
        Binary::Remainder => "aten::remainder_",
        Binary::Power => "aten::pow_",
        Binary::ShiftLeft => "aten::__ilshift__",
        Binary::ShiftRight => "aten::__irshift__",
        Binary::BitAnd => "aten::__iand__",
        Binary::BitOr => "aten::__ior__",
        Binary::BitXor => "aten::__ixor__",
        _ => return None,
    })
}

/// The operator of TorchScript that does what Python's does, for numbers and tensors alike.
fn name(operator: Binary) -> &'static str {
    match operator {
        Binary::Add => "aten::add",
        Binary::Subtract => "aten::sub",
        Binary::Multiply => "aten::mul",
        Binary::Divide => "aten::div",
        Binary::FloorDivide => "aten::floordiv",
        Binary::Remainder => "aten::remainder",
        Binary::Power => "aten::pow",
        Binary::MatrixMultiply => "aten::matmul",
        Binary::ShiftLeft => "aten::__lshift__",
        Binary::ShiftRight => "aten::__rshift__",
        Binary::BitAnd => "aten::__and__",
        Binary::BitOr => "aten::__or__",
        Binary::BitXor => "aten::__xor__",
        Binary::Equal => "aten::eq",
        Binary::NotEqual => "aten::ne",
        Binary::Less => "aten::lt",
        Binary::LessEqual => "aten::le",
        Binary::Greater => "aten::gt",
        Binary::GreaterEqual => "aten::ge",
        Binary::Is | Binary::IsNot | Binary::In | Binary::NotIn => "aten::__is__",
    }
}

/// The result of an operator on known values; `None` where Python has none or it does not fit.
fn known(operator: Binary, left: &Value, right: &Value) -> Option<Value> {
    match operator {
        Binary::Equal => return Some(Value::Bool(are_equal(left, right))),
        Binary::NotEqual => return Some(Value::Bool(!are_equal(left, right))),
        _ => {}
    }
    match (operator, left, right) {
        (Binary::Add, Value::Text(left), Value::Text(right)) => {
            return Some(Value::Text(format!("{left}{right}")));
        }
        (Binary::Add, Value::List(left), Value::List(right)) => {
            return Some(Value::List(left.iter().chain(right).cloned().collect()));
        }
        (Binary::Add, Value::Tuple(left), Value::Tuple(right)) => {
            return Some(Value::Tuple(left.iter().chain(right).cloned().collect()));
        }
        (Binary::Multiply, Value::List(list), Value::Int(count)) => {
            return Some(Value::List(repeated(list, *count)?));
        }
        (Binary::Multiply, Value::Tuple(list), Value::Int(count)) => {
            return Some(Value::Tuple(repeated(list, *count)?));
        }
        _ => {}
    }
    let is_float = matches!(left, Value::Float(_)) || matches!(right, Value::Float(_));
    if !is_float
        && operator != Binary::Divide
        && let (Some(left), Some(right)) = (left.int(), right.int())
    {
        return whole(operator, left, right);
    }
    real(operator, left.real()?, right.real()?)
}

fn repeated(list: &[Value], count: i64) -> Option<Vec<Value>> {
    let count = usize::try_from(count).unwrap_or(0);
    let is_short = list.len().checked_mul(count)? <= super::interpreter::MAX_ELEMENTS;
    is_short.then(|| list.iter().cycle().take(list.len() * count).cloned().collect())
}

fn are_equal(left: &Value, right: &Value) -> bool {
    match (left.real(), right.real()) {
        (Some(left), Some(right)) => left == right,
        _ => left == right,
    }
}

fn whole(operator: Binary, left: i64, right: i64) -> Option<Value> {
    let shift = u32::try_from(right).ok();
    Some(Value::Int(match operator {
        Binary::Add => left.checked_add(right)?,
        Binary::Subtract => left.checked_sub(right)?,
        Binary::Multiply => left.checked_mul(right)?,
        Binary::FloorDivide => floor_divided(left, right)?,
        Binary::Remainder => left.checked_sub(floor_divided(left, right)?.checked_mul(right)?)?,
        Binary::Power if right >= 0 => left.checked_pow(shift?)?,
        Binary::ShiftLeft => left.checked_shl(shift?)?,
        Binary::ShiftRight => left.checked_shr(shift?)?,
        Binary::BitAnd => left & right,
        Binary::BitOr => left | right,
        Binary::BitXor => left ^ right,
        _ => return real(operator, left as f64, right as f64),
    }))
}

/// Python rounds down where Rust rounds towards zero.
fn floor_divided(left: i64, right: i64) -> Option<i64> {
    let quotient = left.checked_div(right)?;
    Some(if left % right != 0 && (left < 0) != (right < 0) { quotient - 1 } else { quotient })
}

fn real(operator: Binary, left: f64, right: f64) -> Option<Value> {
    Some(match operator {
        Binary::Add => Value::Float(left + right),
        Binary::Subtract => Value::Float(left - right),
        Binary::Multiply => Value::Float(left * right),
        Binary::Divide if right != 0.0 => Value::Float(left / right),
        Binary::FloorDivide if right != 0.0 => Value::Float((left / right).floor()),
        Binary::Remainder if right != 0.0 => Value::Float(left - (left / right).floor() * right),
        Binary::Power => Value::Float(left.powf(right)),
        Binary::Less => Value::Bool(left < right),
        Binary::LessEqual => Value::Bool(left <= right),
        Binary::Greater => Value::Bool(left > right),
        Binary::GreaterEqual => Value::Bool(left >= right),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values as Python 3 gives them.
    #[test]
    fn numbers_are_computed_as_in_python() {
        let int = |operator, left, right| known(operator, &Value::Int(left), &Value::Int(right));
        assert_eq!(int(Binary::FloorDivide, -7, 2), Some(Value::Int(-4)));
        assert_eq!(int(Binary::Remainder, -7, 2), Some(Value::Int(1)));
        assert_eq!(int(Binary::Remainder, 7, -2), Some(Value::Int(-1)));
        assert_eq!(int(Binary::Divide, 1, 2), Some(Value::Float(0.5)));
        assert_eq!(int(Binary::Power, 2, 10), Some(Value::Int(1024)));
        assert_eq!(int(Binary::Power, 2, -1), Some(Value::Float(0.5)));
        assert_eq!(int(Binary::FloorDivide, 1, 0), None);
        assert_eq!(int(Binary::Multiply, i64::MAX, 2), None);
        assert_eq!(int(Binary::Less, 1, 2), Some(Value::Bool(true)));
        assert_eq!(known(Binary::Equal, &Value::Int(1), &Value::Float(1.0)), Some(Value::Bool(true)));
        assert_eq!(known(Binary::Remainder, &Value::Float(-1.5), &Value::Int(1)), Some(Value::Float(0.5)));
        let list = Value::List(vec![Value::Int(0)]);
        assert_eq!(known(Binary::Multiply, &list, &Value::Int(2)), Some(Value::List(vec![Value::Int(0); 2])));
        assert_eq!(known(Binary::Multiply, &list, &Value::Int(i64::MAX)), None);
    }
}
