//! What a value of a pickle is as a tensor.

use crate::pickle::Ref;
use crate::quant::Quantizer;
use crate::tensor::StoredTensor;
use qp_abi::sdk::DType;

/// A tensor in a pickle.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its elements.
    pub tensor: StoredTensor,
    /// Its scales and zero points, when it is a quantized one.
    pub quantizer: Option<Quantizer>,
    /// Whether it was saved as `torch.nn.Parameter`.
    pub is_parameter: bool,
}

/// A tensor of a class that is made of other tensors: torchao's, sparse ones.
#[derive(Debug, Clone)]
pub struct Composite {
    /// The class, and after it those of the parts that are made of tensors themselves.
    pub classes: Vec<String>,
    /// What the class stands in for.
    pub dtype: DType,
    /// The shape it shows.
    pub shape: Vec<i64>,
    /// The tensors it is made of, by the names of its attributes.
    pub parts: Vec<(String, Found)>,
    /// Its other attributes.
    pub attributes: Vec<(String, Ref)>,
}

/// What a value of a pickle is as a tensor.
#[derive(Debug, Clone)]
pub enum Rebuilt {
    /// A tensor.
    Plain(Found),
    /// A tensor made of tensors.
    Composite(Composite),
}
