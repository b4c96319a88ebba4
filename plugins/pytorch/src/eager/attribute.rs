//! Settings of modules.

use crate::pickle::{Pickle, Ref, Value};
use qp_abi::sdk::{Attribute, AttributeValue, RVec};

/// Settings of one module, and bytes of a text among them.
const MAX_ATTRIBUTES: usize = 256;
const MAX_TEXT: usize = 1024;

/// The settings of a module: its public attributes that are numbers, texts or sequences of numbers.
pub fn attributes(pickle: &Pickle, state: Ref) -> RVec<Attribute> {
    let entries = pickle
        .named_entries(state)
        .into_iter()
        .filter(|(name, _)| !name.starts_with('_') && *name != "training");
    entries
        .filter_map(|(name, at)| Some(Attribute { name: name.into(), value: attribute(pickle, at)? }))
        .take(MAX_ATTRIBUTES)
        .collect()
}

/// A setting as the contract writes it.
pub fn attribute(pickle: &Pickle, at: Ref) -> Option<AttributeValue> {
    match pickle.get(at) {
        Value::Bool(flag) => Some(AttributeValue::Int((*flag).into())),
        Value::Int(number) => Some(AttributeValue::Int(*number)),
        Value::Float(number) => Some(AttributeValue::Float(*number)),
        Value::Text(text) if text.len() <= MAX_TEXT => Some(AttributeValue::Text((&**text).into())),
        Value::Tuple(elements) if elements.len() <= 16 => {
            pickle.ints(at).map(|numbers| AttributeValue::Ints(numbers.into())).or_else(|| {
                let numbers: Option<RVec<f64>> =
                    elements.iter().map(|&element| pickle.float(element)).collect();
                numbers.map(AttributeValue::Floats)
            })
        }
        // A function of PyTorch's that the module calls: `getattr(torch._C._VariableFunctionsClass, "add")`.
        Value::Object(object) => match (pickle.callable(object), pickle.arguments(object)) {
            (Some(callable), [_, name]) if callable.is("builtins", "getattr") => {
                let name = pickle.text(*name).filter(|name| name.len() <= MAX_TEXT)?;
                Some(AttributeValue::Text(format!("torch.{name}").into()))
            }
            _ => None,
        },
        _ => None,
    }
}

/// About how many bytes a setting takes.
pub fn attribute_bytes(attribute: &Attribute) -> usize {
    let text = match &attribute.value {
        AttributeValue::Text(text) => text.len(),
        _ => 0,
    };
    size_of::<Attribute>() + attribute.name.len() + text
}

/// The text of a number, a text or a boolean.
pub fn scalar(pickle: &Pickle, at: Ref) -> Option<String> {
    const MAX_TEXT: usize = 1000;
    match pickle.get(at) {
        Value::Bool(flag) => Some(if *flag { "true" } else { "false" }.to_owned()),
        Value::Int(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Text(text) if text.len() <= MAX_TEXT => Some(text.to_string()),
        _ => None,
    }
}
