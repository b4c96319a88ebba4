//! The known faults.

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct Cause {
    /// The layer of the reference.
    pub layer: String,
    /// The candidate's.
    pub candidate_layer: String,
    /// Whether it is the range of an input of the model, which the layer reads.
    pub is_input: bool,
    /// What is wrong.
    pub fault: Fault,
}

/// A mistake in the quantization.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// The weights are the reference's times a factor: all, or those of some channels.
    WeightScale {
        /// The candidate's values divided by the reference's.
        factor: f64,
        /// How many channels, and the first of them; `None` for all.
        channels: Option<(u64, u64)>,
    },
    /// The weights are the reference's, moved by some codes.
    WeightZeroPoint {
        /// By how many codes the zero point is too large.
        steps: f64,
    },
    /// Channels are zero that are not zero in the reference.
    ZeroChannels {
        /// How many.
        channels: u64,
        /// The first.
        first: u64,
    },
    /// The input channels are in the opposite order.
    SwappedChannels,
    /// Channels use only a few codes, because all share one scale.
    SharedScale {
        /// How many.
        channels: u64,
        /// How many there are.
        of: u64,
    },
    /// The bias is the reference's times a factor.
    BiasScale {
        /// The candidate's values divided by the reference's.
        factor: f64,
    },
    /// Values exceed the range of the codes.
    Clipped {
        /// What the codes can represent.
        codes: (f64, f64),
        /// What the values reach.
        values: (f64, f64),
        /// The share of the values outside.
        share: f64,
    },
    /// The range of the codes is much too wide for the values.
    TooWide {
        /// What the codes can represent.
        codes: (f64, f64),
        /// What the values reach.
        values: (f64, f64),
    },
    /// A few extreme values have set a range in which most others become 0.
    Extreme {
        /// What the codes can represent.
        codes: (f64, f64),
        /// The share of the values that become 0.
        share: f64,
    },
    /// The range of the codes is shifted relative to the values.
    ZeroPoint {
        /// By how many codes the zero point is too large.
        steps: f64,
        /// What the codes can represent.
        codes: (f64, f64),
        /// What the values reach.
        values: (f64, f64),
    },
}

impl Fault {
    /// A machine-readable name; it does not change.
    pub fn code(&self) -> &'static str {
        match self {
            Self::WeightScale { .. } => "weight-scale",
            Self::WeightZeroPoint { .. } => "weight-zero-point",
            Self::ZeroChannels { .. } => "zero-channels",
            Self::SwappedChannels => "swapped-channels",
            Self::SharedScale { .. } => "shared-scale",
            Self::BiasScale { .. } => "bias-scale",
            Self::Clipped { .. } => "range-clipped",
            Self::TooWide { .. } => "range-too-wide",
            Self::Extreme { .. } => "range-extreme",
            Self::ZeroPoint { .. } => "zero-point",
        }
    }

    /// Whether it is a matter of degree: some of it is normal in any quantized model.
    pub fn is_of_degree(&self) -> bool {
        matches!(
            self,
            Self::Clipped { .. } | Self::Extreme { .. } | Self::ZeroPoint { .. } | Self::SharedScale { .. }
        )
    }

    /// By how much a range is too wide.
    pub(super) fn factor(&self) -> Option<f64> {
        match self {
            Self::TooWide { codes, values } | Self::Clipped { codes, values, .. } => {
                Some((codes.1 - codes.0) / (values.1 - values.0))
            }
            _ => None,
        }
    }
}
