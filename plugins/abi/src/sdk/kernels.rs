//! What a runtime makes of a model: the request `kernels/1`.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What the request asks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelsOf {
    /// A folder of the host's that the runtime may write to.
    pub folder: PathBuf,
    /// The options of the runs that are meant, by name.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// Whether the times are wanted of the runs since the last request, with these options and the option
    /// [`PROFILE`](super::PROFILE) set to the same folder.
    #[serde(default)]
    pub timed: bool,
}

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

/// A kernel: what the runtime runs for one or more layers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kernel {
    /// Its name in the runtime.
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
    /// What it took in each run, as many as there are runs.
    #[serde(default)]
    pub times_ns: Vec<u64>,
}

/// Why a quantized layer is not computed in integers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FloatReason {
    /// A name for what is the same in other layers.
    pub code: String,
    /// What is in the way of this layer.
    pub text: String,
    /// What to do about it.
    #[serde(default)]
    pub next_step: String,
}

impl FloatReason {
    /// A reason with a next step.
    pub fn new(code: &str, text: impl Into<String>, next_step: &str) -> Self {
        Self { code: code.to_owned(), text: text.into(), next_step: next_step.to_owned() }
    }
}

/// A layer that the file has quantized, and that the runtime has not removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuantizedLayer {
    /// Its path.
    pub layer: String,
    /// `None` if it is computed in integers.
    #[serde(default)]
    pub reason: Option<FloatReason>,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kernels {
    /// In the order in which they run.
    pub kernels: Vec<Kernel>,
    /// The quantized layers, in the model's order.
    #[serde(default)]
    pub quantized: Vec<QuantizedLayer>,
    /// How long each run took as a whole.
    #[serde(default)]
    pub runs_ns: Vec<u64>,
}
