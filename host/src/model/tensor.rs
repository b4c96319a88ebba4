//! Tensors and values: their descriptions, and the elements of a tensor that was read.

use super::{DType, QuantizationParameters, ValueOrigin};
use std::fmt;

/// One dimension of a value's shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dimension {
    /// A fixed size.
    Fixed(u64),
    /// A free size with a name, for example `batch`.
    Symbolic(String),
    /// An unknown size.
    Unknown,
}

impl Dimension {
    /// The size, if it is fixed.
    pub fn size(&self) -> Option<u64> {
        match self {
            Self::Fixed(size) => Some(*size),
            Self::Symbolic(_) | Self::Unknown => None,
        }
    }
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(size) => write!(f, "{size}"),
            Self::Symbolic(name) => f.write_str(name),
            Self::Unknown => f.write_str("?"),
        }
    }
}

/// A value of the graph: an input, an output, or an activation between two layers.
#[derive(Clone, Debug, PartialEq)]
pub struct ValueInfo {
    /// The name.
    pub name: String,
    /// [`DType::UNDEFINED`] when the file does not declare it.
    pub dtype: DType,
    /// `None` when not even the number of dimensions is known; an empty shape is a scalar.
    pub shape: Option<Vec<Dimension>>,
    /// How this value's integer codes, or the codes it was rounded to, turn into real values.
    pub quantization: Option<QuantizationParameters>,
    /// What it is if not a tensor: `sequence(tensor(float32))`.
    pub type_name: Option<String>,
    /// Whether it is computed from the inputs' elements, from their shapes, or from stored tensors only.
    pub origin: ValueOrigin,
    /// For an input: whether it is optional, because the model has a default for it.
    pub is_optional: bool,
}

impl ValueInfo {
    /// A value about which only name, type and shape are known.
    pub fn new(name: &str, dtype: DType, shape: Option<Vec<Dimension>>) -> Self {
        Self {
            name: name.to_owned(),
            dtype,
            shape,
            quantization: None,
            type_name: None,
            origin: ValueOrigin::Activation,
            is_optional: false,
        }
    }
}

/// What a stored tensor is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TensorRole {
    /// A weight or a bias: set by training.
    Parameter,
    /// State that is not a trained parameter, such as running means.
    Buffer,
    /// A constant of the graph, and any role that qp does not know.
    Constant,
    /// A scale or a zero point.
    Quantization,
}

impl fmt::Display for TensorRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Parameter => "parameter",
            Self::Buffer => "buffer",
            Self::Constant => "constant",
            Self::Quantization => "quantization",
        })
    }
}

/// A stored tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorInfo {
    /// The name, unique among the stored tensors of the model.
    pub name: String,
    /// What it is for.
    pub role: TensorRole,
    /// The element type as stored.
    pub dtype: DType,
    /// The shape; empty for a scalar.
    pub shape: Vec<u64>,
    /// Bytes of the elements as stored.
    pub bytes: u64,
    /// The path of the layer that owns it; `None` if there is none, or several.
    pub layer: Option<String>,
    /// How its codes turn into real values; for a float tensor, the codes to which the graph rounds it before
    /// anything computes with it. `None` for a float tensor that is used as it is.
    pub quantization: Option<QuantizationParameters>,
    /// The file that holds it, if not the model file; relative to the model's folder.
    pub external_file: Option<String>,
    /// The name of an earlier tensor that shares its storage.
    pub alias_of: Option<String>,
    /// How its elements are stored if element type, scale and zero point cannot express it; its real values are then
    /// read by a request.
    pub type_name: Option<String>,
}

impl TensorInfo {
    /// The element type as the host prints it, even if it has no dtype.
    pub fn dtype_name(&self) -> String {
        self.type_name.clone().unwrap_or_else(|| self.dtype.to_string())
    }

    /// The number of elements: 1 for a scalar.
    pub fn element_count(&self) -> u64 {
        element_count(&self.shape).unwrap_or(u64::MAX)
    }

