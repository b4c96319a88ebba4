//! Expressions.

use super::interpreter::{Frame, Interpreter, MAX_ELEMENTS};
use super::object;
use super::python::{Argument, Expression};
use super::unsupported;
use super::value::Value;
use crate::program::PYTHON;
use qp_abi::sdk::Result;

impl Interpreter<'_> {
    /// What an expression stands for.
    pub(super) fn evaluate(&mut self, expression: &Expression, frame: &Frame) -> Result<Value> {
        self.step()?;
        let value = self.deeper(|interpreter| interpreter.evaluated(expression, frame))?;
        if value.size() > MAX_ELEMENTS {
            return Err(unsupported("the code makes a list that is too long to be followed"));
        }
        Ok(value)
    }

    fn evaluated(&mut self, expression: &Expression, frame: &Frame) -> Result<Value> {
        Ok(match expression {
            Expression::None => Value::None,
            Expression::Ellipsis => Value::Ellipsis,
            Expression::Bool(flag) => Value::Bool(*flag),
            Expression::Int(number) => Value::Int(*number),
            Expression::Float(number) => Value::Float(*number),
            Expression::Text(text) => Value::Text(text.clone()),
            Expression::Name(name) => match frame.variables.get(name) {
                Some(value) => value.clone(),
                None => object::of_name(name).ok_or_else(|| {
                    unsupported(format!("the code uses `{name}`, which it does not define"))
                })?,
            },
            Expression::List(elements) => Value::List(self.all(elements, frame)?),
            Expression::Tuple(elements) => Value::Tuple(self.all(elements, frame)?),
            Expression::Dictionary(entries) => {
                let entries = entries
                    .iter()
                    .map(|(key, value)| Ok((self.evaluate(key, frame)?, self.evaluate(value, frame)?)));
                Value::Dictionary(entries.collect::<Result<_>>()?)
            }
            Expression::Comprehension(element, name, values, condition) => {
                let values = self.evaluate(values, frame)?;
                let mut inner = frame.clone();
                let mut elements = Vec::new();
                for value in self.iterated(&values)? {
                    inner.variables.insert(name.clone(), value);
                    let is_wanted = match condition {
                        Some(condition) => self.truth(condition, &inner)?,
                        None => true,
                    };
                    if is_wanted {
                        elements.push(self.evaluate(element, &inner)?);
                    }
                }
                Value::List(elements)
            }
            Expression::Attribute(value, name) => {
                let value = self.evaluate(value, frame)?;
                self.attribute(value, name)?
            }
            Expression::Index(value, index) => {
                let value = self.evaluate(value, frame)?;
                let index = self.evaluate(index, frame)?;
                self.index(value, index)?
            }
            Expression::Slice(parts) => {
                let mut values = [Value::None, Value::None, Value::None];
                for (value, part) in values.iter_mut().zip(parts.iter()) {
                    if let Some(part) = part {
                        *value = self.evaluate(part, frame)?;
                    }
                }
                Value::Slice(Box::new(values))
            }
            Expression::Call(callee, arguments) => {
                let callee = match &**callee {
                    // A method is looked up when it is called: an attribute of that name is something else.
                    Expression::Attribute(value, name) => match self.evaluate(value, frame)? {
                        value @ (Value::Computed(_)
                        | Value::Stored(_)
                        | Value::List(_)
                        | Value::Dictionary(_)) => Value::Method(Box::new(value), name.clone()),
                        value => self.attribute(value, name)?,
                    },
                    callee => self.evaluate(callee, frame)?,
                };
                let (positional, keywords) = self.arguments(arguments, frame)?;
                self.call(callee, positional, keywords, frame)?
            }
            Expression::Unary(operator, operand) => {
                let operand = self.evaluate(operand, frame)?;
                self.unary(*operator, operand, frame)?
            }
            Expression::Binary(operator, left, right) => {
                let left = self.evaluate(left, frame)?;
                let right = self.evaluate(right, frame)?;
                self.binary(*operator, left, right, frame)?
            }
            Expression::And(left, right) => {
                let left = self.evaluate(left, frame)?;
                if known(&left)? { self.evaluate(right, frame)? } else { left }
            }
            Expression::Or(left, right) => {
                let left = self.evaluate(left, frame)?;
                if known(&left)? { left } else { self.evaluate(right, frame)? }
            }
            Expression::Conditional(parts) => {
                let [condition, value, other] = &**parts;
                let is_true = self.truth(condition, frame)?;
                self.evaluate(if is_true { value } else { other }, frame)?
            }
        })
    }

    fn all(&mut self, expressions: &[Expression], frame: &Frame) -> Result<Vec<Value>> {
        expressions.iter().map(|expression| self.evaluate(expression, frame)).collect()
    }

    fn truth(&mut self, condition: &Expression, frame: &Frame) -> Result<bool> {
        known(&self.evaluate(condition, frame)?)
    }

    fn arguments(
        &mut self,
        arguments: &[Argument],
        frame: &Frame,
    ) -> Result<(Vec<Value>, Vec<(String, Value)>)> {
        let (mut positional, mut keywords) = (Vec::new(), Vec::new());
        for argument in arguments {
            match argument {
                Argument::Positional(value) => positional.push(self.evaluate(value, frame)?),
                Argument::Keyword(name, value) => keywords.push((name.clone(), self.evaluate(value, frame)?)),
                Argument::Spread(values) => {
                    let values = self.evaluate(values, frame)?;
                    positional.extend(self.iterated(&values)?);
                }
            }
        }
        Ok((positional, keywords))
    }

    /// What a loop over a value goes through.
    pub(super) fn iterated(&self, values: &Value) -> Result<Vec<Value>> {
        match values {
            Value::List(elements) | Value::Tuple(elements) => Ok(elements.clone()),
            Value::Dictionary(entries) => Ok(entries.iter().map(|(key, _)| key.clone()).collect()),
            Value::Module(at) => {
                let children = self.module(*at)?.children.iter();
                Ok(children.map(|(_, child)| Value::Module(*child)).collect())
            }
            other => Err(unsupported(format!("the code loops over {}", other.kind()))),
        }
    }

    /// The parts of a value that is taken apart into `count` variables.
    pub(super) fn unpacked(&mut self, value: Value, count: usize) -> Result<Vec<Value>> {
        if let Value::Computed(_) = value {
            return (0..count)
                .map(|index| self.index(value.clone(), Value::Int(i64::try_from(index).unwrap_or(i64::MAX))))
                .collect();
        }
        match value.elements() {
            Some(elements) if elements.len() == count => Ok(elements.to_vec()),
            _ => Err(unsupported(format!("the code takes {} apart into {count} variables", value.kind()))),
        }
    }

    /// `value.name`.
    pub(super) fn attribute(&mut self, value: Value, name: &str) -> Result<Value> {
        match &value {
            Value::Path(path) => Ok(object::of_path(&format!("{path}.{name}"))),
            Value::Module(at) => self.module_attribute(*at, name),
            Value::Stored(stored) => match (name, self.stored_shape(stored)) {
                ("shape", Some(shape)) => Ok(Value::Tuple(shape)),
                ("ndim", Some(shape)) => Ok(Value::Int(i64::try_from(shape.len()).unwrap_or(0))),
                _ => self.emit_attribute(value.clone(), name),
            },
            Value::Computed(_) => self.emit_attribute(value.clone(), name),
            other => Err(unsupported(format!("the code reads `{name}` of {}", other.kind()))),
        }
    }

    fn emit_attribute(&mut self, value: Value, name: &str) -> Result<Value> {
        let operator = format!("{PYTHON}::getattr");
        self.emit_plain(&operator, vec![value, Value::Text(name.to_owned())])
    }

    /// `value[index]`.
    pub(super) fn index(&mut self, value: Value, index: Value) -> Result<Value> {
        match (&value, &index) {
            (Value::List(elements) | Value::Tuple(elements), Value::Int(at)) => {
                let count = i64::try_from(elements.len()).unwrap_or(0);
                let at = if *at < 0 { at + count } else { *at };
                let found = usize::try_from(at).ok().and_then(|at| elements.get(at));
                found.cloned().ok_or_else(|| unsupported("the code reads behind the end of a list"))
            }
            (Value::List(elements) | Value::Tuple(elements), Value::Slice(parts)) => {
                let chosen = sliced(elements, parts)?;
                Ok(if matches!(value, Value::List(_)) { Value::List(chosen) } else { Value::Tuple(chosen) })
            }
            (Value::Dictionary(entries), key) => {
                let found =
                    entries.iter().rev().find(|(known, _)| known == key).map(|(_, value)| value.clone());
                found.ok_or_else(|| unsupported("the code reads a key that a dictionary does not have"))
            }
            (Value::Module(at), Value::Int(index)) => {
                let children = &self.module(*at)?.children;
                let count = i64::try_from(children.len()).unwrap_or(0);
                let index = if *index < 0 { index + count } else { *index };
                let child = usize::try_from(index).ok().and_then(|index| children.get(index));
                child
                    .map(|(_, child)| Value::Module(*child))
                    .ok_or_else(|| unsupported("the code reads behind the last child of a module"))
            }
            (Value::Module(at), Value::Text(name)) => self.module_attribute(*at, name),
            (Value::Computed(_) | Value::Stored(_), _) => self.tensor_index(value, index),
            (other, _) => Err(unsupported(format!("the code indexes {}", other.kind()))),
        }
    }

    /// An index into what is most likely a tensor: a number may also count in a list, which the engine decides.
    fn tensor_index(&mut self, value: Value, index: Value) -> Result<Value> {
        let parts = match index {
            Value::Tuple(parts) => parts,
            index @ (Value::Slice(_) | Value::None | Value::Ellipsis) => vec![index],
            index => return self.emit_plain(&format!("{PYTHON}::getitem"), vec![value, index]),
        };
        let tensors = parts
            .iter()
            .filter(|part| matches!(part, Value::Computed(_) | Value::Stored(_) | Value::List(_)));
        if tensors.count() > 0 {
            return Err(unsupported("the code indexes a tensor by tensors and slices at once"));
        }
        let takes_axis = |part: &&Value| matches!(part, Value::Slice(_) | Value::Int(_));
        let mut value = value;
        let mut axis = 0_i64;
        // Behind an ellipsis axes count from the end: how many are still to come.
        let mut to_come: Option<i64> = None;
        for (at, part) in parts.iter().enumerate() {
            match part {
                Value::Ellipsis => {
                    let rest = parts.get(at + 1..).unwrap_or_default();
                    to_come = i64::try_from(rest.iter().filter(takes_axis).count()).ok();
                }
                Value::None => {
                    let place = to_come.map_or(axis, |count| -count - 1);
                    value = self.emit_plain("aten::unsqueeze", vec![value, Value::Int(place)])?;
                    axis += 1;
                }
                Value::Slice(bounds) => {
                    let place = Value::Int(to_come.map_or(axis, |count| -count));
                    let [start, stop, step] = (**bounds).clone();
                    let step = if step == Value::None { Value::Int(1) } else { step };
                    if start != Value::None || stop != Value::None || step != Value::Int(1) {
                        value = self.emit_plain("aten::slice", vec![value, place, start, stop, step])?;
                    }
                    axis += 1;
                    to_come = to_come.map(|count| count - 1);
                }
                index => {
                    let place = Value::Int(to_come.map_or(axis, |count| -count));
                    value = self.emit_plain("aten::select", vec![value, place, index.clone()])?;
                    to_come = to_come.map(|count| count - 1);
                }
            }
        }
        Ok(value)
    }
}

