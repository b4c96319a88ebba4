//! What a layer does, in terms independent of the operator names of frameworks.
//!
//! The host pairs layers, sees through quantization, emulates it, and finds residual additions by this information
//! alone: it knows no operator names. A plugin that leaves everything at [`LayerKind::OTHER`] and [`InputRole::DATA`]
//! is complete; its layers then pair by their names and by what they compute.

use crate::quant::QuantizationParameters;
use abi_stable::StableAbi;
use abi_stable::std_types::{ROption, RString};

/// What a layer does. An open set: the host treats unknown values as [`OTHER`](Self::OTHER).
#[repr(transparent)]
#[derive(StableAbi, Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LayerKind(pub u16);

/// Declares the kinds with the names that the host prints.
macro_rules! kinds {
    ($($(#[$doc:meta])+ $kind:ident = $code:literal, $name:literal;)+) => {
        impl LayerKind {
            $($(#[$doc])+ pub const $kind: Self = Self($code);)+

            /// Every kind with a name.
            pub const ALL: &'static [Self] = &[$(Self::$kind),+];

            /// The name as the host prints it; `other` for a kind without one.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)+
                    _ => "other",
                }
            }
        }
    };
}

kinds! {
    /// None of the others, or unknown.
    OTHER = 0, "other";
    /// A convolution, transposed ones included.
    CONVOLUTION = 1, "convolution";
    /// A matrix product, with a stored matrix or without one.
    LINEAR = 2, "linear";
    /// Normalizes over a batch with stored statistics: a factor and an offset per channel, which can be folded into
    /// the preceding convolution.
    BATCH_NORMALIZATION = 3, "batch-normalization";
    /// Normalizes by statistics of the value itself: layer, group, instance, root mean square.
    NORMALIZATION = 4, "normalization";
    /// An element-wise function other than a clamp: sigmoid, GELU, hard swish.
    ACTIVATION = 5, "activation";
    /// Limits each element to bounds and does nothing else: ReLU, ReLU6, clip. Its [`Bounds`] are given.
    CLAMP = 6, "clamp";
    /// Average or maximum over windows, or over everything.
    POOLING = 7, "pooling";
    /// The sum of its data inputs.
    ADDITION = 8, "addition";
    /// The product of its data inputs, element by element.
    MULTIPLICATION = 9, "multiplication";
    /// Joins its data inputs along an axis.
    CONCATENATION = 10, "concatenation";
    /// Moves or reshapes values without computing: reshape, transpose, squeeze, flatten, slice, split, gather along
    /// an axis, padding with zeros.
    MOVEMENT = 11, "movement";
    /// Interpolates between values.
    RESIZE = 12, "resize";
    /// A recurrent layer: LSTM, GRU.
    RECURRENT = 13, "recurrent";
    /// Looks up rows of a stored table.
    EMBEDDING = 14, "embedding";
    /// Attention in one layer.
    ATTENTION = 15, "attention";
    /// Exponentials divided by their sum.
    SOFTMAX = 16, "softmax";
    /// Rounds real numbers to codes, and does nothing else.
    QUANTIZE = 17, "quantize";
    /// Turns codes into real numbers, and does nothing else.
    DEQUANTIZE = 18, "dequantize";
    /// Rounds real numbers to values that codes stand for: both of the previous two at once.
    QUANTIZE_DEQUANTIZE = 19, "quantize-dequantize";
    /// Turns codes into other codes.
    REQUANTIZE = 20, "requantize";
    /// Its result depends on stored tensors only.
    CONSTANT = 21, "constant";
    /// Passes its first data input through unchanged: identity, dropout, a cast to a wider type.
    IDENTITY = 22, "identity";
    /// Computes whole numbers from shapes, or real numbers from those only.
    SHAPE = 23, "shape";
    /// Holds other layers and chooses or repeats them: `If`, `Loop`.
    CONTROL_FLOW = 24, "control-flow";
    /// Sums or means over axes.
    REDUCTION = 25, "reduction";
    /// Element-wise over several data inputs, neither a sum nor a product: difference, quotient, power, choice.
    ELEMENTWISE = 26, "elementwise";
}

/// What an input means to its layer. An open set: the host treats unknown values as [`PARAMETER`](Self::PARAMETER).
#[repr(transparent)]
#[derive(StableAbi, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct InputRole(pub u8);

impl InputRole {
    /// Data to compute with: an activation, or a constant in the place of one.
    pub const DATA: Self = Self(0);
    /// The weight, or one of several.
    pub const WEIGHT: Self = Self(1);
    /// Added to each output channel.
    pub const BIAS: Self = Self(2);
    /// The lower or the upper bound of a clamp.
    pub const BOUND: Self = Self(3);
    /// Anything else: a shape, axes, a scale, a zero point, statistics, an initial state.
    pub const PARAMETER: Self = Self(4);
}

/// The bounds within which a clamp keeps its elements.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// The lower one; -∞ when there is none.
    pub low: f64,
    /// The upper one; ∞ when there is none.
    pub high: f64,
}

/// A stored tensor that is a weight or a bias of a layer.
#[repr(C)]
#[derive(StableAbi, Clone, Debug, PartialEq)]
pub struct WeightUse {
    /// The name in `ModelInfo::tensors`.
    pub tensor: RString,
    /// [`InputRole::WEIGHT`] or [`InputRole::BIAS`].
    pub role: InputRole,
    /// The axis of the output channels in the stored tensor; `RNone` if there is none.
    pub channel_axis: ROption<i64>,
    /// Whether a matrix is stored as (in, out), the transpose of the weight of PyTorch's linear layer.
    pub is_transposed: bool,
}

/// The codes to which a layer rounds one of its inputs by itself, as an integer product with real inputs does.
#[repr(C)]
#[derive(StableAbi, Clone, Debug, PartialEq)]
pub struct InputCodes {
    /// The index in `LayerInfo::inputs`.
    pub input: u32,
    /// The codes; usually dynamic, with new scales in each run.
    pub codes: QuantizationParameters,
}

/// Where a value comes from. An open set: the host treats unknown values as [`ACTIVATION`](Self::ACTIVATION).
#[repr(transparent)]
#[derive(StableAbi, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ValueOrigin(pub u8);

impl ValueOrigin {
    /// From the elements of the inputs, or unknown.
    pub const ACTIVATION: Self = Self(0);
    /// From stored tensors only, through any number of layers.
    pub const CONSTANT: Self = Self(1);
    /// From the shapes of values, and from constants.
    pub const SHAPE: Self = Self(2);
}
