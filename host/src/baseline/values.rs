//! The values of a result that a baseline keeps: numbers, flags, and texts of a declared choice such as verdicts.
//! Durations, names, paths and other texts are left out.

use crate::render::record::{Form, Kind, ReportShape, Shape, Unit};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Values by their keys.
pub type Values = BTreeMap<String, Scalar>;

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar {
    /// No number.
    Missing,
    /// Whether something holds.
    Flag(bool),
    /// A whole number.
    Whole(i64),
    /// Any other number.
    Real(f64),
    /// A text: a verdict, or a number that JSON cannot express.
    Text(String),
}

impl Scalar {
    /// The value in JSON; `None` for lists and objects.
    pub fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Null => Some(Self::Missing),
            Value::Bool(flag) => Some(Self::Flag(*flag)),
            Value::Number(number) => Some(
                number.as_i64().map_or_else(|| Self::Real(number.as_f64().unwrap_or(f64::NAN)), Self::Whole),
            ),
            Value::String(text) => Some(Self::Text(text.clone())),
            Value::Array(_) | Value::Object(_) => None,
        }
    }

    /// The number that it is.
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Whole(number) => Some(*number as f64),
            Self::Real(number) => Some(*number),
            Self::Missing | Self::Flag(_) | Self::Text(_) => None,
        }
    }

    /// For machines.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Missing => Value::Null,
            Self::Flag(flag) => (*flag).into(),
            Self::Whole(number) => (*number).into(),
            Self::Real(number) => (*number).into(),
            Self::Text(text) => text.as_str().into(),
        }
    }
}

/// Values that depend on the session so far, not on models.
const OF_SESSION: [&str; 3] = ["state", "how", "is_current"];

/// The values of results, each with the declarations of its command.
pub fn of_results<'r>(results: impl Iterator<Item = (&'r str, &'r Value, Vec<ReportShape>)>) -> Values {
    let mut values = Values::new();
    for (command, result, reports) in results {
        let shapes: Vec<&Shape> = reports.iter().flat_map(|report| &report.fields).collect();
        object(&mut values, command, result, &shapes);
    }
    values
}

/// Adds the values of an object under `path`; `shapes` are all that may be declared of it.
fn object(values: &mut Values, path: &str, result: &Value, shapes: &[&Shape]) {
    let Some(entries) = result.as_object() else { return };
    for (key, value) in entries {
        if OF_SESSION.contains(&key.as_str()) {
            continue;
        }
        let path = format!("{path}.{key}");
        for shape in declared(shapes, key) {
            let inner: Vec<&Shape> = shape.fields.iter().collect();
            match &shape.spec.form {
                Form::Value(kind) if is_kept(shape, kind) => leaf(values, &path, value),
                Form::Nested | Form::Object(_) => object(values, &path, value, &inner),
                Form::List(_) => list(values, &path, value, &inner),
                Form::Branches => list(values, &path, value, shapes),
                Form::Value(_) | Form::Flat | Form::Names(_) => {}
            }
        }
    }
}

/// The declarations of a key: parts in the object itself are looked into.
fn declared<'s>(shapes: &[&'s Shape], key: &str) -> Vec<&'s Shape> {
    let mut found = Vec::new();
    for shape in shapes {
        match shape.spec.form {
            Form::Flat => found.extend(declared(&shape.fields.iter().collect::<Vec<_>>(), key)),
            _ if shape.spec.key == key => found.push(*shape),
            _ => {}
        }
    }
    found
}

fn is_kept(shape: &Shape, kind: &Kind) -> bool {
    match shape.spec.unit {
        Unit::Duration | Unit::Name => false,
        Unit::Text => !shape.spec.choices.is_empty() || is_number(kind),
        _ => true,
    }
}

fn is_number(kind: &Kind) -> bool {
    match kind {
        Kind::Flag | Kind::Whole | Kind::Count | Kind::Real => true,
        Kind::List(inner) | Kind::Optional(inner) | Kind::Tagged(_, inner) => is_number(inner),
        Kind::Text | Kind::AnyOf(_) | Kind::Any | Kind::Error => false,
    }
}

fn leaf(values: &mut Values, path: &str, value: &Value) {
    match (Scalar::of(value), value) {
        (Some(scalar), _) => {
            values.insert(path.to_owned(), scalar);
        }
        (None, Value::Array(items)) => {
            for (index, item) in items.iter().enumerate() {
                leaf(values, &format!("{path}[{index}]"), item);
            }
        }
        // A tagged value.
        (None, Value::Object(entries)) => {
            for (key, item) in entries {
                leaf(values, &format!("{path}.{key}"), item);
            }
        }
        (None, _) => {}
    }
}

/// Adds the values of the records of a list: each has its name in its key, or its number if names are not unique.
fn list(values: &mut Values, path: &str, value: &Value, shapes: &[&Shape]) {
    let Some(records) = value.as_array() else { return };
    let named: Vec<Option<&str>> = records.iter().map(|record| name(record.as_object()?, shapes)).collect();
    let unique: BTreeSet<&str> = named.iter().flatten().copied().collect();
    let is_unique = unique.len() == records.len();
    for (index, (record, name)) in records.iter().zip(named).enumerate() {
        let path = match name.filter(|_| is_unique) {
            Some(name) => format!("{path}[{name}]"),
            None => format!("{path}[{index}]"),
        };
        object(values, &path, record, shapes);
    }
}

/// The first name of a record.
fn name<'v>(record: &'v Map<String, Value>, shapes: &[&Shape]) -> Option<&'v str> {
    shapes.iter().find_map(|shape| match shape.spec.form {
        Form::Flat => name(record, &shape.fields.iter().collect::<Vec<_>>()),
        Form::Value(_) if shape.spec.unit == Unit::Name => record.get(&*shape.spec.key)?.as_str(),
        _ => None,
    })
}