fn known(condition: &Value) -> Result<bool> {
    condition
        .is_true()
        .ok_or_else(|| unsupported("what the code does depends on values that only a run can tell"))
}

/// The elements that `[start:stop:step]` chooses.
fn sliced(elements: &[Value], parts: &[Value; 3]) -> Result<Vec<Value>> {
    let count = i64::try_from(elements.len()).unwrap_or(i64::MAX);
    let number = |value: &Value| match value {
        Value::None => Ok(None),
        value => value.int().map(Some).ok_or_else(|| unsupported("a slice has bounds that are no numbers")),
    };
    let step = number(&parts[2])?.unwrap_or(1);
    if step == 0 {
        return Err(unsupported("a slice has the step 0"));
    }
    let (low, high) = if step > 0 { (0, count) } else { (-1, count - 1) };
    let bound = |value: Option<i64>, default: i64| match value {
        None => default,
        Some(at) if at < 0 => (at + count).clamp(low, high),
        Some(at) => at.clamp(low, high),
    };
    let start = bound(number(&parts[0])?, if step > 0 { low } else { high });
    let stop = bound(number(&parts[1])?, if step > 0 { high } else { low });
    let mut chosen = Vec::new();
    let mut at = start;
    while if step > 0 { at < stop } else { at > stop } {
        if let Some(element) = usize::try_from(at).ok().and_then(|at| elements.get(at)) {
            chosen.push(element.clone());
        }
        at += step;
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Python slices `[0, 1, 2, 3, 4]`.
    #[test]
    fn lists_are_sliced_as_in_python() {
        let list: Vec<Value> = (0..5).map(Value::Int).collect();
        let slice = |start: Option<i64>, stop: Option<i64>, step: Option<i64>| -> Vec<i64> {
            let part = |number: Option<i64>| number.map_or(Value::None, Value::Int);
            let chosen = sliced(&list, &[part(start), part(stop), part(step)]).unwrap();
            chosen.iter().filter_map(Value::int).collect()
        };
        assert_eq!(slice(None, None, None), [0, 1, 2, 3, 4]);
        assert_eq!(slice(Some(1), Some(-1), None), [1, 2, 3]);
        assert_eq!(slice(Some(-2), None, None), [3, 4]);
        assert_eq!(slice(None, None, Some(-1)), [4, 3, 2, 1, 0]);
        assert_eq!(slice(Some(3), Some(0), Some(-2)), [3, 1]);
        assert_eq!(slice(Some(7), Some(9), None), [0_i64; 0]);
        assert_eq!(slice(None, Some(100), Some(2)), [0, 2, 4]);
    }
}
