//! The entries of an archive for a graph that was written: the program in JSON, the tables of its tensors, the tensors.

use super::super::edit::{Fresh, WHOLE, meta, row};
use super::super::layout::{Kind, Layout};
use super::finish::{Described, Graph};
use super::size::{Size, Symbols, symbol_name};
use super::unsupported;
use crate::container::Archive;
use crate::document::Document;
use crate::quant::dtype::export_type;
use qp_abi::sdk::{Result, TensorRole};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// What the program is called in its package.
const NAME: &str = "model";
/// The version of PyTorch whose form the program has.
const VERSION: &str = "2.13.0";
/// Bytes of the expressions of sizes in a program.
const MAX_SIZE_BYTES: usize = 64 << 20;
/// Tensors of a file may repeat their storage: all together may have so many bytes, and four times those of the file.
const REPEATED_BYTES: u64 = 1 << 30;

/// The archive of a graph whose tensors are those of `document`.
///
/// # Errors
/// `UnsupportedOp` for tensors that have no dense form or repeat their storage endlessly, those of reading them.
pub fn archive(document: &Document, own: &Archive, graph: &Graph) -> Result<Archive> {
    let layout = Layout::Package(NAME.to_owned());
    let mut added: BTreeMap<String, Arc<[u8]>> =
        WHOLE.iter().map(|(entry, content)| ((*entry).to_owned(), content.as_bytes().into())).collect();
    added.insert(format!("data/sample_inputs/{NAME}.pt"), Arc::from([]));
    let mut left = document.data.file_bytes().saturating_mul(4).saturating_add(REPEATED_BYTES);
    let mut rows = Map::new();
    let mut stored = Vec::with_capacity(graph.stored.len());
    for (number, (in_graph, name)) in graph.stored.iter().enumerate() {
        let (tensor, info) = document.tensor(name)?;
        let rest = tensor.bytes().and_then(|bytes| left.checked_sub(bytes));
        left = rest.ok_or_else(|| unsupported("its tensors are far larger than the file"))?;
        let fresh = Fresh {
            dtype: tensor.dtype,
            shape: tensor.shape.clone(),
            bytes: tensor.dense(&document.data)?.into(),
            is_parameter: info.role == TensorRole::PARAMETER && tensor.dtype.is_float(),
        };
        let path = format!("weight_{number}");
        rows.insert(name.clone(), row(&path, &fresh)?);
        stored.push(Bound {
            in_graph,
            name,
            is_parameter: fresh.is_parameter,
            meta: meta(fresh.dtype, &fresh.shape)?,
        });
        added.insert(format!("{}{path}", Kind::Weights.folder()), fresh.bytes);
    }
    // Parameters come first, as PyTorch has them.
    stored.sort_by_key(|bound| !bound.is_parameter);
    let tables = [(Kind::Weights, rows), (Kind::Constants, Map::new())];
    for (kind, rows) in tables {
        let text = json!({ "config": rows }).to_string();
        added.extend(layout.table(kind).map(|entry| (entry, Arc::from(text.into_bytes()))));
    }
    let text = program(graph, &stored)?.to_string();
    added.insert(layout.graph(), Arc::from(text.into_bytes()));
    Ok(own.with_entries(&BTreeSet::new(), added))
}

/// A stored tensor of the graph.
struct Bound<'a> {
    in_graph: &'a str,
    name: &'a str,
    is_parameter: bool,
    meta: Value,
}

