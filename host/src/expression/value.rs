//! Results as values of CEL.

use crate::render::number;
use cel::Value;
use cel::objects::{Key, Map};
use std::collections::HashMap;
use std::sync::Arc;

/// The list of models, which expressions index by name: `evaluate.models["m.onnx"]`.
const MODELS: &str = "models";
/// The key of their names.
const MODEL: &str = "model";

/// A result's JSON as a CEL value.
pub(super) fn of(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(flag) => Value::Bool(*flag),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(whole) => Value::Int(whole),
            None => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        // Numbers that JSON cannot express.
        serde_json::Value::String(text) => match text.as_str() {
            "inf" => Value::Float(f64::INFINITY),
            "-inf" => Value::Float(f64::NEG_INFINITY),
            "NaN" => Value::Float(f64::NAN),
            _ => Value::String(Arc::new(text.clone())),
        },
        serde_json::Value::Array(items) => Value::List(Arc::new(items.iter().map(of).collect())),
        serde_json::Value::Object(entries) => map(entries.iter().map(|(key, entry)| {
            let by_name = entry.as_array().filter(|_| key == MODELS).and_then(|models| by_model(models));
            (key.clone(), by_name.unwrap_or_else(|| of(entry)))
        })),
    }
}

/// The models by their names; `None` if one has none.
fn by_model(models: &[serde_json::Value]) -> Option<Value> {
    let name = |model: &serde_json::Value| Some(model.get(MODEL)?.as_str()?.to_owned());
    let named: Option<Vec<_>> = models.iter().map(|model| Some((name(model)?, of(model)))).collect();
    named.filter(|named| !named.is_empty()).map(|named| map(named.into_iter()))
}

fn map(entries: impl Iterator<Item = (String, Value)>) -> Value {
    let entries: HashMap<Key, Value> = entries.map(|(key, value)| (Key::from(key), value)).collect();
    Value::Map(Map { map: Arc::new(entries) })
}

/// A value as people read it, in a few words.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => "missing".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Int(whole) => whole.to_string(),
        Value::UInt(whole) => whole.to_string(),
        Value::Float(real) => number::real(*real),
        Value::String(text) => format!("\"{text}\""),
        Value::List(items) => format!("a list of {}", items.len()),
        Value::Map(map) => format!("an object of {}", map.map.len()),
        other => format!("a {}", other.type_of()),
    }
}
