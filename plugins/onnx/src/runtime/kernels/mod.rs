//! The kernels that ONNX Runtime makes of a model's layers, and their times: the answer to `kernels/1`.
//!
//! While it prepares a session, the runtime writes the graph that it has made of the model's. That graph is read like any
//! model; `origin` finds the layers that each of its nodes computes, `reason` why a quantized layer is not computed in
//! integers, `profile` the times.

mod origin;
mod profile;
mod reason;

use super::plan::Settings;
use crate::document::Document;
use crate::graph::Layer;
use crate::kind;
use crate::proto::GraphProto;
use crate::shape::Facts;
use crate::source::Source;
use origin::Origins;
use profile::Profile;
use qp_abi::sdk::{BackendError, DType, LayerKind, ModelInfo, Result};
use reason::{Reason, Reasons};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What `kernels/1` asks.
#[derive(Debug, Deserialize)]
pub struct Wanted {
    /// A folder of the host's for files of the runtime.
    pub folder: PathBuf,
    /// The options of the runs that are meant.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// Whether these runs were profiled, and their times are wanted.
    #[serde(default)]
    pub timed: bool,
}

impl Wanted {
    /// Reads the payload.
    ///
    /// # Errors
    /// `InvalidInput`.
    pub fn read(payload: &str) -> Result<Self> {
        serde_json::from_str(payload).map_err(|error| {
            BackendError::invalid_input("the payload of `kernels/1` has the wrong form")
                .with_cause(error.to_string())
        })
    }
}

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

/// How a kernel computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Arithmetic {
    /// With codes.
    Integer,
    /// With real numbers.
    Float,
    /// It turns one into the other, or one type into another.
    Conversion,
    /// Neither: shapes, booleans, texts.
    Other,
}

/// A node of the graph that the runtime has made.
#[derive(Debug, Serialize)]
struct Kernel<'a> {
    name: &'a str,
    operator: &'a str,
    arithmetic: Arithmetic,
    /// The element type of what it computes with; empty if unknown.
    element_type: String,
    /// The layers that it computes, the most important one first; none if the runtime has added it.
    layers: Vec<&'a str>,
    /// Whether it is part of another kernel: of a branch or a loop.
    is_inner: bool,
    /// What it took in each run.
    times_ns: Vec<u64>,
}

/// A quantized layer of the model.
#[derive(Debug, Serialize)]
struct Quantized<'a> {
    layer: &'a str,
    /// Why it is not computed in integers; `None` if it is.
    reason: Option<Reason>,
}

#[derive(Debug, Serialize)]
struct Answer<'a> {
    kernels: Vec<Kernel<'a>>,
    quantized: Vec<Quantized<'a>>,
    /// How long each run took as a whole.
    runs_ns: Vec<u64>,
}

/// The answer to `kernels/1` from the graph in `folder` and, if there is one, a profile.
///
/// # Errors
/// `RuntimeFailed` if what the runtime has written cannot be read.
pub fn answer(info: &ModelInfo, settings: Settings, folder: &Path, profile: Option<&Path>) -> Result<String> {
    let unreadable = |error: BackendError| {
        BackendError::runtime_failed("the graph that ONNX Runtime has written cannot be read")
            .with_cause(error.message.to_string())
    };
    let source = Source::open(&Files(folder).graph()).map_err(unreadable)?;
    let document = Document::of(source).map_err(unreadable)?;
    let profile = profile.map(Profile::read).transpose()?.unwrap_or_default();
    let made = Made::of(&document);
    let origins = Origins::of(info, &made);
    let mut times = profile.of_kernels(&made);
    let arithmetic: Vec<Arithmetic> = (0..made.layers.len()).map(|kernel| made.arithmetic(kernel)).collect();
    let reasons = Reasons::of(info, settings);
    // A layer without a kernel has been removed: it has no effect, or is part of the codes.
    let kept = reasons.quantized().filter(|&layer| origins.of_layer(layer).next().is_some());
    let quantized = kept.map(|layer| {
        let is_integer = origins.of_layer(layer).any(|kernel| arithmetic[kernel] == Arithmetic::Integer);
        let reason = (!is_integer).then(|| reasons.reason(layer));
        Quantized { layer: &info.layers[layer].path, reason }
    });
    let kernels = made.layers.iter().enumerate().map(|(kernel, layer)| Kernel {
        name: made.names[kernel],
        operator: &layer.op_type,
        arithmetic: arithmetic[kernel],
        element_type: made.element_type(kernel),
        layers: origins.of_kernel(kernel).map(|layer| info.layers[layer].path.as_str()).collect(),
        is_inner: !layer.scope.is_empty(),
        times_ns: std::mem::take(&mut times[kernel]),
    });
    let answer =
        Answer { kernels: kernels.collect(), quantized: quantized.collect(), runs_ns: profile.runs_ns() };
    serde_json::to_string(&answer).map_err(|error| {
        BackendError::internal("the answer to `kernels/1` cannot be written").with_cause(error.to_string())
    })
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

    fn dtype(&self, kernel: usize) -> DType {
        let layer = &self.layers[kernel];
        if layer.domain == BLOCKED {
            return DType::FLOAT32;
        }
        let values = layer.inputs.iter().chain(&layer.outputs).flatten();
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
