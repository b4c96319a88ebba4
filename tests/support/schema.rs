//! A validator of the keywords of JSON Schema (draft 2020-12) that qp's schemas use; it refuses all others, so that none
//! is believed to hold unchecked.

use serde_json::Value;

/// Why `value` does not follow `schema`, with the place of each.
pub fn violations(schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check(schema, schema, value, "", &mut found);
    found
}

fn check(root: &Value, schema: &Value, value: &Value, place: &str, found: &mut Vec<String>) {
    for (keyword, expected) in schema.as_object().expect("a schema is an object") {
        match keyword.as_str() {
            "$schema" | "$defs" | "title" | "description" | "qp:unit" | "qp:version" => {}
            "$ref" => {
                let pointer =
                    expected.as_str().and_then(|text| text.strip_prefix('#')).expect("a local reference");
                let target = root.pointer(pointer).unwrap_or_else(|| panic!("{pointer} is nowhere"));
                check(root, target, value, place, found);
            }
            "type" => {
                let types = match expected {
                    Value::Array(types) => types.iter().collect(),
                    one => vec![one],
                };
                if !types.iter().any(|name| is_of(name.as_str().expect("a type is a text"), value)) {
                    found.push(format!("{place}: {value} is not {expected}"));
                }
            }
            "enum" => {
                if !expected.as_array().expect("an array").contains(value) {
                    found.push(format!("{place}: {value} is not one of {expected}"));
                }
            }
            "minimum" => {
                if value.as_f64().is_some_and(|number| number < expected.as_f64().expect("a number")) {
                    found.push(format!("{place}: {value} is below {expected}"));
                }
            }
            "anyOf" => {
                let choices = expected.as_array().expect("an array");
                let reasons: Vec<Vec<String>> = choices
                    .iter()
                    .map(|choice| {
                        let mut inner = Vec::new();
                        check(root, choice, value, place, &mut inner);
                        inner
                    })
                    .collect();
                if reasons.iter().all(|reasons| !reasons.is_empty()) {
                    found.push(format!("{place}: none of {}: {reasons:?}", choices.len()));
                }
            }
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(root, expected, item, &format!("{place}/{index}"), found);
                }
            }
            "properties" => {
                for (key, schema) in expected.as_object().expect("an object") {
                    if let Some(inner) = value.get(key) {
                        check(root, schema, inner, &format!("{place}/{key}"), found);
                    }
                }
            }
            "required" => {
                for key in expected.as_array().expect("an array") {
                    let key = key.as_str().expect("a key is a text");
                    if value.is_object() && value.get(key).is_none() {
                        found.push(format!("{place}: `{key}` is missing"));
                    }
                }
            }
            "additionalProperties" => {
                let declared = schema["properties"].as_object().expect("an object");
                for (key, inner) in value.as_object().into_iter().flatten() {
                    match expected {
                        _ if declared.contains_key(key) => {}
                        Value::Bool(false) => found.push(format!("{place}: `{key}` is not declared")),
                        names => check(root, names, inner, &format!("{place}/{key}"), found),
                    }
                }
            }
            other => panic!("the keyword `{other}` is not checked"),
        }
    }
}

fn is_of(name: &str, value: &Value) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("`{other}` is not a type"),
    }
}