    /// Whether its elements are quantized: it has quantization parameters, or integers of fewer than 32 bits (packed
    /// codes whose parameters the file keeps elsewhere).
    pub fn is_quantized(&self) -> bool {
        self.quantization.is_some() || (self.dtype.is_integer() && self.dtype.bits() < 32)
    }
}

/// A tensor with its elements.
///
/// Elements are dense, in row-major order, little-endian; types under one byte are packed with the first
/// element in the low bits; a boolean is one byte; a string is its length in bytes as `u32` and then its
/// UTF-8 bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// The name in the model.
    pub name: String,
    /// The element type.
    pub dtype: DType,
    /// The shape; empty for a scalar.
    pub shape: Vec<u64>,
    /// The elements.
    pub bytes: Vec<u8>,
    /// How integer codes turn into real values; `None` when the elements are the values.
    pub quantization: Option<QuantizationParameters>,
}

impl Tensor {
    /// The part from `first` up to `end`, exclusive, along the first dimension. Scalars, and types below one byte,
    /// whose elements do not begin at byte boundaries, are returned whole.
    pub fn samples(&self, first: u64, end: u64) -> Self {
        let Some(&all) = self.shape.first().filter(|_| self.dtype.bits() >= 8) else { return self.clone() };
        let (first, end) = (first.min(all), end.min(all));
        let sample = element_count(&self.shape[1..]).unwrap_or(0);
        let sample_bytes = sample.saturating_mul(u64::from(self.dtype.bits()) / 8);
        let place = |index: u64| usize::try_from(index.saturating_mul(sample_bytes)).unwrap_or(usize::MAX);
        let mut shape = self.shape.clone();
        shape[0] = end.saturating_sub(first);
        let bytes = self.bytes.get(place(first)..place(end)).unwrap_or_default().to_vec();
        Self {
            name: self.name.clone(),
            dtype: self.dtype,
            shape,
            bytes,
            quantization: self.quantization.clone(),
        }
    }
}

/// A tensor, or a piece of one, valid only during a call. Its elements are laid out as in [`Tensor`].
#[derive(Clone, Copy, Debug)]
pub struct TensorChunk<'a> {
    /// The name in the model.
    pub name: &'a str,
    /// The element type.
    pub dtype: DType,
    /// The shape of the whole tensor; empty for a scalar.
    pub shape: &'a [u64],
    /// Index of the first element of this piece in the whole tensor.
    pub first_element: u64,
    /// The number of elements in this piece.
    pub elements: u64,
    /// Whether the tensor ends with this piece.
    pub is_last: bool,
    /// The elements.
    pub bytes: &'a [u8],
    /// How integer codes turn into real values.
    pub quantization: Option<&'a QuantizationParameters>,
}

/// The product of the dimensions, 1 for a scalar; `None` when it does not fit.
pub fn element_count(shape: &[u64]) -> Option<u64> {
    shape.iter().try_fold(1_u64, |total, size| total.checked_mul(*size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_cut_along_the_first_dimension() {
        let tensor = Tensor {
            name: "x".into(),
            dtype: DType::UINT16,
            shape: vec![3, 2],
            bytes: (0..12).collect(),
            quantization: None,
        };
        let last = tensor.samples(1, 9);
        assert_eq!((last.shape, last.bytes), (vec![2, 2], (4..12).collect::<Vec<u8>>()));
        assert_eq!(tensor.samples(5, 9).shape, [0, 2]);
        let scalar = Tensor { shape: Vec::new(), bytes: vec![1, 0], ..tensor };
        assert_eq!(scalar.samples(0, 1), scalar);
    }

    #[test]
    fn a_scalar_has_one_element_and_an_overflow_none() {
        assert_eq!(element_count(&[]), Some(1));
        assert_eq!(element_count(&[4, 0]), Some(0));
        assert_eq!(element_count(&[u64::MAX, 2]), None);
    }
}
