//! The kernels that ONNX Runtime makes of a model's layers, and their times: the answer to `kernels/1`.
//!
//! While it prepares a session, the runtime writes the graph that it has made of the model's. That graph is read like any
//! model; `origin` finds the layers that each of its nodes computes, `reason` why a quantized layer is not computed in
//! integers, `profile` the times.

mod origin;
mod profile;
mod reason;
mod wiring;

use super::plan::Settings;
use crate::document::Document;
use crate::graph::Layer;
use crate::kind;
use crate::proto::GraphProto;
use crate::shape::Facts;
use crate::source::Source;
use origin::Origins;
use profile::Profile;
use qp_abi::sdk::{
    Arithmetic, BackendError, DType, InputRole, Kernel, Kernels, LayerKind, ModelInfo, QuantizedLayer, Result,
};
use reason::Reasons;
use std::path::{Path, PathBuf};
use wiring::Wiring;

/// The files that a session leaves in a folder.
#[derive(Debug)]
pub struct Files<'a>(pub &'a Path);

impl Files<'_> {
    /// The graph that the runtime has made.
    pub fn graph(&self) -> PathBuf {
        self.0.join("optimized.onnx")
    }

    /// The stored tensors of that graph, by a name in the same folder.
    pub const TENSORS: &'static str = "optimized.bin";

    /// How the names of profiles begin.
    pub fn profile(&self) -> PathBuf {
        self.0.join("profile")
    }
}

/// The domain of the kernels for values whose channels are in blocks; all of them compute in float.
const BLOCKED: &str = "com.microsoft.nchwc";

/// The answer to `kernels/1` from the graph in `folder` and, if there is one, a profile.
///
/// # Errors
/// `RuntimeFailed` if what the runtime has written cannot be read.
pub fn answer(
    info: &ModelInfo,
    settings: Settings,
    folder: &Path,
    profile: Option<&Path>,
) -> Result<Kernels> {
    let unreadable = |error: BackendError| {
        BackendError::runtime_failed("the graph that ONNX Runtime has written cannot be read")
            .with_cause(error.message.to_string())
    };
    let source = Source::open(&Files(folder).graph()).map_err(unreadable)?;
    let document = Document::of(source).map_err(unreadable)?;
    let profile = profile.map(Profile::read).transpose()?.unwrap_or_default();
    let made = Made::of(&document);
    let wiring = Wiring::of(info);
    let origins = Origins::of(&wiring, &made);
    let mut times = profile.of_kernels(&made);
    let arithmetic: Vec<Arithmetic> = (0..made.layers.len()).map(|kernel| made.arithmetic(kernel)).collect();
    let reasons = Reasons { wiring: &wiring, settings };
    // A layer without a kernel has been removed: it has no effect, or is part of the codes.
    let kept = reasons.quantized().filter(|&layer| origins.of_layer(layer).next().is_some());
    let quantized = kept.map(|layer| {
        let is_integer = origins.of_layer(layer).any(|kernel| arithmetic[kernel] == Arithmetic::Integer);
        let reason = (!is_integer).then(|| reasons.reason(layer));
        QuantizedLayer { layer: wiring.layers[layer].path.to_string(), reason }
    });
    let kernels = made.layers.iter().enumerate().map(|(kernel, layer)| Kernel {
        name: made.names[kernel].to_owned(),
        operator: layer.op_type.clone(),
        arithmetic: arithmetic[kernel],
        element_type: made.element_type(kernel),
        layers: origins.of_kernel(kernel).map(|layer| wiring.layers[layer].path.to_string()).collect(),
        is_inner: !layer.scope.is_empty(),
        times_ns: std::mem::take(&mut times[kernel]),
    });
    Ok(Kernels { kernels: kernels.collect(), quantized: quantized.collect(), runs_ns: profile.runs_ns() })
}

