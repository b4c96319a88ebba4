//! Indexing: of lists, dictionaries and modules at once, of tensors as calls.

use super::interpreter::Interpreter;
use super::unsupported::unsupported;
use super::value::Value;
use qp_abi::sdk::Result;
use qp_pytorch_contract::program::PYTHON;

impl Interpreter<'_> {
    /// `value[index]`.
    pub(super) fn index(&mut self, value: Value, index: Value) -> Result<Value> {
        match (&value, &index) {
            (Value::List(elements) | Value::Tuple(elements), Value::Int(at)) => {
                let count = i64::try_from(elements.len()).unwrap_or(0);
                let at = if *at < 0 { at + count } else { *at };
                let found = usize::try_from(at).ok().and_then(|at| elements.get(at));
                found.cloned().ok_or_else(|| unsupported("the code reads past the end of a list"))
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
                    .ok_or_else(|| unsupported("the code reads past the last child of a module"))
            }
            (Value::Module(at), Value::Text(name)) => self.module_attribute(*at, name),
            (Value::Computed(_) | Value::Stored(_), _) => self.tensor_index(value, index),
            (other, _) => Err(unsupported(format!("the code indexes {}", other.kind()))),
        }
    }

    /// An index into a computed value: a tensor, or a list of numbers.
    fn tensor_index(&mut self, value: Value, index: Value) -> Result<Value> {
        if self.is_number(&value)
            && let Value::Slice(bounds) = index
        {
            let [start, stop, step] = *bounds;
            let step = if step == Value::None { Value::Int(1) } else { step };
            return self.emit_plain("aten::slice", vec![value, start, stop, step]);
        }
        let parts = match index {
            Value::Tuple(parts) => parts,
            index @ (Value::Slice(_) | Value::None | Value::Ellipsis | Value::List(_)) => vec![index],
            index => return self.emit_plain(&format!("{PYTHON}::getitem"), vec![value, index]),
        };
        let mut value = value;
        let mut axis = 0_i64;
        // Behind an ellipsis axes count from the end: how many are still to come.
        let mut to_come: Option<i64> = None;
        // Tensors by the axes that they choose from, once the rest is done.
        let mut tensors: Vec<(i64, Value)> = Vec::new();
        for (at, part) in parts.iter().enumerate() {
            let place = to_come.map_or(axis, |count| -count);
            match part {
                Value::Ellipsis => {
                    let rest = parts.get(at + 1..).unwrap_or_default();
                    let takes_axis = |part: &&Value| !matches!(part, Value::None | Value::Ellipsis);
                    to_come = i64::try_from(rest.iter().filter(takes_axis).count()).ok();
                }
                Value::None => {
                    value = self.emit_plain(
                        "aten::unsqueeze",
                        vec![value, Value::Int(place - i64::from(to_come.is_some()))],
                    )?;
                    axis += 1;
                }
                Value::Slice(bounds) => {
                    let [start, stop, step] = (**bounds).clone();
                    let step = if step == Value::None { Value::Int(1) } else { step };
                    if start != Value::None || stop != Value::None || step != Value::Int(1) {
                        let arguments = vec![value, Value::Int(place), start, stop, step];
                        value = self.emit_plain("aten::slice", arguments)?;
                    }
                    axis += 1;
                    to_come = to_come.map(|count| count - 1);
                }
                Value::Int(_) => {
                    value = self.emit_plain("aten::select", vec![value, Value::Int(place), part.clone()])?;
                    to_come = to_come.map(|count| count - 1);
                }
                index if self.is_number(index) => {
                    value = self.emit_plain("aten::select", vec![value, Value::Int(place), part.clone()])?;
                    to_come = to_come.map(|count| count - 1);
                }
                Value::Computed(_) | Value::Stored(_) if to_come.is_none() => {
                    tensors.push((axis, part.clone()));
                    axis += 1;
                }
                Value::List(_) if to_come.is_none() => {
                    let index = self.emit_plain("aten::tensor", vec![part.clone()])?;
                    tensors.push((axis, index));
                    axis += 1;
                }
                other => {
                    return Err(unsupported(format!("the code indexes a tensor by {}", other.kind())));
                }
            }
        }
        let Some((last, _)) = tensors.last() else { return Ok(value) };
        let mut indices = vec![Value::None; usize::try_from(*last).unwrap_or(0) + 1];
        for (axis, index) in tensors {
            if let Some(place) = usize::try_from(axis).ok().and_then(|axis| indices.get_mut(axis)) {
                *place = index;
            }
        }
        self.emit_plain("aten::index", vec![value, Value::List(indices)])
    }
}

/// The elements that `[start:stop:step]` chooses.
fn sliced(elements: &[Value], parts: &[Value; 3]) -> Result<Vec<Value>> {
    let count = i64::try_from(elements.len()).unwrap_or(i64::MAX);
    let number = |value: &Value| match value {
        Value::None => Ok(None),
        value => value.int().map(Some).ok_or_else(|| unsupported("a slice has bounds that are not numbers")),
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
