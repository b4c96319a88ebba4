//! The JSON Schema of a command's reports (draft 2020-12).

use super::{Form, Kind, ReportShape, Shape, Spec};
use serde_json::{Map, Value, json};

/// The keyword of a report's version.
pub const VERSION: &str = "qp:version";

/// The schema of the document that a command prints with `--json`.
pub fn of(command: &str, summary: &str, reports: &[ReportShape]) -> Value {
    let mut schema = Map::new();
    schema.insert("$schema".into(), "https://json-schema.org/draft/2020-12/schema".into());
    schema.insert("title".into(), format!("qp {command}").into());
    schema.insert("description".into(), summary.into());
    match reports {
        [report] => {
            schema.insert(VERSION.into(), report.version.into());
            schema.extend(object(&report.fields, "#"));
        }
        reports => {
            // Each says when it is printed; `qp:version` of the whole is their sum, so it grows with each.
            schema.insert(VERSION.into(), reports.iter().map(|report| report.version).sum::<u32>().into());
            let any = reports.iter().enumerate().map(|(place, report)| {
                let mut one = Map::new();
                one.insert("description".into(), report.when.into());
                one.extend(object(&report.fields, &format!("#/anyOf/{place}")));
                Value::Object(one)
            });
            schema.insert("anyOf".into(), any.collect());
        }
    }
    schema.insert("$defs".into(), definitions());
    Value::Object(schema)
}

/// Definitions that many values share.
fn definitions() -> Value {
    let texts = json!({ "type": "array", "items": { "type": "string" } });
    json!({
        "real": {
            "description": "A number; a text where JSON has none",
            "anyOf": [{ "type": "number" }, { "enum": ["inf", "-inf", "NaN"] }],
        },
        "error": {
            "type": "object",
            "properties": {
                "kind": { "type": "string" },
                "message": { "type": "string" },
                "causes": texts,
                "hints": texts,
            },
            "required": ["kind", "message", "causes", "hints"],
            "additionalProperties": false,
        },
    })
}

/// The keywords of an object at this place in the schema.
fn object(fields: &[Shape], place: &str) -> Map<String, Value> {
    let (mut properties, mut required) = (Map::new(), Vec::new());
    push(&mut properties, &mut required, fields, place, false);
    let mut keywords = Map::new();
    keywords.insert("type".into(), "object".into());
    keywords.insert("properties".into(), Value::Object(properties));
    keywords.insert("required".into(), required.into());
    let names = fields.iter().find_map(|field| match &field.spec.form {
        Form::Names(kind) => Some((field.spec.meaning, kind)),
        _ => None,
    });
    let other = match names {
        Some((meaning, kind)) => {
            let mut other = value(kind, &[], false);
            other.insert("description".into(), meaning.into());
            Value::Object(other)
        }
        None => false.into(),
    };
    keywords.insert("additionalProperties".into(), other);
    keywords
}

fn push(
    properties: &mut Map<String, Value>,
    required: &mut Vec<Value>,
    fields: &[Shape],
    place: &str,
    may_be_missing: bool,
) {
    for field in fields {
        let spec = &field.spec;
        if matches!(spec.form, Form::Flat) {
            push(properties, required, &field.fields, place, may_be_missing || !spec.is_always);
            continue;
        }
        if spec.key.is_empty() || spec.is_for_tables {
            continue;
        }
        if !spec.is_omitted {
            required.push(spec.key.as_ref().into());
        }
        let inner = format!("{place}/properties/{}", spec.key);
        let mut schema = described(spec);
        schema.extend(match &spec.form {
            Form::Value(kind) => value(kind, spec.choices, may_be_missing),
            Form::Nested | Form::Object(_) => {
                nullable(object(&field.fields, &inner), may_be_missing || !spec.is_always)
            }
            Form::List(_) => {
                let items = Value::Object(object(&field.fields, &format!("{inner}/items")));
                nullable(array(items), may_be_missing)
            }
            Form::Branches => array(json!({ "$ref": place })),
            Form::Flat | Form::Names(_) => Map::new(),
        });
        properties.insert(spec.key.clone().into_owned(), Value::Object(schema));
    }
}

fn array(items: Value) -> Map<String, Value> {
    let mut keywords = Map::new();
    keywords.insert("type".into(), "array".into());
    keywords.insert("items".into(), items);
    keywords
}

fn described(spec: &Spec) -> Map<String, Value> {
    let mut keywords = Map::new();
    if let Some(title) = spec.title.as_deref().filter(|title| !title.is_empty()) {
        keywords.insert("title".into(), title.into());
    }
    keywords.insert("description".into(), spec.meaning.into());
    if !spec.symbol.is_empty() {
        keywords.insert("qp:unit".into(), spec.symbol.into());
    }
    keywords
}

/// The same, or `null`.
fn nullable(mut keywords: Map<String, Value>, is_nullable: bool) -> Map<String, Value> {
    if is_nullable && let Some(kind) = keywords.get_mut("type") {
        *kind = json!([kind.take(), "null"]);
    }
    keywords
}

fn value(kind: &Kind, choices: &[&str], is_nullable: bool) -> Map<String, Value> {
    let simple = |name: &str| {
        let mut keywords = Map::new();
        keywords.insert("type".into(), name.into());
        nullable(keywords, is_nullable)
    };
    let reference = |name: &str| {
        let reference = json!({ "$ref": format!("#/$defs/{name}") });
        let mut keywords = Map::new();
        match is_nullable {
            true => keywords.insert("anyOf".into(), json!([reference, { "type": "null" }])),
            false => keywords.insert("$ref".into(), reference["$ref"].clone()),
        };
        keywords
    };
    match kind {
        Kind::Any => Map::new(),
        Kind::Flag => simple("boolean"),
        Kind::Whole => simple("integer"),
        Kind::Count => {
            let mut keywords = simple("integer");
            keywords.insert("minimum".into(), 0.into());
            keywords
        }
        Kind::Text if choices.is_empty() => simple("string"),
        Kind::Text => {
            let mut values: Vec<Value> = choices.iter().map(|choice| (*choice).into()).collect();
            values.extend(is_nullable.then_some(Value::Null));
            Map::from_iter([("enum".to_owned(), values.into())])
        }
        Kind::Real => reference("real"),
        Kind::Error => reference("error"),
        Kind::List(items) => nullable(array(Value::Object(value(items, choices, false))), is_nullable),
        Kind::Optional(inner) => value(inner, choices, true),
        Kind::AnyOf(kinds) => {
            let mut any: Vec<Value> =
                kinds.iter().map(|kind| Value::Object(value(kind, choices, false))).collect();
            any.extend(is_nullable.then(|| json!({ "type": "null" })));
            Map::from_iter([("anyOf".to_owned(), any.into())])
        }
        Kind::Tagged(key, inner) => {
            let inner = Value::Object(value(inner, choices, false));
            let mut keywords = simple("object");
            keywords.insert("properties".into(), json!({ *key: inner }));
            keywords.insert("required".into(), json!([key]));
            keywords.insert("additionalProperties".into(), false.into());
            keywords
        }
    }
}
