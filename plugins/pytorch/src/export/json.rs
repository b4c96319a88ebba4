//! Pieces of the export schema: sizes, types, arguments.

use super::expression;
use crate::container::{self, Archive};
use crate::quant::dtype::from_export_type;
use qp_abi::sdk::Names;
use qp_abi::sdk::{BackendError, DType, Dimension, Result};
use serde_json::Value;
use std::collections::HashSet;

/// Graphs of more than this are no model's.
const MAX_JSON_BYTES: u64 = 512 << 20;

/// The JSON in an entry of an archive.
///
/// # Errors
/// `CorruptFile` when it is too large or not JSON.
pub fn parse(archive: &Archive, entry: &str) -> Result<Value> {
    if archive.record(entry).is_some_and(|record| record.size > MAX_JSON_BYTES) {
        return Err(BackendError::corrupt_file(format!("entry `{entry}` is too large")));
    }
    container::json::parse(&archive.content(entry)?, archive.source().bytes()?.len() as u64).map_err(
        |cause| {
            BackendError::corrupt_file(format!("entry `{entry}` is not the JSON of a program"))
                .with_cause(cause)
        },
    )
}

/// A size: `{"as_int": 3}` or `{"as_expr": {"expr_str": "Symbol('s77', …)"}}`.
pub fn dimension(size: &Value) -> Dimension {
    if let Some(number) = size.get("as_int").and_then(Value::as_i64) {
        return Dimension::fixed(number);
    }
    let expression = size.pointer("/as_expr/expr_str").and_then(Value::as_str).unwrap_or_default();
    let symbol = expression.strip_prefix("Symbol('").and_then(|rest| rest.split('\'').next());
    match symbol.unwrap_or(expression) {
        "" => Dimension::unknown(),
        symbol => Dimension::symbolic(expression::infix(symbol).as_deref().unwrap_or(symbol)),
    }
}

/// The element type of a tensor's description.
pub fn dtype(meta: &Value) -> DType {
    let number = meta.get("dtype").and_then(Value::as_i64);
    number.and_then(from_export_type).map_or(DType::UNDEFINED, |found| found.dtype)
}

/// The whole numbers of a list of sizes; `None` when one is not a number.
pub fn fixed_sizes(sizes: Option<&Value>) -> Option<Vec<i64>> {
    sizes?.as_array()?.iter().map(|size| size.get("as_int").and_then(Value::as_i64)).collect()
}

/// The elements of a part of a node, a graph or a signature.
pub fn rows<'a>(whole: &'a Value, part: &str) -> &'a [Value] {
    whole.get(part).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The names of the tensors in an argument: one, several, or none.
pub fn tensor_names(argument: &Value) -> Vec<&str> {
    let mut names = Vec::new();
    if let Some(name) = argument.pointer("/as_tensor/name").and_then(Value::as_str) {
        names.push(name);
    }
    for list in ["as_tensors", "as_optional_tensors"] {
        for item in argument.get(list).and_then(Value::as_array).into_iter().flatten() {
            let name = item.get("name").or_else(|| item.pointer("/as_tensor/name")).and_then(Value::as_str);
            names.extend(name);
        }
    }
    names.extend(argument.pointer("/as_optional_tensor/as_tensor/name").and_then(Value::as_str));
    let lists = argument.get("as_nested_tensors").and_then(Value::as_array).into_iter().flatten();
    let nested = lists.filter_map(Value::as_array).flatten();
    names.extend(nested.filter_map(|item| item.get("name").and_then(Value::as_str)));
    names
}

/// The names of the values in an argument, and for each whether it is a number and no tensor.
pub fn value_names(argument: &Value) -> Vec<(&str, bool)> {
    let mut names: Vec<(&str, bool)> = tensor_names(argument).into_iter().map(|name| (name, false)).collect();
    for kind in ["as_sym_int", "as_sym_bool", "as_sym_float"] {
        names.extend(
            argument.get(kind).and_then(|number| number.get("as_name")?.as_str()).map(|name| (name, true)),
        );
    }
    names
}

/// The arguments of a node.
pub fn inputs(node: &Value) -> impl Iterator<Item = &Value> {
    rows(node, "inputs").iter().filter_map(|input| input.get("arg"))
}

