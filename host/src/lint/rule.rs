//! The rules of `lint`: how severe each is, and what to do about it.

use qp_analysis::Reason;
use serde::Serialize;

/// How severe a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Results are wrong, or the file is dangerous, whatever runs it.
    Error,
    /// Probably a mistake, or a loss of accuracy.
    Warning,
    /// Worth knowing; often on purpose.
    Note,
}

impl Level {
    /// The words in reports.
    pub const WORDS: &'static [&'static str] = &["error", "warning", "note"];

    /// The level with this name.
    pub fn of_word(word: &str) -> Option<Self> {
        match word {
            "error" => Some(Self::Error),
            "warning" => Some(Self::Warning),
            "note" => Some(Self::Note),
            _ => None,
        }
    }
}

/// What a finding is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Scales, zero points and codes of one tensor.
    Parameters(Reason),
    /// A sum of products can exceed 32 bits.
    AccumulatorOverflow,
    /// A sum of two products can exceed 16 bits.
    PairOverflow,
    /// Scaled sums lie exactly between two codes.
    RoundingTies,
    /// A layer with weights is in float in a model that is otherwise quantized.
    FloatLayer,
    /// A layer without weights is in float between two quantized ones.
    FloatBetween,
    /// An input or output has no element type or no shape.
    Untyped,
    /// What the reader of the file noticed.
    Reader {
        /// Its code there.
        code: String,
        /// Its severity there.
        level: Level,
    },
}

impl Rule {
    /// A machine-readable name; it does not change.
    pub fn code(&self) -> &str {
        match self {
            Self::Parameters(reason) => reason.code(),
            Self::AccumulatorOverflow => "accumulator-overflow",
            Self::PairOverflow => "pair-overflow",
            Self::RoundingTies => "rounding-ties",
            Self::FloatLayer => "float-layer",
            Self::FloatBetween => "float-between",
            Self::Untyped => "untyped",
            Self::Reader { code, .. } => code,
        }
    }

    /// How severe it is.
    pub fn level(&self) -> Level {
        match self {
            Self::Parameters(reason) => match reason {
                Reason::ScaleZero
                | Reason::ScaleInfinite
                | Reason::ScaleNan
                | Reason::ScaleNegative
                | Reason::ZeroPointOutOfRange
                | Reason::CountMismatch => Level::Error,
                Reason::ScaleSubnormal
                | Reason::ZeroPointFractional
                | Reason::ScaleSpread
                | Reason::RangeTiny
                | Reason::BiasScale
                | Reason::BiasSaturated
                | Reason::PairMismatch
                | Reason::NarrowCodes
                | Reason::NarrowChannel => Level::Warning,
                Reason::ZeroChannel | Reason::FewCodes | Reason::BlockRemainder => Level::Note,
            },
            Self::AccumulatorOverflow => Level::Warning,
            Self::PairOverflow
            | Self::RoundingTies
            | Self::FloatLayer
            | Self::FloatBetween
            | Self::Untyped => Level::Note,
            Self::Reader { level, .. } => *level,
        }
    }

    /// What to do, or which command shows more.
    pub fn next_step(&self) -> &'static str {
        match self {
            Self::Parameters(reason) => next_step_of(*reason),
            Self::AccumulatorOverflow => {
                "Use fewer bits for the activations or the weights, or a runtime that adds into 64 bits or float."
            }
            Self::PairOverflow => {
                "`saturation` counts how often it happens on data. Quantize the weights to 7 bits (`reduce_range`) if the model runs on x86 without VNNI."
            }
            Self::RoundingTies => {
                "Expect differences of one step between runtimes that round half to even and those that round half away from zero; `drift` shows them."
            }
            Self::FloatLayer => {
                "If this is not intended, look for the layer in the quantizer's list of excluded nodes."
            }
            Self::FloatBetween => {
                "Each such layer costs a conversion to float and back. Add its operator to the quantizer's list, or fuse it before quantizing."
            }
            Self::Untyped => "Export the model again with shape inference; quantizers need types and shapes.",
            Self::Reader { .. } => "`info` has the details.",
        }
    }
}

fn next_step_of(reason: Reason) -> &'static str {
    match reason {
        Reason::ScaleZero | Reason::ScaleNan | Reason::ScaleInfinite | Reason::ScaleNegative => {
            "Calibrate again: a scale must be a positive number. Look for NaN or constant activations first (`capture`)."
        }
        Reason::ScaleSubnormal => "Use a larger scale: runtimes that flush subnormal numbers read it as 0.",
        Reason::ZeroPointOutOfRange | Reason::ZeroPointFractional | Reason::CountMismatch => {
            "Write the zero point again: one code of its type for each scale."
        }
        Reason::ScaleSpread => {
            "Equalize the channels before quantizing (cross-layer equalization), or fold batch normalization."
        }
        Reason::ZeroChannel => {
            "Prune the channel, or find out what made it zero: `weights LAYER --compare MODEL` shows it beside the float one."
        }
        Reason::NarrowCodes => {
            "The scale is too large. Calibrate again, or divide the scale; `weights` shows the histogram."
        }
        Reason::FewCodes => {
            "Fewer bits would hold the same values; outliers may have widened the range: `weights` shows the histogram."
        }
        Reason::NarrowChannel => "Quantize this weight per channel.",
        Reason::RangeTiny => "Calibration saw only zeros here. Calibrate with samples that reach this layer.",
        Reason::BlockRemainder => {
            "Choose a block size that divides the axis: kernels pad the last block or reject it."
        }
        Reason::BiasSaturated => {
            "The bias did not fit in 32 bits: the scale of input times weight is too small. Widen the weight's scale of these channels."
        }
        Reason::BiasScale => "Quantize the bias again with input scale × weight scale.",
        Reason::PairMismatch => "Give both ends the same scale and zero point, unless rescaling is intended.",
    }
}
