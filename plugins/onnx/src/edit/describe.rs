//! Shapes of values, written into the graph: the optimizations of runtimes for floats ask for them, and find less in a graph
//! with other operators in between.

use crate::proto::tensor_shape_proto::{Dimension, dimension::Value as Size};
use crate::proto::type_proto::{Tensor, Value};
use crate::proto::{GraphProto, TensorShapeProto, TypeProto, ValueInfoProto};
use qp_abi::sdk::{DType, Edit, ModelInfo, lookup};
use std::collections::HashSet;

/// Whether the edits put codes into a graph of floats, or depend on how many dimensions values have.
pub fn need_shapes(edits: &[Edit]) -> bool {
    let is_of_opset = |edit: &Edit| lookup(edit.arguments.as_slice(), "opset").is_some();
    edits.iter().any(|edit| edit.action.starts_with("quantize-") || is_of_opset(edit))
}

/// Adds the types and shapes of computed values that the graph does not have yet. `info` is the description of the model.
pub fn describe_values(graph: &mut GraphProto, info: &ModelInfo) {
    let mut known: HashSet<&str> = HashSet::new();
    known.extend(graph.value_info.iter().chain(&graph.output).filter_map(|value| value.name.as_deref()));
    let computed: HashSet<&str> =
        graph.node.iter().flat_map(|node| &node.output).map(String::as_str).collect();
    let inputs = info.inputs.iter().filter_map(|input| input.shape.as_ref().into_option()).flatten();
    let symbols: HashSet<&str> = inputs.map(|dimension| dimension.symbol.as_str()).collect();
    let is_new = |name: &str| computed.contains(name) && !known.contains(name);
    let values = info.values.iter().filter(|value| is_new(&value.name) && value.type_name.is_empty());
    let described = values.filter(|value| value.dtype != DType::UNDEFINED).filter_map(|value| {
        let shape = value.shape.as_ref().into_option()?;
        let dim = shape.iter().map(|dimension| {
            let symbol = Some(dimension.symbol.as_str()).filter(|symbol| symbols.contains(symbol));
            let size = match (dimension.size, symbol) {
                (size @ 0.., _) => Some(Size::DimValue(size)),
                (_, Some(symbol)) if !symbol.is_empty() => Some(Size::DimParam(symbol.to_owned())),
                _ => None,
            };
            Dimension { value: size, ..Dimension::default() }
        });
        let tensor = Tensor {
            elem_type: Some(i32::from(value.dtype.0)),
            shape: Some(TensorShapeProto { dim: dim.collect() }),
        };
        Some(ValueInfoProto {
            name: Some(value.name.to_string()),
            r#type: Some(TypeProto { value: Some(Value::TensorType(tensor)), denotation: None }),
            ..ValueInfoProto::default()
        })
    });
    let described: Vec<ValueInfoProto> = described.collect();
    graph.value_info.extend(described);
}
