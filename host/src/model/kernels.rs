//! What a runtime makes of a model's layers.

use serde::{Deserialize, Serialize};

/// How a kernel computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arithmetic {
    /// With codes.
    Integer,
    /// With real numbers.
    Float,
    /// It turns one into the other, or one type into another.
    Conversion,
    /// Neither, or unknown: shapes, booleans, texts.
    #[default]
    #[serde(other)]
    Other,
}

impl Arithmetic {
    /// The words for a schema.
    pub const WORDS: &'static [&'static str] = &["integer", "float", "conversion", "other"];
}

/// A kernel: a node of the graph that the runtime runs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Kernel {
    /// Its name in that graph.
    pub name: String,
    /// Its operator there.
    pub operator: String,
    /// How it computes.
    pub arithmetic: Arithmetic,
    /// The element type of what it computes with; empty if unknown.
    #[serde(default)]
    pub element_type: String,
    /// The paths of the layers that it computes, the most important one first; none if the runtime has added it.
    #[serde(default)]
    pub layers: Vec<String>,
    /// Whether it is part of another kernel: of a branch or a loop.
    #[serde(default)]
    pub is_inner: bool,
    /// What it took in each profiled run.
    #[serde(default)]
    pub times_ns: Vec<u64>,
}

/// Why a quantized layer is not computed in integers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct FloatReason {
    /// A name for what is the same in other layers.
    pub code: String,
    /// What is in the way of this layer.
    pub text: String,
    /// What to do about it.
    #[serde(default)]
    pub next_step: String,
}

/// A layer that the file has quantized.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct QuantizedLayer {
    /// Its path.
    pub layer: String,
    /// `None` if it is computed in integers.
    #[serde(default)]
    pub reason: Option<FloatReason>,
}

/// What a runtime makes of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Kernels {
    /// In the order in which they run.
    pub kernels: Vec<Kernel>,
    /// The quantized layers, in the model's order.
    #[serde(default)]
    pub quantized: Vec<QuantizedLayer>,
    /// How long each profiled run took as a whole.
    #[serde(default)]
    pub runs_ns: Vec<u64>,
}
