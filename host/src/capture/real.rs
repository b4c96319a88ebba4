//! The real values of captured tensors.

use crate::error::{Error, ErrorKind, Result};
use crate::model::{DType, QuantizationParameters, Tensor};
use qp_analysis::{AffineList, ElementType, ParameterMap};

/// A captured tensor as real values: codes are dequantized.
pub struct Real<'a> {
    bytes: &'a [u8],
    element: ElementType,
    count: usize,
    dequantization: Option<(ParameterMap, AffineList<'a>)>,
}

impl<'a> Real<'a> {
    /// The values of `tensor`; integers are codes if there are `parameters`.
    ///
    /// # Errors
    /// `UnsupportedOp` for elements that are not real numbers; `CorruptFile` for parameters that do not fit.
    pub fn of(tensor: &'a Tensor, parameters: Option<&'a QuantizationParameters>) -> Result<Self> {
        let element = tensor.dtype.element_type().ok_or_else(|| {
            Error::new(
                ErrorKind::UnsupportedOp,
                format!("`{}` holds {}, not real numbers", tensor.name, tensor.dtype),
            )
        })?;
        let elements = crate::model::element_count(&tensor.shape).unwrap_or(u64::MAX);
        let count =
            usize::try_from(elements).unwrap_or(usize::MAX).min(element.elements_in(tensor.bytes.len()));
        let dequantization = match parameters.filter(|_| tensor.dtype.is_integer()) {
            Some(parameters) => Some(dequantization(tensor, parameters)?),
            None => None,
        };
        Ok(Self { bytes: &tensor.bytes, element, count, dequantization })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Passes on the values of two tensors in blocks of equal length, in row-major order, up to the shorter one's end.
    pub fn each_pair(&self, other: &Self, mut receive: impl FnMut(&[f64], &[f64])) {
        let mut first = 0;
        self.element.for_each_block(self.bytes, self.count.min(other.count), |ours| {
            self.dequantize(first, ours);
            let bytes = other.bytes.get(other.element.packed_bytes(first)..).unwrap_or_default();
            // Blocks of both begin at the same elements and have the same length.
            other.element.for_each_block(bytes, ours.len(), |theirs| {
                other.dequantize(first, theirs);
                receive(ours, theirs);
            });
            first += ours.len();
        });
    }

    /// What an array file stores for a tensor: codes, and types that the file format does not have, as the `float32` they
    /// stand for; anything else unchanged. With `is_raw` codes stay codes.
    ///
    /// # Errors
    /// As [`Real::of`].
    pub fn kept(
        tensor: &'a Tensor,
        parameters: Option<&'a QuantizationParameters>,
        is_raw: bool,
        is_writable: impl Fn(DType) -> bool,
    ) -> Result<(DType, std::borrow::Cow<'a, [u8]>)> {
        let is_code = parameters.is_some() && tensor.dtype.is_integer();
        if is_writable(tensor.dtype) && (is_raw || !is_code) {
            return Ok((tensor.dtype, tensor.bytes.as_slice().into()));
        }
        let real = Self::of(tensor, parameters.filter(|_| !is_raw))?;
        let mut bytes = Vec::with_capacity(real.len() * 4);
        real.each(&mut |values| {
            bytes.extend(values.iter().flat_map(|value| (*value as f32).to_le_bytes()));
        });
        Ok((DType::FLOAT32, bytes.into()))
    }

    /// All values, in row-major order.
    pub fn to_vec(&self) -> Vec<f64> {
        self.first(self.count)
    }

    /// The first `count` values, in row-major order; all if there are fewer.
    pub fn first(&self, count: usize) -> Vec<f64> {
        let count = count.min(self.count);
        let mut values = Vec::with_capacity(count);
        self.each_of(count, &mut |block| values.extend_from_slice(block));
        values
    }

    /// Passes on the values in blocks, in row-major order.
    pub fn each(&self, receive: &mut dyn FnMut(&[f64])) {
        self.each_of(self.count, receive);
    }

    fn each_of(&self, count: usize, receive: &mut dyn FnMut(&[f64])) {
        let mut first = 0;
        self.element.for_each_block(self.bytes, count, |values| {
            self.dequantize(first, values);
            receive(values);
            first += values.len();
        });
    }

    fn dequantize(&self, first: usize, values: &mut [f64]) {
        if let Some((map, list)) = &self.dequantization {
            // The counts were compared on construction.
            let _ = map.dequantize_in_place(first as u64, values, *list);
        }
    }
}

fn dequantization<'a>(
    tensor: &Tensor,
    parameters: &'a QuantizationParameters,
) -> Result<(ParameterMap, AffineList<'a>)> {
    let unfit = |cause: String| {
        Error::new(ErrorKind::CorruptFile, format!("`{}` cannot be dequantized", tensor.name))
            .with_cause(cause)
    };
    let map = ParameterMap::new(&tensor.shape, parameters.granularity())
        .map_err(|error| unfit(error.to_string()))?;
    let list = AffineList::new(&parameters.scales, &parameters.zero_points)
        .map_err(|mismatch| unfit(mismatch.to_string()))?;
    map.expect_count(list).map_err(|mismatch| unfit(mismatch.to_string()))?;
    Ok((map, list))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 0.5 · (q - 1) of 0, 1, 2, … against 0, 1, 2, …, over more elements than a block has.
    #[test]
    fn codes_and_floats_go_by_side_by_side() {
        let tensor = |dtype, bytes: Vec<u8>, count| Tensor {
            name: "x".into(),
            dtype,
            shape: vec![count],
            bytes,
            quantization: None,
        };
        let codes = tensor(DType::UINT8, (0..3000_u32).map(|index| (index % 200) as u8).collect(), 3000);
        let floats = (0..3000_u32).flat_map(|index| (index as f32).to_le_bytes()).collect();
        let floats = tensor(DType::FLOAT32, floats, 3000);
        let parameters = QuantizationParameters::per_tensor(DType::UINT8, 0.5, 1.0);
        let (left, right) = (Real::of(&floats, None).unwrap(), Real::of(&codes, Some(&parameters)).unwrap());
        let mut seen = 0;
        left.each_pair(&right, |floats, codes| {
            for (float, code) in floats.iter().zip(codes) {
                assert_eq!((*float, *code), (seen as f64, 0.5 * ((seen % 200) as f64 - 1.0)));
                seen += 1;
            }
        });
        assert_eq!(seen, 3000);
    }
}