/// The graph that the runtime has made.
struct Made<'a> {
    layers: &'a [Layer],
    /// The nodes' own names, which need not be unique; empty for a node without one.
    names: Vec<&'a str>,
    values: &'a [crate::graph::Value],
    facts: Facts,
}

impl<'a> Made<'a> {
    fn of(document: &'a Document) -> Self {
        let graph = &document.graph;
        let mut names = Vec::with_capacity(graph.layers.len());
        if let Some(graph) = &document.model.graph {
            collect_names(graph, &mut names);
        }
        names.resize(graph.layers.len(), "");
        Self { layers: &graph.layers, names, values: &graph.values, facts: Facts::of(document) }
    }

    /// The type of the first operand, or of what is put out: scales and conditions do not count.
    fn dtype(&self, kernel: usize) -> DType {
        let layer = &self.layers[kernel];
        if layer.domain == BLOCKED {
            return DType::FLOAT32;
        }
        let is_operand = |slot: usize| {
            let role = kind::of_input(&layer.op_type, slot, layer.inputs.len());
            matches!(role, InputRole::DATA | InputRole::WEIGHT)
        };
        let operands = layer.inputs.iter().enumerate().filter(|(slot, _)| is_operand(*slot));
        let values = operands.map(|(_, value)| value).chain(&layer.outputs).flatten();
        let known = |dtype: &DType| *dtype != DType::UNDEFINED;
        values.filter_map(|&value| self.facts.get(value).dtype).find(known).unwrap_or(DType::UNDEFINED)
    }

    fn element_type(&self, kernel: usize) -> String {
        let dtype = Some(self.dtype(kernel)).filter(|dtype| *dtype != DType::UNDEFINED);
        dtype.and_then(DType::known_name).unwrap_or_default().to_owned()
    }

    fn arithmetic(&self, kernel: usize) -> Arithmetic {
        let layer = &self.layers[kernel];
        match kind::of_operator(&layer.op_type) {
            LayerKind::QUANTIZE | LayerKind::DEQUANTIZE => return Arithmetic::Conversion,
            _ if layer.op_type == "Cast" => return Arithmetic::Conversion,
            _ if is_integer(layer) => return Arithmetic::Integer,
            _ => {}
        }
        match self.dtype(kernel) {
            DType::INT4 | DType::UINT4 | DType::INT8 | DType::UINT8 | DType::INT16 | DType::UINT16 => {
                Arithmetic::Integer
            }
            DType::FLOAT16 | DType::BFLOAT16 | DType::FLOAT32 | DType::FLOAT64 => Arithmetic::Float,
            _ => Arithmetic::Other,
        }
    }
}

/// Whether a node computes with codes, whatever the types of its inputs.
fn is_integer(layer: &Layer) -> bool {
    // At this level of accuracy it rounds its input to codes, too.
    const INT8_INSIDE: i64 = 4;
    is_integer_operator(&layer.op_type)
        || (layer.op_type == "MatMulNBits" && layer.int("accuracy_level") == Some(INT8_INSIDE))
}

fn is_integer_operator(operator: &str) -> bool {
    match operator {
        "ConvInteger"
        | "ConvIntegerToFloat"
        | "MatMulInteger"
        | "MatMulIntegerToFloat"
        | "DynamicQuantizeMatMul"
        | "DynamicQuantizeLSTM"
        | "QGemm"
        | "QAttention"
        | "QEmbedLayerNormalization" => true,
        operator => operator.starts_with("QLinear"),
    }
}

/// The names of all nodes in the order of [`Document::graph`]: nodes of a branch follow the node that holds it.
fn collect_names<'a>(graph: &'a GraphProto, names: &mut Vec<&'a str>) {
    for node in &graph.node {
        names.push(node.name.as_deref().unwrap_or_default());
        for attribute in &node.attribute {
            for inner in attribute.g.iter().chain(&attribute.graphs) {
                collect_names(inner, names);
            }
        }
    }
}
