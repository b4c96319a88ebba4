//! The options, with the names and defaults of `onnxruntime.quantization` where it has them.

use super::super::arguments::number::integer_in;
use super::super::arguments::running::Running;
use super::super::arguments::samples::Samples;
use crate::error::{Error, Result};
use crate::model::{Activations, DType};
use crate::playground::{Loaded, Playground};
use crate::quantization::{Lift, Method, Options, Rounding};
use clap::ValueEnum;
use std::path::PathBuf;

/// The arguments of `quantize`.
#[derive(Debug, clap::Args)]
pub(in super::super) struct Arguments {
    /// The float model: of ONNX, or an exported program or eager module of PyTorch; without it, the current one
    #[arg(value_name = "MODEL")]
    pub(super) name: Option<String>,
    /// Samples to calibrate on: the name of a data set, or what `data` takes; without it, the current input
    #[arg(long, value_name = "DATA")]
    pub(super) data: Option<String>,
    #[command(flatten)]
    pub(super) samples: Samples,
    /// The file to write; without it, one beside the model, with the types in its name
    #[arg(long, value_name = "PATH")]
    pub(super) out: Option<String>,
    /// Replace an existing file
    #[arg(long)]
    pub(super) force: bool,
    /// Activations get their scales at each run instead of from samples, as `quantize_dynamic` has it
    #[arg(long, conflicts_with_all = OF_ACTIVATIONS)]
    dynamic: bool,
    /// Weights alone become codes: in blocks as `MatMulNBitsQuantizer` has it, or with `--block-size 0` by tensor or channel
    #[arg(long, conflicts_with_all = OF_ACTIVATIONS, conflicts_with = "dynamic")]
    weight_only: bool,
    /// How many inputs of a matrix product share a scale of its weight; 0 for no blocks [default: 0, and 128 with
    /// `--weight-only`]
    #[arg(long, value_name = "COUNT", conflicts_with = "dynamic", value_parser = integer_in::<u32>(0..=1 << 20))]
    block_size: Option<u32>,
    /// For `--weight-only`: the least accuracy of products of blocks: 0 leaves it to ONNX Runtime, 1 is float32, 2 float16, 3 bfloat16, 4 int8
    #[arg(long, value_name = "LEVEL", requires = "weight_only", value_parser = integer_in::<u8>(0..=4))]
    accuracy_level: Option<u8>,
    /// The codes of activations
    #[arg(long, value_name = "TYPE", default_value = "int8")]
    activation_type: ActivationType,
    /// The codes of weights [default: int8, and uint4 in blocks with `--weight-only`]
    #[arg(long, value_name = "TYPE")]
    weight_type: Option<WeightType>,
    /// A scale for each channel of a weight
    #[arg(long)]
    per_channel: bool,
    /// One bit less for weights, for processors whose sums of products saturate
    #[arg(long)]
    reduce_range: bool,
    /// How the ranges of activations are chosen
    #[arg(long, value_name = "METHOD", default_value = "minmax")]
    calibrate_method: CalibrateMethod,
    /// For `percentile`: how much of the values a range contains, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 99.999)]
    calib_percentile: f64,
    /// For `minmax`: the mean of the batches' extremes instead of the extremes of all
    #[arg(long)]
    calib_moving_average: bool,
    /// Whether calibrated ranges have zero in the middle; without it, those of `percentile` have
    #[arg(long, value_name = "FLAG")]
    calib_tensor_range_symmetric: Option<bool>,
    /// Leave layers as they are whose name matches a pattern such as `head*`
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<String>,
    /// Only layers of these operators, as in Conv,MatMul
    #[arg(long, value_name = "OPERATORS", value_delimiter = ',')]
    op_types: Vec<String>,
    /// Codes of activations with zero in the middle; clamps such as ReLU then stay in the graph
    #[arg(long)]
    activation_symmetric: bool,
    /// Whether codes of weights have zero in the middle; without it, those of signed types have
    #[arg(long, value_name = "FLAG")]
    weight_symmetric: Option<bool>,
    /// The least width of a range
    #[arg(long, value_name = "WIDTH")]
    minimum_real_range: Option<f32>,
    /// Keep clamps such as ReLU in the graph even where the codes do the same
    #[arg(long)]
    keep_removable_activations: bool,
    /// Quantize layers that only move values, such as transpositions, even if what they read is not quantized
    #[arg(long)]
    force_quantize_no_input_check: bool,
    /// The form of the result: pairs of QuantizeLinear and DequantizeLinear, or operators that take codes
    /// [default: qdq, and qoperator in blocks with `--weight-only`]
    #[arg(long, value_name = "FORM")]
    quant_format: Option<QuantFormat>,
    /// Measure all ranges again, also those of an earlier calibration on the same samples
    #[arg(long)]
    pub(super) fresh: bool,
    /// Quantize the graph as it is: no folding of batch normalizations and constants before
    #[arg(long)]
    as_is: bool,
    /// Scale channels between layers first, so that one scale fits them all
    #[arg(long)]
    equalize: bool,
    /// Ranges of weights: all their values, or those with the least mean squared error
    #[arg(long, value_name = "METHOD", default_value = "minmax")]
    weight_clip: WeightClip,
    /// How weights become codes
    #[arg(long, value_name = "METHOD", default_value = "nearest")]
    rounding: RoundingMethod,
    /// Take from the biases what quantization adds to the mean of each channel
    #[arg(long)]
    bias_correction: bool,
    /// How many layers to print
    #[arg(long, value_name = "COUNT", default_value_t = 8, value_parser = integer_in::<u32>(0..=1_000_000))]
    pub(super) top: u32,
    #[command(flatten)]
    pub(super) running: Running,
}

