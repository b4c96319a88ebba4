//! Where values come from: the inputs' elements, the shapes of values, or stored tensors only.
//!
//! Exporters write a constant in many ways: as an initializer, as a `Constant` node, through `Identity`, `Cast`,
//! `Reshape`, `Transpose`, as codes followed by a `DequantizeLinear`, as a float tensor that is rounded in the graph.
//! All of these are constants here. A value computed from `Shape` is not an activation either, whatever its type.

use crate::graph::{Graph, Layer};
use crate::quant::parameters::Reader;
use qp_abi::sdk::{AttributeValue, ValueOrigin};

/// The origin of each value of the graph.
pub fn of(reader: Reader<'_>) -> Vec<ValueOrigin> {
    let graph: &Graph = reader.graph;
    let mut origins: Vec<ValueOrigin> = graph
        .values
        .iter()
        .map(|value| if value.stored.is_some() { ValueOrigin::CONSTANT } else { ValueOrigin::ACTIVATION })
        .collect();
    // Files list nodes in the order of computation; a value read before it is computed counts as an activation.
    for layer in &graph.layers {
        let origin = of_layer(reader.op(layer), layer, &origins);
        for &output in layer.outputs.iter().flatten() {
            if graph.values[output].stored.is_none() {
                origins[output] = origin;
            }
        }
    }
    origins
}

fn of_layer(op: &str, layer: &Layer, origins: &[ValueOrigin]) -> ValueOrigin {
    let holds_graph =
        layer.attributes.iter().any(|attribute| matches!(attribute.value, AttributeValue::Graphs(_)));
    if op.is_empty() || holds_graph || is_random(op) {
        return ValueOrigin::ACTIVATION;
    }
    let mut inputs = layer.inputs.iter().flatten().map(|&value| origins[value]);
    if inputs.clone().all(|origin| origin == ValueOrigin::CONSTANT) {
        ValueOrigin::CONSTANT
    } else if matches!(op, "Shape" | "Size") || inputs.all(|origin| origin != ValueOrigin::ACTIVATION) {
        ValueOrigin::SHAPE
    } else {
        ValueOrigin::ACTIVATION
    }
}

fn is_random(op: &str) -> bool {
    op.starts_with("Random") || matches!(op, "Bernoulli" | "Multinomial")
}