/// The names of the values that a node computes, numbers too.
pub fn results(node: &Value) -> impl Iterator<Item = &str> {
    rows(node, "outputs").iter().flat_map(value_names).map(|(name, _)| name)
}

/// What a node is called in messages: its own name, or that of what it computes.
pub fn node_name(node: &Value) -> &str {
    node.get("name").and_then(Value::as_str).or_else(|| results(node).next()).unwrap_or("?")
}

/// What one input of the signature binds to a stored tensor: the name in the graph, and the tensor's.
pub fn bound(spec: &Value) -> Option<(&str, &str)> {
    const KINDS: [(&str, &str); 3] = [
        ("/parameter/arg/name", "/parameter/parameter_name"),
        ("/buffer/arg/name", "/buffer/buffer_name"),
        ("/tensor_constant/arg/name", "/tensor_constant/tensor_constant_name"),
    ];
    KINDS.iter().find_map(|(argument, name)| {
        spec.pointer(argument).and_then(Value::as_str).zip(spec.pointer(name).and_then(Value::as_str))
    })
}

/// What the signature binds to stored tensors: names in the graph, and the names of the tensors.
pub fn stored_names(signature: &Value) -> Vec<(&str, &str)> {
    rows(signature, "input_specs").iter().filter_map(bound).collect()
}

/// The names of the values that a program is given, and for each whether it is a number and no tensor.
pub fn given(signature: &Value) -> impl Iterator<Item = (&str, bool)> {
    let specs = rows(signature, "input_specs").iter();
    specs.filter_map(|spec| spec.pointer("/user_input/arg")).flat_map(value_names)
}

/// What a program returns: the names of the values in the graph, and each with a name of its own, because one value may
/// be returned twice.
pub fn returned(module: &Value) -> Vec<(&str, String)> {
    let part = |name: &str| module.get(name).unwrap_or(&Value::Null);
    let (graph, signature) = (part("graph"), part("signature"));
    let specs = rows(signature, "output_specs").iter();
    let values = specs.filter_map(|spec| spec.pointer("/user_output/arg")).flat_map(value_names);
    // A new name is that of no other value of the graph.
    let mut names = Names::default();
    rows(graph, "nodes").iter().flat_map(results).for_each(|name| names.take(name));
    given(signature).for_each(|(name, _)| names.take(name));
    let mut seen = HashSet::new();
    let named = values.map(|(name, _)| {
        let own = if seen.insert(name) { name.to_owned() } else { names.claim(name, '_', 1) };
        (name, own)
    });
    named.collect()
}

/// A real number; the infinities and what is none are texts.
pub fn real(value: &Value) -> Option<f64> {
    match value.as_str() {
        Some("Infinity") => Some(f64::INFINITY),
        Some("-Infinity") => Some(f64::NEG_INFINITY),
        Some("NaN") => Some(f64::NAN),
        Some(_) => None,
        None => value.as_f64(),
    }
}

/// The argument with that name of a node.
pub fn argument<'a>(node: &'a Value, name: &str) -> Option<&'a Value> {
    let mut inputs = rows(node, "inputs").iter();
    inputs.find(|input| input.get("name").and_then(Value::as_str) == Some(name))?.get("arg")
}

/// A number argument.
pub fn number(argument: &Value) -> Option<f64> {
    argument.get("as_float").or_else(|| argument.get("as_int")).and_then(Value::as_f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_are_read_to_the_last_bit() {
        // The smallest float32, as masks of transformers are filled with it: one bit less overflows.
        let number: Value = serde_json::from_str("-3.4028234663852886e+38").unwrap();
        assert_eq!(real(&number), Some(f64::from(f32::MIN)));
        let scale: Value = serde_json::from_str("0.0030196078431372549").unwrap();
        assert_eq!(real(&scale), Some(0.77 / 255.0));
    }

    #[test]
    fn sizes_are_numbers_symbols_or_expressions() {
        assert_eq!(dimension(&json!({"as_int": 3})), Dimension::fixed(3));
        let symbol = json!({"as_expr": {"expr_str": "Symbol('s77', positive=True, integer=True)"}});
        assert_eq!(dimension(&symbol), Dimension::symbolic("s77"));
        assert_eq!(dimension(&json!({"as_expr": {"expr_str": "2*s0"}})), Dimension::symbolic("2*s0"));
        assert_eq!(dimension(&json!(null)), Dimension::unknown());
    }
}
