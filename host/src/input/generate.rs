//! Made-up inputs: the same seed gives the same values on every machine.

use super::{Fitted, element_type, type_text};
use crate::error::{Error, Result};
use crate::model::{DType, Tensor, ValueInfo, element_count};

/// An input of more elements than this is refused as a mistake.
const MAX_ELEMENTS: u64 = 1 << 26;

/// How to make an input up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generator {
    /// Random values from this seed; `None` for zeros.
    pub seed: Option<u64>,
    /// The shape, where the model does not say or the user wants another.
    pub shape: Option<Vec<u64>>,
}

impl Generator {
    /// One tensor for each input. Sizes that are free are 1. Random floats are uniform in 0 to 1, integers
    /// uniform in 0 to 255 or as far as the dtype goes.
    ///
    /// # Errors
    /// `InvalidInput` when the shape is not known or a dtype cannot be made up.
    pub(super) fn tensors(&self, declared: &[ValueInfo]) -> Result<Fitted> {
        let mut steps = Vec::new();
        let tensors = declared
            .iter()
            .enumerate()
            .map(|(index, value)| self.tensor(index as u64, value, &mut steps))
            .collect::<Result<Vec<_>>>()?;
        Ok(Fitted { tensors, steps })
    }

    fn tensor(&self, index: u64, value: &ValueInfo, steps: &mut Vec<String>) -> Result<Tensor> {
        let shape = self.shape_for(value, steps)?;
        let dtype = match value.dtype {
            DType::UNDEFINED => {
                steps.push(format!("`{}`: float32, as the model does not say", value.name));
                DType::FLOAT32
            }
            dtype => dtype,
        };
        let cannot = || {
            Error::invalid_input(format!(
                "input `{}` takes {}, which cannot be made up",
                value.name,
                type_text(value)
            ))
        };
        let element = element_type(dtype).filter(|_| value.type_name.is_none()).ok_or_else(cannot)?;
        let count = element_count(&shape).filter(|&count| count <= MAX_ELEMENTS).ok_or_else(|| {
            Error::invalid_input(format!(
                "input `{}` would have more than {MAX_ELEMENTS} elements",
                value.name
            ))
        })?;
        let mut source = self.seed.map(|seed| fastrand::Rng::with_seed(seed ^ index.rotate_right(8)));
        let largest = match dtype.code_range() {
            Some((_, largest)) => largest.min(255),
            None if dtype == DType::BOOL => 1,
            None => 255,
        };
        let mut bytes = Vec::with_capacity(element.packed_bytes(count as usize));
        for _ in 0..count {
            let number = match &mut source {
                None => 0.0,
                Some(source) if dtype.is_float() => source.f64(),
                Some(source) => source.i64(0..=largest) as f64,
            };
            element.push(&mut bytes, number).ok_or_else(cannot)?;
        }
        Ok(Tensor { name: value.name.clone(), dtype, shape, bytes, quantization: None })
    }

    fn shape_for(&self, value: &ValueInfo, steps: &mut Vec<String>) -> Result<Vec<u64>> {
        match (&self.shape, &value.shape) {
            (Some(shape), _) => Ok(shape.clone()),
            (None, Some(declared)) => {
                for dimension in declared.iter().filter(|dimension| dimension.size().is_none()) {
                    steps.push(format!("`{}`: {dimension} = 1", value.name));
                }
                Ok(declared.iter().map(|dimension| dimension.size().unwrap_or(1)).collect())
            }
            (None, None) => Err(Error::invalid_input(format!(
                "the model does not say the shape of input `{}`",
                value.name
            ))
            .with_hint("Give one, as in `input random --shape 1,32,32,3`.")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Dimension;

    fn value(dtype: DType) -> ValueInfo {
        let shape = Some(vec![Dimension::Symbolic("N".into()), Dimension::Fixed(4)]);
        ValueInfo { name: "x".into(), dtype, shape, quantization: None, type_name: None }
    }

    #[test]
    fn a_seed_decides_the_values_and_free_sizes_are_one() {
        let make =
            |seed| Generator { seed: Some(seed), shape: None }.tensors(&[value(DType::FLOAT32)]).unwrap();
        assert_eq!(make(1), make(1));
        assert_ne!(make(1).tensors[0].bytes, make(2).tensors[0].bytes);
        assert_eq!(make(1).steps, ["`x`: N = 1"]);
        assert_eq!(make(1).tensors[0].shape, [1, 4]);
    }

    #[test]
    fn zeros_are_zero_and_a_huge_shape_is_refused() {
        let zeros = Generator { seed: None, shape: None }.tensors(&[value(DType::INT64)]).unwrap();
        assert_eq!(zeros.tensors[0].bytes, [0; 32]);
        let huge = Generator { seed: None, shape: Some(vec![1 << 40]) };
        assert!(huge.tensors(&[value(DType::UINT8)]).is_err());
    }
}
