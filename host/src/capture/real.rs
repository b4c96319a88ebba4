//! The real values of a captured tensor.

use crate::error::{Error, ErrorKind, Result};
use crate::input::element_type;
use crate::model::{QuantizationParameters, Tensor};
use qp_analysis::{AffineList, Granularity, ParameterMap};

/// Appends the values of `tensor`; codes are dequantized with `parameters`.
///
/// # Errors
/// `UnsupportedOp` for elements that are no real numbers; `CorruptFile` for parameters that do not fit.
pub fn append_values(
    tensor: &Tensor,
    parameters: Option<&QuantizationParameters>,
    values: &mut Vec<f64>,
) -> Result<()> {
    let element = element_type(tensor.dtype).ok_or_else(|| {
        Error::new(
            ErrorKind::UnsupportedOp,
            format!("`{}` holds {}, no real numbers", tensor.name, tensor.dtype),
        )
    })?;
    let begin = values.len();
    element.decode_chunk(&tensor.bytes, usize::MAX, values);
    let Some(parameters) = parameters.filter(|_| tensor.dtype.is_integer()) else { return Ok(()) };
    let unfit = |cause: String| {
        Error::new(ErrorKind::CorruptFile, format!("`{}` cannot be dequantized", tensor.name))
            .with_cause(cause)
    };
    let granularity = match (parameters.axis, parameters.block_size) {
        (Some(axis), Some(block_size)) => Granularity::PerBlock { axis, block_size },
        (Some(axis), None) => Granularity::PerChannel { axis },
        (None, _) => Granularity::PerTensor,
    };
    let map = ParameterMap::new(&tensor.shape, granularity).map_err(|error| unfit(error.to_string()))?;
    let list = AffineList::new(&parameters.scales, &parameters.zero_points)
        .map_err(|mismatch| unfit(mismatch.to_string()))?;
    map.dequantize_in_place(0, &mut values[begin..], list).map_err(|mismatch| unfit(mismatch.to_string()))
}
