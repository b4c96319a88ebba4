//! What layers do, in the contract's words: the host knows no operator names.

/// Declares the kinds with the names that the contract gives them.
macro_rules! kinds {
    ($($(#[$doc:meta])+ $kind:ident, $name:literal;)+) => {
        /// What a layer does, according to its plugin.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum LayerKind {
            /// Anything else, unknown, or a kind that this qp does not know.
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

            /// The kind with this name.
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
    /// An element-wise function other than a clamp.
    Activation, "activation";
    /// Limits each element to bounds.
    Clamp, "clamp";
    /// Average or maximum over windows.
    Pooling, "pooling";
    /// The sum of its data inputs.
    Addition, "addition";
    /// The product of its data inputs.
    Multiplication, "multiplication";
    /// Joins its data inputs along an axis.
    Concatenation, "concatenation";
    /// Moves or reshapes values without computing.
    Movement, "movement";
    /// Interpolates between values.
    Resize, "resize";
    /// A recurrent layer.
    Recurrent, "recurrent";
    /// Looks up rows of a stored table.
    Embedding, "embedding";
    /// Attention in one layer.
    Attention, "attention";
    /// Exponentials divided by their sum.
    Softmax, "softmax";
    /// Rounds real numbers to codes.
    Quantize, "quantize";
    /// Turns codes into real numbers.
    Dequantize, "dequantize";
    /// Rounds real numbers to values that codes stand for.
    QuantizeDequantize, "quantize-dequantize";
    /// Turns codes into other codes.
    Requantize, "requantize";
    /// Depends on stored tensors only.
    Constant, "constant";
    /// Passes its data through unchanged.
    Identity, "identity";
    /// Computes with shapes.
    Shape, "shape";
    /// Holds other layers and chooses or repeats them.
    ControlFlow, "control-flow";
    /// Sums or means over axes.
    Reduction, "reduction";
    /// Element-wise over several inputs, neither a sum nor a product.
    Elementwise, "elementwise";
}

impl LayerKind {
    /// Whether a layer of this kind only quantizes or dequantizes the results of others.
    pub fn is_plumbing(self) -> bool {
        matches!(self, Self::Quantize | Self::Dequantize | Self::QuantizeDequantize | Self::Requantize)
    }

    /// Whether the result of a layer of this kind is an activation: whether it depends on the elements of the inputs.
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

/// What an input means to its layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InputRole {
    /// Data to compute with.
    #[default]
    Data,
    /// The weight, or one of several.
    Weight,
    /// Added to each output channel.
    Bias,
    /// A bound of a clamp.
    Bound,
    /// Anything else: a shape, axes, a scale.
    Parameter,
}

/// The bounds within which a layer keeps its elements; infinite if there is no bound.
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
    /// The axis of the output channels in the stored tensor.
    pub channel_axis: Option<i64>,
    /// Whether a matrix is stored as (in, out).
    pub is_transposed: bool,
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ValueOrigin {
    /// From the elements of the inputs, or unknown.
    #[default]
    Activation,
    /// From stored tensors only.
    Constant,
    /// From the shapes of values.
    Shape,
}
