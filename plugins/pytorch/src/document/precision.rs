//! The precision of a model, read from its tensors.

use qp_abi::sdk::{DType, TensorInfo, TensorRole, element_count};
use std::collections::BTreeMap;

/// A model is `int8` when at least this share of its matrices' elements is: the rest is what a quantizer
/// leaves in float on purpose, such as an operand of a functional `matmul`.
const MAIN_SHARE: f64 = 0.9;

/// The precision of the weights: the matrices and filters among the parameters, or whatever tensors there
/// are when none has two dimensions.
pub fn precision(tensors: &[TensorInfo]) -> String {
    let is_weight =
        |tensor: &&TensorInfo| tensor.role == TensorRole::PARAMETER && tensor.dtype != DType::UNDEFINED;
    let weights = || tensors.iter().filter(is_weight);
    let matrices: Vec<&TensorInfo> = weights().filter(|tensor| tensor.shape.len() >= 2).collect();
    let counted = match (matrices.is_empty(), weights().next().is_some()) {
        (false, _) => matrices,
        (true, true) => weights().collect(),
        (true, false) => tensors.iter().filter(|tensor| tensor.dtype.is_float()).collect(),
    };
    let mut elements: BTreeMap<DType, f64> = BTreeMap::new();
    for tensor in counted.into_iter().filter(|tensor| tensor.alias_of.is_empty()) {
        *elements.entry(tensor.dtype).or_default() += element_count(&tensor.shape).unwrap_or(0) as f64;
    }
    let total: f64 = elements.values().sum();
    match elements.iter().max_by(|one, other| one.1.total_cmp(other.1)) {
        None => "unknown".to_owned(),
        Some((dtype, count)) if dtype.is_integer() && *count >= MAIN_SHARE * total => dtype.to_string(),
        Some((dtype, _)) if elements.len() == 1 => dtype.to_string(),
        Some(_) => "mixed".to_owned(),
    }
}
