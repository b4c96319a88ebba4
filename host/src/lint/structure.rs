//! What the graph reveals: layers left in float among quantized ones, and values of unknown type.

use super::{LintFinding, Rule};
use crate::inspect::graph::{Graph, Node};
use crate::model::{DType, LayerInfo, LayerKind, ModelInfo, QuantizationParameters, ValueInfo, ValueOrigin};

/// Layers that compute in float in a model with quantized ones: those with weights anywhere, the others between two
/// quantized layers, unless they are next to one with weights in float or the end of a fused kernel.
pub(super) fn left_in_float(info: &ModelInfo, graph: &Graph<'_>) -> Vec<LintFinding> {
    if info.layers.iter().all(|layer| layer.quantization.is_none()) {
        return Vec::new();
    }
    let states: Vec<State> = (0..graph.nodes.len()).map(|node| State::of(graph, node, info)).collect();
    let reached = |order: &mut dyn Iterator<Item = usize>, neighbours: &dyn Fn(usize) -> Vec<usize>| {
        let mut reached = vec![false; states.len()];
        for node in order {
            reached[node] = neighbours(node).into_iter().any(|other| match states[other] {
                State::Codes => true,
                State::FloatWeight | State::Real => false,
                State::Float | State::Other => reached[other],
            });
        }
        reached
    };
    // Nodes are in the order of computation.
    let after = reached(&mut (0..states.len()), &|node| data_sources(graph, node));
    let before = reached(&mut (0..states.len()).rev(), &|node| {
        graph.outgoing(node).filter(|edge| edge.is_data).map(|edge| edge.to).collect()
    });
    let mut findings = Vec::new();
    for (place, node) in graph.nodes.iter().enumerate() {
        let Node::Layer(layer) = node else { continue };
        let (rule, text) = match states[place] {
            State::FloatWeight => {
                (Rule::FloatLayer, "weights and arithmetic are in float, other layers are quantized")
            }
            State::Float if after[place] && before[place] && !is_fused(graph, place, &states) => {
                (Rule::FloatBetween, "computes in float between quantized layers")
            }
            _ => continue,
        };
        findings.push(LintFinding { layer: Some(layer.path.clone()), ..LintFinding::new(rule, text) });
    }
    findings
}

/// What a node computes with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Codes whose scales are stored.
    Codes,
    /// Codes inside, real numbers outside: between dynamic or weight-only layers, activations are real by design.
    Real,
    /// Real numbers, and a weight that is stored in float.
    FloatWeight,
    /// Real numbers, without a weight.
    Float,
    /// It moves values, computes with shapes, or is an input or output.
    Other,
}

impl State {
    fn of(graph: &Graph<'_>, node: usize, info: &ModelInfo) -> Self {
        let Node::Layer(layer) = graph.nodes[node] else { return Self::Other };
        let is_quantized = layer.quantization.is_some();
        // The parameters of a real value say what it is rounded to afterwards.
        let gives_codes = graph
            .output(node)
            .is_some_and(|output| output.quantization.is_some() && !output.dtype.is_float());
        let has_scales =
            |codes: Option<&QuantizationParameters>| codes.is_some_and(|codes| !codes.is_dynamic);
        let edges = || graph.incoming(node).filter(|edge| edge.is_data).chain(graph.outgoing(node));
        if has_float_weight(layer, info) {
            Self::FloatWeight
        } else if gives_codes || (is_quantized && edges().any(|edge| has_scales(edge.quantization))) {
            Self::Codes
        } else if is_quantized {
            Self::Real
        } else if computes_in_float(layer, graph, node) && !layer.kind.has_weight() {
            Self::Float
        } else {
            Self::Other
        }
    }
}

fn data_sources(graph: &Graph<'_>, node: usize) -> Vec<usize> {
    graph.incoming(node).filter(|edge| edge.is_data).map(|edge| edge.from).collect()
}

/// Whether a layer is an activation function on the unrounded sums of a quantized layer: kernels apply it before they
/// round.
fn is_fused(graph: &Graph<'_>, node: usize, states: &[State]) -> bool {
    let Node::Layer(layer) = graph.nodes[node] else { return false };
    let mut data = graph.incoming(node).filter(|edge| edge.is_data);
    let is_function = matches!(layer.kind, LayerKind::Activation | LayerKind::Clamp);
    is_function
        && data.next().is_some_and(|edge| {
            let adds_up = matches!(graph.nodes[edge.from], Node::Layer(source)
                if source.kind.has_weight() || source.kind == LayerKind::Addition);
            states[edge.from] == State::Codes && adds_up && edge.quantization.is_none()
        })
        && data.next().is_none()
}

/// Whether a layer does arithmetic on activations, instead of moving them or computing with shapes.
fn computes_in_float(layer: &LayerInfo, graph: &Graph<'_>, node: usize) -> bool {
    let is_arithmetic = !matches!(
        layer.kind,
        LayerKind::Movement
            | LayerKind::Identity
            | LayerKind::Constant
            | LayerKind::Shape
            | LayerKind::ControlFlow
            | LayerKind::Concatenation
    );
    let is_real = graph.output(node).is_none_or(|output| {
        output.origin == ValueOrigin::Activation
            && (output.dtype.is_float() || output.dtype == DType::UNDEFINED)
    });
    // Unknown operators may be anything; element-wise ones of one input are activations to the host.
    let is_known = layer.kind != LayerKind::Other;
    is_arithmetic && is_real && is_known && !layer.is_inner && graph.incoming(node).next().is_some()
}

/// Whether it multiplies by a weight that is stored and used in float.
fn has_float_weight(layer: &LayerInfo, info: &ModelInfo) -> bool {
    if !matches!(layer.kind, LayerKind::Convolution | LayerKind::Linear | LayerKind::Recurrent) {
        return false;
    }
    let weight = layer.weights.iter().find(|used| !used.is_bias).and_then(|used| info.tensor(&used.tensor));
    weight.is_some_and(|weight| weight.dtype.is_float() && weight.quantization.is_none())
}

/// Inputs and outputs without a declared type or shape, in a file that declares those of other values.
pub(super) fn untyped(info: &ModelInfo) -> Vec<LintFinding> {
    let ends = [("input", &info.inputs), ("output", &info.outputs)];
    let is_typed = |value: &ValueInfo| value.dtype != DType::UNDEFINED && value.shape.is_some();
    // Some formats record no types at all.
    let records_types = info.outputs.iter().chain(&info.values).any(is_typed);
    let mut findings = Vec::new();
    for (what, values) in ends.into_iter().filter(|_| records_types) {
        for value in values.iter().filter(|value| value.type_name.is_none()) {
            let missing = match (value.dtype == DType::UNDEFINED, value.shape.is_none()) {
                (true, true) => "neither element type nor shape",
                (true, false) => "no element type",
                (false, true) => "no shape",
                (false, false) => continue,
            };
            findings.push(LintFinding {
                tensor: Some(value.name.clone()),
                ..LintFinding::new(Rule::Untyped, format!("{what} `{}` has {missing}", value.name))
            });
        }
    }
    findings
}
