//! How to quantize; names and defaults are those of `onnxruntime.quantization.quantize_static`, and of `quantize_dynamic` and
//! `MatMulNBitsQuantizer` where activations are not calibrated.

use crate::model::{Activations, DType};
use qp_analysis::calibration::HistogramKind;
use std::collections::HashMap;

/// How ranges are chosen from the values that a model computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// From the smallest to the largest value.
    MinMax,
    /// The range whose codes keep the distribution best.
    Entropy,
    /// The range of nearly all values.
    Percentile,
    /// The range with the least mean squared error.
    Mse,
}

/// How weights become codes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rounding {
    /// Each to the nearest one.
    #[default]
    Nearest,
    /// One after the other, the later ones making up for the errors of the earlier, by GPTQ.
    Gptq,
    /// The same, and then by descent to where no change of one or two codes lowers the error.
    Descent,
}

/// What is done beyond choosing ranges; each step costs runs of the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lift {
    /// Channels between layers are scaled first, so that one scale fits them all.
    pub equalize: bool,
    /// Ranges of weights with the least mean squared error, in place of all their values.
    pub clip_weights: bool,
    /// How weights of convolutions and matrix products are rounded.
    pub rounding: Rounding,
    /// What quantization adds to the mean of each channel is taken from the biases.
    pub correct_biases: bool,
}

/// How to quantize.
#[derive(Clone, Debug)]
pub struct Options {
    /// When activations become codes.
    pub activations: Activations,
    /// The codes of activations.
    pub activation: DType,
    /// The codes of weights.
    pub weight: DType,
    /// Scales for blocks of the inputs of matrix products, instead of one or one for each channel.
    pub block_size: Option<usize>,
    /// How products of blocks are computed inside, for the operator that the backend writes for them; see
    /// `accuracy_level` of `MatMulNBits`.
    pub accuracy_level: Option<u8>,
    /// Other codes for single weights, by the layer that reads them.
    pub weight_of: HashMap<String, DType>,
    /// A scale for each channel of a weight.
    pub per_channel: bool,
    /// One bit less for weights.
    pub reduce_range: bool,
    /// How activations are calibrated.
    pub method: Method,
    /// The percentage of values within a range, for percentiles.
    pub percentile: f64,
    /// Calibrated ranges with zero in the middle; `None` as the method has it: percentiles have, others do not.
    pub range_symmetric: Option<bool>,
    /// The mean of the batches' extremes instead of the extremes of all.
    pub moving_average: bool,
    /// Ranges of activations with zero in the middle, for their codes.
    pub activation_symmetric: bool,
    /// The same for weights; `None` for signed types only.
    pub weight_symmetric: Option<bool>,
    /// The least width of a range.
    pub min_real_range: Option<f32>,
    /// Patterns of layers to leave as they are.
    pub exclude: Vec<String>,
    /// Only layers of these operators; empty for all that can be quantized.
    pub op_types: Vec<String>,
    /// Whether clamps stay in the graph.
    pub keep_clamps: bool,
    /// Whether layers that only move values are quantized in any case.
    pub quantize_moves: bool,
    /// Whether the graph is cleaned up before.
    pub prepare: bool,
    /// Whether the result has operators of codes instead of pairs of QuantizeLinear and DequantizeLinear, and of products of
    /// blocks.
    pub qoperator: bool,
    /// What is done to lift accuracy.
    pub lift: Lift,
    /// Whether a weight's scale grows where its bias would not fit into 32 bits.
    pub adjust_for_bias: bool,
}

impl Default for Options {
    /// Those of `quantize_static`.
    fn default() -> Self {
        Self {
            activations: Activations::Calibrated,
            activation: DType::INT8,
            weight: DType::INT8,
            block_size: None,
            accuracy_level: None,
            weight_of: HashMap::new(),
            per_channel: false,
            reduce_range: false,
            method: Method::MinMax,
            percentile: 99.999,
            range_symmetric: None,
            moving_average: false,
            activation_symmetric: false,
            weight_symmetric: None,
            min_real_range: None,
            exclude: Vec::new(),
            op_types: Vec::new(),
            keep_clamps: false,
            quantize_moves: false,
            prepare: true,
            qoperator: false,
            lift: Lift::default(),
            adjust_for_bias: true,
        }
    }
}

impl Method {
    /// Its name.
    pub fn word(self) -> &'static str {
        match self {
            Self::MinMax => "minmax",
            Self::Entropy => "entropy",
            Self::Percentile => "percentile",
            Self::Mse => "mse",
        }
    }
}

impl Options {
    /// Whether the model runs on samples.
    pub fn needs_samples(&self) -> bool {
        self.activations == Activations::Calibrated || self.lift != Lift::default()
    }

    /// The histogram from which the method takes its ranges; `None` if extremes are enough.
    pub(super) fn histogram_kind(&self) -> Option<HistogramKind> {
        match self.method {
            Method::MinMax => None,
            Method::Percentile if self.range_symmetric.unwrap_or(true) => Some(HistogramKind::Magnitudes),
            Method::Percentile | Method::Entropy | Method::Mse => Some(HistogramKind::Values),
        }
    }

    /// The codes of a weight that these layers read.
    pub(super) fn weight_codes(&self, layers: &[String]) -> DType {
        layers.iter().find_map(|layer| self.weight_of.get(layer)).copied().unwrap_or(self.weight)
    }

    /// Whether weights of this type have zero in the middle of their codes.
    pub(super) fn is_weight_symmetric(&self, codes: DType) -> bool {
        let is_signed = matches!(codes, DType::INT4 | DType::INT8 | DType::INT16);
        self.weight_symmetric.unwrap_or(is_signed)
    }
}
