//! Expressions.

use super::interpreter::{Frame, Interpreter, MAX_ELEMENTS, MAX_LISTS};
use super::name;
use super::unsupported::unsupported;
use super::value::{Keywords, Value};
use crate::python::{Argument, Expression};
use qp_abi::sdk::Result;
use qp_pytorch_contract::program::PYTHON;

impl Interpreter<'_> {
    /// What an expression stands for.
    pub(super) fn evaluate(&mut self, expression: &Expression, frame: &Frame) -> Result<Value> {
        let value = self.deeper(1, |interpreter| interpreter.evaluated(expression, frame))?;
        let (size, depth) = value.extent();
        self.step(size)?;
        if size > MAX_ELEMENTS || depth > MAX_LISTS {
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
                None => name::of_name(name).ok_or_else(|| {
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
            Expression::Comprehension(element, names, values, condition) => {
                self.comprehended(element, names, values, condition.as_deref(), frame)?
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
            Expression::Call(callee, arguments) => self.called(callee, arguments, frame)?,
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

    fn comprehended(
        &mut self,
        element: &Expression,
        names: &[String],
        values: &Expression,
        condition: Option<&Expression>,
        frame: &Frame,
    ) -> Result<Value> {
        let values = self.evaluate(values, frame)?;
        let size = frame.variables.values().map(|value| value.extent().0).sum();
        self.step(size)?;
        let mut inner = frame.clone();
        let mut elements = Vec::new();
        for value in self.iterated(&values)? {
            self.bind(names, value, &mut inner)?;
            let is_wanted = match condition {
                Some(condition) => self.truth(condition, &inner)?,
                None => true,
            };
            if is_wanted {
                elements.push(self.evaluate(element, &inner)?);
            }
        }
        Ok(Value::List(elements))
    }

    fn called(&mut self, callee: &Expression, arguments: &[Argument], frame: &Frame) -> Result<Value> {
        let callee = match callee {
            // A method is looked up when it is called: an attribute with that name is something else.
            Expression::Attribute(value, name) => match self.evaluate(value, frame)? {
                value @ (Value::Computed(_) | Value::Stored(_) | Value::List(_) | Value::Dictionary(_)) => {
                    Value::Method(Box::new(value), name.clone())
                }
                value => self.attribute(value, name)?,
            },
            callee => self.evaluate(callee, frame)?,
        };
        let (positional, keywords) = self.arguments(arguments, frame)?;
        self.call(callee, positional, keywords, frame)
    }

    fn all(&mut self, expressions: &[Expression], frame: &Frame) -> Result<Vec<Value>> {
        expressions.iter().map(|expression| self.evaluate(expression, frame)).collect()
    }

    fn truth(&mut self, condition: &Expression, frame: &Frame) -> Result<bool> {
        known(&self.evaluate(condition, frame)?)
    }

    fn arguments(&mut self, arguments: &[Argument], frame: &Frame) -> Result<(Vec<Value>, Keywords)> {
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
            Value::Path(path) => Ok(name::of_path(&format!("{path}.{name}"))),
            Value::Module(at) => self.module_attribute(*at, name),
            Value::Stored(stored) => match self.stored_attribute(stored, name) {
                Some(known) => Ok(known),
                None => self.emit_attribute(value.clone(), name),
            },
            Value::Computed(_) => self.emit_attribute(value.clone(), name),
            other => Err(unsupported(format!("the code reads `{name}` of {}", other.kind()))),
        }
    }

    fn emit_attribute(&mut self, value: Value, name: &str) -> Result<Value> {
        let operator = format!("{PYTHON}::getattr");
        self.emit_plain(&operator, vec![value, Value::Text(name.to_owned())])
    }
}

fn known(condition: &Value) -> Result<bool> {
    condition
        .is_true()
        .ok_or_else(|| unsupported("what the code does depends on values that only a run can tell"))
}