/// Codes of activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ActivationType {
    Int8,
    Uint8,
    Int16,
    Uint16,
}

/// The form of a quantized graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum QuantFormat {
    Qdq,
    Qoperator,
}

/// Codes of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum WeightType {
    Int8,
    Uint8,
    Int4,
    Uint4,
    Int16,
    Uint16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum CalibrateMethod {
    /// From the smallest to the largest value
    Minmax,
    /// Where the codes keep the distribution best
    Entropy,
    /// Nearly all values
    Percentile,
    /// Where the codes make the least mean squared error
    Mse,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum RoundingMethod {
    /// Each weight to the nearest code
    Nearest,
    /// One after the other, later ones making up for the errors of earlier ones, by the layer's inputs
    Gptq,
    /// The same, and then on to where no change of one or two codes lowers the error
    Descent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum WeightClip {
    /// From the smallest to the largest value
    Minmax,
    /// Where the codes make the least mean squared error
    Mse,
}

impl ActivationType {
    fn dtype(self) -> DType {
        match self {
            Self::Int8 => DType::INT8,
            Self::Uint8 => DType::UINT8,
            Self::Int16 => DType::INT16,
            Self::Uint16 => DType::UINT16,
        }
    }
}

impl WeightType {
    fn dtype(self) -> DType {
        match self {
            Self::Int8 => DType::INT8,
            Self::Uint8 => DType::UINT8,
            Self::Int4 => DType::INT4,
            Self::Uint4 => DType::UINT4,
            Self::Int16 => DType::INT16,
            Self::Uint16 => DType::UINT16,
        }
    }
}

/// What says how activations become codes with scales from samples.
const OF_ACTIVATIONS: [&str; 11] = [
    "activation_type",
    "calibrate_method",
    "calib_percentile",
    "calib_moving_average",
    "calib_tensor_range_symmetric",
    "activation_symmetric",
    "keep_removable_activations",
    "force_quantize_no_input_check",
    "fresh",
    "equalize",
    "bias_correction",
];

impl Arguments {
    /// How many inputs of a product share a scale.
    fn block_size(&self) -> Result<Option<usize>> {
        const DEFAULT: u32 = 128;
        const LEAST: u32 = 16;
        let default = if self.weight_only { DEFAULT } else { 0 };
        match self.block_size.unwrap_or(default) {
            0 => Ok(None),
            size if size >= LEAST && size.is_power_of_two() => Ok(Some(size as usize)),
            _ => Err(Error::usage("`--block-size` takes a power of two from 16 on, or 0 for no blocks")),
        }
    }

    /// The codes of weights.
    fn weight(&self, block_size: Option<usize>) -> Result<DType> {
        let is_product = self.weight_only && block_size.is_some();
        let default = if is_product { WeightType::Uint4 } else { WeightType::Int8 };
        let chosen = self.weight_type.unwrap_or(default);
        let has_16_bits = matches!(chosen, WeightType::Int16 | WeightType::Uint16);
        let has_8_bits = matches!(chosen, WeightType::Int8 | WeightType::Uint8);
        if block_size.is_some() && has_16_bits {
            return Err(Error::usage("blocks have 4 or 8 bits: `--weight-type` int4, uint4, int8 or uint8"));
        }
        if self.dynamic && !has_8_bits {
            return Err(Error::usage("with `--dynamic`, `--weight-type` is int8 or uint8"));
        }
        Ok(chosen.dtype())
    }

    /// Whether the result has operators of codes.
    fn is_qoperator(&self, block_size: Option<usize>) -> Result<bool> {
        let is_wanted = self.quant_format.map(|format| format == QuantFormat::Qoperator);
        if self.dynamic && is_wanted == Some(false) {
            return Err(Error::usage(
                "`--dynamic` has no form with `QuantizeLinear`: leave out `--quant-format`",
            ));
        }
        if self.weight_only && block_size.is_none() && is_wanted == Some(true) {
            return Err(Error::usage(
                "only blocks have an operator of their own: leave out `--quant-format`",
            ));
        }
        if !self.weight_only && block_size.is_some() && is_wanted == Some(true) {
            return Err(Error::usage("operators of codes know no blocks: leave out `--quant-format`"));
        }
        Ok(is_wanted.unwrap_or(self.weight_only && block_size.is_some() || self.dynamic))
    }

    pub(super) fn options(&self) -> Result<Options> {
        if !(self.calib_percentile > 0.0 && self.calib_percentile <= 100.0) {
            return Err(Error::usage("`--calib-percentile` takes a number above 0 and up to 100"));
        }
        if self.minimum_real_range.is_some_and(|width| !(width >= 0.0 && width.is_finite())) {
            return Err(Error::usage("`--minimum-real-range` takes a positive number"));
        }
        let block_size = self.block_size()?;
        if self.accuracy_level.is_some() && block_size.is_none() {
            return Err(Error::usage("`--accuracy-level` is for blocks"));
        }
        if self.weight_clip == WeightClip::Mse && block_size.is_some() {
            return Err(Error::usage("`--weight-clip` is not for blocks: each has a range of its own"));
        }
        let activations = match (self.dynamic, self.weight_only) {
            (true, _) => Activations::Dynamic,
            (_, true) => Activations::Float,
            _ => Activations::Calibrated,
        };
        Ok(Options {
            activations,
            block_size,
            accuracy_level: self.accuracy_level,
            // `DynamicQuantizeLinear` knows no other codes.
            activation: if self.dynamic { DType::UINT8 } else { self.activation_type.dtype() },
            weight: self.weight(block_size)?,
            per_channel: self.per_channel,
            reduce_range: self.reduce_range,
            method: match self.calibrate_method {
                CalibrateMethod::Minmax => Method::MinMax,
                CalibrateMethod::Entropy => Method::Entropy,
                CalibrateMethod::Percentile => Method::Percentile,
                CalibrateMethod::Mse => Method::Mse,
            },
            percentile: self.calib_percentile,
            range_symmetric: self.calib_tensor_range_symmetric,
            moving_average: self.calib_moving_average,
            activation_symmetric: self.activation_symmetric,
            weight_symmetric: self.weight_symmetric,
            min_real_range: self.minimum_real_range,
            exclude: self.exclude.clone(),
            op_types: self.op_types.clone(),
            keep_clamps: self.keep_removable_activations,
            quantize_moves: self.force_quantize_no_input_check,
            prepare: !self.as_is,
            qoperator: self.is_qoperator(block_size)?,
            lift: Lift {
                equalize: self.equalize,
                clip_weights: self.weight_clip == WeightClip::Mse,
                rounding: match self.rounding {
                    RoundingMethod::Nearest => Rounding::Nearest,
                    RoundingMethod::Gptq => Rounding::Gptq,
                    RoundingMethod::Descent => Rounding::Descent,
                },
                correct_biases: self.bias_correction,
            },
            ..Options::default()
        })
    }

    /// The file to write.
    pub(super) fn out(&self, model: &Loaded, options: &Options, playground: &Playground) -> PathBuf {
        if let Some(out) = &self.out {
            return playground.path(out);
        }
        let stem = playground.backends.stem(&model.path);
        let types = if options.activations == Activations::Dynamic {
            format!("dynamic_{}", options.weight)
        } else if options.activations == Activations::Float {
            format!("weights_{}", options.weight)
        } else if options.activation == options.weight {
            options.weight.to_string()
        } else {
            format!("{}_{}", options.activation, options.weight)
        };
        let channels = if options.per_channel { "_perchannel" } else { "" };
        let has_form = options.activations == Activations::Calibrated && options.qoperator;
        let form = if has_form { "_qoperator" } else { "" };
        let extension = model.path.extension().unwrap_or_default().to_string_lossy().into_owned();
        model.path.with_file_name(format!("{stem}_{types}{channels}{form}.{extension}"))
    }
}