fn program(graph: &Graph, stored: &[Bound<'_>]) -> Result<Value> {
    let tensor = |name: &str| json!({"as_tensor": {"name": name}});
    let mut values = Map::new();
    let mut specs = Vec::new();
    for bound in stored {
        values.insert(bound.in_graph.to_owned(), bound.meta.clone());
        let arg = json!({"name": bound.in_graph});
        specs.push(match bound.is_parameter {
            true => json!({"parameter": {"arg": arg, "parameter_name": bound.name}}),
            false => json!({"buffer": {"arg": arg, "buffer_name": bound.name, "persistent": true}}),
        });
    }
    let mut left = MAX_SIZE_BYTES;
    for value in &graph.values {
        let meta = described(value, &graph.example, &mut left)?;
        if left == 0 {
            return Err(unsupported("the sizes of the values are too long to be written"));
        }
        values.insert(value.name.clone(), meta);
    }
    specs.extend(graph.inputs.iter().map(|input| json!({"user_input": {"arg": tensor(&input.name)}})));
    let inputs = stored.iter().map(|bound| bound.in_graph);
    let inputs: Vec<Value> =
        inputs.chain(graph.inputs.iter().map(|input| input.name.as_str())).map(tensor).collect();
    let numbers: Map<String, Value> = graph
        .numbers
        .iter()
        .map(|(name, size)| (name.clone(), written(size, &graph.example, &mut left)))
        .collect();
    let ranges: Map<String, Value> = graph
        .example
        .keys()
        .map(|symbol| (symbol_name(*symbol), json!({"min_val": 1, "max_val": null})))
        .collect();
    let outputs: Vec<Value> = graph.outputs.iter().map(|name| tensor(name)).collect();
    let returned: Vec<Value> = outputs.iter().map(|arg| json!({"user_output": {"arg": arg}})).collect();
    let names: Vec<&str> = graph.inputs.iter().map(|input| input.name.as_str()).collect();
    let call = json!({
        "fqn": "",
        "signature": {
            "inputs": [],
            "outputs": [],
            "in_spec": taken(names.len()),
            "out_spec": given(outputs.len()),
            "forward_arg_names": names,
        },
    });
    let whole = json!({
        "inputs": inputs,
        "outputs": outputs,
        "nodes": graph.nodes,
        "tensor_values": values,
        "sym_int_values": numbers,
        "sym_bool_values": {},
        "is_single_tensor_return": false,
        "custom_obj_values": {},
        "sym_float_values": {},
    });
    Ok(json!({
        "graph_module": {
            "graph": whole,
            "signature": {"input_specs": specs, "output_specs": returned},
            "module_call_graph": [call],
            "metadata": {},
            "treespec_namedtuple_fields": {},
        },
        "opset_version": {"aten": 10},
        "range_constraints": ranges,
        "schema_version": {"major": 8, "minor": 20},
        "verifiers": ["TRAINING"],
        "torch_version": VERSION,
        "guards_code": [],
    }))
}

/// The structure of inputs, as `torch.utils._pytree` writes it: a tuple of positional ones, and no named ones.
fn taken(count: usize) -> String {
    let leaves = vec![leaf(); count];
    let arguments = json!({"type": "builtins.tuple", "context": "null", "children_spec": leaves});
    let named = json!({"type": "builtins.dict", "context": "[]", "children_spec": []});
    let whole = json!({"type": "builtins.tuple", "context": "null", "children_spec": [arguments, named]});
    json!([1, whole]).to_string()
}

/// The structure of outputs: one, or a tuple.
fn given(count: usize) -> String {
    match count {
        1 => json!([1, leaf()]).to_string(),
        _ => json!([1, {"type": "builtins.tuple", "context": "null", "children_spec": vec![leaf(); count]}])
            .to_string(),
    }
}

fn leaf() -> Value {
    json!({"type": null, "context": null, "children_spec": []})
}

/// A size: a number, or an expression with an example of its value.
fn written(size: &Size, example: &HashMap<usize, i64>, left: &mut usize) -> Value {
    match size {
        Size::Fixed(number) => json!({"as_int": number}),
        size => {
            let hint = size.evaluated(example).unwrap_or(1);
            let text = size.text();
            *left = left.saturating_sub(text.len());
            json!({"as_expr": {"expr_str": text, "hint": {"as_int": hint}}})
        }
    }
}

/// What the program knows of a value: elements lie one after the other.
fn described(value: &Described, example: &HashMap<usize, i64>, left: &mut usize) -> Result<Value> {
    let number = export_type(value.dtype)
        .ok_or_else(|| unsupported(format!("a program has no tensors of {}", value.dtype)))?;
    let mut symbols = Symbols::default();
    let mut strides = Vec::with_capacity(value.sizes.len());
    let mut stride = Some(Size::Fixed(1));
    for size in value.sizes.iter().rev() {
        strides.push(stride.as_ref().map_or(json!({"as_int": 1}), |stride| written(stride, example, left)));
        // An expression that would be too long is a symbol without a meaning here.
        let before = symbols.count();
        stride = stride.map(|stride| symbols.product(&stride, size)).filter(|_| symbols.count() == before);
    }
    strides.reverse();
    let sizes: Vec<Value> = value.sizes.iter().map(|size| written(size, example, left)).collect();
    Ok(json!({
        "dtype": number,
        "sizes": sizes,
        "requires_grad": false,
        "device": {"type": "cpu", "index": null},
        "strides": strides,
        "storage_offset": {"as_int": 0},
        "layout": 7,
    }))
}
