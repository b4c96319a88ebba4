//! What of a model can be quantized, and how its tensors depend on each other.

use super::FloatReason;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// When activations become codes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Activations {
    /// With scales that calibration finds.
    #[default]
    Calibrated,
    /// With scales of their own at each run; the answer has no values.
    Dynamic,
    /// Never: weights alone are codes, and the answer has no values.
    Float,
}

/// What the request asks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct QuantizableOf {
    /// Layers to leave as they are, by path.
    pub exclude: BTreeSet<String>,
    /// Only layers of these operators; empty for all that the backend quantizes.
    pub op_types: BTreeSet<String>,
    /// Whether weights get a scale for each channel where the layer allows it.
    pub per_channel: bool,
    /// Whether the codes of activations are symmetric around zero: clamps are then not part of the codes.
    pub symmetric_activations: bool,
    /// Whether clamps such as ReLU stay in the graph even where the codes do the same.
    pub keep_clamps: bool,
    /// Whether layers that only move values are quantized even if their input is not.
    pub quantize_moves: bool,
    /// When activations become codes.
    pub activations: Activations,
    /// Whether weights get scales for blocks of their inputs: only those of matrix products then.
    pub in_blocks: bool,
}

/// A value that is rounded to codes.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct QuantizableValue {
    /// Its name.
    pub name: String,
    /// The value whose scale and zero point it has; `None` for its own.
    #[serde(default)]
    pub same_as: Option<String>,
    /// The value whose calibrated range it has; `None` for its own.
    #[serde(default)]
    pub range_of: Option<String>,
    /// The range, where it does not depend on data.
    #[serde(default)]
    pub range: Option<(f32, f32)>,
}

/// A stored tensor that becomes codes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct QuantizableTensor {
    /// Its name.
    pub name: String,
    /// The axis with a scale for each index; `None` for one scale.
    #[serde(default)]
    pub axis: Option<usize>,
    /// The axis along which products are summed, for a weight of two dimensions; blocks lie along it.
    #[serde(default)]
    pub input_axis: Option<usize>,
    /// Whether it is a constant operand, with the type of activations, and not a weight.
    #[serde(default)]
    pub is_operand: bool,
    /// Whether its codes have to be signed, with 0 in the middle.
    #[serde(default)]
    pub is_signed: bool,
    /// The layers that read it, by path.
    #[serde(default)]
    pub layers: Vec<String>,
    /// A value that each of these layers computes.
    #[serde(default)]
    pub values: Vec<String>,
}

/// A bias that becomes integers, with the product of two scales.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct QuantizableBias {
    /// The stored tensor.
    pub tensor: String,
    /// The name of a copy for this layer, if the layers that share the tensor have different scales.
    #[serde(default)]
    pub copy: Option<String>,
    /// The layer, by path.
    pub layer: String,
    /// A value that the layer computes.
    pub value: String,
    /// The value that the layer reads.
    pub input: String,
    /// The stored tensor or value that it is multiplied with.
    pub weight: String,
    /// What the product of both scales is multiplied with.
    pub factor: f32,
}

/// A clamp that the codes of its result make superfluous.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct FoldedClamp {
    /// What it computes: the value that is computed before it gets this name.
    pub value: String,
    /// The clamp, by path.
    pub layer: String,
}

/// What becomes of a layer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct QuantizableLayer {
    /// Its path.
    pub layer: String,
    /// Why it stays as it is; `None` if it is quantized.
    #[serde(default)]
    pub reason: Option<FloatReason>,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Quantizable {
    /// The values to calibrate and round.
    pub values: Vec<QuantizableValue>,
    /// The tensors to quantize.
    pub tensors: Vec<QuantizableTensor>,
    /// The biases to quantize.
    #[serde(default)]
    pub biases: Vec<QuantizableBias>,
    /// The clamps to remove, before all else and in this order.
    #[serde(default)]
    pub folded: Vec<FoldedClamp>,
    /// The layers, in the model's order.
    pub layers: Vec<QuantizableLayer>,
}
