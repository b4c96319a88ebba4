//! What layers do, in the contract's words: the host knows no operator's name.

use serde::Serialize;

/// Declares the kinds with the names that the contract gives them.
macro_rules! kinds {
    ($($(#[$doc:meta])+ $kind:ident, $name:literal;)+) => {
        /// What a layer does, as its plugin says.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum LayerKind {
            /// None of the others, not known, or a kind that this qp does not know.
            #[default]
            Other,
            $($(#[$doc])+ $kind,)+
        }

        impl LayerKind {
            /// The name in results.
            pub fn name(self) -> &'static str {
                match self {
                    Self::Other => "other",
                    $(Self::$kind => $name,)+
                }
            }

            /// The kind of that name.
            pub fn of_name(name: &str) -> Self {
                match name {
                    $($name => Self::$kind,)+
                    _ => Self::Other,
                }
            }
        }
    };
}

kinds! {
    /// A convolution, transposed ones included.
    Convolution, "convolution";
    /// A matrix product.
    Linear, "linear";
    /// Normalizes over a batch with stored statistics.
    BatchNormalization, "batch-normalization";
    /// Normalizes by statistics of the value itself.
    Normalization, "normalization";
    /// A function of each element that is no clamp.
    Activation, "activation";
    /// Cuts each element off at bounds.
    Clamp, "clamp";
    /// Averages or maxima over windows.
    Pooling, "pooling";
    /// The sum of its data inputs.
    Addition, "addition";
    /// The product of its data inputs.
    Multiplication, "multiplication";
    /// Joins its data inputs along an axis.
    Concatenation, "concatenation";
    /// Moves or reshapes values and computes none.
    Movement, "movement";
    /// Interpolates between values.
    Resize, "resize";
    /// A recurrent layer.
    Recurrent, "recurrent";
    /// Looks rows of a stored table up.
    Embedding, "embedding";
    /// Attention in one layer.
    Attention, "attention";
    /// Exponentials over their sum.
    Softmax, "softmax";
    /// Rounds real numbers to codes.
    Quantize, "quantize";
    /// Turns codes into real numbers.
    Dequantize, "dequantize";
    /// Rounds real numbers to what codes stand for.
    QuantizeDequantize, "quantize-dequantize";
    /// Turns codes into other codes.
    Requantize, "requantize";
    /// Depends on stored tensors alone.
    Constant, "constant";
    /// Hands its data on as it is.
    Identity, "identity";
    /// Computes with shapes.
    Shape, "shape";
    /// Holds other layers and chooses or repeats them.
    ControlFlow, "control-flow";
    /// Sums or means over axes.
    Reduction, "reduction";
    /// Element by element of several inputs, neither a sum nor a product.
    Elementwise, "elementwise";
}

impl LayerKind {
    /// Whether a layer of this kind only quantizes or dequantizes what others compute.
    pub fn is_plumbing(self) -> bool {
        matches!(self, Self::Quantize | Self::Dequantize | Self::QuantizeDequantize | Self::Requantize)
    }

    /// Whether what a layer of this kind computes is an activation: it depends on the elements of the inputs.
    pub fn computes_activations(self) -> bool {
        !matches!(self, Self::Constant | Self::Shape)
    }

    /// Whether a layer of this kind usually has a weight.
    pub fn has_weight(self) -> bool {
        matches!(
            self,
            Self::Convolution
                | Self::Linear
                | Self::BatchNormalization
                | Self::Normalization
                | Self::Embedding
                | Self::Recurrent
                | Self::Attention
        )
    }
}

impl Serialize for LayerKind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// What an input of a layer is to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InputRole {
    /// What the layer computes with.
    #[default]
    Data,
    /// The weight, or one of several.
    Weight,
    /// What is added to each output channel.
    Bias,
    /// A bound of a clamp.
    Bound,
    /// Anything else: a shape, axes, a scale.
    Parameter,
}

/// The numbers between which a layer leaves its elements; infinite where there is no bound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// The lower one.
    pub low: f64,
    /// The upper one.
    pub high: f64,
}

/// A stored tensor that is a weight or a bias of a layer.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightUse {
    /// Its name.
    pub tensor: String,
    /// Whether it is a bias.
    pub is_bias: bool,
    /// The axis of the output channels as it is stored.
    pub channel_axis: Option<i64>,
    /// Whether a matrix is stored as (in, out).
    pub is_transposed: bool,
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ValueOrigin {
    /// Computed from the elements of the inputs, or nothing is known.
    #[default]
    Activation,
    /// Computed from stored tensors alone.
    Constant,
    /// Computed from the shapes of values.
    Shape,
}
